"""A fitted line held against least squares, against the truth and against rows it has not seen.

Knows nothing of files, of torch or of how the line was fitted.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from knownline.compression import Compressed
from knownline.formatting import multiple, plain, rounded, significant
from knownline.line import Line
from knownline.params import Evaluate, Train

Array = npt.NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)

_FLOAT32_LEAVES = 1e-4
"""The largest optimiser error that is put down to float32's digits, and not to steps too small."""


@dataclass(frozen=True, slots=True)
class Pair:
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
    se: Pair
    z: Pair | None
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


@dataclass(frozen=True, slots=True)
class Way:
    """How a training went.

    trend: whether the distance to least squares shrank in the last tenth of the epochs or grew, or
    the optimiser stands still: it is where it was before, and there it stays, however long it goes.
    squared: whether its loss is the mean squared error, not another one (docs/make-it-yours.md).
    """

    trend: Literal["shrinks", "grows", "stands still"] = "shrinks"
    squared: bool = True

    @classmethod
    def of(cls, loss: Array, w: Array, b: Array, *, rows: Compressed) -> "Way":
        """Return how a training went from (0, 0), by what it wrote at every epoch: (epochs,)."""
        return cls(_trend(w, b, rows), _is_squared(float(loss[0]), rows))


def _trend(w: Array, b: Array, rows: Compressed) -> Literal["shrinks", "grows", "stands still"]:
    last = len(w) - 1
    if np.any((w[:last] == w[last]) & (b[:last] == b[last])):
        return "stands still"  # a step depends on nothing but where it begins
    before = min(int(0.9 * last), last - 1)
    if before < 0:
        return "shrinks"
    then, now = (optimiser_error(Line(float(w[n]), float(b[n])), rows) for n in (before, last))
    return "grows" if now > then else "shrinks"


