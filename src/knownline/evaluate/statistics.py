"""Compares a fitted model with least squares, with the truth and with held-out rows.

Knows nothing of files, of torch or of how the model was fitted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core import paired
from knownline.core.fits import Fit, NetworkFit
from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import Compressed
from knownline.core.paired import PairedErrors

Array = npt.NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A fitted model and its statistics; parameters are in the model's order.

    fitted: the fit. ols: closed-form least squares on the same rows. truth: the parameters the
    points were drawn with, or None.
    se: standard errors of the least-squares parameters. z: (fitted - truth) / se, None without a
    truth.
    All of these are empty for a network.
    optimiser_error: root mean square over the training rows of the difference between the
    predictions of the fit and of least squares, relative to the standard deviation of y (if that
    is 0, to the root mean square of y). None for a network.
    optimiser_rounding: the optimiser error that float64 rounding alone can cause.
    train_rmse, holdout_rmse: root mean squared error of the fit, in units of y.
    train_r2, holdout_r2: 1 - squared error / squared distance from the mean of these rows; None if
    there are fewer than two rows or all their y are equal.
    last_loss: the loss before the step of the last epoch.
    linear: for a network, its errors on the held-out rows and those of the linear model of its
    inputs; None if there are fewer than two such rows.
    """

    fitted: Parameters
    ols: Parameters
    truth: Parameters | None
    se: Parameters
    z: Parameters | None
    optimiser_error: float | None
    optimiser_rounding: float
    rows: int
    train_rmse: float
    train_r2: float | None
    holdout_rows: int
    holdout_rmse: float | None
    holdout_r2: float | None
    last_loss: float
    linear: PairedErrors | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self.fitted)

    @property
    def is_network(self) -> bool:
        """Whether the model is a network, without named parameters."""
        return not self.fitted

    @property
    def only_rounding(self) -> bool:
        """Whether float64 rounding explains the whole optimiser error."""
        return self.optimiser_error is not None and self.optimiser_error <= self.optimiser_rounding


def standard_errors(data: Fit) -> Parameters:
    """Return the standard errors of the least-squares parameters.

    The residual variance (n - p degrees of freedom) has a lower limit, the variance that rounding y
    to float64 causes. Without it, a model through noiseless points would be infinitely many
    standard errors from its truth.
    """
    n = data.rows.rows
    residual_variance = data.mean_squared_error(data.solution) * n / (n - len(data.model.names))
    # Times n: the last digit of a fitted parameter does not get smaller with more rows.
    return data.standard_errors(max(residual_variance, n * (_EPS * _rms(data.rows)) ** 2))


def optimiser_error(parameters: Mapping[str, float], data: Fit) -> float:
    """Return the distance of a fit from least squares: see `Evaluation.optimiser_error`."""
    return ratio(data.distance(parameters), _scale(data.rows))


def optimiser_rounding(data: Fit) -> float:
    """Return the optimiser error that float64 rounding causes in a fit that has converged.

    It is tiny, unless y is so far from zero that its last digit is coarse. If the model is not
    linear, optimizers look at the loss. It is flat near its minimum: a distance of the root of its
    rounding error does not change it.
    """
    rounding = 8 * _EPS * _rms(data.rows)
    if not isinstance(data, LeastSquares):
        rounding = max(rounding, math.sqrt(_EPS * data.mean_squared_error(data.solution)))
    return ratio(rounding, _scale(data.rows))


def _scale(rows: Compressed) -> float:
    """Return the standard deviation of y; if all y are equal, their root mean square."""
    return math.sqrt(rows.var_y) or _rms(rows)


def _rms(rows: Compressed) -> float:
    """Return the root mean square of y."""
    return math.hypot(rows.mean_y, math.sqrt(rows.var_y))


def assess(
    fitted: Parameters,
    *,
    train: Fit,
    holdout: Fit | None,
    truth: Parameters | None,
    last_loss: float,
) -> Evaluation:
    """Return the statistics of `fitted`, which was fitted to `train` and not to `holdout`."""
    se = standard_errors(train)
    z = None
    if truth is not None:
        z = {name: ratio(value - truth[name], se[name]) for name, value in fitted.items()}
    rmse, r2 = _errors(fitted, holdout) if holdout else (None, None)
    train_rmse, train_r2 = _errors(fitted, train)
    return Evaluation(
        fitted=fitted,
        ols=train.solution,
        truth=truth,
        se=se,
        z=z,
        optimiser_error=None if isinstance(train, NetworkFit) else optimiser_error(fitted, train),
        optimiser_rounding=optimiser_rounding(train),
        rows=train.rows.rows,
        train_rmse=train_rmse,
        train_r2=train_r2,
        holdout_rows=holdout.rows.rows if holdout else 0,
        holdout_rmse=rmse,
        holdout_r2=r2,
        last_loss=last_loss,
        linear=_beside_linear(train, holdout),
    )


def _beside_linear(train: Fit, holdout: Fit | None) -> PairedErrors | None:
    """Return `Evaluation.linear`."""
    if not (isinstance(train, NetworkFit) and isinstance(holdout, NetworkFit)):
        return None
    linear = LeastSquares(train.model.summarised, train.rows).solution
    return paired.compare_errors([(holdout.linear_errors(linear), holdout.errors)])


def _errors(fitted: Parameters, data: Fit) -> tuple[float, float | None]:
    """Return the root mean squared error of a fit on rows, and R²."""
    mse, var_y = data.mean_squared_error(fitted), data.rows.var_y
    return math.sqrt(mse), 1 - mse / var_y if data.rows.rows > 1 and var_y > 0 else None


def ratio(distance: float, se: float) -> float:
    """Return distance / se: 0 if the distance is 0, else infinite if the standard error is 0."""
    if se == 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / se
