"""Opening the MLflow store and the experiment in it, and creating them if they are absent.

Knows nothing of runs: `tracking` reads and writes them.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from samerun.mlflow.errors import ALREADY_THERE, check_reachable, store_errors

# isort: split
import mlflow
from filelock import FileLock
from mlflow import environment_variables
from mlflow.entities import ExperimentTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from samerun.core import address, files
from samerun.core.address import SQLITE, to_url
from samerun.core.errors import StoreError


def connect(
    uri: str, experiment: str, tags: dict[str, str], *, create: bool, follow: bool
) -> tuple[MlflowClient, str]:
    """Return a client of the store at `uri` and the id of the experiment in it.

    experiment, tags: its name, and what it gets if it is created.
    create: whether a store or an experiment that is absent is created.
    follow: whether the artifact paths of an embedded store that was moved are updated.

    Raises: StoreError if the store cannot be reached or used, or if something is absent and
    `create` is false.
    """
    _check_temporary_folder()
    _check_variables()
    database, shown_uri = address.sqlite_file(), address.redacted(uri)
    with store_errors(uri, every=True):
        if database and not create and not address.is_store(database):
            raise StoreError(
                f"the MLflow store {shown_uri} must be there: run `dvc repro` (one that is"
                " synced comes by `samerun store pull`)"
            )
        if database:
            _create_once(database, address.artifacts(), experiment, tags)
        elif not uri.startswith("http") and "://" in uri:
            check_reachable(uri)
        if follow and (embedded := address.local_store()):
            address.follow_move(embedded)
        _set_tracking_uri(uri)
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            if not create:
                raise StoreError(
                    f"the experiment {experiment} must be in {shown_uri}: run `dvc repro`"
                )
            artifacts = address.artifacts() if database else None
            return client, _create_experiment(client, experiment, artifacts, tags)
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"the experiment {experiment} in {shown_uri} must not be deleted: run"
                f" `mlflow experiments restore -x {found.experiment_id}`"
            )
        return client, str(found.experiment_id)


def _check_temporary_folder() -> None:
    """Refuse a temporary folder that MLflow would look for under a decoded name.

    Raises: StoreError.
    """
    folder = tempfile.gettempdir()
    if unquote(folder) != folder:
        raise StoreError(f"TMPDIR must be a folder whose path has no %, for MLflow (got {folder})")


def _check_variables() -> None:
    """Refuse a value that MLflow cannot read of one of its variables. Raises: StoreError."""
    for variable in vars(environment_variables).values():
        if isinstance(variable, environment_variables._EnvironmentVariable):
            try:
                variable.get()  # type: ignore[no-untyped-call]
            except ValueError:
                rule = f"{variable.name} must be a value that MLflow takes, or unset"
                raise StoreError(f"{rule} (got {os.environ[variable.name]!r})") from None
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if not re.fullmatch("[!-~]*", token):  # in a request's error, it would be printed
        raise StoreError("MLFLOW_TRACKING_TOKEN must be ASCII without spaces and line ends")


def _set_tracking_uri(uri: str) -> None:
    """Point mlflow at the store, and leave MLFLOW_TRACKING_URI in the environment as it was.

    mlflow.set_tracking_uri sets that variable too. Only the user sets it, to choose a store of
    their own; while it is unset, the store is the embedded one.
    """
    previous = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if previous is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = previous


def _create_once(database: Path, artifacts: str, experiment: str, tags: dict[str, str]) -> None:
    """Create the SQLite store completely or not at all, however many processes try at once.

    MLflow creates its tables one by one: three processes at once corrupt the file, and a kill
    leaves half of it. So one process builds the store under another name and then renames it.
    """
    if address.is_store(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    if address.local_store():
        # git removes the first with a checkout of a commit that is older than it; without the
        # second, DVC would then take the dvc.yaml of every run for a part of the project.
        for folder, text in ((".", "*\n!.gitignore\n"), ("artifacts", "*\n")):
            gitignore = database.parent / folder / ".gitignore"
            if not gitignore.exists():
                files.write_text(gitignore, text)
    with FileLock(database.parent / ".mlflow.db.lock"):
        if address.is_store(database):
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with tempfile.TemporaryDirectory(prefix=".mlflow.db.tmp-", dir=database.parent) as folder:
            new = Path(folder) / database.name
            store: Any = SqlAlchemyStore(to_url(new, SQLITE), artifacts)  # type: ignore[no-untyped-call]
            entities = [ExperimentTag(key, value) for key, value in tags.items()]
            store.create_experiment(experiment, artifacts, entities)
            store.engine.dispose()
            with new.open("rb") as stream:
                os.fsync(stream.fileno())
            new.rename(database)


def _create_experiment(
    client: MlflowClient, name: str, artifacts: str | None, tags: dict[str, str]
) -> str:
    """Create the experiment and return its id, or the id of the one that was created meanwhile."""
    try:
        return str(client.create_experiment(name, artifacts, tags))
    except MlflowException as error:
        if error.error_code != ALREADY_THERE:
            raise
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        return str(experiment.experiment_id)
