"""The charts of the report, each with what it shows in words.

Knows nothing of the page they stand in, nor of files.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline import svg
from knownline.compression import Compressed
from knownline.evaluation import Evaluation
from knownline.line import Line, plain, rounded
from knownline.svg import Panel, Scale

Array = npt.NDArray[np.float64]

EPOCHS_SHOWN = 300
"""Points on a curve by epoch, at most; the first and the last are always there."""

NEARLY = 1e-9
"""Standard errors from least squares below which a distance is not worth a line."""

LONG = 1_000
"""Epochs from which on they are shown on a logarithmic scale: a fit changes most at its start."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A chart, its title, what its marks are, (kind, words) each, and one sentence below."""

    title: str
    drawing: str
    key: list[tuple[str, str]]
    caption: str


@dataclass(frozen=True, slots=True)
class Course:
    """The epochs that are shown, of all: loss, w and b of (shown,) each, and their numbers."""

    epochs: int
    shown: Array
    loss: Array
    w: Array
    b: Array

    @classmethod
    def of(cls, loss: Array, w: Array, b: Array) -> "Course":
        """Return the course of a training, (epochs,) each, thinned where it is long."""
        last = len(loss) - 1
        places = np.linspace(0, last, min(EPOCHS_SHOWN, last + 1))
        if last >= LONG:
            places = np.geomspace(1, last + 1, EPOCHS_SHOWN) - 1
        shown = np.unique(np.rint(places).astype(np.int64))
        return cls(last + 1, shown.astype(np.float64), loss[shown], w[shown], b[shown])

    def trend(self, found: Evaluation) -> str:
        """Return how the distance to least squares went in the last tenth of the epochs.

        It grows, it stands still, or (as far as one epoch tells) it shrinks.
        """
        before = int(np.searchsorted(self.shown, 0.9 * (self.epochs - 1)))
        before = min(before, len(self.shown) - 2)
        if before < 0:
            return "shrinks"
        away = np.hypot(
            (self.w - found.ols.w) / (found.se.w or 1), (self.b - found.ols.b) / (found.se.b or 1)
        )
        if abs(away[-1] - away[before]) <= 1e-7 * away[-1]:
            return "stands still"
        return "grows" if away[-1] > away[before] else "shrinks"

    @property
    def scale(self) -> tuple[Scale, Array, str]:
        """The scale of the epochs, where they lie on it, and its name."""
        if self.epochs > LONG:
            return Scale(1.0, float(self.epochs), log=True), self.shown + 1, "epoch, the first is 1"
        ends = (0.0, self.epochs - 1.0) if self.epochs > 1 else (-0.5, 0.5)
        return Scale(*ends, whole=True), self.shown, "epoch"


def errors(
    found: Evaluation, allowed: float, *, shared: bool = False, trend: str = "shrinks"
) -> Sketch:
    """Return what the optimiser and what the sample left, each in standard errors.

    shared: whether all points have the same noise. trend: see `Course.trend`.
    """
    rows = []
    for name in ("w", "b"):
        fitted, ols, se = (getattr(part, name) for part in (found.line, found.ols, found.se))
        left = [("optimiser", fitted - ols)]
        if found.truth is not None:
            left.insert(0, ("sample", ols - getattr(found.truth, name)))
        for who, distance in left:
            size = _sizes(distance, se)
            rows.append((f"{name}: the {who} left {_short(size)} standard errors", size, who))
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
        }[trend]
    )
    caption = f"The optimiser's part is fit − least squares: {rest}. " + (
        f"The sample's part is least squares − truth: {fewer}."
        if found.truth
        else "The sample's part cannot be known without a truth; it is about one standard error."
    )
    key = [("sample", "least squares − truth")] if found.truth else []
    return Sketch(
        "Who left the error",
        svg.bars("; ".join(words for words, _, _ in rows) + ".", rows, limit),
        [*key, ("optimiser", "fit − least squares")],
        caption + " The scale is logarithmic. One standard error of"
        f" w is {_plain(found.se.w, found.se.w)}, of b {_plain(found.se.b, found.se.b)}.",
    )


def points(
    x: Array, y: Array, *, found: Evaluation, names: tuple[str, str]
) -> tuple[Sketch, Sketch]:
    """Return the points with the lines, and the points' distances from the fitted line."""
    ends = np.array([x.min(), x.max()])
    line, truth = found.line, found.truth
    shown = _shown(len(x), found.rows)
    key = [("points", shown), ("fitted", f"fitted: {equation(line)}")]
    key += [("true", f"true: {chosen(truth)}")] if truth else []
    drawn = []
    for base in (Line(0.0, 0.0), line):
        lines = [("true", truth)] if truth else []
        lines.append(("fitted", line))
        with np.errstate(over="ignore", invalid="ignore"):
            heights = [each.at(ends) - base.at(ends) for _, each in lines]
            scale = Scale.over(y - base.at(x), *heights)
            panel = Panel("", Scale.over(x), scale, names[0], names[1])
            panel.dots(x, y - base.at(x), "points" if len(x) <= 200 else "points many")
        for (kind, _), height in zip(lines, heights, strict=True):
            panel.line(ends, height, kind)
        drawn.append(panel)
    drawn[0].says = f"{shown} and the fitted line, {equation(line)}"
    drawn[0].says += f"; the true line is {chosen(truth)}." if truth else "."
    drawn[1].says = (
        f"The distances of {shown} from the fitted line; their root mean square over all rows is"
        f" {found.train_rmse:.4g}."
    )
    drawn[1].y_name = f"{names[1]} − fitted"
    return (
        Sketch("The fit", str(drawn[0]), key, ""),
        Sketch("What the line leaves", str(drawn[1]), key, ""),
    )


