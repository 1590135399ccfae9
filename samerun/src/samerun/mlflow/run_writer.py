"""The calls that write a run's content: tags, parameters, metrics, datasets; and read it back.

Each can be repeated: what an earlier attempt wrote is not written twice. Knows nothing of when a
run is opened or closed, nor of how MLflow's errors become ours (`tracking` does both).
"""

import getpass
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from samerun.mlflow.errors import BAD_REQUEST, without_retries

# isort: split
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, FileInfo, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.uri import validate_path_is_safe

from samerun.core import files, progress
from samerun.core.errors import StoreError
from samerun.execution.processes import this_process
from samerun.mlflow.content import Dataset, RunContent

_NAMED = 5
"""How many missing parts of a run an error message names."""

_SHORTEST_LIMIT = 250
"""The shortest limit of any version of MLflow for the length of a tag or parameter."""

_BATCH = 999  # MLflow takes 1,000 metrics in one call; an epoch's three belong in the same one


def check_names(artifacts: Path) -> None:
    """Refuse artifacts that MLflow could log and not read back: it decodes %20, and it refuses #.

    artifacts: the folder that will be logged.

    Raises: StoreError that names the file.
    """
    for path in sorted(artifacts.rglob("*")):
        name = path.relative_to(artifacts).as_posix()
        try:
            readable = bool(validate_path_is_safe(name) == name)  # type: ignore[no-untyped-call]
        except MlflowException:
            readable = False
        if not readable:
            raise StoreError(
                f"the file {name} must have a name that MLflow can read, without #, %20 and the"
                " like: rename it"
            )


def create_run(client: MlflowClient, experiment: str, content: RunContent) -> Run:
    """Create the run of an execution, marked as this process's own."""
    tags = {
        "execution": content.execution,
        "process": this_process(),
        "mlflow.source.name": "dvc repro",
        "mlflow.source.type": "PROJECT",
        "mlflow.user": _user(),
    }
    with without_retries():
        return client.create_run(experiment, content.start_ms, tags, run_name=content.name)


def _user() -> str:
    """Return the user's name; the number if the machine has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def contradicts(client: MlflowClient, run: Run, content: RunContent) -> bool:
    """Return whether a run shows other values by step: its program has rewritten its table since.

    Such a program has corrected values, or the lines had other lengths, so that half a line was
    read.
    """
    return any(
        metric.step not in column or not _is_equal(column[metric.step], metric.value)
        for name, column in content.history.items()
        if name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
    )


def describe(client: MlflowClient, run: Run, content: RunContent) -> None:
    """Set tags, description and parameters, and log the final metrics that are missing.

    A table that was shown while it grew may have left another value: the final one comes after it.
    """
    shown, run_id = run.data.metrics, run.info.run_id
    missing = {k: x for k, x in content.metrics.items() if not _is_equal(x, shown.get(k))}
    next_step = {
        key: max(logged_steps(client, run_id, key), default=0) + 1
        for key in missing
        if key in shown
    }
    client.log_batch(
        run_id,
        metrics=[Metric(k, x, content.end_ms, next_step.get(k, 0)) for k, x in missing.items()],
        params=[Param(key, value) for key, value in content.params.items()],
        tags=[RunTag(key, value) for key, value in _tags(content).items()],
        synchronous=True,
    )


def _tags(content: RunContent) -> dict[str, str]:
    """Return the tags of a run, with those that MLflow's page shows in places of their own."""
    shown = {"mlflow.note.content": content.description}
    if "git_commit" in content.tags:
        shown["mlflow.source.git.commit"] = content.tags["git_commit"]
    return {**content.tags, **shown}


def log_history(client: MlflowClient, run_id: str, content: RunContent) -> None:
    """Log every step that is missing, with a time stamp that assumes steps of equal length."""
    logged = {name: logged_steps(client, run_id, name) for name in content.history}
    steps = sorted({step for column in content.history.values() for step in column})
    duration = content.end_ms - content.start_ms
    log_metrics(
        client,
        run_id,
        [
            Metric(name, column[step], content.start_ms + duration * (i + 1) // len(steps), step)
            for i, step in enumerate(steps)
            for name, column in content.history.items()
            if step in column and step not in logged[name]
        ],
    )


def logged_steps(client: MlflowClient, run_id: str, name: str) -> set[int]:
    """Return the steps at which a metric has a value."""
    return {metric.step for metric in client.get_metric_history(run_id, name)}


def log_metrics(client: MlflowClient, run_id: str, metrics: list[Metric]) -> None:
    """Log metrics in batches as large as MLflow takes: 300,000 epochs take about a minute."""
    batches = range(0, len(metrics), _BATCH)
    for start in progress.track(batches, "record"):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH], synchronous=True)


