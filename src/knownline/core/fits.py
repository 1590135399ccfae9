"""A model of any kind and the rows it is fitted to, for `evaluate`, `report` and `retrain`.

For a linear model the summary of the rows is enough. For any other model the rows are read.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, network, parquet
from knownline.core.curve_fit import CurveFit, mean_square, starting
from knownline.core.kinds import Linear, Model, Network, Parameters
from knownline.core.layout import DATA, HOLDOUT, TRAIN, WEIGHTS
from knownline.core.least_squares import LeastSquares
from knownline.core.model_file import Fitted
from knownline.core.moments import Compressed
from knownline.core.network import Predictor
from knownline.core.summary import Summary
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]


class Fit(Protocol):
    """A model, the rows it is fitted to, and the parameters that fit them best."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def rows(self) -> Compressed:
        """The rows, compressed."""

    @property
    def start(self) -> Parameters:
        """The parameters that a training starts from."""

    @property
    def solution(self) -> Parameters:
        """The parameters with the smallest squared loss."""

    def predict(self, parameters: Mapping[str, float], inputs: Sequence[Array]) -> Array:
        """Return the model's y, (rows,), for inputs of (rows,) each."""

    def tangent(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the derivative of y by each parameter but the constant term's, (rows,) each."""

    def mean_squared_error(self, parameters: Mapping[str, float]) -> float:
        """Return the mean over the rows of (the model's y - y)²."""

    def distance(self, parameters: Mapping[str, float]) -> float:
        """Return the root mean square over the rows of the distance from least squares, in y."""

    def spread(self, parameters: Mapping[str, float]) -> list[float]:
        """Return the distance from least squares along each direction, in y."""

    def standard_errors(self, variance: float) -> Parameters:
        """Return the standard errors of the solution, given the residual variance."""


class NetworkFit:
    """A trained network and rows. It has no named parameters, so most results are empty."""

    def __init__(
        self,
        model: Network,
        rows: Compressed,
        inputs: Sequence[Array],
        y: Array,
        predictor: Predictor,
    ) -> None:
        """inputs, y: all rows, (rows,) each, which `rows` compresses."""
        self.model, self.rows = model, rows
        self._inputs, self._y, self._predictor = inputs, y, predictor

    @property
    def start(self) -> Parameters:
        """No parameters."""
        return {}

    solution = start

    @cached_property
    def errors(self) -> Array:
        """The network's prediction minus y, (rows,)."""
        return self._predictor(self._inputs) - self._y

    def linear_errors(self, linear: Parameters) -> Array:
        """Return the linear model's prediction minus y, with these parameters: (rows,)."""
        predicted: Array = self.model.summarised.at(linear, self._inputs)
        return predicted - self._y

    def predict(self, parameters: Mapping[str, float], inputs: Sequence[Array]) -> Array:
        """Return the network's prediction, (rows,), for inputs of (rows,) each."""
        return self._predictor(inputs)

    def tangent(self, inputs: Sequence[Array]) -> list[Array]:
        """Return nothing: there are no parameters."""
        return []

    def mean_squared_error(self, parameters: Mapping[str, float]) -> float:
        """Return the mean over the rows of (prediction - y)²."""
        return mean_square(self.errors)

    def distance(self, parameters: Mapping[str, float]) -> float:
        """Return 0: there is no best fit."""
        return 0.0

    def spread(self, parameters: Mapping[str, float]) -> list[float]:
        """Return nothing: there are no parameters."""
        return []

    def standard_errors(self, variance: float) -> Parameters:
        """Return nothing: there are no parameters."""
        return {}


def of_training_rows(kind: Model, summary: Summary, fitted: Fitted) -> Fit:
    """Return a model and the rows of data/train. fitted: the content of models/.

    Raises: DamagedError or MissingError with the name of a file that cannot be used.
    """
    return _of(kind, summary, summary.train, (TRAIN,), fitted)


def of_held_out_rows(kind: Model, summary: Summary, fitted: Fitted) -> Fit | None:
    """Return a model and the rows of data/holdout, None if there are none.

    Raises: DamagedError or MissingError with the name of a file that cannot be used.
    """
    return _of(kind, summary, summary.holdout, (HOLDOUT,), fitted) if summary.holdout else None


def of_all_rows(kind: Model, summary: Summary, fitted: Fitted) -> Fit:
    """Return a model and the rows of data/train and data/holdout.

    Raises: DamagedError or MissingError with the name of a file that cannot be used.
    """
    folders = (TRAIN, HOLDOUT) if summary.holdout else (TRAIN,)
    return _of(kind, summary, summary.all_rows, folders, fitted)


def _of(
    kind: Model, summary: Summary, rows: Compressed, folders: Sequence[Path], fitted: Fitted
) -> Fit:
    if isinstance(kind, Linear):
        return LeastSquares(kind, rows)
    counts = {TRAIN: summary.train.rows, HOLDOUT: rows.rows - summary.train.rows}
    if len(folders) == 1:
        counts[folders[0]] = rows.rows
    parts = []
    for folder in folders:
        checksums.check(DATA, folder)
        inputs, y = parquet.load(folder, kind.inputs, counts[folder])
        parts.append([*inputs, y])
    *inputs, y = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    if isinstance(kind, Network):
        return NetworkFit(kind, rows, inputs, y, predictor(kind))
    start = starting(kind, summary.sample)
    return CurveFit(kind, rows, inputs, y, start=start, near=fitted.parameters)


def predictor(kind: Network) -> Predictor:
    """Return the function that predicts by the weights in models/. Raises: DamagedError."""
    try:
        loaded = network.load(WEIGHTS, kind.build)
        loaded([np.zeros(2)] * len(kind.inputs))  # weights may load and still not fit the inputs
        return loaded
    except Exception as error:  # from torch, safetensors or the user's code
        first_line = (str(error).splitlines() or [""])[0][:160]
        raise DamagedError(
            f"{WEIGHTS} must be weights of the model in model.py: run `dvc repro --force train`"
            f" (got {type(error).__name__}: {first_line})"
        ) from error
