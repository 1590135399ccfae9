"""A stage as dvc.yaml declares it, with the values that dvc.lock has of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samerun.core.flatten import flatten

RECORD = "samerun record"
"""The command of a stage that records runs."""


@dataclass(frozen=True, slots=True)
class Item:
    """A dependency or an output of a stage.

    path: relative to the repository; absolute if it lies outside. locked: its hash in dvc.lock or
    in its .dvc file, None if there is none. kind: metric, plot or "". cached: whether DVC keeps it.
    """

    path: str
    locked: str | None
    kind: str
    cached: bool
    handle: Any

    @property
    def pointer(self) -> Path:
        """The .dvc file, or the dvc.yaml, that an output belongs to."""
        return Path(self.handle.stage.path)

    @property
    def executable(self) -> bool:
        """Whether an output is a program."""
        return bool(self.handle.meta and self.handle.meta.isexec)


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters that a stage takes from one file: by dotted key, as dvc.lock has them."""

    file: str
    locked: Mapping[str, Any]
    handle: Any

    def changes(self) -> list[str]:
        """Return the dotted keys whose values in the file are not those in dvc.lock."""
        if not self.handle.workspace_status():  # DVC decides, which takes 1 and 1.0 for the same
            return []
        old, new = flatten(dict(self.locked)), flatten(self.handle.read_params())
        keys = [key for key in [*old, *new] if old.get(key, self) != new.get(key, self)]
        return [f"{key} in {self.file}" for key in dict.fromkeys(keys)] or [self.file]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of some dvc.yaml. name: relative to the repository ("sub/dvc.yaml:train@a").

    file: its dvc.yaml. wdir: where its command runs. changed_command: whether dvc.lock has another.
    """

    name: str
    file: Path
    wdir: Path
    command: str | list[str]
    changed_command: bool
    frozen: bool
    always_changed: bool
    meta: Mapping[str, Any]
    deps: tuple[Item, ...]
    params: tuple[Params, ...]
    outs: tuple[Item, ...]

    @property
    def short(self) -> str:
        """The name without its dvc.yaml."""
        return self.name.rpartition(":")[2]

    @property
    def commands(self) -> list[str]:
        """The command as lines."""
        return [self.command] if isinstance(self.command, str) else list(self.command)

    @property
    def records(self) -> bool:
        """Whether it is a stage that records runs."""
        return any(line.strip().startswith(RECORD) for line in self.commands)

    @property
    def wrapped(self) -> bool:
        """Whether `samerun run` executes it."""
        return any(line.strip().startswith("samerun run ") for line in self.commands)


def named_file(params: Mapping[str, Any], key: str) -> str | None:
    """Return the file that a dotted parameter names in any of the parameter files, or None."""
    for values in params.values():
        found = lookup(values, key.split("."))
        if isinstance(found, str) and found:
            return found
    return None


def lookup(values: Any, parts: Sequence[str]) -> Any:
    """Return the value at a dotted path; a key of `values` may itself hold dots."""
    if not parts:
        return values
    if not isinstance(values, Mapping):
        return None
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name in values:
            return lookup(values[name], parts[count:])
    return None