def loss(course: Course, last: float, least: float) -> Sketch:
    """Return the loss each epoch began with; last: the fit's own, least: the least of any line."""
    scale, at, name = course.scale
    log = least > 0 or float(course.loss.min()) > 0
    y = Scale.over(course.loss, least, log=True) if log else Scale.over(course.loss, 0.0)
    says = (
        f"The mean squared error goes from {course.loss[0]:.4g} to {last:.4g} in"
        f" {_epochs(course.epochs)}; least squares has {least:.4g}."
    )
    panel = Panel(says, scale, y, name, "mean squared error")
    if not log or least > 0:
        panel.level(least, "least")
    _curve(panel, at, course.loss, "fitted")
    key = [("fitted", "loss")]
    key += [("least", f"least squares: {least:.4g}")] if not log or least > 0 else []
    return Sketch("The loss by epoch", str(panel), key, "")


def coefficient(course: Course, name: str, found: Evaluation) -> Sketch:
    """Return w or b by epoch, beside where least squares and the truth lie."""
    scale, at, epoch = course.scale
    values, ols = getattr(course, name), getattr(found.ols, name)
    true = getattr(found.truth, name) if found.truth else None
    y = Scale.over(values, ols, *([true] if true is not None else []))
    se = getattr(found.se, name)
    says = (
        f"{name} goes from {_plain(float(values[0]), se)} to {_plain(float(values[-1]), se)};"
        f" least squares lies at {_plain(ols, se)}"
        + ("." if true is None else f", the truth at {plain(true)}.")
    )
    panel = Panel(says, scale, y, epoch, name)
    key = [("fitted", f"{name} by epoch"), ("least", f"least squares: {_plain(ols, se)}")]
    if true is not None:
        panel.level(true, "true")
        key.append(("true", f"true: {plain(true)}".replace("-", "−")))
    panel.level(ols, "least")
    _curve(panel, at, values, "fitted")
    return Sketch(f"{name} by epoch", str(panel), key, "")


def distance(course: Course, found: Evaluation) -> Sketch:
    """Return how far w and b lie from least squares by epoch, in standard errors."""
    scale, at, name = course.scale
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
    y = Scale.over(*(np.maximum(part, NEARLY) for part in away.values()), 1.0, log=True)
    panel = Panel("", scale, y, name, "standard errors")
    panel.level(1.0, "least")
    _curve(panel, at, away["b"], "other")
    _curve(panel, at, away["w"], "fitted")
    panel.says = f"The distance of w and b from least squares by epoch. {caption}"
    key = [("fitted", "w"), ("other", "b"), ("least", "one standard error")]
    return Sketch("The optimiser's part by epoch", str(panel), key, caption)


def path(course: Course, rows: Compressed, found: Evaluation) -> Sketch:
    """Return the way (w, b) took from (0, 0) over lines of equal loss."""
    ols, truth = found.ols, found.truth
    w, b = np.concatenate([[0.0], course.w]), np.concatenate([[0.0], course.b])
    ends = [truth] if truth else []
    x = Scale.over(w, ols.w, *(end.w for end in ends))
    y = Scale.over(b, ols.b, *(end.b for end in ends))
    says = (
        f"From w = 0, b = 0 in {_epochs(course.epochs)} to w = {_plain(found.line.w, found.se.w)},"
        f" b = {_plain(found.line.b, found.se.b)}, over ellipses of equal loss around least"
        " squares."
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
    key.append(("contour", "equal loss, ten times the next"))
    return Sketch("The way over the loss", str(panel), key, "")


def equation(line: Line) -> str:
    """Return y = w x + b with five digits each."""
    return _equation(f"{line.w:.5g}", f"{line.b:.5g}")


def chosen(truth: Line) -> str:
    """Return y = w x + b with the digits that they were given."""
    return _equation(plain(truth.w), plain(truth.b))


def _equation(w: str, b: str) -> str:
    sign = "−" if b.startswith("-") else "+"
    return f"y = {w} x {sign} {b.removeprefix('-')}".replace("-", "−")


def _plain(value: float, error: float) -> str:
    return rounded(value, error).replace("-", "−")


def _curve(panel: Panel, at: Array, values: Array, kind: str) -> None:
    panel.line(at, values, kind)
    if len(at) == 1:
        panel.dots(at, values, "way")


def _sizes(distance: float, se: float) -> float:
    return abs(distance) / se if se else 0.0 if distance == 0 else math.inf


def _short(size: float) -> str:
    """Return a size as it is said: 0.35, or a power of ten where it is far from 1."""
    if size == 0:
        return "0"
    return (
        f"{size:.2f}"
        if 0.01 <= size < 1e4
        else f"{size:.0e}".replace("e-0", "e-")
        .replace("e+0", "e")
        .replace("e+", "e")
        .replace("-", "−")
    )


def _shown(shown: int, of: int) -> str:
    return f"{of:,} points" if shown == of else f"{shown:,} of {of:,} points"


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number:,} epochs"
