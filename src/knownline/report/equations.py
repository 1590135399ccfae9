"""Writes a line as y = w x + b, with the digits that are needed to draw it.

Knows nothing of where the equation is shown.
"""

import math

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import minus, plain, rounded
from knownline.core.line import Line

Array = npt.NDArray[np.float64]


def of_fit(x: Array, y: Array, line: Line) -> str:
    """Return the equation of a line with enough digits to draw it over its points, (shown,) each.

    Rounding w and b moves the line by little compared with its residuals. The standard errors would
    not be the right measure: if x is far from 0, both are large but cancel each other.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rms_residual = float(np.sqrt(np.mean((y - line.at(x)) ** 2)))
        rounding = max(0.1 * rms_residual, 1e-5 * float(np.std(y)))
    largest_x = float(np.max(np.abs(x)))
    if not math.isfinite(rounding):
        rounding = 0.0
    return _equation(
        rounded(line.w, rounding / largest_x if largest_x else 0.0), rounded(line.b, rounding)
    )


def of_truth(line: Line) -> str:
    """Return the equation of a line that somebody chose, with the digits it was given."""
    return _equation(plain(line.w), plain(line.b))


def _equation(w: str, b: str) -> str:
    sign = "−" if b.startswith("-") else "+"
    return minus(f"y = {w} x {sign} {b.removeprefix('-')}")
