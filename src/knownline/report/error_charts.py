"""The charts of the errors beside the limits of the gate: from the truth, and of the optimiser.

Knows nothing of the page that shows them, nor of files.
"""

import math

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import counted, minus, multiple, plain
from knownline.core.least_squares import LeastSquares
from knownline.evaluate import statistics
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import Evaluation, ratio
from knownline.params import Evaluate
from knownline.report.epoch_charts import EPOCHS_SHOWN, Course
from knownline.report.svg import Chart, Panel, Scale
from knownline.report.values import number

Array = npt.NDArray[np.float64]

ROWS_SHOWN = 10
"""The most parameters that have a row in the chart of the errors; the table has all."""

PREDICTED = 10**8
"""The most rows that are predicted for a curve: so many take some seconds."""


def tolerance(evaluation: Evaluation, rules: Evaluate) -> float:
    """Return the largest optimiser error with which the gate passes."""
    return max(rules.optimiser_tolerance, evaluation.optimiser_rounding)


def converged(evaluation: Evaluation, rules: Evaluate) -> bool:
    """Return whether the optimiser error is within the tolerance, as the gate has it."""
    error = evaluation.optimiser_error
    return error is None or 0 <= error <= tolerance(evaluation, rules) < math.inf


def beyond(evaluation: Evaluation, rules: Evaluate) -> list[str]:
    """Return the parameters that are not within the limit of their true values."""
    return [name for name, z in (evaluation.z or {}).items() if not abs(z) <= rules.z]


def from_truth(evaluation: Evaluation, rules: Evaluate) -> Chart | None:
    """Return the distances from the truth in standard errors, beside the limit of the gate.

    The scale is linear; what lies beyond it is an arrow. None if no truth or no standard error is
    known.
    """
    truth, limit = evaluation.truth, rules.z
    if truth is None or not evaluation.z or not all(map(math.isfinite, evaluation.se.values())):
        return None
    by_size = sorted(evaluation.z, key=lambda name: -abs(evaluation.z[name]))  # type: ignore[index]
    names = [name for name in evaluation.names if name in by_size[:ROWS_SHOWN]]
    x = Scale(-2 * limit, 2 * limit)
    panel = Panel(x, Scale(len(names) - 0.5, -0.5), "standard errors from the truth", "", names)
    panel.upright(0.0, "true")
    for side in (-limit, limit):
        panel.upright(side, "limit")
    outside, words = [], []
    for row, name in enumerate(names):
        z = evaluation.z[name]
        least = ratio(evaluation.ols[name] - truth[name], evaluation.se[name])
        for value, kind in ((least, "ring"), (z, "fit")):
            if x.low <= value <= x.high:
                panel.dots([value], [row], kind)
                if kind == "ring":
                    panel.dots([value], [row], "hole")
            elif not math.isnan(value):
                panel.arrow(row, f"arrow {kind}", right=value > 0)
        shown = minus(multiple(z, signed=True))
        words.append(f"{name} {shown} (of which sampling {minus(multiple(least, signed=True))})")
        if not x.low <= z <= x.high:
            outside.append(f"{name} at {shown}")
    key = [("fit", "fit"), ("ring", "least squares"), ("true", "truth")]
    key.append(("limit", f"limit of the gate: ±{plain(limit)}"))
    caption = _near(evaluation, rules)
    if outside:
        caption += f" Off the chart: {', '.join(outside)}."
    if len(names) < len(by_size):
        caption += f" The chart has the {len(names)} farthest of {len(by_size)}."
    description = f"In standard errors from the truth: {'; '.join(words)}. {caption}"
    return Chart("from-truth", "Distance from the truth", description, panel, key, caption)


def _near(evaluation: Evaluation, rules: Evaluate) -> str:
    far, limit = beyond(evaluation, rules), f"{plain(rules.z)} standard errors"
    if far:
        return f"More than {limit} from the truth: {listed(far)}."
    subject = within(evaluation.names)
    return f"{subject[0].upper()}{subject[1:]} within {limit} of the truth."


def within(names: tuple[str, ...]) -> str:
    """Return the parameters as the subject of a sentence, with its verb."""
    if len(names) == 1:
        return f"parameter {names[0]} is"
    return "both parameters are" if len(names) == 2 else f"all {len(names)} parameters are"


def listed(names: list[str]) -> str:
    """Return names as a list in words, the first few of many."""
    shown, more = names[:4], len(names) - 4
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def optimiser(results: Results, rules: Evaluate) -> Chart:
    """Return the optimiser error by epoch, beside the tolerance of the gate."""
    found, data, most = results.evaluation, results.data, EPOCHS_SHOWN
    if not isinstance(data, LeastSquares):
        most = max(20, min(most, PREDICTED // found.rows))
    course, allowed = Course.of(results, most), tolerance(found, rules)
    with np.errstate(all="ignore"):
        errors = np.array([statistics.optimiser_error(each, data) for each in course.parameters()])
    # An error of 0 has no logarithm: it is drawn at the lower end of the scale.
    floor = min(float(np.min(errors[errors > 0], initial=allowed)), allowed / 10)
    y = Scale.over(np.maximum(errors, floor), allowed / 3, log=True)
    panel = course.panel(y, "relative to the spread of y", {"fitted": np.maximum(errors, y.low)})
    panel.level(allowed, "limit")
    limit = number(allowed, 2)
    caption = (
        f"{'Converged' if converged(found, rules) else 'Not converged'}: the optimiser error is"
        f" {number(found.optimiser_error, 2)} after {counted(course.last, 'epoch')}; the tolerance"
        f" is {limit}."
    )
    key = [("fitted", "optimiser error"), ("limit", f"tolerance: {limit}")]
    description = f"The optimiser error starts at {number(float(errors[0]), 2)}. {caption}"
    return Chart("optimiser", "Optimiser error by epoch", description, panel, key, caption)
