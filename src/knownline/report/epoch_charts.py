"""The charts by epoch: the loss, each parameter, and the path of two of them.

Knows nothing of the page that shows them, nor of files.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.fits import Fit
from knownline.core.formatting import counted, minus, plain
from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import Evaluation
from knownline.report import views
from knownline.report.svg import Chart, Panel, Scale
from knownline.report.values import measured, number
from knownline.report.views import Reference

Array = npt.NDArray[np.float64]

EPOCHS_SHOWN = 300
"""About the most points on a curve by epoch; they include the first and the last."""

DOTTED = 30
"""Up to this many points on a curve are dots as well."""

LONG = 1_000
"""With more epochs their scale is logarithmic, since a fit changes most at its start."""


@dataclass(frozen=True, slots=True)
class Course:
    """A training after each of some numbers of epochs, from 0, its start, to the last.

    history.csv has in each line the loss before a step and the parameters after it; here both are
    of the same moment. A network's last loss is that before its last epoch.
    shown: the numbers of epochs, (shown,). loss: (shown,), nan where it is not known. values: of
    each parameter by name, (shown,).
    """

    shown: Array
    loss: Array
    values: dict[str, Array]

    @classmethod
    def of(cls, results: Results, most: int = EPOCHS_SHOWN) -> "Course":
        """Return the course of a training, at about `most` points or fewer."""
        history, data = results.history, results.data
        losses, values = history.loss, history.values
        if history.names:
            final = np.nan
            if results.convergence.squared:
                final = data.mean_squared_error(results.evaluation.fitted)
            losses = np.append(losses, final)
            start = np.array([data.start[name] for name in history.names])
            values = np.concatenate([start[:, None], values], axis=1)
        shown = thinned(len(losses), most)
        named = dict(zip(history.names, values[:, shown], strict=True))
        return cls(shown.astype(np.float64), losses[shown], named)

    def parameters(self) -> list[Parameters]:
        """Return the parameters after each number of epochs."""
        by_epoch = np.array(list(self.values.values())).T.tolist()
        return [dict(zip(self.values, each, strict=True)) for each in by_epoch]

    @property
    def last(self) -> int:
        """The last number of epochs."""
        return int(self.shown[-1])

    @property
    def scale(self) -> Scale:
        """The scale of the numbers of epochs."""
        if self.last > LONG:
            return Scale(0.0, float(self.last), log=True, shift=1.0)
        return Scale(0.0, float(max(self.last, 1)), whole=True)

    def panel(self, y: Scale, y_name: str, curves: dict[str, Array]) -> Panel:
        """Return a panel with curves by the kind of their marks, (shown,) each."""
        panel = Panel(self.scale, y, "epoch", y_name)
        for kind, heights in curves.items():
            known = np.isfinite(heights)
            panel.line(self.shown[known], heights[known], kind)
            if len(self.shown) <= DOTTED:
                panel.dots(self.shown[known], heights[known], f"{kind} dot")
        return panel


def thinned(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return about `most` of the numbers 0, 1, ..., count - 1; of many, mainly the first.

    They include those in the table.
    """
    last = count - 1
    numbers = np.linspace(0, last, min(most, count))
    if last > LONG:
        numbers = np.geomspace(1, count, most) - 1
    return np.union1d(np.rint(numbers).astype(np.int64), tabulated(last))


def tabulated(last: int) -> list[int]:
    """Return the numbers of epochs in the table: 0, 1, 2, 5, 10, ... and the last."""
    series = (n * 10**power for power in range(len(str(last))) for n in (1, 2, 5))
    return [0, *(n for n in series if n < last), *([last] if last else [])]


def scale(*values: Any) -> Scale:
    """Return a scale of values of one sign: by decades if they span one, else linear."""
    numbers = np.concatenate([np.ravel(np.asarray(each, dtype=np.float64)) for each in values])
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    wide = len(positive) > 0 and float(positive.max()) / 10 >= float(positive.min())
    return Scale.over(numbers, log=True) if wide else Scale.over(numbers)


