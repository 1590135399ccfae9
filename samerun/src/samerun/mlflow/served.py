"""What MLflow executes to serve a project's model: it loads the project's own code, by its path.

MLflow stores this file with the model ("models from code"), so nothing is pickled, and it imports
nothing of samerun. The project's code has a function `load(path)`, which returns a function that
predicts for a data frame, and needs nothing of MLflow.

Source: https://mlflow.org/docs/latest/ml/model/models-from-code/
"""

import runpy
import warnings
from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

with warnings.catch_warnings(record=True):  # MLflow asks for type hints of `predict`

    class ServedModel(PythonModel):
        """The model of a project."""

        def load_context(self, context: PythonModelContext) -> None:
            """Execute the project's code, and let it load the model's file."""
            code = runpy.run_path(context.artifacts["code"])
            self._predict = code["load"](Path(context.artifacts["model"]))

        # Without type hints: MLflow would take them for a schema of the rows.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            """Return the predictions for a data frame."""
            return self._predict(model_input)


set_model(ServedModel())
