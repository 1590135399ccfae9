"""The gate: decides whether a fit may be used, and gives the reasons in words.

Knows nothing of files, of torch or of how the model was fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from knownline.core.fits import Fit
from knownline.core.formatting import multiple, plain, rounded, significant
from knownline.core.history import History
from knownline.core.kinds import Linear, Parameters
from knownline.evaluate import quality
from knownline.evaluate.residuals import Check
from knownline.evaluate.statistics import Evaluation, optimiser_error, ratio
from knownline.params import Evaluate, Train

_FLOAT32_ERROR = 1e-4
"""The largest optimiser error that float32 rounding explains; a larger one means small steps."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How a training converged.

    trend: whether the distance to least squares shrank or grew in the last tenth of the epochs.
    "stands still" means that parameters repeat earlier ones, so more epochs would change nothing.
    squared: whether the training's loss is the mean squared error (docs/make-it-yours.md).
    linear: whether the model is linear in its parameters.
    """

    trend: Literal["shrinks", "grows", "stands still"] = "shrinks"
    squared: bool = True
    linear: bool = True

    @classmethod
    def of(cls, history: History, data: Fit) -> "Convergence":
        """Return the convergence of a training of named parameters; of a network, the default."""
        if not data.model.names:
            return cls(linear=False)
        squared = _is_squared(float(history.loss[0]), data)
        return cls(_trend(history, data), squared, isinstance(data.model, Linear))


def _trend(history: History, data: Fit) -> Literal["shrinks", "grows", "stands still"]:
    last = history.epochs - 1
    if np.any(np.all(history.values[:, :last] == history.values[:, last:], axis=0)):
        return "stands still"  # plain descent then repeats itself, and others stand too
    earlier = min(int(0.9 * last), last - 1)
    if earlier < 0:
        return "shrinks"
    earlier_error, last_error = (
        optimiser_error(history.parameters(epoch), data) for epoch in (earlier, last)
    )
    return "grows" if last_error > earlier_error else "shrinks"


def _is_squared(first_loss: float, data: Fit) -> bool:
    """Return whether the first loss is the mean squared error where the training starts."""
    mean_squared = data.mean_squared_error(data.start)
    return not math.isfinite(mean_squared) or math.isclose(first_loss, mean_squared, rel_tol=1e-3)


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict and its reasons: every rule that was broken, or how each rule was met.

    quality_judged: whether anything but the optimiser was judged.
    """

    passed: bool
    reasons: list[str]
    quality_judged: bool = True


def judge(
    evaluation: Evaluation,
    rules: Evaluate,
    train: Train | None = None,
    convergence: Convergence | None = None,
    *,
    table: str | None = None,
    checks: Sequence[Check] = (),
) -> Gate:
    """Return the verdict; whatever is not known to be good is refused.

    train, convergence: how the model was fitted and how that converged, for the advice in a reason.
    table: the file the rows were read from, None if they were drawn around the truth. checks: of
    the residuals, where a rule asks for them.
    """
    failures, converged = _not_finite(evaluation), True
    passes: list[str] = []
    if evaluation.optimiser_error is not None:
        converged, reason = _convergence_reason(evaluation, rules, train, convergence)
        (passes if converged else failures).append(reason)
    if not quality.is_judged(evaluation, rules):
        passes.append(quality.NOT_JUDGED)
    if evaluation.truth is not None:
        coefficients = [
            _truth_reason(evaluation, name, rules.z, converged=converged)
            for name in evaluation.names
        ]
        for near, reason in coefficients:
            (passes if near else failures).append(reason)
        if table and not all(near for near, _ in coefficients):
            failures.append(
                f"{table} is held against the truth in params.yaml: write `truth: null` where"
                " nobody knows it"
            )
    for met, reason in quality.reasons(evaluation, rules, checks):
        (passes if met else failures).append(reason)
    return Gate(not failures, failures or passes, quality.is_judged(evaluation, rules))


def _convergence_reason(
    evaluation: Evaluation, rules: Evaluate, train: Train | None, convergence: Convergence | None
) -> tuple[bool, str]:
    """Return whether the optimiser has converged, and a reason."""
    error = evaluation.optimiser_error
    assert error is not None
    tolerance = max(rules.optimiser_tolerance, evaluation.optimiser_rounding)
    reason = (
        f"the fit lies {significant(error, 2)} (relative) from least squares;"
        f" {significant(tolerance, 6)} is allowed"
    )
    if tolerance > rules.optimiser_tolerance:
        reason += " (float64 leaves so much here)"
    if 0 <= error <= tolerance < math.inf:
        return True, reason
    advice = _advice(error, train, convergence or Convergence())
    return False, f"{reason}: the optimiser has not arrived ({advice})"