def log_datasets(client: MlflowClient, run_id: str, datasets: list[Dataset]) -> None:
    """Log the datasets as the run's inputs.

    If two processes log the same dataset at the same moment, MLflow refuses one of them, since its
    database holds a dataset once; at the second attempt it finds the dataset.
    """
    for attempts_left in (2, 1, 0):
        try:
            client.log_inputs(run_id, datasets=[_dataset_input(data) for data in datasets])
            return
        except MlflowException as error:
            if not attempts_left or error.error_code != BAD_REQUEST:
                raise


def add_changed(client: MlflowClient, run_id: str, path: Path, folder: str) -> tuple[str, bool]:
    """Add a file to a run, beside the one of that name, unless the run has these bytes already.

    folder: the run's folder for it. Returns: the file's name there, and whether it was added. A
    changed file is named after its SHA-256: report-1a2b3c4d.html.
    """
    sha = files.sha256_of(path)
    first = f"{folder}/{path.name}".lstrip("/")
    changed = f"{folder}/{path.stem}-{sha[:8]}{path.suffix}".lstrip("/")
    with TemporaryDirectory() as scratch:
        present = {file.path for file in client.list_artifacts(run_id, folder or None)}
        if first in present:
            recorded = client.download_artifacts(run_id, first, scratch)
            if files.sha256_of(Path(recorded)) == sha:
                return first, False
        if changed not in present:
            copy = shutil.copyfile(path, Path(scratch) / Path(changed).name)
            client.log_artifact(run_id, copy, folder or None)
        return changed, changed not in present


def check_complete(client: MlflowClient, run_id: str, content: RunContent, artifacts: Path) -> None:
    """Read a run back and compare it with what was written to it, before it becomes FINISHED.

    artifacts: the folder that was logged; the names and sizes of its files are compared.

    Raises: StoreError that names what is missing or has another value.
    """
    missing = [
        *_missing_data(client.get_run(run_id), content),
        *_missing_steps(client, run_id, content),
        *missing_files(partial(client.list_artifacts, run_id), artifacts),
    ]
    if missing:
        names = ", ".join(missing[:_NAMED])
        names += f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise StoreError(f"run {run_id} must have all that was written to it (missing: {names})")


def _missing_data(run: Run, content: RunContent) -> Iterator[str]:
    """Yield the tags, parameters, final metrics and datasets that a run lacks."""
    for key, text in _tags(content).items():
        if not _is_stored(text, run.data.tags.get(key)):
            yield f"tag {key}"
    for key, text in content.params.items():
        if not _is_stored(text, run.data.params.get(key)):
            yield f"parameter {key}"
    for key, value in content.metrics.items():
        if not _is_equal(value, run.data.metrics.get(key)):
            yield f"metric {key}"
    inputs = run.inputs.dataset_inputs if run.inputs else []
    logged = {(each.dataset.name, each.dataset.digest) for each in inputs}
    for data in content.datasets:
        if (data.name, data.digest) not in logged:
            yield f"dataset {data.name}"


def _missing_steps(client: MlflowClient, run_id: str, content: RunContent) -> Iterator[str]:
    """Yield the metrics of which steps are missing."""
    for name, column in content.history.items():
        lost = set(column) - logged_steps(client, run_id, name)
        if lost:
            yield f"{len(lost)} of {len(column)} steps of metric {name}"


def missing_files(
    list_folder: Callable[[str | None], list[FileInfo]], folder: Path
) -> Iterator[str]:
    """Yield the files of a folder that the store lacks, or has with another size.

    list_folder: returns what the store has in a folder of that name; None for the top.
    """
    for parent in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        local = {path.relative_to(folder).as_posix(): path for path in parent.iterdir()}
        sizes = {name: path.stat().st_size for name, path in local.items() if path.is_file()}
        if sizes:
            place = parent.relative_to(folder).as_posix() if parent != folder else None
            stored = {file.path: file.file_size for file in list_folder(place)}
            for name, size in sorted(sizes.items()):
                if name not in stored or stored[name] not in (size, None):
                    yield f"artifact {name}"


def _is_stored(text: str, stored: str | None) -> bool:
    """Return whether a text is in the store; MLflow cuts a long one off without an error."""
    if stored is None:
        return False
    return text == stored or (len(stored) >= _SHORTEST_LIMIT and text.startswith(stored))


def _is_equal(value: float, stored: float | None) -> bool:
    """Return whether a metric is in the store; databases keep infinity as the largest number."""
    if stored is None:
        return False
    if math.isinf(value):
        return abs(stored) >= sys.float_info.max * 0.99 and (stored > 0) == (value > 0)
    return stored == value or (math.isnan(value) and math.isnan(stored))


def _dataset_input(data: Dataset) -> DatasetInput:
    return DatasetInput(
        DatasetEntity(
            name=data.name,
            digest=data.digest,
            source_type="local",
            source=json.dumps({"uri": data.source}),
        ),
        [InputTag("mlflow.data.context", data.context)],
    )
