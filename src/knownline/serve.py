"""The served model: predicts y by model.py, with the parameters or the weights in models/.

MLflow stores this file with the model, and executes it to load the model ("models from code").
Copies of model.py and of the modules that it imports are stored beside it, as dvc.yaml says. So
nothing is pickled, and knownline need not be installed: the files import numpy and pandas, and for
a network torch.
"""

import hashlib
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


def packages(folder: Path) -> list[str] | None:
    """Return the packages that serving needs besides those imported at the top of these files.

    None, for a network, means every import in them: model.py imports torch inside a function.
    """
    return None if "weights" in _content(folder) else []


def input_example(folder: Path) -> pd.DataFrame:
    """Return two rows of inputs for the model in a folder: (2, inputs)."""
    return pd.DataFrame({name: [1.0, 2.0] for name in _content(folder)["inputs"]})


def load(folder: Path) -> Callable[[pd.DataFrame], npt.NDArray[np.float64]]:
    """Return a function that predicts by the model in a folder.

    The function takes a data frame with a column per input, by name, and returns (rows,).
    """
    content = _content(folder)
    names = tuple(content["inputs"])
    parameters = {name: float.fromhex(value) for name, value in content["hex"].items()}
    model: Any = getattr(_sibling("model"), content["model"].upper())
    kind = model(names) if callable(model) else model
    network = None
    if "weights" in content:
        weights = (folder / "weights.safetensors").read_bytes()
        if hashlib.sha256(weights).hexdigest() != content["weights"]:
            raise ValueError("weights.safetensors does not match its checksum in model.json")
        network = _sibling("core.network").load(folder / "weights.safetensors", kind.build)

    def predict(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        inputs = [frame[name].to_numpy(dtype=np.float64) for name in names]
        y = np.asarray(network(inputs) if network else kind.at(parameters, inputs), np.float64)
        return y if y.ndim else np.full(len(frame), y)  # a model of a constant term alone

    return predict


def _content(folder: Path) -> Any:
    return json.loads((folder / "model.json").read_text())


_PACKAGE = f"served_{uuid.uuid4().hex}"
"""A name that is unique in the process.

Under their usual names, the files could be mistaken for an installed knownline or another version.
"""


def _sibling(name: str) -> ModuleType:
    """Import a module that is stored beside this file."""
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(Path(__file__).resolve().parent)]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")