def loss(course: Course, squared: bool, reference: Reference) -> Chart:
    """Return the loss by epoch. squared: whether it is the mean squared error."""
    known = course.loss[np.isfinite(course.loss)]
    ends = [number(float(each)) for each in (course.loss[0], known[-1])]
    name = "mean squared error" if squared else "training loss"
    description = f"From {ends[0]} to {ends[1]} in {counted(course.last, 'epoch')}."
    key, levels = [("fitted", f"{name}: {ends[1]} at the end")], [known]
    if squared:
        best = number(reference.loss)
        description += f" The {reference.name} has {best}."
        key.append(("least", f"{reference.name}: {best}"))
        levels.append(np.array([reference.loss]))
    else:
        description += " It is not the mean squared error."
    panel = course.panel(scale(*levels), name, {"fitted": course.loss})
    if squared:
        panel.level(reference.loss, "least")
    return Chart("loss", "Loss by epoch", description, panel, key)


def parameter(course: Course, number: int, evaluation: Evaluation) -> Chart:
    """Return the chart of the parameter with a number, with least squares and the truth."""
    name = evaluation.names[number]
    values, ols, se = course.values[name], evaluation.ols[name], evaluation.se[name]
    start, end, best = (measured(float(each), se) for each in (values[0], values[-1], ols))
    description = f"{name} goes from {start} to {end}. Least squares has {best}."
    key = [("fitted", f"{name}: from {start} to {end}"), ("least", f"least squares: {best}")]
    goals = [ols]
    if evaluation.truth:
        goals.append(true := evaluation.truth[name])
        description += f" The true value is {minus(plain(true))}."
        key.append(("true", f"true: {minus(plain(true))}"))
    panel = Panel(course.scale, Scale.over(values, goals), "epoch", name)
    if evaluation.truth:
        panel.level(goals[1], "true")
    panel.level(ols, "least")
    panel.marks += course.panel(panel.y, name, {"fitted": values}).marks
    return Chart(f"parameter-{number}", f"{name} by epoch", description, panel, key)


def path(course: Course, data: Fit, evaluation: Evaluation) -> list[Chart]:
    """Return the path of the two parameters from their start, over ellipses of equal loss.

    An empty list if the model is not linear with two parameters, of which one is the constant.
    """
    if not isinstance(data, LeastSquares) or (axes := views.axes_of_path(data.model)) is None:
        return []
    w, b = axes
    ols, truth = evaluation.ols, evaluation.truth
    across, up = course.values[w], course.values[b]
    goals = [ols, truth] if truth else [ols]
    x = Scale.over(across, [goal[w] for goal in goals])
    y = Scale.over(up, [goal[b] for goal in goals])
    panel = Panel(x, y, w, b)
    for a, c, d in views.ellipses(data, (x.low, x.high), (y.low, y.high)):
        panel.ellipse((ols[w], ols[b]), (a, c, 0.0, d), "contour")
    panel.line(across, up, "fitted thin")
    panel.dots(across, up, "way")
    panel.dots(across[:1], up[:1], "start")
    if truth:
        panel.dots([truth[w]], [truth[b]], "goal")
    panel.dots([ols[w]], [ols[b]], "end")
    each = "each epoch" if len(course.shown) > course.last else "some of the epochs"
    key = [("start", "start"), ("way", f"after {each}"), ("end", "least squares")]
    key += [("goal", "truth")] if truth else []
    key.append(("contour", "equal loss; ten times the excess of the next ring"))
    description = (
        f"From {_point(axes, course, 0, evaluation)} to {_point(axes, course, -1, evaluation)} in"
        f" {counted(course.last, 'epoch')}, over ellipses of equal mean squared error around least"
        " squares."
    )
    caption = "From the end of the path to least squares is the optimiser error"
    caption += "; from there to the truth is the sampling error." if truth else "."
    return [Chart("path", f"Path of ({w}, {b}) over the loss", description, panel, key, caption)]


def _point(names: tuple[str, str], course: Course, index: int, evaluation: Evaluation) -> str:
    values: Parameters = {name: float(course.values[name][index]) for name in names}
    return ", ".join(f"{name} = {measured(x, evaluation.se[name])}" for name, x in values.items())
