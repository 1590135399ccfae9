"""The charts of the finished fit: the sources of its error, its points and its residuals.

Knows nothing of the page that shows them, nor of files.
"""

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import minus, multiple, plain, shown_of, significant
from knownline.evaluate.gate import Convergence
from knownline.evaluate.statistics import Evaluation, ratio
from knownline.report import svg
from knownline.report.epoch_charts import Chart, measured
from knownline.report.svg import Panel, Scale, shortened
from knownline.report.views import View

Array = npt.NDArray[np.float64]

FEW = 200
"""Up to this many points are drawn over the curves; more would hide them."""

SHORT_NAME = 6
"""Beside a longer name, a phone has no room for a sentence over a bar."""


def errors(
    evaluation: Evaluation, allowed: float, convergence: Convergence, *, shared: bool = False
) -> Chart:
    """Return the errors of the optimiser and of the sample, each in standard errors.

    allowed: the gate's limit. shared: whether all points have the same noise.
    """
    bars, words = [], []
    long = max(map(len, evaluation.names)) > SHORT_NAME
    for name in evaluation.names:
        ols = evaluation.ols[name]
        distances = [("optimiser", evaluation.fitted[name] - ols)]
        if evaluation.truth is not None:
            distances.insert(0, ("sample", ols - evaluation.truth[name]))
        for source, distance in distances:
            size = abs(ratio(distance, evaluation.se[name]))
            words.append(f"{name}: the {source} left {minus(multiple(size))} standard errors")
            short = f"{shortened(name, 24)}: {source} {minus(multiple(size))}"
            bars.append((short if long else words[-1], size, source))
    limit = (
        (allowed, f"{plain(allowed)} allowed")
        if evaluation.truth
        else (1.0, "1: what a sample leaves")
    )
    key = [("sample", "least squares − truth")] if evaluation.truth else []
    caption = _errors_caption(evaluation, convergence, shared=shared)
    caption += " The scale is logarithmic."
    if len(evaluation.names) <= 2:
        each = [f"{measured(se, se)} for {name}" for name, se in evaluation.se.items()]
        caption += f" One standard error is {', '.join(each)}."
    return Chart(
        "Who left the error",
        svg.bars(f"{'; '.join(words)}.", bars, limit),
        [*key, ("optimiser", "fit − least squares")],
        caption,
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


def points(view: View, evaluation: Evaluation) -> tuple[Chart, Chart]:
    """Return the points with the curves, and the residuals of the fit."""
    shown = shown_of(len(view.x), evaluation.rows, "point")
    fitted, *true = (view.labels[name] for name in ("fitted", "true") if name in view.labels)
    key = [("points", shown), ("fitted", fitted), *(("true", label) for label in true)]
    fit = _panel(view, view.y, view.curves, view.y_name)
    fit.description = (
        f"{shown}, {view.y_name} against {view.x_name}, with the fitted "
        f"{'; '.join([view.noun, *(label for label in (fitted, *true) if label != view.noun)])}."
    )
    left = _panel(view, view.residuals, view.residual_curves, view.residual_name, "loose")
    left.description = (
        f"The distances of {shown} from the fitted {view.noun}; their root mean square over all"
        f" rows is {minus(significant(evaluation.train_rmse, 4))}."
    )
    return Chart("The fit", str(fit), key, ""), Chart(
        f"What the {view.noun} leaves", str(left), key, ""
    )


def _panel(view: View, y: Array, curves: dict[str, Array], name: str, form: str = "") -> Panel:
    """Return points at the view's x and y, (shown,), and curves by kind, (drawn,) each."""
    panel = Panel("", Scale.over(view.x), Scale.over(y, *curves.values()), view.x_name, name)
    few = len(y) <= FEW
    if not few:
        panel.dots(view.x, y, "points many")
    for kind, heights in curves.items():
        finite = np.isfinite(heights)
        panel.line(view.at[finite], heights[finite], "true band" if kind == "true" else kind)
    if few:  # few points would be invisible under the curves, many would hide the curves
        panel.dots(view.x, y, f"points {form}".strip())
    return panel
