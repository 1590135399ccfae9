"""Draws the plots of a run as PNG. The same numbers give the same bytes.

Figures are drawn without pyplot, so that they share no state. Knows nothing of files.
"""

import io
import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

# On import it warns twice about a home folder without write access, which does no harm.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from knownline.core.formatting import minus, shown_of, significant
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.report import equations

Array = npt.NDArray[np.float64]

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
POINTS, FITTED, TRUE = "#8fa6bd", "#c4421a", "#1f6f4a"

_STYLE: Any = {
    # The user's matplotlibrc must not change bytes that DVC hashes.
    **{k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith("backend")},
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.dpi": 110.0,
}


@dataclass(frozen=True, slots=True)
class Names:
    """The labels of the axes."""

    x: str = "x"
    y: str = "y"


def fit(x: Array, y: Array, *, line: Line, truth: Line | None, of: int, names: Names) -> bytes:
    """Return a PNG of the line with points, x and y of (shown,) each, a sample of `of` rows.

    The upper plot has the points and the lines. The lower one has their distances from the fitted
    line, which make the noise and the truth visible.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 6.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        ends = np.array([x.min(), x.max()])
        size = 26 if len(x) <= 200 else 8
        for axes, base in ((above, Line(0.0, 0.0)), (below, line)):
            axes.scatter(
                x,
                y - base.at(x),
                s=size,
                color=POINTS,
                linewidths=0,
                label=shown_of(len(x), of, "point"),
            )
            if truth is not None:
                true = f"true: {equations.of_truth(truth)}"
                axes.plot(
                    ends, truth.at(ends) - base.at(ends), color=TRUE, lw=4, alpha=0.45, label=true
                )
            axes.plot(ends, line.at(ends) - base.at(ends), color=FITTED, lw=1.6,
                      label=f"fitted: {equations.of_fit(x, y, line)}")  # fmt: skip
        above.set_title("The fitted line and its points", pad=22.0)
        # Above the axes: at their side, long names of the two would overlap.
        for axes, name in ((above, names.y), (below, f"{names.y} − fitted")):
            axes.annotate(name, (0, 1), xytext=(0, 6), xycoords="axes fraction",
                          textcoords="offset points", color=INK, parse_math=False)  # fmt: skip
        above.legend(loc="best")
        below.set_xlabel(names.x, parse_math=False)
        return _png(figure)


def loss(losses: Array, least: float | None) -> bytes:
    """Return a PNG of the loss by epoch, (epochs,), with the smallest loss that any line has.

    least: the smallest loss, None if the loss is not the mean squared error.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.arange(len(losses)), losses, color=FITTED, lw=1.8, label="loss",
                  marker="o" if len(losses) == 1 else None)  # fmt: skip
        if least:
            label = f"least squares: {minus(significant(least, 4))}"
            axes.axhline(least, color=TRUE, lw=1.4, ls=(0, (5, 3)), label=label)
        if least or losses.min() > 0:
            axes.set_yscale("log")
        axes.set_title("Loss by epoch")
        axes.set_xlabel("epoch")
        axes.set_ylabel("the training's loss" if least is None else "mean squared error")
        axes.legend(loc="upper right" if losses[-1] <= losses[0] else "upper left")
        return _png(figure)


def path(w: Array, b: Array, *, rows: Compressed, truth: Line | None) -> bytes:
    """Return a PNG of the path of (w, b) from 0, (epochs,) each, over ellipses of equal loss."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 5.2), layout="constrained")
        axes = figure.subplots()
        ols = rows.least_squares()
        path_w, path_b = np.concatenate([[0.0], w]), np.concatenate([[0.0], b])
        goals = [ols, truth] if truth else [ols]
        axes.set_xlim(*_limits([*path_w, *(goal.w for goal in goals)]))
        axes.set_ylim(*_limits([*path_b, *(goal.b for goal in goals)]))
        _contours(axes, rows, ols)
        axes.plot(path_w, path_b, color=FITTED, lw=1.4, marker="o", ms=3.5, label="(w, b) by epoch")
        axes.plot([0], [0], "o", color="white", mec=FITTED, ms=8, label="start")
        if truth is not None:
            axes.plot(
                [truth.w], [truth.b], "s", color="none", mec=TRUE, mew=1.8, ms=11, label="truth"
            )
        axes.plot([ols.w], [ols.b], "+", color=INK, mew=1.8, ms=12, label="least squares")
        axes.set_title("The path of (w, b) over the loss")
        axes.set_xlabel("w")
        axes.set_ylabel("b")
        axes.legend(loc="best", frameon=True, facecolor="white", edgecolor="none", framealpha=0.9)
        return _png(figure)


def _contours(axes: Axes, rows: Compressed, ols: Line) -> None:
    """Draw ellipses of equal loss around least squares, each with ten times the next one's excess.

    They are drawn as curves: contours from a grid would be broken where raw x makes them narrow.
    """
    angles = np.linspace(0.0, 2 * np.pi, 721)
    corners = [(w - ols.w, b - ols.b) for w in axes.get_xlim() for b in axes.get_ylim()]
    largest = max(rows.mean_squared_error(Line(ols.w + dw, ols.b + db)) for dw, db in corners)
    limits = axes.get_xlim(), axes.get_ylim()
    if not 0 < largest < 1e150:
        return  # a path that diverged so far is outside any ellipse
    for power in range(7):
        radius = math.sqrt(largest * 10.0**-power)
        dw = radius / rows.sd_x * np.cos(angles)
        db = radius * np.sin(angles) - dw * rows.mean_x
        label = "equal squared error, ten times the next" if power == 0 else None
        axes.plot(ols.w + dw, ols.b + db, color=FAINT, lw=0.8, alpha=0.7, label=label)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def _limits(values: list[float]) -> tuple[float, float]:
    """Return axis limits with a margin around `values`."""
    low, high = min(values), max(values)
    margin = 0.12 * (high - low) or 0.5 * max(abs(low), 1.0)
    return low - margin, high + margin


def _png(figure: Figure) -> bytes:
    """Return the figure as PNG, without a time or a version."""
    buffer = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a character that the font lacks is drawn as a box
        canvas.print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()
