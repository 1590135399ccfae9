"""The charts of the report, each with what it shows in words.

Knows nothing of the page they stand in, nor of files.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import (
    counted,
    minus,
    multiple,
    plain,
    rounded,
    shown_of,
    significant,
)
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.evaluate.gate import Convergence
from knownline.evaluate.statistics import Evaluation
from knownline.report import equations, svg
from knownline.report.svg import Panel, Scale

Array = npt.NDArray[np.float64]

EPOCHS_SHOWN = 300
"""Points on a curve by epoch, at most; the first and the last are always there."""

NEARLY = 1e-9
"""Standard errors from least squares below which a distance is not worth a line."""

FEW = 200
"""Points up to which each is drawn for itself, and over the lines."""

LONG = 1_000
"""Epochs from which on they are shown on a logarithmic scale: a fit changes most at its start."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, its title, what its marks are, (kind, words) each, and one sentence below."""

    title: str
    drawing: str
    key: list[tuple[str, str]]
    caption: str


@dataclass(frozen=True, slots=True)
class ShownEpochs:
    """The epochs that are shown, of all: loss, w and b of (shown,) each, and their numbers."""

    epochs: int
    shown: Array
    loss: Array
    w: Array
    b: Array

    @classmethod
    def of(cls, loss: Array, w: Array, b: Array) -> "ShownEpochs":
        """Return the course of a training, (epochs,) each, thinned where it is long."""
        last = len(loss) - 1
        places = np.linspace(0, last, min(EPOCHS_SHOWN, last + 1))
        if last >= LONG:
            places = np.geomspace(1, last + 1, EPOCHS_SHOWN) - 1
        shown = np.unique(np.rint(places).astype(np.int64))
        return cls(last + 1, shown.astype(np.float64), loss[shown], w[shown], b[shown])

    @property
    def scale(self) -> Scale:
        """The scale of the epochs, which count from 0 as in history.csv."""
        if self.epochs > LONG:
            return Scale(0.0, self.epochs - 1.0, log=True, shift=1.0)
        ends = (0.0, self.epochs - 1.0) if self.epochs > 1 else (-0.5, 0.5)
        return Scale(*ends, whole=True)


def errors(
    found: Evaluation, allowed: float, convergence: Convergence, *, shared: bool = False
) -> Chart:
    """Return what the optimiser and what the sample left, each in standard errors.

    shared: whether all points have the same noise.
    """
    rows = []
    for name in ("w", "b"):
        fitted, ols, se = (getattr(part, name) for part in (found.line, found.ols, found.se))
        left = [("optimiser", fitted - ols)]
        if found.truth is not None:
            left.insert(0, ("sample", ols - getattr(found.truth, name)))
        for who, distance in left:
            size = _sizes(distance, se)
            rows.append((f"{name}: the {who} left {_times(size)} standard errors", size, who))
    limit = (
        (allowed, f"{plain(allowed)} allowed") if found.truth else (1.0, "1: what a sample leaves")
    )
    fewer = (
        "all points have the same noise, and more of them do not make it smaller"
        if shared
        else "more points make it smaller, more epochs do not"
    )
    rest = (
        "what is left of it is float64's rounding"
        if found.only_rounding
        else {
            "grows": "it grows, as it does where the learning rate is too large",
            "stands still": "it has stopped getting smaller",
            "shrinks": "more epochs make it smaller, unless the learning rate is too large",
        }[convergence.trend]
    )
    if not convergence.squared:
        rest = "the training's loss is another than least squares', so it need not become small"
    caption = f"The optimiser's part is fit − least squares: {rest}. " + (
        f"The sample's part is least squares − truth: {fewer}."
        if found.truth
        else "The sample's part cannot be known without a truth; it is about one standard error."
    )
    key = [("sample", "least squares − truth")] if found.truth else []
    return Chart(
        "Who left the error",
        svg.bars("; ".join(words for words, _, _ in rows) + ".", rows, limit),
        [*key, ("optimiser", "fit − least squares")],
        caption + " The scale is logarithmic. One standard error of"
        f" w is {_measured(found.se.w, found.se.w)}, of b {_measured(found.se.b, found.se.b)}.",
    )


