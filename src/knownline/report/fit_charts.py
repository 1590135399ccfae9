"""The charts of the finished fit: its points and its residuals.

Knows nothing of the page that shows them, nor of files.
"""

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import shown_of
from knownline.evaluate.statistics import Evaluation
from knownline.report.svg import Chart, Panel, Scale
from knownline.report.values import number
from knownline.report.views import View

Array = npt.NDArray[np.float64]

FEW = 200
"""Up to this many points are drawn over the curves; more would hide them."""


def points(view: View, evaluation: Evaluation) -> list[Chart]:
    """Return the points with the curves, and the residuals of the fit."""
    shown = shown_of(len(view.x), evaluation.rows, "point")
    key = [("points", shown), *view.labels.items()]
    labels = "; ".join(label for label in view.labels.values() if label != view.noun)
    described = f"{shown}, {view.y_name} against {view.x_name}, with the fitted {view.noun}"
    rmse = number(evaluation.train_rmse)
    return [
        Chart(
            "fit",
            f"Fitted {view.noun}",
            f"{described}{f'; {labels}' if labels else ''}.",
            _panel(view, view.y, view.curves, view.y_name),
            key,
        ),
        Chart(
            "residuals",
            "Residuals",
            f"{shown}, {view.residual_name} against {view.x_name}. Their root mean square over all"
            f" training rows is {rmse}.",
            _panel(view, view.residuals, view.residual_curves, view.residual_name, "loose"),
            [("points", f"residuals, RMSE {rmse}"), *((kind, kind) for kind in view.labels)],
        ),
    ]


def _panel(view: View, y: Array, curves: dict[str, Array], name: str, form: str = "") -> Panel:
    """Return points at the view's x and y, (shown,), and curves by kind, (drawn,) each."""
    panel = Panel(Scale.over(view.x), Scale.over(y, *curves.values()), view.x_name, name)
    few = len(y) <= FEW
    if not few:
        panel.dots(view.x, y, "points many")
    for kind, heights in curves.items():
        finite = np.isfinite(heights)
        panel.line(view.at[finite], heights[finite], "true band" if kind == "true" else kind)
    if few:  # few points would be invisible under the curves, many would hide the curves
        panel.dots(view.x, y, f"points {form}".strip())
    return panel
