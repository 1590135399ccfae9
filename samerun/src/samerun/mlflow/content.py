"""What a run shows: parameters, metrics, steps, datasets, tags and files, as the pipeline has them.

Knows nothing of MLflow's calls. `record` writes this content, and `reproduce` compares it.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from samerun.core.errors import WorkspaceError
from samerun.core.flatten import flatten
from samerun.core.keys import mlflow_key, mlflow_keys
from samerun.dvc import metrics as metric_files
from samerun.dvc.stage import equal
from samerun.execution.reported import number
from samerun.mlflow import steps as tables
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit

_LONGEST_PARAMETER = 6_000
"""The most characters that MLflow stores of a parameter."""

_LONGEST_LIST = 20
"""The most numbers of a list that become metrics, as name.0, name.1 ...; a longer one is data."""

_NAMED = 10
"""The most values of one file that are named as not shown."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that a run used: its name, what for, its path, and its hash in dvc.lock."""

    name: str
    context: str
    source: str
    digest: str


@dataclass(frozen=True, slots=True)
class RunContent:
    """Everything that is written to a run, except its files.

    execution: names the execution; recording the same one again completes its run. start_ms,
    end_ms: when it ran, milliseconds since 1970. history: metric to step to value.
    """

    execution: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    start_ms: int
    end_ms: int = 0
    description: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, dict[int, float]] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)


def description(pipeline: Pipeline, commit: Commit) -> str:
    """Return the description in Markdown: the project's own file, then the commit.

    Raises: WorkspaceError if the file cannot be read.
    """
    path = pipeline.config.description
    try:
        text = pipeline.project.path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise WorkspaceError(
            f"{path}, the description of a run, must be a text (got {error})"
        ) from None
    changes = " with uncommitted changes (`changes.patch`)" if commit.dirty else ""
    return f"{text.rstrip()}\n\nCommit `{commit.sha or 'none'}`{changes}.\n".lstrip()


def tags_of(commit: Commit) -> dict[str, str]:
    """Return the tags that describe the state of a run's code in git."""
    return {"git_commit": commit.sha or "none", "git_dirty": str(commit.dirty).lower()}


def params(pipeline: Pipeline) -> dict[str, str]:
    """Return the parameters as MLflow stores them, by dotted name."""
    found = pipeline.params()
    keys = mlflow_keys(found)
    return {keys[name]: text_of(value) for name, value in found.items()}


def text_of(value: Any, *, whole: str = "identity.json") -> str:
    """Return a value as text: text as it is, a date as ISO 8601, anything else as JSON.

    whole: the artifact that has all of it, which the text names if MLflow would cut it.
    """
    plain = isinstance(value, str | date)
    text = str(value) if plain else json.dumps(value, default=str, ensure_ascii=False)
    if len(text) <= _LONGEST_PARAMETER:
        return text
    end = f"… (all {len(text):,} characters are in {whole})"
    return text[: _LONGEST_PARAMETER - len(end)] + end


