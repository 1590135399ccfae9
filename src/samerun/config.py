"""What a project says of its runs: `meta.samerun` of the stage that records them.

Everything has a default, so that a dvc.yaml without it works. Paths are written relative to the
folder of dvc.yaml, and are held here relative to the repository, as everywhere in samerun.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from samerun.core.errors import WorkspaceError
from samerun.dvc.project import Project
from samerun.dvc.stage import Stage

_KINDS: dict[str, type] = {"text": str, "list": list, "mapping": dict}
_RULE = re.compile(r"(?P<file>[^:]+):(?P<key>[^?]+?)(?:\s*\?\s*(?P<yes>.*?)\s*:\s*(?P<no>.*))?")


@dataclass(frozen=True, slots=True)
class TagRule:
    """Where a tag's value comes from: a key of a file; yes and no: texts for true and false."""

    file: str
    key: str
    yes: str | None
    no: str | None


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one record stage.

    experiment: of MLflow, and the name of the registered model. model: the code that serves the
    model. description: a Markdown file that describes a run. tags: name to rule. not_identity:
    stages that only present. env: variables that belong to identity. tolerance: file, metric or
    column to the largest difference. datasets: context to path. reads: folder to the parameter that
    names its only file that counts. name: phrases of a run's name, " | "
    between alternatives. columns, about: of the experiment's page.
    """

    experiment: str
    model: str | None = None
    description: str | None = None
    tags: Mapping[str, TagRule] = field(default_factory=dict)
    not_identity: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    tolerance: Mapping[str, float] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    name: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    about: str = ""


_TYPES = {
    **dict.fromkeys(("experiment", "model", "description", "about"), "text"),
    **dict.fromkeys(("not_identity", "env", "name", "columns"), "list"),
    **dict.fromkeys(("tags", "tolerance", "datasets", "reads"), "mapping"),
}


def here() -> Config:
    """Return the configuration of the current folder's dvc.yaml. Raises: UserError."""
    project = Project()
    return of(project, project.record_stage())


def of(project: Project, stage: Stage) -> Config:
    """Return the configuration of a stage that records. Raises: WorkspaceError for a wrong key."""
    written = stage.meta.get("samerun") or {}
    where = f"meta.samerun of {stage.name}"
    if not isinstance(written, Mapping):
        raise WorkspaceError(f"{where} must be a mapping (got {written!r})")
    known = [each.name for each in fields(Config)]
    for key, value in written.items():
        if key not in known:
            raise WorkspaceError(f"{where} must have keys among {', '.join(known)} (got {key})")
        if not isinstance(value, _KINDS[_TYPES[key]]):
            raise WorkspaceError(f"{where}.{key} must be a {_TYPES[key]} (got {value!r})")

    def path(name: Any) -> str:
        full = os.path.normpath(stage.file.parent / str(name))
        return Path(os.path.relpath(full, project.root.resolve())).as_posix()

    values = {key: _frozen(value) for key, value in written.items()}
    values.setdefault("experiment", project.root.resolve().name)
    for key in ("model", "description"):
        if key in values:
            values[key] = path(values[key])
    values["datasets"] = {name: path(at) for name, at in written.get("datasets", {}).items()}
    values["reads"] = {path(folder): key for folder, key in written.get("reads", {}).items()}
    values["tags"] = {
        name: _rule(f"{where}.tags.{name}", text, path)
        for name, text in written.get("tags", {}).items()
    }
    return Config(**values)


def _rule(where: str, text: Any, path: Any) -> TagRule:
    match = _RULE.fullmatch(str(text).strip())
    if not match:
        raise WorkspaceError(
            f"{where} must be FILE:KEY, or FILE:KEY ? TEXT : TEXT for true and false (got {text})"
        )
    return TagRule(path(match["file"]), match["key"], match["yes"], match["no"])


def _frozen(value: Any) -> Any:
    return tuple(map(str, value)) if isinstance(value, list) else value
