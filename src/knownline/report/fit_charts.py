"""The charts of the finished fit: the sources of its error, its points and its residuals.

Knows nothing of the page that shows them, nor of files.
"""

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import minus, multiple, plain, shown_of, significant
from knownline.core.line import Line
from knownline.evaluate.gate import Convergence
from knownline.evaluate.statistics import Evaluation, ratio
from knownline.report import equations, svg
from knownline.report.epoch_charts import Chart, measured
from knownline.report.svg import Panel, Scale

Array = npt.NDArray[np.float64]

FEW = 200
"""Up to this many points are drawn over the lines; more would hide them."""


def errors(
    evaluation: Evaluation, allowed: float, convergence: Convergence, *, shared: bool = False
) -> Chart:
    """Return the errors of the optimiser and of the sample, each in standard errors.

    allowed: the gate's limit. shared: whether all points have the same noise.
    """
    bars = []
    for name in ("w", "b"):
        fitted, ols, se = (
            getattr(part, name) for part in (evaluation.line, evaluation.ols, evaluation.se)
        )
        distances = [("optimiser", fitted - ols)]
        if evaluation.truth is not None:
            distances.insert(0, ("sample", ols - getattr(evaluation.truth, name)))
        for source, distance in distances:
            size = abs(ratio(distance, se))
            bars.append(
                (f"{name}: the {source} left {minus(multiple(size))} standard errors", size, source)
            )
    limit = (
        (allowed, f"{plain(allowed)} allowed")
        if evaluation.truth
        else (1.0, "1: what a sample leaves")
    )
    key = [("sample", "least squares − truth")] if evaluation.truth else []
    se_w, se_b = evaluation.se.w, evaluation.se.b
    return Chart(
        "Who left the error",
        svg.bars("; ".join(words for words, _, _ in bars) + ".", bars, limit),
        [*key, ("optimiser", "fit − least squares")],
        _errors_caption(evaluation, convergence, shared=shared)
        + " The scale is logarithmic. One standard error of"
        f" w is {measured(se_w, se_w)}, of b {measured(se_b, se_b)}.",
    )


def _errors_caption(evaluation: Evaluation, convergence: Convergence, *, shared: bool) -> str:
    """Return what would make each error smaller."""
    sample_words = (
        "all points have the same noise, and more of them do not make it smaller"
        if shared
        else "more points make it smaller, more epochs do not"
    )
    optimiser_words = (
        "what is left of it is float64's rounding"
        if evaluation.only_rounding
        else {
            "grows": "it grows, as it does where the learning rate is too large",
            "stands still": "it has stopped getting smaller",
            "shrinks": "more epochs make it smaller, unless the learning rate is too large",
        }[convergence.trend]
    )
    if not convergence.squared:
        optimiser_words = (
            "the training's loss is another than least squares', so it need not become small"
        )
    return f"The optimiser's part is fit − least squares: {optimiser_words}. " + (
        f"The sample's part is least squares − truth: {sample_words}."
        if evaluation.truth
        else "The sample's part cannot be known without a truth; it is about one standard error."
    )


def points(
    x: Array, y: Array, *, evaluation: Evaluation, names: tuple[str, str]
) -> tuple[Chart, Chart]:
    """Return the points, (shown,) each, with the lines, and the residuals of the fitted line."""
    ends = np.array([x.min(), x.max()])
    line, truth = evaluation.line, evaluation.truth
    shown = shown_of(len(x), evaluation.rows, "point")
    fitted = equations.of_fit(x, y, line)
    key = [("points", shown), ("fitted", f"fitted: {fitted}")]
    key += [("true", f"true: {equations.of_truth(truth)}")] if truth else []
    panels: list[Panel] = []
    few = len(x) <= FEW
    for base in (Line(0.0, 0.0), line):
        lines = [("true", truth)] if truth else []
        lines.append(("fitted", line))
        with np.errstate(over="ignore", invalid="ignore"):
            heights = [each.at(ends) - base.at(ends) for _, each in lines]
            residuals = y - base.at(x)
            panel = Panel("", Scale.over(x), Scale.over(residuals, *heights), names[0], names[1])
        if not few:
            panel.dots(x, residuals, "points many")
        for (kind, _), height in zip(lines, heights, strict=True):
            panel.line(ends, height, "true band" if kind == "true" else kind)
        if few:  # few points would be invisible under the lines, many would hide the lines
            panel.dots(x, residuals, "points loose" if panels else "points")
        panels.append(panel)
    panels[0].description = f"{shown} and the fitted line, {fitted}"
    panels[0].description += f"; the true line is {equations.of_truth(truth)}." if truth else "."
    panels[1].description = (
        f"The distances of {shown} from the fitted line; their root mean square over all rows is"
        f" {minus(significant(evaluation.train_rmse, 4))}."
    )
    panels[1].y_name = f"{names[1]} − fitted"
    return (
        Chart("The fit", str(panels[0]), key, ""),
        Chart("What the line leaves", str(panels[1]), key, ""),
    )
