"""The served model: predicts y by the line in models/line.json.

MLflow stores this file with the model and executes it where the model is loaded ("models from
code"). So nothing is pickled, and neither torch nor knownline is needed there: this file imports
numpy and pandas alone.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

INPUT_EXAMPLE = pd.DataFrame({"x": [0.0, 1.0]})


def load(path: Path) -> Callable[[pd.DataFrame], npt.NDArray[np.float64]]:
    """Return the function that predicts by the line in a file: a data frame with x to (rows,)."""
    line = json.loads(path.read_text())
    w, b = float.fromhex(line["w_hex"]), float.fromhex(line["b_hex"])

    def predict(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        x = frame["x"].to_numpy(dtype=np.float64)
        return np.asarray(x * w + b)

    return predict