def points(x: Array, y: Array, *, found: Evaluation, names: tuple[str, str]) -> tuple[Chart, Chart]:
    """Return the points with the lines, and the points' distances from the fitted line."""
    ends = np.array([x.min(), x.max()])
    line, truth = found.line, found.truth
    shown = shown_of(len(x), found.rows, "point")
    fitted = equations.of_fit(x, y, line)
    key = [("points", shown), ("fitted", f"fitted: {fitted}")]
    key += [("true", f"true: {equations.of_truth(truth)}")] if truth else []
    drawn: list[Panel] = []
    few = len(x) <= FEW
    for base in (Line(0.0, 0.0), line):
        lines = [("true", truth)] if truth else []
        lines.append(("fitted", line))
        with np.errstate(over="ignore", invalid="ignore"):
            heights = [each.at(ends) - base.at(ends) for _, each in lines]
            rest = y - base.at(x)
            panel = Panel("", Scale.over(x), Scale.over(rest, *heights), names[0], names[1])
        if not few:
            panel.dots(x, rest, "points many")
        for (kind, _), height in zip(lines, heights, strict=True):
            panel.line(ends, height, "true band" if kind == "true" else kind)
        if few:  # under their lines they would not be seen; many of them would hide these
            panel.dots(x, rest, "points loose" if drawn else "points")
        drawn.append(panel)
    drawn[0].says = f"{shown} and the fitted line, {fitted}"
    drawn[0].says += f"; the true line is {equations.of_truth(truth)}." if truth else "."
    drawn[1].says = (
        f"The distances of {shown} from the fitted line; their root mean square over all rows is"
        f" {minus(significant(found.train_rmse, 4))}."
    )
    drawn[1].y_name = f"{names[1]} − fitted"
    return (
        Chart("The fit", str(drawn[0]), key, ""),
        Chart("What the line leaves", str(drawn[1]), key, ""),
    )


def loss(course: ShownEpochs, last: float, least: float | None) -> Chart:
    """Return the loss each epoch began with, and what it came to.

    last, least: the mean squared error of the fit, and the least that any line has; least is None
    where the training's loss is another one, of which nothing is known but what was written down.
    """
    first = minus(significant(float(course.loss[0]), 4))
    if least is None:
        final = minus(significant(float(course.loss[-1]), 4))
        says = (
            f"The loss that the training had goes from {first} to {final} in"
            f" {counted(course.epochs, 'epoch')}; it is not the mean squared error."
        )
        log = float(course.loss.min()) > 0
        y = Scale.over(course.loss, log=True) if log else Scale.over(course.loss, 0.0)
        panel = Panel(says, course.scale, y, "epoch", "the training's loss")
        _curve(panel, course.shown, course.loss, "fitted")
        return Chart("The loss by epoch", str(panel), [("fitted", "the training's loss")], "")
    log = least > 0 or float(course.loss.min()) > 0
    y = Scale.over(course.loss, least, log=True) if log else Scale.over(course.loss, 0.0)
    best = minus(significant(least, 4))
    says = (
        f"The mean squared error goes from {first} to {minus(significant(last, 4))} in"
        f" {counted(course.epochs, 'epoch')}; least squares has {best}."
    )
    panel = Panel(says, course.scale, y, "epoch", "mean squared error")
    key = [("fitted", "loss")]
    if not log or least > 0:
        panel.level(least, "least")
        key.append(("least", f"least squares: {best}"))
    _curve(panel, course.shown, course.loss, "fitted")
    return Chart("The loss by epoch", str(panel), key, "")


def coefficient(course: ShownEpochs, name: str, found: Evaluation) -> Chart:
    """Return w or b by epoch, beside where least squares and the truth lie."""
    values, ols = getattr(course, name), getattr(found.ols, name)
    true = getattr(found.truth, name) if found.truth else None
    y = Scale.over(values, ols, *([true] if true is not None else []))
    se = getattr(found.se, name)
    says = (
        f"{name} goes from {_measured(float(values[0]), se)} to {_measured(float(values[-1]), se)};"
        f" least squares lies at {_measured(ols, se)}"
        + ("." if true is None else f", the truth at {minus(plain(true))}.")
    )
    panel = Panel(says, course.scale, y, "epoch", name)
    key = [("fitted", f"{name} by epoch"), ("least", f"least squares: {_measured(ols, se)}")]
    if true is not None:
        panel.level(true, "true")
        key.append(("true", f"true: {minus(plain(true))}"))
    panel.level(ols, "least")
    _curve(panel, course.shown, values, "fitted")
    return Chart(f"{name} by epoch", str(panel), key, "")


