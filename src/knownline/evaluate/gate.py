"""The gate: decides whether a fit may be used, and gives its reasons in words.

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
"""The largest optimiser error that float32 rounding explains; a larger one: steps too small."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How a training converged.

    trend: whether the distance to least squares shrank or grew in the last tenth of the epochs.
    "stands still" means that the last parameters repeat earlier ones: more epochs are no use.
    squared: whether the training's loss is the mean squared error (docs/make-it-yours.md).
    linear: whether the model is linear in its parameters.
    """

    trend: Literal["shrinks", "grows", "stands still"] = "shrinks"
    squared: bool = True
    linear: bool = True

    @classmethod
    def of(cls, history: History, data: Fit) -> "Convergence":
        """Return the convergence of a training of named parameters; the default for a network."""
        if not data.model.names:
            return cls(linear=False)
        squared = _is_squared(float(history.loss[0]), data)
        return cls(_trend(history, data), squared, isinstance(data.model, Linear))


def _trend(history: History, data: Fit) -> Literal["shrinks", "grows", "stands still"]:
    last = history.epochs - 1
    if np.any(np.all(history.values[:, :last] == history.values[:, last:], axis=0)):
        return "stands still"  # plain descent then repeats itself; other optimizers hardly move
    earlier = min(int(0.9 * last), last - 1)
    if earlier < 0:
        return "shrinks"
    earlier_error, last_error = (
        optimiser_error(history.parameters(epoch), data) for epoch in (earlier, last)
    )
    return "grows" if last_error > earlier_error else "shrinks"


def _is_squared(first_loss: float, data: Fit) -> bool:
    """Return whether the first loss is the mean squared error of the training's start."""
    mean_squared = data.mean_squared_error(data.start)
    return not math.isfinite(mean_squared) or math.isclose(first_loss, mean_squared, rel_tol=1e-3)


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict and its reasons: each rule that was broken or, if none was, how each was met.

    quality_judged: whether anything was judged besides convergence.
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
    """Return the verdict: the gate passes only if every rule is known to be met.

    train, convergence: how the model was fitted and how that converged, for the advice in a reason.
    table: the file the rows were read from, None if they were drawn around the truth. checks: of
    the residuals, if a rule needs them.
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
                f"{table} is compared with the truth in params.yaml: write `truth: null` if its"
                " true parameters are unknown"
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
    fit = f"the fit is {significant(error, 2)} (relative) from least squares"
    limit = f"tolerance {significant(tolerance, 6)}"
    if tolerance > rules.optimiser_tolerance:
        limit += ", the rounding of float64"
    if 0 <= error <= tolerance < math.inf:
        return True, f"the optimiser converged: {fit} ({limit})"
    advice = _advice(error, train, convergence or Convergence())
    return False, f"{fit} ({limit}): the optimiser has not converged ({advice})"


def _advice(error: float, train: Train | None, convergence: Convergence) -> str:
    """Return what may help the optimiser to converge, without what is set already."""
    if error > 1e3:
        return "a smaller learning rate?"
    if not convergence.squared:
        return "its loss is not the squared error: a larger optimiser_tolerance?"
    if train and convergence.trend == "stands still" and (advice := _stalled_advice(error, train)):
        return f"it no longer moves: {advice}"
    hints = []
    if train and not convergence.linear and train.optimizer != "lbfgs":
        hints.append("train.optimizer lbfgs?")
    if not _cannot_converge(train, convergence):
        hints.append("more epochs?")
    if train is None or (convergence.linear and _cannot_converge(train, convergence)):
        hints.append("a learning rate below 1?")
    if train is None or not train.standardize:
        hints.append("standardize?")
    if train is None or train.dtype != "float64":
        hints.append("float64?")
    if not convergence.linear and train and train.optimizer == "lbfgs":
        hints += ["an x nearer to 0?", "another start in model.py?"]
    return " ".join(hints) or "a larger optimiser_tolerance?"


def _cannot_converge(train: Train | None, convergence: Convergence) -> bool:
    """Return whether more epochs are known not to help."""
    if not convergence.linear:
        return convergence.trend == "stands still"
    if train is None or train.optimizer != "gd":
        return False
    return train.standardize and train.learning_rate >= 1


def _stalled_advice(error: float, train: Train) -> str:
    """Return what may help an optimiser that no longer moves; more epochs would not."""
    if train.dtype != "float64":
        if error > _FLOAT32_ERROR:
            return "float64? a larger learning rate?"
        # 1.0e-6 and not 1e-6, which YAML 1.1 reads as text.
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
        f"{name} = {rounded(fitted, se)} ± {rounded(se, se)} is {multiple(abs(z))} standard"
        f" errors from the true value {plain(true)} (limit {plain(limit)})"
    )
    if not near and not converged:
        reason += f" (of these, {multiple(abs(ratio(ols - true, se)))} are sampling error)"
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
    """Return the result of the linear model of a network's inputs on the held-out rows."""
    if evaluation.linear is None:
        return {}
    linear = evaluation.linear
    return {"linear": {"rmse": _or_null(linear.reference_rmse), "p": _or_null(linear.p_better)}}


def _not_finite(evaluation: Evaluation) -> list[str]:
    values: list[tuple[str, float | None]] = [
        *evaluation.fitted.items(),
        *((f"the least-squares {name}", value) for name, value in evaluation.ols.items()),
        *((f"the standard error of {name}", value) for name, value in evaluation.se.items()),
        ("the training RMSE", evaluation.train_rmse),
        ("the last loss", evaluation.last_loss),
    ]
    if evaluation.holdout_rows:
        values.append(("the holdout RMSE", evaluation.holdout_rmse))
    if evaluation.holdout_r2 is not None:
        values.append(("the holdout R²", evaluation.holdout_r2))
    failures = [
        f"{name} is not a finite number"
        for name, value in values
        if value is None or not math.isfinite(value)
    ]
    if math.inf in evaluation.se.values():
        failures.append("the terms are collinear, so there is no single best fit")
    return failures


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
