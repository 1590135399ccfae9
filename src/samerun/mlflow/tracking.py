"""The MLflow store: the runs in it, written, completed, read and swept.

Knows nothing of how a run came about (`content` says what it shows) nor of where the store is
(`location` says that).
"""

import getpass
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import ABSENT, ALREADY_THERE, BAD_REQUEST, answers, said_by, sent_once

# isort: split
import mlflow
from filelock import FileLock
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, ExperimentTag, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from samerun.core import address, files, progress
from samerun.core.address import EXPERIMENT, SQLITE
from samerun.core.errors import StoreError
from samerun.execution.processes import is_left, process
from samerun.mlflow import models
from samerun.mlflow.run_metadata import Content, Dataset, experiment_tags

_BY_EPOCH = ("loss", "w", "b")
_BATCH = 999  # MLflow takes 1,000 metrics in one call; an epoch's three must not be parted


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run in the store."""

    run_id: str
    name: str
    status: str
    tags: dict[str, str]


class Store:
    """The experiment `knownline` in one MLflow store."""

    def __init__(self, *, create: bool = True, follow: bool = True) -> None:
        """Open the store; `create` makes it, or the experiment in it, where it is absent.

        follow: whether the artifacts' paths of an embedded store that was moved are mended.

        Raises: StoreError where it cannot be reached or used.
        """
        self.uri = address.store_uri()
        self.shown_uri = address.shown(self.uri)
        self._streamed: dict[str, set[int]] = {}
        database, artifacts = address.database(), address.artifacts()
        with said_by(self.uri, every=True):
            if database and not create and not _is_there(database):
                raise StoreError(
                    f"the MLflow store {self.shown_uri} must be there: run `dvc repro` (one that is"
                    " carried comes by `knownline store pull`)"
                )
            if database:
                _create_once(database, artifacts)
            elif not self.uri.startswith("http") and "://" in self.uri:
                answers(self.uri)
            if follow and (embedded := address.embedded()):
                address.follow(embedded)
            _point_mlflow_at(self.uri)
            self.client = MlflowClient(self.uri)
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            if experiment is None and not create:
                raise StoreError(
                    f"the experiment {EXPERIMENT} must be in {self.shown_uri}: run `dvc repro`"
                )
            if experiment is None:
                self.experiment = _create_experiment(self.client, artifacts if database else None)
            elif experiment.lifecycle_stage != "active":
                raise StoreError(
                    f"the experiment {EXPERIMENT} in {self.shown_uri} must not be deleted: run"
                    f" `mlflow experiments restore -x {experiment.experiment_id}`"
                )
            else:
                self.experiment = experiment.experiment_id

    def furnish(self) -> None:
        """Give the experiment what its page needs, where an earlier version of this made it."""
        with said_by(self.uri):
            there = self.client.get_experiment(self.experiment).tags
            for key, value in experiment_tags().items():
                if key not in there:
                    self.client.set_experiment_tag(self.experiment, key, value)

    def find_complete(self, fingerprint: str) -> Recorded | None:
        """Return the latest complete run with this fingerprint, or None."""
        query = f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'"
        run = self._first(query)
        return _recorded(run) if run else None

    def find(self, reference: str) -> Recorded:
        """Return the run with this id, this beginning of an id, or this name; or the champion.

        Raises: StoreError where there is none, or more than one.
        """
        with said_by(self.uri, every=True):
            if reference == "champion":
                return self._champion()
            runs = self._all()
        found = [run for run in runs if run.info.run_id.startswith(reference)]
        found = found or [run for run in runs if run.info.run_name == reference]
        if len(found) != 1:
            ids = ", ".join(f"{run.info.run_id[:12]} of {_date(run)}" for run in found[:5])
            got = f"{len(found)}: {ids}" if found else f"none in {self.shown_uri}"
            raise StoreError(f"{reference} must name one run of {EXPERIMENT} (got {got})")
        return _recorded(found[0])

    def runs(self) -> list[Recorded]:
        """Return every run of the experiment, the latest first."""
        with said_by(self.uri, every=True):
            return [_recorded(run) for run in self._all()]

    def fetch(self, run_id: str, folder: Path) -> None:
        """Bring a run's artifacts into a folder, its model's into model/ there."""
        with said_by(self.uri, every=True):
            self.client.download_artifacts(run_id, "", str(folder))
            mlflow.artifacts.download_artifacts(
                f"runs:/{run_id}/{models.MODEL}", dst_path=str(folder), tracking_uri=self.uri
            )

    def add_page(self, run_id: str, page: Path) -> str | None:
        """Add another report to a run, beside the one it has, named after its SHA-256.

        Returns its name there, or None where the run has this very page already.
        """
        sha = files.sha256_of(page)
        name = f"{page.stem}-{sha[:8]}{page.suffix}"
        with said_by(self.uri, every=True), tempfile.TemporaryDirectory() as scratch:
            kept = {file.path for file in self.client.list_artifacts(run_id)}
            if name in kept:
                return None
            if page.name in kept:
                own = self.client.download_artifacts(run_id, page.name, scratch)
                if files.sha256_of(Path(own)) == sha:
                    return None
            self.client.log_artifact(run_id, shutil.copyfile(page, Path(scratch) / name))
        return name

    def logged(self, run_id: str, names: tuple[str, ...]) -> dict[str, dict[int, float]]:
        """Return metrics by step.

        Raises: StoreError where one has two values at a step.
        """
        with said_by(self.uri):
            found = {name: self.client.get_metric_history(run_id, name) for name in names}
        for name, metrics in found.items():
            if len({metric.step for metric in metrics}) != len(metrics):
                raise StoreError(f"metric {name} of run {run_id} must have one value a step")
        return {name: {m.step: m.value for m in metrics} for name, metrics in found.items()}

    def shown(self, run_id: str) -> dict[str, Any]:
        """Return the parameters, the latest metrics and the tags that a run's page shows."""
        with said_by(self.uri, every=True):
            data = self.client.get_run(run_id).data
        kinds: dict[str, dict[str, Any]] = {
            "parameter": data.params,
            "metric": data.metrics,
            "tag": data.tags,
        }
        return {f"{kind} {key}": x for kind, all_ in kinds.items() for key, x in all_.items()}

    def tag(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags on a run."""
        with said_by(self.uri, every=True):
            for key, value in tags.items():
                self.client.set_tag(run_id, key, value)

    def begin(self, content: Content) -> str:
        """Open the run of a training that is under way, or open it again, and return its id."""
        with said_by(self.uri):
            run = self._of(content.execution) or self._create(content)
            run_id = str(run.info.run_id)
            if run.info.status == "FINISHED":  # by who went on while we were slow to start
                raise StoreError(f"run {run_id} must be open (got one that is complete)")
            self.client.update_run(run_id, status="RUNNING")
            self._describe(run, content)
            return run_id

    def stream(self, run_id: str, epochs: list[tuple[int, float, float, float]]) -> None:
        """Add epoch, loss, w and b to a run under way; an epoch that is there stays as it is."""
        with said_by(self.uri):
            now = int(time.time() * 1000)
            if run_id not in self._streamed:  # once: a whole history takes long to read
                self._streamed[run_id] = self._steps(run_id, "b")
            known = self._streamed[run_id]
            new = [row for row in epochs if row[0] not in known]
            known.update(row[0] for row in new)
            self._log(
                run_id,
                [Metric(n, row[i], now, row[0]) for row in new for i, n in enumerate(_BY_EPOCH, 1)],
            )

    def end(self, run_id: str, status: str, why: str) -> None:
        """Close a run whose training did not end well: FAILED or KILLED, and why."""
        with said_by(self.uri):
            if self.client.get_run(run_id).info.status == "FINISHED":
                return  # another went on from its checkpoint and completed it
            self.client.set_tag(run_id, "mlflow.note.content", f"**{status.title()}**: {why}")
            self.client.set_terminated(run_id, status)

    def sweep(self, *, waiting: Collection[str] = ()) -> list[Recorded]:
        """Close the runs that claim to run but whose process is gone from this host.

        waiting: executions whose training ended well and that `record` will complete.
        """
        with said_by(self.uri):
            found = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
            gone = [
                run
                for run in found
                if is_left(run.data.tags) and run.data.tags.get("execution") not in waiting
            ]
        swept = []
        for run in gone:
            with said_by(self.uri):  # asked again: a neighbour may record it since
                now = self.client.get_run(run.info.run_id)
            if now.info.status == "RUNNING" and is_left(now.data.tags):
                self.end(
                    run.info.run_id,
                    "KILLED",
                    "its process is gone (killed, or the power failed) and nobody recorded it",
                )
                swept.append(_recorded(run))
        return swept

    def record(self, content: Content, *, line: Path, artifacts: Path) -> Recorded:
        """Write a whole run, or complete the one that was streamed or that an earlier try began.

        line: the file that becomes the model. artifacts: a folder of all that is kept with it.

        Every call can be repeated: an epoch that is there already is not logged again. The model
        comes last, and with it the status FINISHED.
        """
        with said_by(self.uri):
            run = self._of(content.execution) or self._create(content)
            if run.info.status == "FINISHED":
                return _recorded(run)
            run_id = run.info.run_id
            # Ours now: who looks for runs whose process is gone finds one that is not.
            self.client.set_tag(run_id, "process", process())
            self.client.update_run(run_id, status="RUNNING", name=content.name)
            self._describe(run, content)
            self._log_history(run_id, content)
            self._log_inputs(run_id, content.datasets)
            self.client.log_artifacts(run_id, str(artifacts))
            models.log(self.client, self.experiment, run_id, content, line)
            self.client.set_terminated(run_id)
            return _recorded(run)

    def _of(self, execution: str) -> Run | None:
        return self._first(f"tags.execution = '{execution}'")

    def _create(self, content: Content) -> Run:
        own = {
            "execution": content.execution,
            "process": process(),
            "mlflow.source.name": "dvc repro",
            "mlflow.source.type": "PROJECT",
            "mlflow.user": getpass.getuser(),
        }
        with sent_once():
            return self.client.create_run(
                self.experiment, content.start_ms, own, run_name=content.name
            )

    def _describe(self, run: Run, content: Content) -> None:
        """Set tags, description, parameters, and the numbers of the end that are not there yet."""
        own = {"mlflow.note.content": content.description}
        if "git_commit" in content.tags:
            own["mlflow.source.git.commit"] = content.tags["git_commit"]
        new = {k: x for k, x in content.metrics.items() if k not in run.data.metrics}
        self.client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, x, content.end_ms, 0) for key, x in new.items()],
            params=[Param(key, value) for key, value in content.params.items()],
            tags=[RunTag(key, value) for key, value in {**content.tags, **own}.items()],
        )

    def _log_history(self, run_id: str, content: Content) -> None:
        """Log every epoch that is not there yet, in batches as large as MLflow takes."""
        known = {name: self._steps(run_id, name) for name in content.history}
        epochs = max((len(column) for column in content.history.values()), default=0)
        lasted = content.end_ms - content.start_ms
        self._log(
            run_id,
            [
                Metric(
                    name, column[epoch], content.start_ms + lasted * (epoch + 1) // epochs, epoch
                )
                for epoch in range(epochs)
                for name, column in content.history.items()
                if epoch not in known[name]
            ],
        )

    def _steps(self, run_id: str, name: str) -> set[int]:
        return {metric.step for metric in self.client.get_metric_history(run_id, name)}

    def _log(self, run_id: str, metrics: list[Metric]) -> None:
        # 300,000 epochs take a store about a minute.
        batches = range(0, len(metrics), _BATCH)
        for start in progress.over(batches, "record"):
            self.client.log_batch(run_id, metrics=metrics[start : start + _BATCH])

    def _log_inputs(self, run_id: str, datasets: list[Dataset]) -> None:
        """Name the data that went in.

        Of two who name the same data at the same moment MLflow refuses one (its database's rule
        that a dataset is there once); asked again, it finds the dataset there.
        """
        for left in (2, 1, 0):
            try:
                self.client.log_inputs(run_id, datasets=[_dataset(data) for data in datasets])
                return
            except MlflowException as error:
                if not left or error.error_code != BAD_REQUEST:
                    raise

    def _champion(self) -> Recorded:
        try:
            version = self.client.get_model_version_by_alias(EXPERIMENT, "champion")
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            raise StoreError(
                f"{EXPERIMENT} must have a champion in {self.shown_uri} (got none)"
            ) from None
        return _recorded(self.client.get_run(str(version.run_id)))

    def _all(self) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment], page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _first(self, query: str) -> Run | None:
        found = self.client.search_runs(
            [self.experiment], query, order_by=["attributes.start_time DESC"], max_results=1
        )
        return found[0] if found else None


def _point_mlflow_at(uri: str) -> None:
    """Name the store to mlflow, which puts it into the environment too: there it stays as it was.

    MLFLOW_TRACKING_URI is the user's word for a store of his own; unset, the store is embedded.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def _create_once(database: Path, artifacts: str) -> None:
    """Create the SQLite store whole or not at all, however many processes want it first.

    MLflow creates its tables one by one: three processes at once corrupt the file, and a kill
    leaves half of it. So one process builds it under another name and renames it.
    """
    if _is_there(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.parent / ".mlflow.db.lock"):
        if _is_there(database):
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with tempfile.TemporaryDirectory(prefix=".mlflow.db.tmp-", dir=database.parent) as folder:
            new = Path(folder) / database.name
            store: Any = SqlAlchemyStore(f"{SQLITE}{new}", artifacts)  # type: ignore[no-untyped-call]
            tags = [ExperimentTag(key, value) for key, value in experiment_tags().items()]
            store.create_experiment(EXPERIMENT, artifacts, tags)
            store.engine.dispose()
            with new.open("rb") as stream:
                os.fsync(stream.fileno())
            new.rename(database)


def _is_there(database: Path) -> bool:
    """Return whether a store is there; an empty file, as `sqlite3 FILE` leaves one, is none."""
    return database.exists() and database.stat().st_size > 0


def _create_experiment(client: MlflowClient, artifacts: str | None) -> str:
    try:
        return str(client.create_experiment(EXPERIMENT, artifacts, experiment_tags()))
    except MlflowException as error:
        if error.error_code != ALREADY_THERE:
            raise
        found = client.get_experiment_by_name(EXPERIMENT)  # a neighbour was quicker
        assert found is not None
        return str(found.experiment_id)


def _dataset(data: Dataset) -> DatasetInput:
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, "x"),
        ColSpec(DataType.double, "y"),
    ]
    return DatasetInput(
        DatasetEntity(
            name=data.name,
            digest=data.sha256[:16],
            source_type="local",
            source=json.dumps({"uri": data.source}),
            schema=json.dumps({"mlflow_colspec": Schema(columns).to_dict()}),
            profile=json.dumps({"num_rows": data.rows}),
        ),
        [InputTag("mlflow.data.context", data.context), InputTag("sha256", data.sha256)],
    )


def _date(run: Run) -> str:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(" ", "seconds")[:19]


def _recorded(run: Run) -> Recorded:
    return Recorded(run.info.run_id, run.info.run_name, run.info.status, run.data.tags)
