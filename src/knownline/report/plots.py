"""Draws the plots of a run as PNG. The same numbers give the same bytes.

Figures are drawn without pyplot, so that they share no state. Knows nothing of files.
"""

import io
import logging
import os
import warnings
from typing import Any

# On import it warns twice about a home folder without write access, which does no harm.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
# No figure needs it, and an old one, as in a .bashrc, ends the import.
os.environ.pop("MPLBACKEND", None)

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from knownline.core.fits import Fit
from knownline.core.formatting import minus, shown_of, significant
from knownline.core.history import History
from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.report import views
from knownline.report.views import Reference, View

Array = npt.NDArray[np.float64]

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
POINTS, FITTED, TRUE = "#8fa6bd", "#c4421a", "#1f6f4a"

_CURVES: dict[str, Any] = {
    "true": {"color": TRUE, "lw": 4, "alpha": 0.45},
    "fitted": {"color": FITTED, "lw": 1.6},
}

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


def fit(view: View, of: int) -> bytes:
    """Return a PNG of a fit with its points, a sample of `of` rows.

    The upper plot has the points and the curves. The lower one has their distances from the fit,
    which make the noise and the truth visible.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 6.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        size = 26 if len(view.x) <= 200 else 8
        for axes, name, y, curves in (
            (above, view.y_name, view.y, view.curves),
            (below, view.residual_name, view.residuals, view.residual_curves),
        ):
            label = shown_of(len(view.x), of, "point")
            axes.scatter(view.x, y, s=size, color=POINTS, linewidths=0, label=label)
            for kind, heights in curves.items():
                axes.plot(view.at, heights, label=view.labels[kind], **_CURVES[kind])
            # Above the axes: at their side, long names of the two would overlap.
            axes.annotate(name, (0, 1), xytext=(0, 6), xycoords="axes fraction",
                          textcoords="offset points", color=INK, parse_math=False)  # fmt: skip
        above.set_title(f"The fitted {view.noun} and its points", pad=22.0)
        above.legend(loc="best")
        below.set_xlabel(view.x_name, parse_math=False)
        return _png(figure)


def loss(losses: Array, reference: Reference | None) -> bytes:
    """Return a PNG of the loss by epoch, (epochs,).

    reference: what it is compared with, None if the loss is not the mean squared error.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.arange(len(losses)), losses, color=FITTED, lw=1.8, label="loss",
                  marker="o" if len(losses) == 1 else None)  # fmt: skip
        if reference and reference.loss:
            label = f"{reference.name}: {minus(significant(reference.loss, 4))}"
            axes.axhline(reference.loss, color=TRUE, lw=1.4, ls=(0, (5, 3)), label=label)
        if (reference and reference.loss) or losses.min() > 0:
            axes.set_yscale("log")
        axes.set_title("Loss by epoch")
        axes.set_xlabel("epoch")
        axes.set_ylabel("the training's loss" if reference is None else "mean squared error")
        if reference and _is_high(reference, losses):
            axes.legend(loc="center right" if losses[-1] <= losses[0] else "center left")
        else:
            axes.legend(loc="upper right" if losses[-1] <= losses[0] else "upper left")
        return _png(figure)


def _is_high(reference: Reference, losses: Array) -> bool:
    """Return whether the level of the reference is so high that a legend above would hide it."""
    shown = np.append(losses[losses > 0], reference.loss)  # what a logarithmic scale has room for
    return bool(reference.loss > shown.min() ** 0.3 * shown.max() ** 0.7)


def path(history: History, data: Fit, truth: Parameters | None) -> bytes | None:
    """Return a PNG of the path of the two parameters from 0, over ellipses of equal loss.

    None if the model is not linear with two parameters, of which one is the constant.
    """
    if not isinstance(data, LeastSquares) or (names := views.axes_of_path(data.model)) is None:
        return None
    w, b = names
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 5.2), layout="constrained")
        axes = figure.subplots()
        ols = data.solution
        across, up = (np.concatenate([[0.0], history.of(name)]) for name in names)
        goals = [ols, truth] if truth else [ols]
        limits = (
            _limits([*across, *(goal[w] for goal in goals)]),
            _limits([*up, *(goal[b] for goal in goals)]),
        )
        _contours(axes, data, limits, (ols[w], ols[b]))
        axes.plot(
            across, up, color=FITTED, lw=1.4, marker="o", ms=3.5, label=f"({w}, {b}) by epoch"
        )
        axes.plot([0], [0], "o", color="white", mec=FITTED, ms=8, label="start")
        if truth is not None:
            axes.plot(
                [truth[w]], [truth[b]], "s", color="none", mec=TRUE, mew=1.8, ms=11, label="truth"
            )
        axes.plot([ols[w]], [ols[b]], "+", color=INK, mew=1.8, ms=12, label="least squares")
        axes.set_xlim(*limits[0])
        axes.set_ylim(*limits[1])
        axes.set_title(f"The path of ({w}, {b}) over the loss")
        axes.set_xlabel(w)
        axes.set_ylabel(b)
        axes.legend(loc="best", frameon=True, facecolor="white", edgecolor="none", framealpha=0.9)
        return _png(figure)


Limits = tuple[tuple[float, float], tuple[float, float]]


def _contours(axes: Axes, data: LeastSquares, limits: Limits, centre: tuple[float, float]) -> None:
    """Draw ellipses of equal loss around least squares, each with ten times the next one's excess.

    They are drawn as curves: contours from a grid would be broken where raw x makes them narrow.
    """
    angles = np.linspace(0.0, 2 * np.pi, 721)
    label: str | None = "equal squared error, ten times the next"
    for a, c, d in views.ellipses(data, *limits):
        across = centre[0] + a * np.cos(angles)
        up = centre[1] + (d * np.sin(angles) + c * np.cos(angles))
        axes.plot(across, up, color=FAINT, lw=0.8, alpha=0.7, label=label)
        label = None


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