def _advice(error: float, train: Train | None, convergence: Convergence) -> str:
    """Return what may bring the optimiser nearer, leaving out what is set already."""
    if error > 1e3:
        return "a smaller learning rate?"
    if not convergence.squared:
        return "its loss is another than least squares': optimiser_tolerance?"
    if train and convergence.trend == "stands still" and (advice := _stalled_advice(error, train)):
        return f"it stands still: {advice}"
    hints = []
    if train and not convergence.linear and train.optimizer != "lbfgs":
        hints.append("train.optimizer lbfgs?")
    if not _never_arrives(train, convergence):
        hints.append("more epochs?")
    if train is None or (convergence.linear and _never_arrives(train, convergence)):
        hints.append("a learning rate below 1?")
    if train is None or not train.standardize:
        hints.append("standardize?")
    if train is None or train.dtype != "float64":
        hints.append("float64?")
    if not convergence.linear and train and train.optimizer == "lbfgs":
        hints += ["an x nearer to 0?", "another start in model.py?"]
    return " ".join(hints) or "optimiser_tolerance?"


def _never_arrives(train: Train | None, convergence: Convergence) -> bool:
    """Return whether more epochs of the same would not help, as far as that is known."""
    if not convergence.linear:
        return convergence.trend == "stands still"
    if train is None or train.optimizer != "gd":
        return False
    return train.standardize and train.learning_rate >= 1


def _stalled_advice(error: float, train: Train) -> str:
    """Return what may help an optimiser that stands still, which more epochs would not."""
    if train.dtype != "float64":
        if error > _FLOAT32_ERROR:
            return "float64? a larger learning rate?"
        # With a point: a number in every version of YAML.
        return f"float64? optimiser_tolerance 1.0e{max(math.ceil(math.log10(error)), -6)}?"
    return "a larger learning rate?" if train.learning_rate < 1 else ""


def _truth_reason(
    evaluation: Evaluation, name: str, limit: float, *, converged: bool
) -> tuple[bool, str]:
    """Return whether a parameter is within `limit` standard errors of its truth, and a reason."""
    assert evaluation.truth is not None
    fitted, ols, se = evaluation.fitted[name], evaluation.ols[name], evaluation.se[name]
    true, z = evaluation.truth[name], (evaluation.z or {}).get(name, math.nan)
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
    unknown = dict.fromkeys(evaluation.names)

    def finite(values: Parameters) -> dict[str, float | None]:
        return {name: _or_null(value) for name, value in values.items()}

    return {
        **finite(evaluation.fitted),
        "truth": evaluation.truth or unknown,
        "ols": finite(evaluation.ols),
        "se": finite(evaluation.se),
        "z": finite(evaluation.z) if evaluation.z else unknown,
        # Four digits: MLflow's table would cut off the exponent of 4.10383623516e-10.
        "optimiser_error": _or_null(_rounded(evaluation.optimiser_error)),
        "rows": evaluation.rows,
        "train": {"rmse": _or_null(evaluation.train_rmse)},
        "holdout": {
            "rows": evaluation.holdout_rows,
            "rmse": _or_null(evaluation.holdout_rmse),
            "r2": _or_null(evaluation.holdout_r2),
        },
        **_linear(evaluation),
        "gate": {
            "passed": gate.passed,
            "reasons": gate.reasons,
            **({} if gate.quality_judged else {"quality": "not judged"}),
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _linear(evaluation: Evaluation) -> dict[str, Any]:
    """Return how the linear model of a network's inputs does on the held-out rows."""
    if evaluation.linear is None:
        return {}
    linear = evaluation.linear
    return {"linear": {"rmse": _or_null(linear.reference_rmse), "p": _or_null(linear.p_better)}}


def _not_finite(evaluation: Evaluation) -> list[str]:
    values: list[tuple[str, float | None]] = [
        *evaluation.fitted.items(),
        *((f"least squares' {name}", value) for name, value in evaluation.ols.items()),
        *((f"the standard error of {name}", value) for name, value in evaluation.se.items()),
        ("the training error", evaluation.train_rmse),
        ("the last loss", evaluation.last_loss),
    ]
    if evaluation.holdout_rows:
        values.append(("the holdout error", evaluation.holdout_rmse))
    if evaluation.holdout_r2 is not None:
        values.append(("the holdout's R²", evaluation.holdout_r2))
    failures = [
        f"{name} is not a finite number"
        for name, value in values
        if value is None or not math.isfinite(value)
    ]
    if math.inf in evaluation.se.values():
        failures.append("parameters determine each other, so there is no single best fit")
    return failures


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
