"""The charts of the report by epoch, each with a description in words.

Knows nothing of the page that shows them, nor of files.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core.fits import Fit
from knownline.core.formatting import (
    counted,
    minus,
    multiple,
    plain,
    rounded,
    significant,
)
from knownline.core.history import History
from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.evaluate.statistics import Evaluation, ratio
from knownline.report import views
from knownline.report.svg import Panel, Scale
from knownline.report.views import Reference

Array = npt.NDArray[np.float64]

EPOCHS_SHOWN = 300
"""The most points on a curve by epoch; they include the first and the last epoch."""

NEARLY = 1e-9
"""A curve of distances from least squares ends below this many standard errors."""

CURVES = ("fitted", "other", "third")
"""The marks of the curves of a chart, as many as can be told apart."""

LONG = 1_000
"""With more epochs their scale is logarithmic, since a fit changes most at its start."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its title, its key, (kind, words) for each mark, and a caption."""

    title: str
    drawing: str
    key: list[tuple[str, str]]
    caption: str


@dataclass(frozen=True, slots=True)
class ShownEpochs:
    """The epochs to show, of `epochs` in all: their numbers, (shown,), and their history."""

    epochs: int
    shown: Array
    history: History

    @classmethod
    def of(cls, history: History) -> "ShownEpochs":
        """Return the epochs of a training to show: all of them or a sample."""
        last = history.epochs - 1
        indices = np.linspace(0, last, min(EPOCHS_SHOWN, last + 1))
        if last >= LONG:
            indices = np.geomspace(1, last + 1, EPOCHS_SHOWN) - 1
        shown = np.unique(np.rint(indices).astype(np.int64))
        kept = History(history.names, history.loss[shown], history.values[:, shown])
        return cls(last + 1, shown.astype(np.float64), kept)

    @property
    def loss(self) -> Array:
        """The loss of the shown epochs, (shown,)."""
        return self.history.loss

    @property
    def scale(self) -> Scale:
        """The scale of the epochs, which count from 0 as in history.csv."""
        if self.epochs > LONG:
            return Scale(0.0, self.epochs - 1.0, log=True, shift=1.0)
        ends = (0.0, self.epochs - 1.0) if self.epochs > 1 else (-0.5, 0.5)
        return Scale(*ends, whole=True)


def loss(course: ShownEpochs, last: float, reference: Reference | None, caption: str = "") -> Chart:
    """Return the loss by epoch.

    last: the mean squared error of the fit. reference: None if the training's loss is not the mean
    squared error.
    """
    if reference is None:
        return _other_loss(course)
    name, least, article = reference
    log = least > 0 or float(course.loss.min()) > 0
    y = Scale.over(course.loss, least, log=True) if log else Scale.over(course.loss, 0.0)
    first = minus(significant(float(course.loss[0]), 4))
    best = minus(significant(least, 4))
    description = (
        f"The mean squared error goes from {first} to {minus(significant(last, 4))} in"
        f" {counted(course.epochs, 'epoch')}; {article}{name} has {best}."
    )
    panel = Panel(description, course.scale, y, "epoch", "mean squared error")
    key = [("fitted", "loss")]
    if not log or least > 0:
        panel.level(least, "least")
        key.append(("least", f"{name}: {best}"))
    _curve(panel, course.shown, course.loss, "fitted")
    return Chart("The loss by epoch", str(panel), key, caption)


def _other_loss(course: ShownEpochs) -> Chart:
    """Return the loss by epoch of a training whose loss is not the mean squared error."""
    first = minus(significant(float(course.loss[0]), 4))
    final = minus(significant(float(course.loss[-1]), 4))
    description = (
        f"The loss that the training had goes from {first} to {final} in"
        f" {counted(course.epochs, 'epoch')}; it is not the mean squared error."
    )
    log = float(course.loss.min()) > 0
    y = Scale.over(course.loss, log=True) if log else Scale.over(course.loss, 0.0)
    panel = Panel(description, course.scale, y, "epoch", "the training's loss")
    _curve(panel, course.shown, course.loss, "fitted")
    return Chart("The loss by epoch", str(panel), [("fitted", "the training's loss")], "")


def coefficient(
    course: ShownEpochs, name: str, evaluation: Evaluation, start: Parameters | None
) -> Chart:
    """Return a parameter by epoch, with the values of least squares and of the truth.

    start: where the training started, None if at 0.
    """
    values, ols, se = course.history.of(name), evaluation.ols[name], evaluation.se[name]
    true = evaluation.truth[name] if evaluation.truth else None
    y = Scale.over(values, ols, *([true] if true is not None else []))
    description = (
        f"{name} goes from {measured(float(values[0]), se)} to {measured(float(values[-1]), se)};"
        f" least squares lies at {measured(ols, se)}"
        + ("." if true is None else f", the truth at {minus(plain(true))}.")
    )
    panel = Panel(description, course.scale, y, "epoch", name)
    key = [("fitted", f"{name} by epoch"), ("least", f"least squares: {measured(ols, se)}")]
    if true is not None:
        panel.level(true, "true")
        key.append(("true", f"true: {minus(plain(true))}"))
    panel.level(ols, "least")
    _curve(panel, course.shown, values, "fitted")
    caption = f"The training starts from {name} = {measured(start[name], se)}." if start else ""
    return Chart(f"{name} by epoch", str(panel), key, caption)


