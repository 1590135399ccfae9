"""The MLflow model of a fitted line: MLflow stores this file together with line.json.

MLflow executes this file when it loads the model ("models from code"), so nothing is pickled, and
neither torch nor knownline is needed. That is why this file imports nothing of knownline.

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
        """Read w and b from their hex floats."""
        line = json.loads(Path(context.artifacts["line"]).read_text())
        self.w, self.b = float.fromhex(line["w_hex"]), float.fromhex(line["b_hex"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Return the predictions, (rows,), for a data frame with the column x."""
        x = model_input["x"].to_numpy(dtype=np.float64)
        return np.asarray(x * self.w + self.b)


set_model(LineModel())
