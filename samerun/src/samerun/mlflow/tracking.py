"""The runs in the MLflow store: found, read, written, completed and closed."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import ABSENT_CODES, store_errors

# isort: split
import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from samerun.config import Config
from samerun.core import address
from samerun.core.errors import StoreError
from samerun.execution.processes import is_abandoned, this_process
from samerun.mlflow import connection, models, queries, run_writer
from samerun.mlflow.content import RunContent
from samerun.mlflow.experiment_page import experiment_tags
from samerun.mlflow.model_files import ModelFiles
from samerun.mlflow.recorded import RecordedRun, recorded

_IDENTITY = ("fingerprint", "results")
"""The tags by which an attempt to record knows that an earlier one has completed its run."""


class Store:
    """The experiment of one project in one MLflow store."""

    client: MlflowClient
    experiment: str

    def __init__(self, config: Config, *, create: bool = True, follow: bool = True) -> None:
        """Open the store; `create` creates it, or the experiment in it, if it is absent.

        follow: whether the artifact paths of an embedded store that was moved are updated.

        Raises: StoreError if it cannot be reached or used.
        """
        self.uri = address.store_uri()
        self.shown_uri = address.redacted(self.uri)
        self.name = config.experiment
        self._page = experiment_tags(config)
        self.client, self.experiment = connection.connect(
            self.uri, self.name, self._page, create=create, follow=follow
        )

    def add_experiment_tags(self) -> None:
        """Bring the experiment's page up to date with the configuration."""
        with store_errors(self.uri):
            existing = self.client.get_experiment(self.experiment).tags
            for key, value in self._page.items():
                if existing.get(key) != value:
                    self.client.set_experiment_tag(self.experiment, key, value)

    def baseline(self, record: str) -> RecordedRun | None:
        """Return the first complete run of a record stage; None if there is none."""
        query = f"attributes.status = 'FINISHED' and tags.record = {queries.quoted(record)}"
        order = ["attributes.start_time ASC"]
        with store_errors(self.uri):
            runs = self.client.search_runs([self.experiment], query, order_by=order, max_results=1)
        return recorded(runs[0]) if runs else None

    def similar(self, name: str, length: int, fingerprint: str) -> RecordedRun | None:
        """Return a complete run with another fingerprint and a name of the same beginning, or None.

        length: how many characters are compared.
        """
        query = f"attributes.status = 'FINISHED' and {queries.name_begins(name, length)}"
        with store_errors(self.uri):
            runs = self.client.search_runs([self.experiment], query)
        alike = (recorded(run) for run in runs if run.info.run_name[:length] == name[:length])
        return next((run for run in alike if run.tags.get("fingerprint") != fingerprint), None)

    def find_complete(self, fingerprint: str, results: str) -> RecordedRun | None:
        """Return the latest complete run with this fingerprint and these results, or None."""
        query = f"tags.fingerprint = '{fingerprint}' and tags.results = '{results}'"
        query += " and attributes.status = 'FINISHED'"
        with store_errors(self.uri):
            run = self._first(query)
        return recorded(run) if run else None

    def find(self, reference: str) -> RecordedRun:
        """Return the run that an id, the start of one, a name, an experiment's, or champion names.

        `champion` is that of the model named like the experiment, `NAME@champion` of another one.

        Raises: StoreError if it names no run, or more than one.
        """
        with store_errors(self.uri, every=True):
            model, _, alias = reference.rpartition("@")
            if reference == "champion" or (model and alias == "champion"):
                return self._champion(model or self.name)
            runs = self._all()
        matches = (  # what is given in full comes first: a name may begin as an id does
            [run for run in runs if run.info.run_name == reference]
            or [run for run in runs if reference in recorded(run).experiments]
            or [run for run in runs if run.info.run_id.startswith(reference)]
        )
        if len(matches) != 1:
            ids = ", ".join(f"{run.info.run_id[:12]} of {_date(run)}" for run in matches[:5])
            result = f"{len(matches)}: {ids}" if matches else f"none in {self.shown_uri}"
            rule = f"{reference} must be a run of the experiment {self.name}: its name or id"
            raise StoreError(f"{rule} (got {result})")
        return recorded(matches[0])

    def runs(self) -> list[RecordedRun]:
        """Return every run of the experiment, the latest first."""
        with store_errors(self.uri, every=True):
            return [recorded(run) for run in self._all()]

    def fetch(self, run_id: str, folder: Path, beside: Path | None = None) -> None:
        """Download a run's artifacts into a folder, and its model's into model/ there.

        beside: another folder for the model, since artifacts may have a folder of that name.
        """
        with store_errors(self.uri, every=True):
            self.client.download_artifacts(run_id, "", str(folder))
            outputs = self.client.get_run(run_id).outputs
            if outputs and outputs.model_outputs:
                mlflow.artifacts.download_artifacts(
                    f"runs:/{run_id}/{models.MODEL}",
                    dst_path=str(beside or folder),
                    tracking_uri=self.uri,
                )

    def add_changed(self, run_id: str, path: Path, folder: str = "") -> tuple[str, bool]:
        """Add a file to a run as `run_writer.add_changed` does, which see. Raises: StoreError."""
        with store_errors(self.uri, every=True):
            return run_writer.add_changed(self.client, run_id, path, folder)

    def metric_history(self, run_id: str, names: tuple[str, ...]) -> dict[str, dict[int, float]]:
        """Return the values of a run's metrics: name to step to value.

        Raises: StoreError if a metric has two values at a step.
        """
        with store_errors(self.uri):
            histories = {name: self.client.get_metric_history(run_id, name) for name in names}
        for name, metrics in histories.items():
            if len({metric.step for metric in metrics}) != len(metrics):
                raise StoreError(f"metric {name} of run {run_id} must have one value a step")
        return {name: {m.step: m.value for m in metrics} for name, metrics in histories.items()}

    def shown(self, run_id: str) -> dict[str, Any]:
        """Return the parameters, the latest metrics and the tags that a run's page shows."""
        with store_errors(self.uri, every=True):
            data = self.client.get_run(run_id).data
        kinds: dict[str, dict[str, Any]] = {
            "parameter": data.params,
            "metric": data.metrics,
            "tag": data.tags,
        }
        return {
            f"{kind} {key}": value
            for kind, entries in kinds.items()
            for key, value in entries.items()
        }

    def tag(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags on a run."""
        with store_errors(self.uri, every=True):
            for key, value in tags.items():
                self.client.set_tag(run_id, key, value)

    def running_execution(self, dvc: str, record: str) -> str | None:
        """Return the execution of the open run of a dvc and a record stage, by names; or None."""
        query = f"tags.pipeline = '{dvc}' and tags.record = {queries.quoted(record)}"
        with store_errors(self.uri):
            run = self._first(f"{query} and attributes.status = 'RUNNING'")
        return run.data.tags.get("execution") if run else None

    def has(self, execution: str) -> bool:
        """Return whether an execution has a run."""
        with store_errors(self.uri):
            return self._first(f"tags.execution = '{execution}'") is not None

    def begin(self, content: RunContent) -> str:
        """Open or reopen the run of a training that is under way, and return its id."""
        with store_errors(self.uri):
            run = self._run_of(content)
            run_id = str(run.info.run_id)
            if run.info.status == "FINISHED":  # by a process that resumed it while this one started
                raise StoreError(f"run {run_id} must be open (got one that is complete)")
            self.client.update_run(run_id, status="RUNNING")
            run_writer.describe(self.client, run, content)
            return run_id

    def end(self, run_id: str, status: str, why: str) -> None:
        """Close a run whose training did not end well: FAILED or KILLED, and why."""
        with store_errors(self.uri):
            if self.client.get_run(run_id).info.status == "FINISHED":
                return  # another process resumed from its checkpoint and completed it
            self.client.set_tag(run_id, "mlflow.note.content", f"**{status.title()}**: {why}")
            self.client.set_terminated(run_id, status)

    def close_abandoned(self, *, waiting: Collection[str] = ()) -> list[RecordedRun]:
        """Close the runs that are marked RUNNING but whose process on this host is gone.

        waiting: executions whose training succeeded and that `record` will complete.
        Returns: the runs that were closed.
        """
        with store_errors(self.uri):
            running = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
            abandoned = [
                run
                for run in running
                if is_abandoned(run.data.tags) and run.data.tags.get("execution") not in waiting
            ]
        closed = []
        for run in abandoned:
            with store_errors(self.uri):  # read again: another process may record it meanwhile
                current = self.client.get_run(run.info.run_id)
            if current.info.status == "RUNNING" and is_abandoned(current.data.tags):
                self.end(
                    run.info.run_id,
                    "KILLED",
                    "its process is gone (killed, or the power failed) and nobody recorded it",
                )
                closed.append(recorded(run))
        return closed

    def record(
        self, content: RunContent, *, model: ModelFiles | None, artifacts: Path
    ) -> RecordedRun:
        """Write a complete run, or complete one that was streamed or partly recorded.

        model: the files of the model, if there is one. artifacts: the folder of the other files.

        Every call can be repeated: an epoch that is logged already is not logged again. The model
        comes last, and then the status FINISHED.

        Raises: StoreError if the store lacks some of it afterwards, or could not give it back.
        """
        run_writer.check_names(artifacts)
        with store_errors(self.uri):
            run = self._run_of(content)
            if run.info.status == "FINISHED":
                if all(run.data.tags.get(key) == content.tags.get(key) for key in _IDENTITY):
                    return recorded(run)
                run = run_writer.create_run(self.client, self.experiment, content)
            elif run_writer.contradicts(self.client, run, content):
                self.client.delete_run(run.info.run_id)  # no value in MLflow can be changed
                run = run_writer.create_run(self.client, self.experiment, content)
            run_id = run.info.run_id
            # Claim the run, so that a sweep for abandoned runs skips it.
            self.client.set_tag(run_id, "process", this_process())
            self.client.update_run(run_id, status="RUNNING", name=content.name)
            run_writer.describe(self.client, run, content)
            run_writer.log_history(self.client, run_id, content)
            run_writer.log_datasets(self.client, run_id, content.datasets)
            self.client.log_artifacts(run_id, str(artifacts))
            if model:
                models.log(self.client, self.experiment, run_id, content, model)
            run_writer.check_complete(self.client, run_id, content, artifacts)
            self.client.set_terminated(run_id)
            return replace(recorded(run), name=content.name)

    def _run_of(self, content: RunContent) -> Run:
        """Return the run of the content's execution; create it if there is none."""
        run = self._first(f"tags.execution = '{content.execution}'")
        return run or run_writer.create_run(self.client, self.experiment, content)

    def _champion(self, model: str) -> RecordedRun:
        """Return the run of a registered model's champion. Raises: StoreError if it has none."""
        try:
            version = self.client.get_model_version_by_alias(model, "champion")
        except MlflowException as error:
            if error.error_code not in ABSENT_CODES:
                raise
            rule = f"the registered model {model} has no champion in {self.shown_uri}"
            raise StoreError(f"{rule}; of another model, give MODEL@champion") from None
        return recorded(self.client.get_run(str(version.run_id)))

    def _all(self) -> list[Run]:
        """Return every run of the experiment, page by page, the latest first."""
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment], page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _first(self, query: str) -> Run | None:
        """Return the latest run that matches a query, or None."""
        runs = self.client.search_runs(
            [self.experiment], query, order_by=["attributes.start_time DESC"], max_results=1
        )
        return runs[0] if runs else None


def _date(run: Run) -> str:
    """Return when a run started, in UTC to the second."""
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(" ", "seconds")[:19]
