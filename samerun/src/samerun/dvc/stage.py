"""A stage as dvc.yaml declares it, with its values in dvc.lock."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samerun.core.flatten import flatten
from samerun.dvc import commands


@dataclass(frozen=True, slots=True)
class Item:
    """A dependency or an output of a stage.

    path: relative to the project; a URL or an absolute path stays as it is. locked: its hash in
    dvc.lock or in its .dvc file, None if there is none. kind: metric, plot or "". cached: whether
    DVC caches it. handle: DVC's own object.
    """

    path: str
    locked: str | None
    kind: str
    cached: bool
    handle: Any

    def written(self, root: Path, folder: Path) -> str:
        """Return the path as dvc.yaml in `folder` has it. root: the project's."""
        if "://" in self.path or Path(self.path).is_absolute():
            return self.path
        return Path(os.path.relpath(root / self.path, folder)).as_posix()

    @property
    def pointer(self) -> Path:
        """The .dvc file, or the dvc.yaml, that an output belongs to."""
        return Path(self.handle.stage.path)

    @property
    def persists(self) -> bool:
        """Whether DVC keeps an output in place when its stage runs again."""
        return bool(self.handle.persist)

    @property
    def plot(self) -> Mapping[str, Any]:
        """The settings of a plot in dvc.yaml; empty if there are none."""
        return self.handle.plot if isinstance(self.handle.plot, Mapping) else {}

    @property
    def executable(self) -> bool:
        """Whether an output is an executable file."""
        return bool(self.handle.meta and self.handle.meta.isexec)


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters that a stage reads from one file. locked: dotted key to value in dvc.lock."""

    file: str
    locked: Mapping[str, Any]
    handle: Any

    @property
    def keys(self) -> list[str]:
        """The dotted keys that the stage reads; empty for the whole file."""
        return list(self.handle.params)

    def current(self) -> dict[str, Any]:
        """Return the values in the file now, by dotted key."""
        return dict(self.handle.read_params())

    def changes(self) -> list[str]:
        """Return the dotted keys whose values in the file are not those in dvc.lock."""
        if not self.handle.workspace_status():  # to DVC, 1 and 1.0 are the same
            return []
        locked, current = dict(self.locked), self.current()
        if equal(locked, current):  # to DVC, .nan differs from itself
            return []
        keys = [f"{key} in {self.file}" for key in changed_keys(locked, current)]
        return keys or [self.file]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of some dvc.yaml. name: relative to the repository ("sub/dvc.yaml:train@a").

    file: its dvc.yaml. wdir: where its command runs. changed_command: whether the command differs
    from that in dvc.lock.
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

    def current_params(self) -> dict[str, str]:
        """Return the values of the parameters now, as texts, by dotted name."""
        return {
            name: str(value)
            for each in self.params
            for name, value in flatten(each.current()).items()
        }

    @property
    def short(self) -> str:
        """The name without its dvc.yaml."""
        return self.name.rpartition(":")[2]

    @property
    def records(self) -> bool:
        """Whether this is a record stage."""
        return commands.records(self.command)

    @property
    def wrapped(self) -> bool:
        """Whether `samerun run` executes it."""
        return commands.wrapped(self.command)


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys whose values differ, or that only one of two mappings has."""
    before, after, none = flatten(old), flatten(new), object()
    keys = dict.fromkeys([*before, *after])
    return [key for key in keys if not equal(before.get(key, none), after.get(key, none))]


def equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal; NaN equals NaN here."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    both_nan = isinstance(one, float) and isinstance(other, float) and one != one and other != other
    return both_nan or bool(one == other)


def named_file(params: Mapping[str, Any], key: str) -> str | None:
    """Return the file that a dotted parameter names in any of the parameter files, or None."""
    for values in params.values():
        value = lookup(values, key.split("."))
        if isinstance(value, str) and value:
            return value
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


def variable_files(file: Path, content: Mapping[str, Any]) -> set[Path]:
    """Return the files of variables that a dvc.yaml with templates may use; else an empty set."""
    if "${" not in str(content):
        return set()
    stages = [one for one in content.get("stages", {}).values() if isinstance(one, Mapping)]
    entries = [(file.parent, each) for each in ["params.yaml", *content.get("vars", [])]]
    entries += [
        (file.parent / str(stage.get("wdir", "")), each)
        for stage in stages
        for each in [*stage.get("vars", []), *stage.get("do", {}).get("vars", [])]
    ]
    return {folder / each.partition(":")[0] for folder, each in entries if isinstance(each, str)}
