"""The calls that write a run's content: tags, parameters, metrics, datasets.

Each can be repeated: what an earlier attempt wrote is not written twice. Knows nothing of when a
run is opened or closed, nor of how MLflow's errors become ours (`tracking` does both).
"""

import getpass
import json

from samerun.mlflow.errors import BAD_REQUEST, without_retries

# isort: split
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from samerun.core import progress
from samerun.execution.processes import this_process
from samerun.mlflow.content import Dataset, RunContent

_BATCH = 999  # MLflow takes 1,000 metrics in one call; an epoch's three belong in the same one


def create_run(client: MlflowClient, experiment: str, content: RunContent) -> Run:
    """Create the run of an execution, marked as this process's own."""
    tags = {
        "execution": content.execution,
        "process": this_process(),
        "mlflow.source.name": "dvc repro",
        "mlflow.source.type": "PROJECT",
        "mlflow.user": getpass.getuser(),
    }
    with without_retries():
        return client.create_run(experiment, content.start_ms, tags, run_name=content.name)


def describe(client: MlflowClient, run: Run, content: RunContent) -> None:
    """Set tags, description and parameters, and log the final metrics that are missing."""
    extra_tags = {"mlflow.note.content": content.description}
    if "git_commit" in content.tags:
        extra_tags["mlflow.source.git.commit"] = content.tags["git_commit"]
    missing = {k: x for k, x in content.metrics.items() if k not in run.data.metrics}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, x, content.end_ms, 0) for key, x in missing.items()],
        params=[Param(key, value) for key, value in content.params.items()],
        tags=[RunTag(key, value) for key, value in {**content.tags, **extra_tags}.items()],
    )


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
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])


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