def distance(course: ShownEpochs, evaluation: Evaluation, start: Parameters | None) -> Chart:
    """Return the distances from least squares by epoch, in standard errors.

    There is a curve for each parameter, or, if they would be too many, one for the farthest. start:
    where the training started, None if at 0.
    """
    ols, se = (np.array(list(each.values())) for each in (evaluation.ols, evaluation.se))
    distances = np.abs(course.history.values - ols[:, None]) / np.where(se, se, math.nan)[:, None]
    largest = distances.max(axis=0)
    caption = _optimisers_part(course, largest, evaluation)
    if start:
        away = max(
            abs(ratio(start[name] - evaluation.ols[name], evaluation.se[name])) for name in start
        )
        caption = (
            f"The training starts {minus(multiple(away))} standard errors away from least squares,"
            f" in the parameter that is farthest. {caption}"
        )
    subject, curves = (
        " and ".join(evaluation.names),
        dict(zip(evaluation.names, distances, strict=True)),
    )
    if len(curves) > len(CURVES):
        subject, curves = "the parameter that is farthest", {"the farthest parameter": largest}
        caption = (
            f"The curve is that of the parameter that is farthest from least squares. {caption}"
        )
    if min(float(values.min()) for values in curves.values()) < NEARLY:
        caption += " Where a curve leaves the picture, less than 10⁻⁹ standard errors are left."
    y = Scale.over(*(np.maximum(values, NEARLY) for values in curves.values()), 1.0, log=True)
    panel = Panel("", course.scale, y, "epoch", "standard errors")
    panel.level(1.0, "least")
    marks = list(zip(CURVES, curves.items(), strict=False))
    for mark, (_, values) in reversed(marks):
        _curve(panel, course.shown, values, mark)
    panel.description = f"The distance of {subject} from least squares by epoch. {caption}"
    key = [*((mark, name) for mark, (name, _) in marks), ("least", "one standard error")]
    return Chart("The optimiser's part by epoch", str(panel), key, caption)


def _optimisers_part(course: ShownEpochs, largest: Array, evaluation: Evaluation) -> str:
    """Return from when on the optimiser's part is small. largest: in standard errors, (shown,)."""
    above = np.flatnonzero(~(largest <= 0.1))
    if len(above) and above[-1] == len(largest) - 1:
        if evaluation.only_rounding:
            return "What is left of the optimiser's part is float64's rounding."
        return "The optimiser's part is still larger than a tenth of a standard error."
    first = 0 if len(above) == 0 else int(course.shown[above[-1] + 1])
    about = "about epoch" if len(course.shown) < course.epochs else "epoch"
    return (
        f"From {about} {first:,} on the optimiser's part is less than a tenth of a standard"
        " error: what is left is the sample's."
    )


def path(course: ShownEpochs, data: Fit, evaluation: Evaluation) -> list[Chart]:
    """Return the path of the two parameters from (0, 0), over ellipses of equal loss.

    None if the model is not linear with two parameters, of which one is the constant.
    """
    if not isinstance(data, LeastSquares) or (axes := views.axes_of_path(data.model)) is None:
        return []
    w, b = axes
    ols, truth = evaluation.ols, evaluation.truth
    across, up = (np.concatenate([[0.0], course.history.of(name)]) for name in axes)
    goals = [ols, truth] if truth else [ols]
    x = Scale.over(across, [goal[w] for goal in goals])
    y = Scale.over(up, [goal[b] for goal in goals])
    reached = [measured(evaluation.fitted[name], evaluation.se[name]) for name in axes]
    description = (
        f"From {w} = 0, {b} = 0 in {counted(course.epochs, 'epoch')} to {w} = {reached[0]},"
        f" {b} = {reached[1]}, over ellipses of equal mean squared error around least squares."
    )
    panel = Panel(description, x, y, w, b)
    for a, c, d in views.ellipses(data, (x.low, x.high), (y.low, y.high)):
        panel.ellipse((ols[w], ols[b]), (a, c, 0.0, d), "contour")
    panel.line(across, up, "fitted thin")
    panel.dots(across, up, "way")
    panel.dots([0.0], [0.0], "start")
    if truth:
        panel.dots([truth[w]], [truth[b]], "goal")
    panel.dots([ols[w]], [ols[b]], "end")
    key = [("start", "start"), ("way", f"({w}, {b}) by epoch"), ("end", "least squares")]
    key += [("goal", "truth")] if truth else []
    key.append(("contour", "equal squared error, ten times the next"))
    caption = "From the end of the way to least squares is the optimiser's part"
    caption += ", from there to the truth the sample's." if truth else "."
    return [Chart("The way over the loss", str(panel), key, caption)]


def measured(value: float, error: float) -> str:
    """Return a measured value, rounded by its error, with a minus sign if negative."""
    return minus(rounded(value, error))


def _curve(panel: Panel, epochs: Array, values: Array, kind: str) -> None:
    """Draw a curve; a single epoch is a dot."""
    panel.line(epochs, values, kind)
    if len(epochs) == 1:
        panel.dots(epochs, values, "way")
