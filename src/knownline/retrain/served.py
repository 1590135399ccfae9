"""The model of a version, as MLflow serves it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from knownline.core import fits
from knownline.core.kinds import Model as Kind
from knownline.core.kinds import Network
from knownline.core.model_file import Fitted
from knownline.retrain.registry import Version
from samerun.core.errors import StoreError
from samerun.mlflow import models

Array = npt.NDArray[np.float64]

_PROBE = [-1.0, 0.0, 0.5, 3.0, 1e6]


class DamagedModelError(Exception):
    """A version's model cannot be loaded, or does not predict what it did at its registration."""


def probe(count: int) -> list[Array]:
    """Return the rows of the probe: `count` inputs of (5,) each, which all differ."""
    return [np.roll(_PROBE, index) + index // len(_PROBE) for index in range(count)]


def answers(kind: Kind, fitted: Fitted) -> str:
    """Return a model's predictions for the probe, exact to the bit, for a tag.

    The weights of a network are those in models/.
    """
    rows = probe(len(kind.inputs))
    with np.errstate(all="ignore"):  # a term may be undefined for some of them
        if isinstance(kind, Network):
            y = fits.predictor(kind)(rows)
        else:
            y = kind.at(fitted.parameters, rows)
    return _exact(np.broadcast_to(y, len(_PROBE)))


def are_alike(one: str, other: str, *, rounding: float = 1e-12) -> bool:
    """Return whether two answers are the same, up to the rounding of different processors.

    The last digit of numpy's powers and logarithms depends on the width of SIMD. rounding: the
    largest difference that is allowed, relative to the largest answer.
    """
    a, b = (np.array([float.fromhex(value) for value in text.split()]) for text in (one, other))
    largest = np.max(np.abs(a[np.isfinite(a)]), initial=0.0) if rounding > 1e-12 else 0.0
    return len(a) == len(b) and np.allclose(
        a, b, rtol=rounding, atol=rounding * largest, equal_nan=True
    )


def _exact(y: Array) -> str:
    return " ".join(float(value).hex() for value in y)


class Model:
    """A version's model, loaded from the registry with pickle forbidden."""

    def __init__(self, version: Version, inputs: Sequence[str] = ()) -> None:
        """Load the model and compare its predictions with those at its registration, if known.

        inputs: the names of its inputs; by default those at its registration, or in its signature.

        Raises: DamagedModelError, or StoreError if its files cannot be reached.
        """
        try:
            self._model: Any = models.load(f"models:/{version.model_name}/{version.number}")
            fitted = version.fitted
            self._inputs = list(inputs) or list(fitted.inputs if fitted else self._signature())
            with np.errstate(all="ignore"):
                predictions = self.predict(probe(len(self._inputs)))
        except StoreError:
            raise  # the store cannot be reached: the model may be fine
        except Exception as error:  # a damaged model can raise anything
            first_line = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {first_line[0][:160]}"
            raise DamagedModelError(f"its model cannot predict ({reason})") from error
        registered = version.tags.get("answers")
        rounding = 1e-4 if fitted and fitted.weights else 1e-12  # a network may be float32
        if registered is not None and not are_alike(
            _exact(predictions), registered, rounding=rounding
        ):
            raise DamagedModelError("its model does not predict what it did at its registration")

    def _signature(self) -> list[str]:
        return list(self._model.metadata.get_input_schema().input_names())

    def predict(self, inputs: Sequence[Array]) -> Array:
        """Return the predictions, (rows,), for inputs of (rows,) each, in the order of `inputs`."""
        frame = pd.DataFrame(dict(zip(self._inputs, inputs, strict=True)))
        return np.asarray(self._model.predict(frame), dtype=np.float64)
