"""The gate: whether a fit may be used, and why, in words.

Knows nothing of files, of torch or of how the line was fitted.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import multiple, plain, rounded, significant
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.evaluate.statistics import Evaluation, optimiser_error, ratio
from knownline.params import Evaluate, Train

Array = npt.NDArray[np.float64]

_FLOAT32_ERROR = 1e-4
"""The largest optimiser error that is put down to float32's digits, and not to steps too small."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How a training went.

    trend: whether the distance to least squares shrank in the last tenth of the epochs or grew, or
    the optimiser stands still: it is where it was before, and there it stays, however long it goes.
    squared: whether its loss is the mean squared error, not another one (docs/make-it-yours.md).
    """

    trend: Literal["shrinks", "grows", "stands still"] = "shrinks"
    squared: bool = True

    @classmethod
    def of(cls, loss: Array, w: Array, b: Array, *, rows: Compressed) -> "Convergence":
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


def judge(
    found: Evaluation,
    rules: Evaluate,
    train: Train | None = None,
    convergence: Convergence | None = None,
    *,
    table: str | None = None,
) -> Gate:
    """Return whether the fit may be used; what is not known to be good is refused.

    train, convergence: how it was fitted and how that went, so that what is advised helps.
    table: what the rows were read from, None where they were drawn around the truth.
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
        advice = _advice(error, train, convergence or Convergence())
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


def _advice(error: float, train: Train | None, convergence: Convergence) -> str:
    """Return what may bring the optimiser nearer, of what is not so already."""
    if error > 1e3:
        return "a smaller learning rate?"
    if not convergence.squared:
        return "its loss is another than least squares': optimiser_tolerance?"
    if train and convergence.trend == "stands still" and (stands := _standing(error, train)):
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
        if error > _FLOAT32_ERROR:
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
        words += f" (of these, {multiple(abs(ratio(ols - true, se)))} are the sample's)"
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


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
