"""A run's model in MLflow: logged as code, and loaded with pickle forbidden."""

import atexit
import json
import os
import runpy
import shutil
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import cause, is_unreachable, without_retries

# isort: split
import mlflow.pyfunc
import yaml
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from samerun.core import address
from samerun.core.errors import StoreError, WorkspaceError
from samerun.mlflow import model_files
from samerun.mlflow.content import RunContent
from samerun.mlflow.model_files import ModelFiles
from samerun.mlflow.run_writer import missing_files

MODEL = "model"
"""The model's name on its run: runs:/RUN_ID/model."""

_SERVED = Path(__file__).with_name("served.py")

ENVIRONMENT_FILES = ("requirements.txt", "python_env.yaml", "conda.yaml")
"""Files of a model that describe its environment, as its run's environment.json does."""

_REGISTRY_FILE = "registered_model_meta"
"""The file that MLflow adds to its copy of a registered model."""

_RUN_KEYS = ("artifact_path", "model_id", "model_size_bytes", "model_uuid", "run_id",
        "utc_time_created")  # fmt: skip
"""Keys of MLmodel that differ from run to run."""

_ENVIRONMENT_KEYS = ("mlflow_version", "cloudpickle_version", "python_version")
"""Keys of MLmodel that differ from environment to environment."""


def log(
    client: MlflowClient, experiment: str, run_id: str, content: RunContent, files: ModelFiles
) -> None:
    """Log the model from code: without pickle, its requirements those that its code imports.

    Inferring them would take 8 s. Each step can be repeated; mlflow's log_model would create a
    second model at the second attempt, and after a failure it would call a server that hangs twice
    more to note the failure: 26 s.

    Raises: StoreError if the store lacks a file of it afterwards.
    """
    model = _find_or_create(client, experiment, run_id, content)
    outputs = client.get_run(run_id).outputs
    linked = {output.model_id for output in (outputs.model_outputs if outputs else [])}
    if model.model_id not in linked:
        with without_retries():
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    client.log_batch(
        run_id,
        [
            Metric(key, value, content.end_ms, 0, model_id=model.model_id, run_id=run_id)
            for key, value in content.metrics.items()
        ],
        synchronous=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        mlmodel = Model(
            artifact_path=model.artifact_location,
            run_id=run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        )
        _save(Path(scratch) / MODEL, files, mlmodel)
        client.log_model_artifacts(model.model_id, f"{scratch}/{MODEL}")
        stored = partial(client.list_logged_model_artifacts, model.model_id)
        if missing := list(missing_files(stored, Path(scratch) / MODEL)):
            raise StoreError(
                f"the model of run {run_id} must have all that was written to it (missing:"
                f" {', '.join(missing)})"
            )
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save(folder: Path, files: ModelFiles, mlmodel: Model) -> None:
    """Write a model's files into a new folder. mlmodel: the content of its MLmodel so far."""
    files = model_files.copied(files, folder.parent)
    try:
        code = runpy.run_path(str(files.code))
    except Exception as error:  # it is the project's own code
        raise WorkspaceError(
            f"{files.code.name}, the model's code, must run (got {type(error).__name__}: {error})"
        ) from error
    plain = callable(code.get("load"))  # otherwise it is MLflow's own "models from code"
    # Records, and so drops, a warning that `predict` has no type hints, which it need not have.
    with warnings.catch_warnings(record=True), _without_bytecode():
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(_SERVED if plain else files.code),
            artifacts={
                "model": str(files.model),
                **({"code": str(files.code)} if plain else {}),
                **model_files.entries_beside(files),
            },
            input_example=model_files.input_example(code, files),
            pip_requirements=model_files.requirements(code, files),
            mlflow_model=mlmodel,
        )


def contents(folder: Path, ignored: Collection[str] = ()) -> dict[str, bytes]:
    """Return a model's files by name, MLmodel without what differs from run to run.

    ignored: names of files to leave out; if there are any, what differs between environments is
    left out of MLmodel too.
    """
    model_files = {
        path.relative_to(folder).as_posix().removeprefix("artifacts/"): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in (_REGISTRY_FILE, *ignored)
        and path.parent.name != "__pycache__"  # written by another program that loaded the model
    }
    if "MLmodel" in model_files:
        model_files["MLmodel"] = _comparable(model_files["MLmodel"], ignored)
    return model_files


def _comparable(mlmodel: bytes, ignored: Collection[str]) -> bytes:
    """Return what an MLmodel has in common with the MLmodel of an equal model of another run.

    A file that is not an MLmodel of ours is returned unchanged.
    """
    try:
        content = yaml.safe_load(mlmodel)
        flavor = content["flavors"]["python_function"]
        flavor["model_code_path"] = Path(flavor["model_code_path"]).name  # as its loader reads it
        flavor["artifacts"] = {name: entry["path"] for name, entry in flavor["artifacts"].items()}
        for key in _RUN_KEYS:
            content.pop(key, None)
        for key in _ENVIRONMENT_KEYS if ignored else ():
            (content if key in content else flavor).pop(key, None)
        return json.dumps(content, sort_keys=True).encode()
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return mlmodel


def expected(files: ModelFiles, ignored: Collection[str] = ()) -> dict[str, bytes]:
    """Return the `contents` of the model that this environment makes of these files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / MODEL
        _save(folder, files, Model())
        return contents(folder, ignored)


def _find_or_create(
    client: MlflowClient, experiment: str, run_id: str, content: RunContent
) -> LoggedModel:
    """Return the run's model, which an earlier attempt may have created."""
    models = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    if models:
        return models[0]
    with without_retries():
        return client.create_logged_model(experiment, MODEL, run_id, params=content.params)


def predictions(model: Path, frame: Any) -> list[float] | str:
    """Return what the model in a folder predicts, or why it cannot; pickle is forbidden."""
    try:
        return [float(value) for value in _load(str(model)).predict(frame)]
    except Exception as error:  # a damaged model may raise anything
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"


def load(uri: str) -> Any:
    """Load a model with pickle forbidden.

    Raises: StoreError if its files cannot be fetched now; any exception if the model is damaged.
    """
    try:
        return _load(uri)
    except Exception as error:
        if is_unreachable(error):
            raise StoreError(
                f"the files of {uri} must be within reach (got {cause(error)})"
            ) from error
        raise


def _load(uri: str) -> Any:
    """Load a model with pickle forbidden, and write nothing into its folder.

    Artifacts of the embedded store are loaded in place, and Python would write the bytecode of the
    model's code beside it. Unless their path has a %: MLflow decodes it twice, so it gets a copy.
    """
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    with _without_bytecode():
        if "%" in str(address.workspace()):
            copy = tempfile.mkdtemp(prefix="samerun-model-")
            atexit.register(shutil.rmtree, copy, ignore_errors=True)  # it may read files later
            return mlflow.pyfunc.load_model(uri, dst_path=copy)
        return mlflow.pyfunc.load_model(uri)


@contextmanager
def _without_bytecode() -> Iterator[None]:
    previous, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = previous