def metrics(pipeline: Pipeline, history: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Return every number of the metrics files by its dotted name, without those that are null.

    A name that two files have comes with its file. A number that the last step of a history has
    under the same name is left to the history; one that it has not comes with its file too.
    Those of the table's columns come first: MLflow's page compares runs by the first metric.
    """
    found: dict[str, dict[str, float]] = {}
    files = metrics_files(pipeline)
    stems = [Path(path).stem for path in files]
    bare = [path.rpartition(".")[0] for path in map(pipeline.relative, files)]
    for path, stem, long in zip(files, stems, bare, strict=True):
        content = pipeline.project.load(path)
        label = long if bare.count(long) == 1 else pipeline.relative(path)
        label = stem if stems.count(stem) == 1 else label
        for name, leaf in _leaves(content, stem).items():
            if (value := number(leaf)) is not None:
                found.setdefault(name, {})[label] = value
    named: dict[str, float] = {}
    for name, values in found.items():
        steps = history.get(mlflow_key(name))
        for label, value in values.items():
            if steps and equal(steps[max(steps)], value):
                continue
            whole = f"{label}.{name}" if steps or len(values) > 1 else name
            while whole in named or (whole in found and whole != name):
                whole += "_"
            named[whole] = value
    keys = mlflow_keys(named)
    named = {keys[name]: value for name, value in named.items()}
    columns = [column.removeprefix("metrics.") for column in pipeline.config.columns]
    first = [name for name in columns if name in named]
    return {name: named[name] for name in dict.fromkeys([*first, *named])}


def _leaves(content: Any, stem: str) -> dict[str, Any]:
    """Return the values of a metrics file by dotted name. stem: the name of one that has none."""
    named = flatten(
        _indexed(content) if isinstance(content, Mapping) else _indexed({stem: content})
    )
    return {name or stem: value for name, value in named.items()}


def _indexed(value: Any) -> Any:
    """Return a value with each short list of numbers in it as a mapping from index to number."""
    if isinstance(value, Mapping):
        return {key: _indexed(entry) for key, entry in value.items()}
    short = isinstance(value, list) and 0 < len(value) <= _LONGEST_LIST
    if short and all(number(entry) is not None for entry in value):
        return {str(index): entry for index, entry in enumerate(value)}
    return value


def only_in_files(
    pipeline: Pipeline, tables: Mapping[str, Sequence[str]], *, texts_too: bool = True
) -> str:
    """Return, in words, what a run's files contain that its page cannot show; "" if nothing.

    MLflow's metrics are numbers of 64 bits, and its databases hold no infinity. What a tag shows is
    left out. tables: file to what in it is not a metric by step. texts_too: whether texts, dates,
    true, false and null count, which nobody expects among metrics.
    """
    found = {path: list(texts) for path, texts in tables.items()}
    tagged = {(rule.file, rule.key) for rule in pipeline.config.tags.values()}
    for path in metrics_files(pipeline):
        leaves = _leaves(pipeline.project.load(path), Path(path).stem)
        found[path] = [
            f"{name}{why}"
            for name, value in leaves.items()
            if (why := _lost(value)) is not None
            and (path, name) not in tagged
            and (texts_too or why or _has_numbers(value))
        ]
    return "; ".join(
        f"{artifact(pipeline, path)}: {', '.join(texts[:_NAMED])}"
        + (f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else "")
        for path, texts in found.items()
        if texts
    )


def _has_numbers(value: Any) -> bool:
    return isinstance(value, list) and any(number(entry) is not None for entry in value)


def _lost(value: Any) -> str | None:
    """Return what a metric loses of a value, as " (WHAT)"; "" for all of it, None for nothing."""
    shown = number(value)
    if shown is None:
        return ""
    if math.isinf(shown):
        return " (infinite)"
    return None if math.isnan(shown) or shown == value else " (rounded)"


def metrics_files(pipeline: Pipeline) -> list[str]:
    """Return the files of metrics of a run, as the project names them."""
    return metric_files.files(pipeline.project, pipeline.stage.file, pipeline.outputs())


def datasets(pipeline: Pipeline) -> list[Dataset]:
    """Return the data of a run, with the hashes that dvc.lock has.

    They are those that the project names, and the data of .dvc files that the pipeline reads.
    """
    locked = {
        item.path: item.locked
        for stage in pipeline.deciding
        for item in (*stage.deps, *stage.outs)
        if item.locked
    }
    named = {path: context for context, path in pipeline.config.datasets.items()}
    for stage in pipeline.deciding:
        for item in pipeline.project.sources(stage):
            if item in pipeline.project.data and item.locked:
                locked[item.path] = item.locked
                named.setdefault(item.path, "source")
    return [
        Dataset(pipeline.relative(path), context, pipeline.relative(path), locked[path])
        for path, context in named.items()
        if path in locked
    ]


def files(pipeline: Pipeline) -> list[str]:
    """Return the files that are stored with a run, as the project names them."""
    project = pipeline.project
    names = [*declarations(pipeline), *locks(pipeline), *param_files(pipeline)]
    names += metrics_files(pipeline)
    models_of = [entry["path"] for entry in project.artifacts(pipeline.stage.file).values()]
    for item in pipeline.outputs():
        relative = pipeline.relative(item.path)
        whole = item.kind or relative in models_of
        names += project.files(item) if whole else tables.shown(pipeline, item)
    for stage in pipeline.presenting:
        for out in stage.outs:
            names += project.files(out)
    return list(dict.fromkeys(name for name in names if project.path(name).is_file()))


def declarations(pipeline: Pipeline) -> list[str]:
    """Return the dvc.yaml files that declare the stages of a run, as the project names them."""
    files = dict.fromkeys(stage.file for stage in (pipeline.stage, *pipeline.deciding))
    root = pipeline.project.root.resolve()
    return [Path(os.path.relpath(file, root)).as_posix() for file in files]


def locks(pipeline: Pipeline) -> list[str]:
    """Return the dvc.lock files beside them."""
    return [Path(name).with_name("dvc.lock").as_posix() for name in declarations(pipeline)]


def param_files(pipeline: Pipeline) -> list[str]:
    """Return the parameter files of a run, as the project names them."""
    return list(dict.fromkeys(each.file for stage in pipeline.deciding for each in stage.params))


def artifact(pipeline: Pipeline, name: str) -> str:
    """Return the path of a file among a run's artifacts.

    It is relative to the folder of dvc.yaml; what lies elsewhere in the repository is in
    repository/.
    """
    relative = pipeline.relative(name)
    if not relative.startswith("../"):
        return relative
    return elsewhere(name)


def elsewhere(name: str) -> str:
    """Return the path among the artifacts of a file outside the folder of dvc.yaml."""
    return "/".join(["repository", *(part for part in Path(name).parts if part not in ("..", "/"))])
