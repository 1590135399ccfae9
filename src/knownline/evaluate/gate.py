"""The gate: decides whether a fit may be used, and gives the reasons in words.

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
"""The largest optimiser error that float32 rounding explains; a larger one means small steps."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How a training converged.

    trend: whether the distance to least squares shrank or grew in the last tenth of the epochs.
    "stands still" means that (w, b) repeat earlier values, so more epochs would change nothing.
    squared: whether the training's loss is the mean squared error (docs/make-it-yours.md).
    """

    trend: Literal["shrinks", "grows", "stands still"] = "shrinks"
    squared: bool = True

    @classmethod
    def of(cls, loss: Array, w: Array, b: Array, *, rows: Compressed) -> "Convergence":
        """Return the convergence of a training from (0, 0); loss, w, b by epoch: (epochs,) each."""
        return cls(_trend(w, b, rows), _is_squared(float(loss[0]), rows))


def _trend(w: Array, b: Array, rows: Compressed) -> Literal["shrinks", "grows", "stands still"]:
    last = len(w) - 1
    if np.any((w[:last] == w[last]) & (b[:last] == b[last])):
        return "stands still"  # a step depends on (w, b) alone
    earlier = min(int(0.9 * last), last - 1)
    if earlier < 0:
        return "shrinks"
    earlier_error, last_error = (
        optimiser_error(Line(float(w[n]), float(b[n])), rows) for n in (earlier, last)
    )
    return "grows" if last_error > earlier_error else "shrinks"


def _is_squared(first_loss: float, rows: Compressed) -> bool:
    """Return whether the first loss is the mean squared error at (0, 0)."""
    mean_squared = rows.mean_squared_error(Line(0.0, 0.0))
    return not math.isfinite(mean_squared) or math.isclose(first_loss, mean_squared, rel_tol=1e-3)


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict and its reasons: every rule that was broken, or how each rule was met."""

    passed: bool
    reasons: list[str]


def judge(
    evaluation: Evaluation,
    rules: Evaluate,
    train: Train | None = None,
    convergence: Convergence | None = None,
    *,
    table: str | None = None,
) -> Gate:
    """Return the verdict; whatever is not known to be good is refused.

    train, convergence: how the line was fitted and how that converged, for the advice in a reason.
    table: the file the rows were read from, None if they were drawn around the truth.
    """
    failures = _not_finite(evaluation)
    error = evaluation.optimiser_error
    tolerance = max(rules.optimiser_tolerance, evaluation.optimiser_rounding)
    passes = [
        f"the fit lies {significant(error, 2)} (relative) from least squares;"
        f" {significant(tolerance, 6)} is allowed"
    ]
    if tolerance > rules.optimiser_tolerance:
        passes[0] += " (float64 leaves so much here)"
    converged = 0 <= error <= tolerance < math.inf
    if not converged:
        advice = _advice(error, train, convergence or Convergence())
        failures.append(f"{passes[0]}: the optimiser has not arrived ({advice})")
    if evaluation.truth is None:
        passes.append("there is no truth to hold the fit against (truth: null)")
    else:
        coefficients = [
            _truth_reason(evaluation, name, rules.z, converged=converged) for name in ("w", "b")
        ]
        for near, reason in coefficients:
            (passes if near else failures).append(reason)
        if table and not all(near for near, _ in coefficients):
            failures.append(
                f"{table} is held against the truth in params.yaml: write `truth: null` where"
                " nobody knows it"
            )
    return Gate(passed=not failures, reasons=failures or passes)