def _is_squared(first: float, rows: Compressed) -> bool:
    """Return whether the first loss, that of (0, 0), is the mean squared error there."""
    squared = rows.mean_squared_error(Line(0.0, 0.0))
    return not math.isfinite(squared) or math.isclose(first, squared, rel_tol=1e-3)


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict, and why, in words: every reason of a refusal, or what was found in order."""

    passed: bool
    reasons: list[str]


def standard_errors(rows: Compressed) -> Pair:
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
    return Pair(
        math.sqrt(variance / squares),
        math.sqrt(variance * (1 / n + rows.mean_x**2 / squares)),
    )


def optimiser_error(line: Line, rows: Compressed) -> float:
    """Return how far the fit lies from least squares: see `Evaluation.optimiser_error`."""
    ols = rows.least_squares()
    dw = line.w - ols.w
    at_mean = line.at(rows.mean_x) - ols.at(rows.mean_x)
    distance = math.hypot(at_mean, dw * rows.sd_x)
    return _over(distance, _scale(rows))


def optimiser_rounding(rows: Compressed) -> float:
    """Return the optimiser error that float64 leaves of a fit which has arrived.

    It is next to nothing, unless y lies so far from zero that its own last digit is coarse.
    """
    return _over(8 * _EPS * _rms(rows), _scale(rows))


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
        z = Pair(_over(line.w - truth.w, se.w), _over(line.b - truth.b, se.b))
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


def judge(
    found: Evaluation,
    rules: Evaluate,
    train: Train | None = None,
    way: Way | None = None,
    *,
    table: str | None = None,
) -> Gate:
    """Return whether the fit may be used; what is not known to be good is refused.

    train, way: how it was fitted and how that went, so that what is advised helps. table: what the
    rows were read from, None where they were drawn around the truth.
    """
    broken = _not_finite(found)
    error = found.optimiser_error
    allowed = max(rules.optimiser_tolerance, found.optimiser_rounding)
    good = [
        f"the fit lies {significant(error, 2)} (relative) from least squares;"
        f" {significant(allowed, 6)} is allowed"
    ]
    if allowed > rules.optimiser_tolerance:
        good[0] += " (float64 leaves so much here)"
    arrived = 0 <= error <= allowed < math.inf
    if not arrived:
        advice = _advice(error, train, way or Way())
        broken.append(f"{good[0]}: the optimiser has not arrived ({advice})")
    if found.truth is None:
        good.append("there is no truth to hold the fit against (truth: null)")
    else:
        told = [_truth_reason(found, name, rules.z, arrived=arrived) for name in ("w", "b")]
        for near, words in told:
            (good if near else broken).append(words)
        if table and not all(near for near, _ in told):
            broken.append(
                f"{table} is held against the truth in params.yaml: write `truth: null` where"
                " nobody knows it"
            )
    return Gate(passed=not broken, reasons=broken or good)


def _advice(error: float, train: Train | None, way: Way) -> str:
    """Return what may bring the optimiser nearer, of what is not so already."""
    if error > 1e3:
        return "a smaller learning rate?"
    if not way.squared:
        return "its loss is another than least squares': optimiser_tolerance?"
    if train and way.trend == "stands still" and (stands := _standing(error, train)):
        return f"it stands still: {stands}"
    found = []
    if train is None or not train.standardize or train.learning_rate < 1:
        found.append("more epochs?")
    if train is None or (train.standardize and train.learning_rate >= 1):
        found.append("a learning rate below 1?")
    if train is None or not train.standardize:
        found.append("standardize?")
    if train is None or train.dtype != "float64":
        found.append("float64?")
    return " ".join(found)


def _standing(error: float, train: Train) -> str:
    """Return what helps an optimiser that stands still: more epochs do not."""
    if train.dtype != "float64":
        if error > _FLOAT32_LEAVES:
            return "float64? a larger learning rate?"
        # As YAML takes it: 1e-6 is a text there.
        return f"float64? optimiser_tolerance 1.0e{max(math.ceil(math.log10(error)), -6)}?"
    return "a larger learning rate?" if train.learning_rate < 1 else ""


def _truth_reason(
    found: Evaluation, name: str, allowed: float, *, arrived: bool
) -> tuple[bool, str]:
    """Return whether a coefficient lies near its truth, and how far in words."""
    fitted, ols = getattr(found.line, name), getattr(found.ols, name)
    true, se = getattr(found.truth, name), getattr(found.se, name)
    z = getattr(found.z, name, math.nan)
    near = abs(z) <= allowed
    words = (
        f"{name} = {rounded(fitted, se)} lies {multiple(abs(z))} standard errors"
        f" ({significant(se, 2)} each)"
        f" from the true {plain(true)}; {plain(allowed)} are allowed"
    )
    if not near and not arrived:
        words += f" (of these, {multiple(abs(_over(ols - true, se)))} are the sample's)"
    return near, words


def as_metrics(found: Evaluation, gate: Gate) -> dict[str, Any]:
    """Return reports/metrics.json: nested once, null for what is not known or not finite."""
    truth, z = found.truth, found.z
    return {
        "w": _or_null(found.line.w),
        "b": _or_null(found.line.b),
        "truth": {"w": truth.w if truth else None, "b": truth.b if truth else None},
        "ols": {"w": _or_null(found.ols.w), "b": _or_null(found.ols.b)},
        "se": {"w": _or_null(found.se.w), "b": _or_null(found.se.b)},
        "z": {"w": _or_null(z.w) if z else None, "b": _or_null(z.b) if z else None},
        # Four digits, or MLflow's table cuts off the exponent of 4.10383623516e-10.
        "optimiser_error": _or_null(float(f"{found.optimiser_error:.4g}")),
        "rows": found.rows,
        "train": {"rmse": _or_null(found.train_rmse)},
        "holdout": {
            "rows": found.holdout_rows,
            "rmse": _or_null(found.holdout_rmse),
            "r2": _or_null(found.holdout_r2),
        },
        "gate": {"passed": gate.passed, "reasons": gate.reasons},
    }


def _not_finite(found: Evaluation) -> list[str]:
    named: list[tuple[str, float | None]] = [
        ("w", found.line.w),
        ("b", found.line.b),
        ("least squares' w", found.ols.w),
        ("least squares' b", found.ols.b),
        ("the standard error of w", found.se.w),
        ("the standard error of b", found.se.b),
        ("the training error", found.train_rmse),
        ("the last loss", found.last_loss),
    ]
    if found.holdout_rows:
        named.append(("the holdout error", found.holdout_rmse))
    if found.holdout_r2 is not None:
        named.append(("the holdout's R²", found.holdout_r2))
    return [
        f"{name} is not a finite number" for name, x in named if x is None or not math.isfinite(x)
    ]


def _over(distance: float, se: float) -> float:
    if se == 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / se


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
