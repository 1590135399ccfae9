"""The fitted line as MLflow loads and serves it: this file, and line.json beside it.

MLflow executes this file where the model is loaded (models from code), so nothing is pickled and
neither torch nor knownline is needed there. That is why it stands outside the package.

Source: https://mlflow.org/docs/latest/ml/model/models-from-code/
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class LineModel(PythonModel):
    """y = w*x + b."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read w and b, to the bit."""
        line = json.loads(Path(context.artifacts["line"]).read_text())
        self.w, self.b = float.fromhex(line["w_hex"]), float.fromhex(line["b_hex"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Return (rows,) predictions for a frame with the column x."""
        x = model_input["x"].to_numpy(dtype=np.float64)
        return np.asarray(x * self.w + self.b)


set_model(LineModel())
