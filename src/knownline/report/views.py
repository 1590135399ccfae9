"""What the charts of a fit show, in numbers: the page and the PNGs draw the same.

Knows nothing of how it is drawn, nor of files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from knownline.core.fits import Fit
from knownline.core.kinds import Linear, Network, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.params import Params
from knownline.report import equations

Array = npt.NDArray[np.float64]

CURVE = 200
"""The points of a curve; a straight line has two."""

LISTED = 4
"""The most parameters that are listed beside a curve's name."""


@dataclass(frozen=True, slots=True)
class View:
    """A fit against its one input; with several inputs, what was observed against what was fitted.

    x, y, residuals: the points, (shown,) each. at: where the curves are drawn. curves: their
    heights there by kind, "true" (if known, of one input) and "fitted". labels: of the curves.
    noun: what the model is called. x_name, y_name, residual_name: labels of the axes.
    """

    x: Array
    y: Array
    residuals: Array
    at: Array
    curves: dict[str, Array]
    labels: dict[str, str]
    noun: str
    x_name: str
    y_name: str
    residual_name: str

    @classmethod
    def of(
        cls,
        data: Fit,
        inputs: Sequence[Array],
        y: Array,
        fitted: Parameters,
        truth: Parameters | None,
        errors: Parameters,
        names: tuple[str, str] = ("x", "y"),
    ) -> "View":
        """Return the view of points, (shown,) each.

        errors: the standard errors. names: of the one input, and of the target.
        """
        kind = data.model
        noun = equations.noun(kind)
        lines = {"true": truth, "fitted": fitted} if truth else {"fitted": fitted}
        labels = {"fitted": f"fitted: {equations.of_fit(kind, fitted, errors)}"}
        if truth:
            labels["true"] = f"true: {equations.of_truth(kind, truth)}"
        if len(kind.names) > LISTED:
            labels = {name: name for name in labels}
        elif not kind.names:
            labels = {"fitted": noun}
        x_name, y_name = names
        with np.errstate(all="ignore"):
            predicted = data.predict(fitted, inputs)
            if len(inputs) == 1:
                x = inputs[0]
                at = np.linspace(x.min(), x.max(), 2 if equations.is_line(kind) else CURVE)
                curves = {name: data.predict(line, [at]) for name, line in lines.items()}
            else:
                x, at = predicted, np.array([predicted.min(), predicted.max()])
                curves, labels = {"fitted": at}, {"fitted": "observed = fitted"}
                x_name, y_name = f"fitted {names[1]}", f"observed {names[1]}"
            residuals = y - predicted
        residual_name = f"{names[1]} − fitted"
        return cls(x, y, residuals, at, curves, labels, noun, x_name, y_name, residual_name)

    @property
    def residual_curves(self) -> dict[str, Array]:
        """The heights of the curves above the fitted one, by kind."""
        with np.errstate(all="ignore"):
            return {name: curve - self.curves["fitted"] for name, curve in self.curves.items()}


def names(params: Params) -> tuple[str, str]:
    """Return what an only input and the target are called: as in the table, if there is one."""
    if params.generate.table is None:
        return "x", "y"
    inputs, target = params.generate.columns.short
    return inputs[0], target


class Reference(NamedTuple):
    """What a training's loss is compared with: its name, and its mean squared error."""

    name: str
    loss: float


def reference(data: Fit) -> Reference:
    """Return the smallest loss there is; of a network, that of the linear model of its inputs."""
    if not isinstance(data.model, Network):
        return Reference("least squares", data.mean_squared_error(data.solution))
    linear = LeastSquares(data.model.summarised, data.rows)
    least = linear.mean_squared_error(linear.solution)
    return Reference("linear model of the inputs", least)


def axes_of_path(kind: Linear) -> tuple[str, str] | None:
    """Return the parameters, a slope and a constant, whose loss has ellipses to draw, or None."""
    if kind.constant is None or len(kind.varying) != 1:
        return None
    return kind.varying[0], kind.constant


def ellipses(
    data: LeastSquares, slopes: tuple[float, float], constants: tuple[float, float]
) -> list[tuple[float, float, float]]:
    """Return ellipses of equal loss around least squares, each with ten times the next's excess.

    slopes, constants: the ends of the axes. An ellipse (a, b, c) is at (a cos t, b cos t + c sin t)
    from least squares. There is none if the axes reach too far for any.
    """
    (slope,), constant = data.model.varying, data.model.constant
    assert constant is not None
    with np.errstate(over="ignore", invalid="ignore"):
        largest = max(
            data.mean_squared_error({slope: float(w), constant: float(b)})
            for w in slopes
            for b in constants
        )
    if not 0 < largest < 1e150:
        return []
    radii = np.sqrt(largest * 10.0 ** -np.arange(7.0))
    mean, level = data.rows.mean_terms[0], data.model.level
    return [
        (float(r / data.sds[0]), float(-r / data.sds[0] * mean / level), float(r / level))
        for r in radii
    ]
