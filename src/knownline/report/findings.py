"""What the report says in sentences: the verdict, the sources of error, and the residuals.

The gate's own reasons are shown as they are; these sentences agree with them. Knows nothing of the
page that shows them, nor of files.
"""

import math

import numpy as np

from knownline.core.formatting import counted, minus, plain, to_gap
from knownline.core.kinds import Network
from knownline.evaluate.gate import as_metrics
from knownline.evaluate.residuals import FAINT, SAMPLES, Check, Residuals
from knownline.evaluate.results import Results
from knownline.evaluate.verdict import verdict as describe
from knownline.params import Params
from knownline.report import equations
from knownline.report.epoch_charts import Course
from knownline.report.error_charts import beyond, converged, listed, within
from knownline.report.tables import Table
from knownline.report.values import number

SMALL = 0.1
"""An optimiser error of fewer standard errors than this is small beside the sampling error."""


def verdict(results: Results) -> str:
    """Return the verdict of the gate, as in `knownline summary`."""
    if not results.gate.passed:
        return "Gate failed"
    return f"Gate {describe(as_metrics(results.evaluation, results.gate))}"


def headline(params: Params, results: Results, checks: list[Check]) -> str:
    """Return the verdict's reason in one sentence. checks: of the residuals."""
    found, rules, parts = results.evaluation, params.evaluate, []
    far, limit = beyond(found, rules), f"{plain(rules.z)} standard errors"
    if not results.gate.passed:
        if not converged(found, rules):
            parts.append("the optimiser has not converged")
        if far:
            subject = "parameter {} is" if len(far) == 1 else "parameters {} are"
            parts.append(f"{subject.format(listed(far))} more than {limit} from the truth")
        broken = counted(len(results.gate.reasons), "rule")
        return _sentence(parts or [f"the fit breaks {broken} of the gate"])
    if not found.is_network:
        parts.append("the optimiser has converged")
    elif rules.beats_linear is not None:
        parts.append("the network is better than the linear model of its inputs")
    if found.truth:
        parts.append(f"{within(found.names)} within {limit} of the truth")
    if rules.has_quality:
        parts.append("the rules of quality in params.yaml are met")
    if not results.gate.quality_judged:
        parts.append("no rule judges the quality of the fit")
    wrong = contradicting(checks, params)
    return _sentence(parts, f"; but the residuals show {_abouts(wrong)}" if wrong else "")


def _sentence(parts: list[str], exception: str = "") -> str:
    text = ", and ".join(parts) + exception
    return f"{text[0].upper()}{text[1:]}."


def contradicting(checks: list[Check], params: Params) -> list[Check]:
    """Return the checks that say that the model is wrong, so that its standard errors are too.

    Of points that were drawn from the model, none does: whatever it finds is chance.
    """
    levels = params.evaluate.residual_levels
    return [
        check
        for check in checks
        if params.generate.table is not None
        and check.key in ("bend", "scatter")
        and (check.sign == "clear" or p_value(check) < levels.get(check.key, 0.0))
    ]


def p_value(check: Check) -> float:
    """Return the p-value of a check, as the gate has it."""
    return (check.as_much + 1) / (SAMPLES + 1)


def sources(params: Params, results: Results, course: Course) -> list[tuple[str, str]]:
    """Return what each source of error is, and what would make it smaller, by name."""
    found, settings = results.evaluation, params.generate
    sampling = "Least squares − truth. More points make it smaller; more epochs do not."
    if settings.table is None and settings.noise.kind == "shared-integer":
        sampling = "Least squares − truth. All points have the same noise, so more do not help."
    if not found.truth:
        sampling = "Unknown without the true values; about one standard error is usual."
    optimiser = f"Fit − least squares. {_trend(results)} {_when_small(results, course)}"
    words = [("Sampling error", sampling), ("Optimiser error", optimiser.strip())]
    rules = params.evaluate
    if not results.gate.passed and converged(found, rules) and not beyond(found, rules):
        broken = minus("; ".join(results.gate.reasons))
        words.append(("Gate", f"The limits drawn here are met. The gate failed by: {broken}."))
    return words


