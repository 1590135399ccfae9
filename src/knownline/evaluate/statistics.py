"""A fitted line held against least squares, against the truth and against rows it has not seen.

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
    """What is known of a fitted line.

    line: the fit. ols: closed-form least squares on the same rows. truth: the line the points
    were drawn from, or None.
    se: standard errors of the least-squares line. z: (line - truth) / se, None without a truth.
    optimiser_error: root mean square over the training rows of the difference between the
    predictions of the fit and of least squares, relative to the standard deviation of y (where
    that is 0, to the root mean square of y).
    optimiser_rounding: what of it is float64's.
    train_rmse, holdout_rmse: root mean squared error of the fit, in units of y.
    holdout_r2: 1 - squared error / squared distance from the holdout's mean; None where the
    holdout has fewer than two rows or all its y are equal.
    last_loss: the loss the last epoch began with.
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
        """Whether what the optimiser left is no more than float64 leaves."""
        return self.optimiser_error <= self.optimiser_rounding


def standard_errors(rows: Compressed) -> Coefficients:
    """Return the standard errors of the least-squares slope and intercept of `rows`.

    The residual variance (n - 2 degrees of freedom) is not taken to be smaller than what rounding
    y to float64 leaves: without that, noiseless points would lie infinitely many standard errors
    from their truth.

    Source: any text on linear regression, e.g. Draper and Smith, Applied Regression Analysis, 1.4.
    """
    n, squares = rows.rows, rows.moments.uu
    residual = rows.mean_squared_error(rows.least_squares()) * n / (n - 2)
    # Times n: the last digit of a fitted coefficient does not get smaller with more rows.
    variance = max(residual, n * (_EPS * _rms(rows)) ** 2)
    return Coefficients(
        math.sqrt(variance / squares),
        math.sqrt(variance * (1 / n + rows.mean_x**2 / squares)),
    )


def optimiser_error(line: Line, rows: Compressed) -> float:
    """Return how far the fit lies from least squares: see `Evaluation.optimiser_error`."""
    ols = rows.least_squares()
    dw = line.w - ols.w
    at_mean = line.at(rows.mean_x) - ols.at(rows.mean_x)
    distance = math.hypot(at_mean, dw * rows.sd_x)
    return ratio(distance, _scale(rows))


def optimiser_rounding(rows: Compressed) -> float:
    """Return the optimiser error that float64 leaves of a fit which has arrived.

    It is next to nothing, unless y lies so far from zero that its own last digit is coarse.
    """
    return ratio(8 * _EPS * _rms(rows), _scale(rows))


def _scale(rows: Compressed) -> float:
    """Return the standard deviation of y; where all y are the same, their size."""
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
    """Return what is known of `line`, fitted to `train` and not to `holdout`."""
    se = standard_errors(train)
    z = None
    if truth is not None:
        z = Coefficients(ratio(line.w - truth.w, se.w), ratio(line.b - truth.b, se.b))
    rmse = r2 = None
    if holdout is not None:
        error = holdout.mean_squared_error(line)
        rmse = math.sqrt(error)
        r2 = 1 - error / holdout.var_y if holdout.rows > 1 and holdout.var_y > 0 else None
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
    """Return distance / se; of no distance 0, of no error infinity."""
    if se == 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / se
