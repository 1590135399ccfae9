"""Compares a fitted line with least squares, with the truth and with rows it has not seen.

Knows nothing of files, of torch or of how the line was fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line
from knownline.core.moments import Compressed

Array = npt.NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Coefficients:
    """One number for the slope, one for the intercept."""

    w: float
    b: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A fitted line and its statistics.

    line: the fit. ols: closed-form least squares on the same rows. truth: the line the points
    were drawn from, or None.
    se: standard errors of the least-squares line. z: (line - truth) / se, None without a truth.
    optimiser_error: root mean square over the training rows of the difference between the
    predictions of the fit and of least squares, relative to the standard deviation of y (if that
    is 0, to the root mean square of y).
    optimiser_rounding: the optimiser error that float64 rounding alone can cause.
    train_rmse, holdout_rmse: root mean squared error of the fit, in units of y.
    holdout_r2: 1 - squared error / squared distance from the holdout's mean; None if the
    holdout has fewer than two rows or all its y are equal.
    last_loss: the loss before the step of the last epoch.
    """

    line: Line
    ols: Line
    truth: Line | None
    se: Coefficients
    z: Coefficients | None
    optimiser_error: float
    optimiser_rounding: float
    rows: int
    train_rmse: float
    holdout_rows: int
    holdout_rmse: float | None
    holdout_r2: float | None
    last_loss: float

    @property
    def only_rounding(self) -> bool:
        """Whether float64 rounding explains the whole optimiser error."""
        return self.optimiser_error <= self.optimiser_rounding


def standard_errors(rows: Compressed) -> Coefficients:
    """Return the standard errors of the least-squares slope and intercept of `rows`.

    The residual variance (n - 2 degrees of freedom) has a lower limit, the variance that rounding y
    to float64 causes. Without it, a line through noiseless points would be infinitely many standard
    errors from its truth.

    Source: any text on linear regression, e.g. Draper and Smith, Applied Regression Analysis, 1.4.
    """
    n, uu = rows.rows, rows.moments.uu
    residual_variance = rows.mean_squared_error(rows.least_squares()) * n / (n - 2)
    # Times n: the last digit of a fitted coefficient does not get smaller with more rows.
    variance = max(residual_variance, n * (_EPS * _rms(rows)) ** 2)
    return Coefficients(
        math.sqrt(variance / uu),
        math.sqrt(variance * (1 / n + rows.mean_x**2 / uu)),
    )


def optimiser_error(line: Line, rows: Compressed) -> float:
    """Return the distance of a line from least squares: see `Evaluation.optimiser_error`."""
    ols = rows.least_squares()
    dw = line.w - ols.w
    at_mean = line.at(rows.mean_x) - ols.at(rows.mean_x)
    distance = math.hypot(at_mean, dw * rows.sd_x)
    return ratio(distance, _scale(rows))


def optimiser_rounding(rows: Compressed) -> float:
    """Return the optimiser error that float64 rounding leaves in a fit that has converged.

    It is tiny, unless y is so far from zero that the last digit of y itself is coarse.
    """
    return ratio(8 * _EPS * _rms(rows), _scale(rows))


def _scale(rows: Compressed) -> float:
    """Return the standard deviation of y; if all y are equal, their root mean square."""
    return math.sqrt(rows.var_y) or _rms(rows)


def _rms(rows: Compressed) -> float:
    """Return the root mean square of y."""
    return math.hypot(rows.mean_y, math.sqrt(rows.var_y))


def assess(
    line: Line,
    *,
    train: Compressed,
    holdout: Compressed | None,
    truth: Line | None,
    last_loss: float,
) -> Evaluation:
    """Return the statistics of `line`, which was fitted to `train` and not to `holdout`."""
    se = standard_errors(train)
    z = None
    if truth is not None:
        z = Coefficients(ratio(line.w - truth.w, se.w), ratio(line.b - truth.b, se.b))
    rmse = r2 = None
    if holdout is not None:
        mse = holdout.mean_squared_error(line)
        rmse = math.sqrt(mse)
        r2 = 1 - mse / holdout.var_y if holdout.rows > 1 and holdout.var_y > 0 else None
    return Evaluation(
        line=line,
        ols=train.least_squares(),
        truth=truth,
        se=se,
        z=z,
        optimiser_error=optimiser_error(line, train),
        optimiser_rounding=optimiser_rounding(train),
        rows=train.rows,
        train_rmse=math.sqrt(train.mean_squared_error(line)),
        holdout_rows=holdout.rows if holdout else 0,
        holdout_rmse=rmse,
        holdout_r2=r2,
        last_loss=last_loss,
    )


def ratio(distance: float, se: float) -> float:
    """Return distance / se: 0 if the distance is 0, else infinite if the standard error is 0."""
    if se == 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / se
