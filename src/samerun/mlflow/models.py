"""A run's model in MLflow: logged from code, loaded with pickle forbidden."""

import json
import os
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import cause, is_unreachable, without_retries

# isort: split
import mlflow.pyfunc
import pandas as pd
import yaml
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema

from knownline.core.line import Line
from samerun.core.errors import StoreError
from samerun.execution.environment import version
from samerun.mlflow.run_metadata import RunContent

MODEL = "model"
"""The model's name on its run: runs:/RUN_ID/model."""

MODEL_CODE = Path("src/knownline/serve.py")

_SERVED_WITH = ("mlflow", "numpy", "pandas")

SURROUNDINGS = ("requirements.txt", "python_env.yaml", "conda.yaml")
"""Files that say what a model was made on, as environment.json of its run does."""

_ADDED = "registered_model_meta"
"""What MLflow adds to its copy of a registered model."""

_OWN = ("artifact_path", "model_id", "model_size_bytes", "model_uuid", "run_id",
        "utc_time_created")  # fmt: skip
"""Keys of MLmodel that name one run's model."""

_VERSIONS = ("mlflow_version", "cloudpickle_version", "python_version")
"""Keys of MLmodel that differ with what it was made on."""


def log(
    client: MlflowClient, experiment: str, run_id: str, content: RunContent, line: Path
) -> None:
    """Log the line as a model from code: no pickle, requirements given, not inferred (8 s).

    In steps that can be repeated. mlflow's log_model makes a second model at the second try,
    and to note its failure asks a server that hangs twice more: 26 s.
    """
    model = _model_of(client, experiment, run_id, content, Line.from_json(line.read_text()))
    outputs = client.get_run(run_id).outputs
    if model.model_id not in {o.model_id for o in (outputs.model_outputs if outputs else [])}:
        with without_retries():
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    client.log_batch(
        run_id,
        [
            Metric(key, x, content.end_ms, 0, model_id=model.model_id, run_id=run_id)
            for key, x in content.metrics.items()
        ],
    )
    with tempfile.TemporaryDirectory() as scratch:
        whose = Model(
            artifact_path=model.artifact_location,
            run_id=run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        )
        _save(Path(scratch) / MODEL, line, MODEL_CODE, whose)
        client.log_model_artifacts(model.model_id, f"{scratch}/{MODEL}")
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save(folder: Path, line: Path, code: Path, whose: Model) -> None:
    """Write a model's files into a new folder."""
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(code),
        artifacts={"line": str(line)},
        signature=ModelSignature(
            Schema([ColSpec(DataType.double, "x")]), Schema([ColSpec(DataType.double)])
        ),
        input_example=pd.DataFrame({"x": [0.0, 1.0]}),
        pip_requirements=[f"{name}=={version(name)}" for name in _SERVED_WITH],
        mlflow_model=whose,
    )


def contents(folder: Path, aside: Collection[str] = ()) -> dict[str, bytes]:
    """Return a model's files by name, MLmodel without what one run has and no other.

    aside: names of files that are left out.
    """
    found = {
        path.relative_to(folder).as_posix().removeprefix("artifacts/"): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in (_ADDED, *aside)
        and path.parent.name != "__pycache__"  # left by whoever loaded it where it lies
    }
    if "MLmodel" in found:
        found["MLmodel"] = _common(found["MLmodel"], aside)
    return found


def _common(card: bytes, aside: Collection[str]) -> bytes:
    """Return what an MLmodel has in common with that of the same model of another run.

    One that is none of ours is returned as it is, and equals none.
    """
    try:
        content = yaml.safe_load(card)
        served = content["flavors"]["python_function"]
        served["model_code_path"] = Path(served["model_code_path"]).name  # as its loader reads it
        served["artifacts"] = {name: x["path"] for name, x in served["artifacts"].items()}
        for key in _OWN:
            content.pop(key, None)
        for key in _VERSIONS if aside else ():
            (content if key in content else served).pop(key, None)
        return json.dumps(content, sort_keys=True).encode()
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return card


def expected(line: Path, code: Path, aside: Collection[str] = ()) -> dict[str, bytes]:
    """Return the `contents` of the model that a line and the code that serves it make here."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / MODEL
        _save(folder, line, code, Model())
        return contents(folder, aside)


def _model_of(
    client: MlflowClient, experiment: str, run_id: str, content: RunContent, line: Line
) -> LoggedModel:
    """Return the model that an earlier try began, or a new one."""
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    if found:
        return found[0]
    numbers = {"w": str(line.w), "b": str(line.b)}
    with without_retries():
        return client.create_logged_model(
            experiment, MODEL, run_id, params={**numbers, **content.params}
        )


def predictions(model: Path, x: list[float]) -> list[float] | str:
    """Return what the model in a folder predicts for x, or why it does not; pickle is forbidden."""
    try:
        predicted = _loaded(str(model)).predict(pd.DataFrame({"x": x}))
        return [float(y) for y in predicted]
    except Exception as error:  # whatever a damaged model raises is the answer
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"


def load(uri: str) -> Any:
    """Load a model with pickle forbidden.

    Raises: StoreError where its files cannot be fetched now; what a damaged model raises else.
    """
    try:
        return _loaded(uri)
    except Exception as error:
        if is_unreachable(error):
            raise StoreError(
                f"the files of {uri} must be within reach (got {cause(error)})"
            ) from error
        raise


def _loaded(uri: str) -> Any:
    """Load a model with pickle forbidden, and leave nothing in its folder.

    The embedded store's artifacts are loaded where they lie, and Python would put the bytecode of
    the model's code beside it.
    """
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return mlflow.pyfunc.load_model(uri)
    finally:
        sys.dont_write_bytecode = before