def _advice(error: float, train: Train | None, convergence: Convergence) -> str:
    """Return what may bring the optimiser nearer, leaving out what is set already."""
    if error > 1e3:
        return "a smaller learning rate?"
    if not convergence.squared:
        return "its loss is another than least squares': optimiser_tolerance?"
    if train and convergence.trend == "stands still" and (advice := _stalled_advice(error, train)):
        return f"it stands still: {advice}"
    hints = []
    if train is None or not train.standardize or train.learning_rate < 1:
        hints.append("more epochs?")
    if train is None or (train.standardize and train.learning_rate >= 1):
        hints.append("a learning rate below 1?")
    if train is None or not train.standardize:
        hints.append("standardize?")
    if train is None or train.dtype != "float64":
        hints.append("float64?")
    return " ".join(hints)


def _stalled_advice(error: float, train: Train) -> str:
    """Return what may help an optimiser that stands still, which more epochs would not."""
    if train.dtype != "float64":
        if error > _FLOAT32_ERROR:
            return "float64? a larger learning rate?"
        # With a point, since YAML reads 1e-6 as text.
        return f"float64? optimiser_tolerance 1.0e{max(math.ceil(math.log10(error)), -6)}?"
    return "a larger learning rate?" if train.learning_rate < 1 else ""


def _truth_reason(
    evaluation: Evaluation, name: str, limit: float, *, converged: bool
) -> tuple[bool, str]:
    """Return whether a coefficient is within `limit` standard errors of its truth, and a reason."""
    fitted, ols = getattr(evaluation.line, name), getattr(evaluation.ols, name)
    true, se = getattr(evaluation.truth, name), getattr(evaluation.se, name)
    z = getattr(evaluation.z, name, math.nan)
    near = abs(z) <= limit
    reason = (
        f"{name} = {rounded(fitted, se)} lies {multiple(abs(z))} standard errors"
        f" ({significant(se, 2)} each)"
        f" from the true {plain(true)}; {plain(limit)} are allowed"
    )
    if not near and not converged:
        reason += f" (of these, {multiple(abs(ratio(ols - true, se)))} are the sample's)"
    return near, reason


def as_metrics(evaluation: Evaluation, gate: Gate) -> dict[str, Any]:
    """Return the content of reports/metrics.json: null for what is unknown or not finite."""
    truth, z = evaluation.truth, evaluation.z
    return {
        "w": _or_null(evaluation.line.w),
        "b": _or_null(evaluation.line.b),
        "truth": {"w": truth.w if truth else None, "b": truth.b if truth else None},
        "ols": {"w": _or_null(evaluation.ols.w), "b": _or_null(evaluation.ols.b)},
        "se": {"w": _or_null(evaluation.se.w), "b": _or_null(evaluation.se.b)},
        "z": {"w": _or_null(z.w) if z else None, "b": _or_null(z.b) if z else None},
        # Four digits: MLflow's table would cut off the exponent of 4.10383623516e-10.
        "optimiser_error": _or_null(float(f"{evaluation.optimiser_error:.4g}")),
        "rows": evaluation.rows,
        "train": {"rmse": _or_null(evaluation.train_rmse)},
        "holdout": {
            "rows": evaluation.holdout_rows,
            "rmse": _or_null(evaluation.holdout_rmse),
            "r2": _or_null(evaluation.holdout_r2),
        },
        "gate": {"passed": gate.passed, "reasons": gate.reasons},
    }


def _not_finite(evaluation: Evaluation) -> list[str]:
    values: list[tuple[str, float | None]] = [
        ("w", evaluation.line.w),
        ("b", evaluation.line.b),
        ("least squares' w", evaluation.ols.w),
        ("least squares' b", evaluation.ols.b),
        ("the standard error of w", evaluation.se.w),
        ("the standard error of b", evaluation.se.b),
        ("the training error", evaluation.train_rmse),
        ("the last loss", evaluation.last_loss),
    ]
    if evaluation.holdout_rows:
        values.append(("the holdout error", evaluation.holdout_rmse))
    if evaluation.holdout_r2 is not None:
        values.append(("the holdout's R²", evaluation.holdout_r2))
    return [
        f"{name} is not a finite number"
        for name, value in values
        if value is None or not math.isfinite(value)
    ]


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
