"""What a run shows: parameters, metrics, steps, datasets, tags and files, as the pipeline has them.

Knows nothing of MLflow's calls. `record` writes this content, and `reproduce` compares it.
"""

import base64
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samerun.config import Config, TagRule
from samerun.core.errors import WorkspaceError
from samerun.core.flatten import flatten
from samerun.core.keys import mlflow_key, mlflow_keys
from samerun.dvc import metrics as metric_files
from samerun.dvc.stage import lookup
from samerun.execution.reported import number
from samerun.mlflow import phrases
from samerun.mlflow import steps as tables
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit

VIEW = "samerun"
"""The name of the saved view of the runs table that `experiment_tags` defines."""

_LONGEST_PARAMETER = 6_000
"""The most characters that MLflow stores of a parameter; identity.json has all of it."""

_LONGEST_NAME = 120


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


def experiment_tags(config: Config) -> dict[str, str]:
    """Return the tags that make MLflow's page of the experiment one of trainings, with a view.

    A view is a tag whose value MLflow's page reads: which columns it shows, in which order. Without
    a view the table shows neither metrics nor tags. There is no API for views; a test in a browser
    checks that MLflow still reads the tag.
    """
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if config.about:
        tags["mlflow.note.content"] = config.about
    if config.columns:
        columns = [_column(name) for name in config.columns]
        state = {
            "searchFilter": "",
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": {_column(name): _width(name) for name in config.columns},
            "runsHiddenMode": "FIRST_10_RUNS",
        }
        packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
        view = {"name": VIEW, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
        tags[f"mlflow.sharedViewState.{VIEW}"] = json.dumps(view)
    return tags


def _column(name: str) -> str:
    """Return a column as MLflow's page names it: "metrics.z.w" is "metrics.`z.w`"."""
    kind, _, rest = name.partition(".")
    return f"{kind}.`{rest}`"


def _width(name: str) -> int:
    """Return the width of a column in pixels: its heading and a number must fit."""
    kind, _, rest = name.partition(".")
    if rest == "Dataset":
        return 300
    return max(75 if kind == "tags" else 100, 40 + 6 * len(rest))


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


def own_tags(pipeline: Pipeline) -> dict[str, str]:
    """Return the tags that the project defines. Raises: WorkspaceError if a file cannot be read."""
    return {name: _tag(pipeline, rule) for name, rule in pipeline.config.tags.items()}


def _tag(pipeline: Pipeline, rule: TagRule) -> str:
    value = lookup(pipeline.project.load(rule.file), rule.key.split("."))
    if rule.yes is not None and isinstance(value, bool):
        return str(rule.yes if value else rule.no)
    return text_of(value)


def params(pipeline: Pipeline) -> dict[str, str]:
    """Return the parameters as MLflow stores them, by dotted name."""
    found = pipeline.params()
    keys = mlflow_keys(found)
    return {keys[name]: text_of(value) for name, value in found.items()}


def text_of(value: Any) -> str:
    """Return a value as text: text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_PARAMETER else f"{text[: _LONGEST_PARAMETER - 1]}…"


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
        for name, value in _numbers(content if isinstance(content, Mapping) else {"": content}):
            found.setdefault(name or stem, {})[label] = value
    named: dict[str, float] = {}
    for name, values in found.items():
        steps = history.get(mlflow_key(name))
        for label, value in values.items():
            if steps and steps[max(steps)] == value:
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


def metrics_files(pipeline: Pipeline) -> list[str]:
    """Return the files of metrics of a run, as the project names them."""
    return metric_files.files(pipeline.project, pipeline.stage.file, pipeline.outputs())


def _numbers(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in flatten(content).items():
        if (found := number(value)) is not None:
            yield name, found


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
    parts = [part for part in Path(name).parts if part not in ("..", "/")]
    return "/".join(["repository", *parts])


def run_name(pipeline: Pipeline, baseline: Mapping[str, str], experiment: str | None) -> str:
    """Return the name of a run: what differs from the first run comes first.

    MLflow's tables and legends show about twenty characters. baseline: the parameters of the first
    run; empty if this is the first. experiment: the name of the DVC experiment, which comes last.
    """
    values = params(pipeline)
    changed = {key for key, text in values.items() if baseline and baseline.get(key) != text}
    wanted = [
        (phrase, {key for key in values if f"{{{key}}}" in phrase})
        for phrase in pipeline.config.name
    ]
    told = {key for _, keys in wanted for key in keys}
    first = [phrases.filled(phrase, values) for phrase, keys in wanted if keys & changed]
    others = [phrases.named(key, values[key]) for key in sorted(changed - told)]
    last = [phrases.filled(phrase, values) for phrase, keys in wanted if not keys & changed]
    parts = [part for part in (*first, *others, *last) if part]
    name = ", ".join([*parts, *([experiment] if experiment else [])])
    return name[:_LONGEST_NAME] or pipeline.fingerprint[:8]
