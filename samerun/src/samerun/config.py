"""The configuration of a project's runs: `meta.samerun` of the record stage.

Every key has a default. In dvc.yaml, paths are relative to its folder; here they are relative to
the DVC project, as everywhere in samerun.
"""

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

from samerun.core.errors import UserError, WorkspaceError
from samerun.core.flatten import flatten
from samerun.core.keys import is_reserved, mlflow_keys
from samerun.core.tolerance import Limit, limits
from samerun.dvc import metrics
from samerun.dvc.paths import contains, overlap
from samerun.dvc.project import Project
from samerun.dvc.stage import Stage

_KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "list": list,
    "text or list": (str, list),
    "mapping": dict,
}
_RULE = re.compile(r"(?P<file>[^:]+):(?P<key>[^?]+?)(?:\s*\?\s*(?P<yes>.*?)\s*:\s*(?P<no>.*))?")

_DATA_SUFFIXES = {".csv", ".json", ".jsonl", ".ndjson", ".toml", ".tsv", ".txt", ".yaml", ".yml"}

_COLUMNS = 6
"""How many metrics, and how many parameters, are columns of the table of runs by default."""

DEFAULT_EXPERIMENT = "samerun"
"""Not the folder's name: a DVC experiment runs in a temporary folder, and a checkout may move."""


@dataclass(frozen=True, slots=True)
class TagRule:
    """A tag's value is that of a key in a file. yes, no: texts for true and false."""

    file: str
    key: str
    yes: str | None
    no: str | None


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one record stage.

    experiment: name of the MLflow experiment and of the registered model. model: the code that
    serves the model, then the files that it imports. description: a Markdown file that describes a
    run. tags: name to rule. not_identity: stages that only present results. env: environment
    variables that belong to identity. tolerance: file, key or column to the largest difference.
    datasets: context to path. reads: folder to the parameter that names the only file in it that
    counts. name: phrases of a run's name, " | " between alternatives. columns, about: columns and
    description of the experiment's page; a * in a column matches any metrics.
    """

    experiment: str
    model: tuple[str, ...] = ()
    description: str | None = None
    tags: Mapping[str, TagRule] = field(default_factory=dict)
    not_identity: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    tolerance: Mapping[str, Limit] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    name: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    about: str = ""


_TYPES = {
    **dict.fromkeys(("experiment", "description", "about"), "text"),
    "model": "text or list",
    **dict.fromkeys(("not_identity", "env", "name", "columns"), "list"),
    **dict.fromkeys(("tags", "tolerance", "datasets", "reads"), "mapping"),
}


def here() -> Config:
    """Return the configuration of the current folder's dvc.yaml. Raises: UserError."""
    project = Project()
    return of(project, project.record_stage())


def experiment_of(stage: Stage) -> str:
    """Return the experiment of a record stage, even if the rest of its `meta` is wrong."""
    meta = stage.meta.get("samerun") if isinstance(stage.meta, Mapping) else None
    return str((isinstance(meta, Mapping) and meta.get("experiment")) or DEFAULT_EXPERIMENT)


def of(project: Project, stage: Stage) -> Config:
    """Return the configuration of a record stage. Raises: WorkspaceError if it is wrong."""
    if not isinstance(stage.meta, Mapping):
        raise WorkspaceError(f"meta of {stage.name} must be a mapping (got {stage.meta!r})")
    written = stage.meta.get("samerun") or {}
    where = f"meta.samerun of {stage.name}"
    if not isinstance(written, Mapping):
        raise WorkspaceError(f"{where} must be a mapping (got {written!r})")
    known = [each.name for each in fields(Config)]
    for key, value in written.items():
        if key not in known:
            raise WorkspaceError(f"{where} has no key {key}; its keys are {', '.join(known)}")
        if not isinstance(value, _KINDS[_TYPES[key]]):
            raise WorkspaceError(f"{where}.{key} must be a {_TYPES[key]} (got {value!r})")
        entries: dict[Any, Any] = dict(value) if isinstance(value, dict) else {}
        if isinstance(value, list):
            entries = dict(enumerate(value))
        for name, one in entries.items() if key != "tolerance" else ():
            if not isinstance(one, str):
                raise WorkspaceError(f"{where}.{key}.{name} must be a text (got {one!r})")

    def path(name: Any) -> str:
        full = os.path.normpath(stage.file.parent / str(name))
        return Path(os.path.relpath(full, project.root.resolve())).as_posix()

    values: dict[str, Any] = {
        key: tuple(map(str, value)) if isinstance(value, list) else value
        for key, value in written.items()
    }
    values.setdefault("experiment", DEFAULT_EXPERIMENT)
    values["tolerance"] = limits(f"{where}.tolerance", written.get("tolerance", {}))
    if "description" in values:
        values["description"] = path(values["description"])
    model = written.get("model", [])
    values["model"] = tuple(map(path, [model] if isinstance(model, str) else model))
    values["datasets"] = {str(name): path(at) for name, at in written.get("datasets", {}).items()}
    values["reads"] = {path(folder): key for folder, key in written.get("reads", {}).items()}
    rules = {str(name): text for name, text in written.get("tags", {}).items()}
    tags = mlflow_keys(rules)
    for name in rules:
        if is_reserved(tags[name]):
            raise WorkspaceError(f"{where}.tags must not set a tag of samerun's own (got {name})")
    values["tags"] = {
        tags[name]: _rule(f"{where}.tags.{name}", text, path) for name, text in rules.items()
    }
    values["columns"] = _filled_columns(values.get("columns", ()), project, stage)
    return Config(**values)


