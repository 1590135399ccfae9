"""The served model: predicts y by model.py, with the parameters in models/model.json.

MLflow stores this file with the model and executes it where the model is loaded ("models from
code"). Beside it lie copies of model.py and core/kinds.py, as dvc.yaml says. So nothing is pickled,
and neither torch nor an installed knownline is needed there: the files import numpy and pandas
alone.
"""

import importlib
import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def input_example(path: Path) -> pd.DataFrame:
    """Return two rows of the inputs of the model in a file: (2, inputs)."""
    return pd.DataFrame({name: [1.0, 2.0] for name in json.loads(path.read_text())["inputs"]})


def load(path: Path) -> Callable[[pd.DataFrame], npt.NDArray[np.float64]]:
    """Return the function that predicts by the model in a file.

    It takes a data frame with a column for each input, by name, and returns (rows,).
    """
    content = json.loads(path.read_text())
    names = tuple(content["inputs"])
    parameters = {name: float.fromhex(value) for name, value in content["hex"].items()}
    found: Any = getattr(_model_beside(), content["model"].upper())
    kind = found(names) if callable(found) else found

    def predict(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        inputs = [frame[name].to_numpy(dtype=np.float64) for name in names]
        y = np.asarray(kind.at(parameters, inputs), dtype=np.float64)
        return y if y.ndim else np.full(len(frame), y)  # a model of a constant term alone

    return predict


def _model_beside() -> ModuleType:
    """Import the model.py beside this file, in a package whose name nothing else in a process has.

    By its usual name, an installed knownline or the model of another version would take its place.
    """
    package = ModuleType(f"served_{uuid.uuid4().hex}")
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules[package.__name__] = package
    return importlib.import_module(f"{package.__name__}.model")