def _trend(results: Results) -> str:
    """Return what would make the optimiser error smaller."""
    if not results.convergence.squared:
        return "The training loss is not that of least squares, so it need not become small."
    if results.evaluation.only_rounding:
        return "Only float64's rounding is left of it."
    return {
        "grows": "It grows, as it does if the learning rate is too large.",
        "stands still": "It has stopped getting smaller.",
        "shrinks": "More epochs make it smaller, unless the learning rate is too large.",
    }[results.convergence.trend]


def _when_small(results: Results, course: Course) -> str:
    """Return from which epoch on the optimiser error is small beside the sampling error."""
    ols, se = results.evaluation.ols, results.evaluation.se
    if not all(0 < each < math.inf for each in se.values()):
        return ""
    with np.errstate(all="ignore"):
        away = [np.abs(values - ols[name]) / se[name] for name, values in course.values.items()]
    above = np.flatnonzero(~(np.max(away, axis=0) <= SMALL))
    if len(above) and above[-1] == len(course.shown) - 1:
        return f"A parameter is still more than {SMALL} standard errors from least squares."
    first = int(course.shown[above[-1] + 1]) if len(above) else 0
    about = "about epoch" if len(course.shown) <= course.last else "epoch"
    return (
        f"From {about} {first:,} on, every parameter is within {SMALL} standard errors of least"
        " squares."
    )


def residual_words(checked: Residuals, params: Params) -> list[str]:
    """Return what the residuals say, the main thing first."""
    kind, noun = params.kind, equations.noun(params.kind)
    place = f"where {'the network' if isinstance(kind, Network) else 'least squares'} has y"
    place = "at x" if len(kind.inputs) == 1 else place
    points = (
        f"Of {counted(checked.rows, 'point')}, the farthest lies {checked.farthest:.1f} times their"
        f" root mean square from the {noun}, {place} ="
        f" {minus(to_gap(checked.farthest_x, checked.gap))}."
    )
    if checked.unchecked:
        return [points, f"The residuals were not tested: {checked.unchecked}."]
    words = [_look(checked.checks, params), points]
    if any(check.of_the_fit for check in checked.checks):
        words.append(
            f"The trend is that of the fitted {noun}. The other tests are of the residuals of least"
            " squares, so that the optimiser error is not taken for noise."
        )
    levels = params.evaluate.residual_levels
    if levels:
        limits = ", ".join(f"{name} below {plain(level)}" for name, level in levels.items())
        words.append(f"The gate fails a fit with a p-value for {limits}.")
    else:
        words.append("The gate does not judge these tests.")
    return words


def _look(checks: list[Check], params: Params) -> str:
    """Return whether the residuals look like noise, in one sentence."""
    wrong = contradicting(checks, params)
    if wrong:
        return f"The residuals do not look like noise. They show {_abouts(wrong)}."
    trend = [check for check in checks if check.of_the_fit and check.sign != "none"]
    if trend:
        return f"The residuals show {_abouts(trend)}."
    signs = [check for check in checks if check.as_much < FAINT * SAMPLES]
    if not signs:
        return "The residuals look like noise."
    if params.generate.table is None and params.generate.noise.kind == "normal":
        return "The points were drawn with normal noise, so small p-values here are chance."
    if any(check.sign == "clear" for check in signs):
        return f"The residuals show {_abouts(signs)}."
    chance = "Of fits to pure noise, one in seven shows some such sign."
    return f"The residuals may show {_abouts(signs)}. {chance}"


def _abouts(checks: list[Check]) -> str:
    return listed([check.about for check in checks])


def residual_tests(checks: list[Check]) -> Table:
    """Return the tests of the residuals, with their p-values."""
    rows = [
        [check.about, f"{check.name} = {number(check.value, 3)}", number(p_value(check), 2)]
        for check in checks
    ]
    caption = f"p-values by {SAMPLES:,} simulated samples of normal noise."
    return Table(caption, ["test for", "statistic", "p"], rows)