def distance(course: ShownEpochs, found: Evaluation) -> Chart:
    """Return how far w and b lie from least squares by epoch, in standard errors."""
    away = {
        which: np.abs(getattr(course, which) - getattr(found.ols, which))
        / (getattr(found.se, which) or math.nan)
        for which in ("w", "b")
    }
    far = np.maximum(away["w"], away["b"])
    large = np.flatnonzero(~(far <= 0.1))
    if len(large) and large[-1] == len(far) - 1:
        caption = (
            "What is left of the optimiser's part is float64's rounding."
            if found.only_rounding
            else "The optimiser's part is still larger than a tenth of a standard error."
        )
    else:
        first = 0 if len(large) == 0 else int(course.shown[large[-1] + 1])
        about = "about epoch" if len(course.shown) < course.epochs else "epoch"
        caption = (
            f"From {about} {first:,} on the optimiser's part is less than a tenth of a standard"
            " error: what is left is the sample's."
        )
    if min(float(part.min()) for part in away.values()) < NEARLY:
        caption += " Where a curve leaves the picture, less than 10⁻⁹ standard errors are left."
    y = Scale.over(*(np.maximum(part, NEARLY) for part in away.values()), 1.0, log=True)
    panel = Panel("", course.scale, y, "epoch", "standard errors")
    panel.level(1.0, "least")
    _curve(panel, course.shown, away["b"], "other")
    _curve(panel, course.shown, away["w"], "fitted")
    panel.says = f"The distance of w and b from least squares by epoch. {caption}"
    key = [("fitted", "w"), ("other", "b"), ("least", "one standard error")]
    return Chart("The optimiser's part by epoch", str(panel), key, caption)


def path(course: ShownEpochs, rows: Compressed, found: Evaluation) -> Chart:
    """Return the way (w, b) took from (0, 0) over lines of equal loss."""
    ols, truth = found.ols, found.truth
    w, b = np.concatenate([[0.0], course.w]), np.concatenate([[0.0], course.b])
    ends = [truth] if truth else []
    x = Scale.over(w, ols.w, *(end.w for end in ends))
    y = Scale.over(b, ols.b, *(end.b for end in ends))
    says = (
        f"From w = 0, b = 0 in {counted(course.epochs, 'epoch')} to"
        f" w = {_measured(found.line.w, found.se.w)},"
        f" b = {_measured(found.line.b, found.se.b)}, over ellipses of equal mean squared"
        " error around least squares."
    )
    panel = Panel(says, x, y, "w", "b")
    corners = [Line(a, c) for a in (x.low, x.high) for c in (y.low, y.high)]
    with np.errstate(over="ignore", invalid="ignore"):
        top = max(rows.mean_squared_error(corner) for corner in corners)
    if 0 < top < 1e150:
        for power in range(7):
            root = math.sqrt(top * 10.0**-power)
            across = root / rows.sd_x
            panel.ellipse((ols.w, ols.b), (across, -across * rows.mean_x, 0.0, root), "contour")
    panel.line(w, b, "fitted thin")
    panel.dots(w, b, "way")
    panel.dots([0.0], [0.0], "start")
    if truth:
        panel.dots([truth.w], [truth.b], "goal")
    panel.dots([ols.w], [ols.b], "end")
    key = [("start", "start"), ("way", "(w, b) by epoch"), ("end", "least squares")]
    key += [("goal", "truth")] if truth else []
    key.append(("contour", "equal squared error, ten times the next"))
    caption = "From the end of the way to least squares is the optimiser's part"
    caption += ", from there to the truth the sample's." if truth else "."
    return Chart("The way over the loss", str(panel), key, caption)


def _measured(value: float, error: float) -> str:
    return minus(rounded(value, error))


def _times(size: float) -> str:
    return minus(multiple(size))


def _curve(panel: Panel, at: Array, values: Array, kind: str) -> None:
    panel.line(at, values, kind)
    if len(at) == 1:
        panel.dots(at, values, "way")


def _sizes(distance: float, se: float) -> float:
    return abs(distance) / se if se else 0.0 if distance == 0 else math.inf
