"""A line as y = w x + b, in the digits that it takes to draw it.

Knows nothing of where it is shown.
"""

import math

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import minus, plain, rounded
from knownline.core.line import Line

Array = npt.NDArray[np.float64]


def of_fit(x: Array, y: Array, line: Line) -> str:
    """Return the equation of a line by which it can be drawn over its points, (shown,) each.

    What the rounding of w and b does there is small beside what the line leaves. Their standard
    errors are no measure of that: where x is far from 0 both are large, and cancel.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        left = float(np.sqrt(np.mean((y - line.at(x)) ** 2)))
        allowed = max(0.1 * left, 1e-5 * float(np.std(y)))
    reach = float(np.max(np.abs(x)))
    if not math.isfinite(allowed):
        allowed = 0.0
    return _equation(rounded(line.w, allowed / reach if reach else 0.0), rounded(line.b, allowed))


def of_truth(line: Line) -> str:
    """Return the equation of a line that somebody chose, with the digits it was given."""
    return _equation(plain(line.w), plain(line.b))


def _equation(w: str, b: str) -> str:
    sign = "−" if b.startswith("-") else "+"
    return minus(f"y = {w} x {sign} {b.removeprefix('-')}")