def _filled_columns(columns: Sequence[str], project: Project, stage: Stage) -> tuple[str, ...]:
    """Return the columns, each * replaced by the metrics in the files that match.

    If there are no columns, return those of the first metrics and parameters.
    """
    if columns and not any("*" in column for column in columns):
        return tuple(columns)
    names: list[str] = []
    upstream = project.upstream(stage)
    outs = [out for each in upstream for out in each.outs]
    for file in metrics.files(project, stage.file, outs):
        with suppress(UserError):  # `record` reports a file that cannot be read
            content = project.load(file) if project.path(file).is_file() else None
            named = flatten(content) if isinstance(content, Mapping) else {}
            names += [f"metrics.{name}" for name, x in named.items() if columns or _is_number(x)]
    if not columns:
        locked = (each.locked for one in upstream for each in one.params)
        params = [f"params.{name}" for values in locked for name in flatten(dict(values))]
        shown = dict.fromkeys([*names[:_COLUMNS], *params[:_COLUMNS]])
        keys = mlflow_keys([name.partition(".")[2] for name in shown])
        return tuple(f"{kind}.{keys[key]}" for kind, _, key in (n.partition(".") for n in shown))
    matches = (fnmatch.filter(names, each) if "*" in each else [each] for each in columns)
    return tuple(dict.fromkeys(chain.from_iterable(matches)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rule(where: str, text: Any, path: Any) -> TagRule:
    match = _RULE.fullmatch(str(text).strip())
    if not match:
        raise WorkspaceError(
            f"{where} must be FILE:KEY, or FILE:KEY ? TEXT : TEXT for true and false (got {text})"
        )
    return TagRule(path(match["file"]), match["key"], match["yes"], match["no"])


def mistakes(
    config: Config,
    project: Project,
    deciding: Sequence[Stage],
    presenting: Sequence[Stage],
    base: Path,
) -> Iterator[str]:
    """Yield what a configuration names but the pipeline does not have, as "RULE (got NAME)".

    base: the folder of dvc.yaml.
    """
    shown = {stage.short.partition("@")[0] for stage in presenting}
    for name in config.not_identity:
        if name not in shown:
            yield f"not_identity must name stages that the record stage depends on (got {name})"
    for folder, key in config.reads.items():
        readers = [stage for stage in deciding if folder in {dep.path for dep in stage.deps}]
        if not readers:
            yield f"reads must name folders that a stage depends on (got {folder})"
        elif not any(_has(stage, key) for stage in readers):
            yield f"reads must name a parameter of the stage that depends on {folder} (got {key})"
    data = {item.path for stage in deciding for item in (*stage.deps, *stage.outs)}
    data |= {item.path for stage in deciding for item in project.sources(stage)}
    for path in config.datasets.values():
        if path not in data:
            yield f"datasets must name outputs or dependencies of the stages (got {path})"
    outs = [
        Path(os.path.relpath(project.path(out.path), base)).as_posix()
        for stage in deciding
        for out in stage.outs
    ]
    for name in config.tolerance:
        if _names_file(name) and not any(_may_be_in(out, name.partition(":")[0]) for out in outs):
            yield f"tolerance must name files that a stage makes, or keys of them (got {name})"
    for key in re.findall(r"{([^{}]*)}", " ".join(config.name)):
        if not any(_has(stage, key) for stage in deciding):
            yield f"name must use parameters of the stages (got {{{key}}})"
    files = [("model", file) for file in config.model]
    files += [("description", config.description)] if config.description else []
    for what, file in files:
        made = any(contains(one, file) for one in project.made)
        if not made and not project.path(file).is_file():
            yield f"{what} must name a file (got {file})"


def _names_file(name: str) -> bool:
    """Return whether an entry of `tolerance` names a file: keys and columns have no such suffix."""
    return ":" in name or Path(name).suffix in _DATA_SUFFIXES


def _may_be_in(out: str, file: str) -> bool:
    """Return whether a file or pattern may match an output, or a file inside or around one."""
    fixed = re.split(r"[*?[]", file)[0]
    if fixed != file:
        return out.startswith(fixed) or fixed.startswith(f"{out}/")
    return overlap(out, file)


def _has(stage: Stage, key: str) -> bool:
    """Return whether a stage has a parameter, or may have it if the stage has not run yet."""

    def inside(names: Iterator[str] | Sequence[str] | Mapping[str, Any]) -> bool:
        return any(name == key or name.startswith(f"{key}.") for name in names)

    for each in stage.params:
        declared = each.keys
        if inside(flatten(dict(each.locked))) or inside(declared):
            return True
        if not each.locked and (not declared or any(key.startswith(f"{n}.") for n in declared)):
            return True
    return False
