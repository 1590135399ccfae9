"""What is left of the points when a line is taken away, and whether it looks like noise.

Three questions that the gate does not ask, since no threshold is right for every table. Each gets
the probability that pure noise looks at least so bad. Knows nothing of files or of pictures.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from knownline.compression import halving_sum
from knownline.line import Line

Array = npt.NDArray[np.float64]

FEWEST = 8
"""Rows below which the normal approximations behind the probabilities say nothing."""

FAINT, CLEAR = 0.05, 0.001
"""Probabilities below which a check shows a faint, a clear sign."""

Sign = Literal["none", "faint", "clear"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the residuals.

    about: what is looked for. statistic: the number behind it, named. p: how often pure noise
    gives as much or more.
    """

    about: str
    statistic: str
    p: float

    @property
    def sign(self) -> Sign:
        """How plainly the residuals show what is looked for."""
        return "clear" if self.p < CLEAR else "faint" if self.p < FAINT else "none"


@dataclass(frozen=True, slots=True)
class Residuals:
    """What is known of y - line(x).

    sd: their standard deviation about zero, in units of y. farthest_x, farthest: where the largest
    lies, and its size in sd. checks: empty where there are too few rows, or nothing but rounding.
    """

    rows: int
    sd: float
    farthest_x: float
    farthest: float
    checks: list[Check]
    unchecked: str


def examine(x: Array, y: Array, line: Line) -> Residuals:
    """Return what the residuals of a line look like; x and y of (rows,) each."""
    with np.errstate(over="ignore", invalid="ignore"):
        r = y - line.at(x)
        sd, size = _rms(r), _rms(y)
    if not math.isfinite(sd) or sd == 0:
        return Residuals(len(x), sd, float(x[0]), 0.0, [], "there is nothing but rounding in them")
    far = int(np.argmax(np.abs(r)))
    unchecked, checks = "", []
    if sd < 16 * np.finfo(np.float64).eps * size:
        unchecked = "there is nothing but rounding in them"
    elif len(x) < FEWEST:
        unchecked = f"{len(x)} rows are too few, {FEWEST} are needed"
    else:
        checks = _checks(x, r / sd)
    return Residuals(len(x), sd, float(x[far]), float(abs(r[far]) / sd), checks, unchecked)


def _checks(x: Array, r: Array) -> list[Check]:
    straight = _unit(x)
    square = straight * straight
    bend = _unit(square - _mean(square * straight) * straight)
    spread = r * r
    checks = [_score("a trend along x, of which least squares leaves none", r, straight)]
    if np.any(bend):  # x of two values has none
        checks.append(_score("a bend that no straight line follows", r, bend))
    checks.append(_score("a scatter that changes along x", spread - _mean(spread), straight))
    centred = r - _mean(r)
    if _rms(centred) > 0:
        checks.append(_normality(centred))
    return checks


def _score(about: str, r: Array, direction: Array) -> Check:
    """Return n times the squared correlation, which is χ²(1) where the two have nothing in common.

    Source: Breusch and Pagan, The Lagrange Multiplier Test and its Applications to Model
    Specification in Econometrics (1980).
    """
    along = _mean(_unit(r) * direction)
    statistic = len(r) * along * along
    shown = f"n·r² = {statistic if statistic > 1e-6 else 0:.3g}"
    return Check(about, shown, math.erfc(math.sqrt(statistic / 2)))


def _normality(r: Array) -> Check:
    """Return D'Agostino and Pearson's K², which is χ²(2) for a normal sample.

    Source: D'Agostino, Belanger and D'Agostino, A Suggestion for Using Powerful and Informative
    Tests of Normality (1990); the kurtosis by Anscombe and Glynn (1983).
    """
    second = _mean(r * r)
    skewness = _mean(r * r * r) / second**1.5
    kurtosis = _mean(r * r * r * r) / second**2
    squared = _skewness_z(skewness, len(r)) ** 2 + _kurtosis_z(kurtosis, len(r)) ** 2
    about = "a shape other than the normal's bell"
    return Check(about, f"K² = {squared:.3g}", math.exp(-squared / 2))


def _skewness_z(skewness: float, n: int) -> float:
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = math.sqrt(2 * (beta - 1)) - 1
    return math.asinh(y / math.sqrt(2 / (w2 - 1))) / math.sqrt(0.5 * math.log(w2))


def _kurtosis_z(kurtosis: float, n: int) -> float:
    expected = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (kurtosis - expected) / math.sqrt(variance)
    root = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9))
    root *= math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / root * (2 / root + math.sqrt(1 + 4 / root**2))
    cube = (1 - 2 / a) / (1 + x * math.sqrt(2 / (a - 4)))
    return (1 - 2 / (9 * a) - math.cbrt(cube)) / math.sqrt(2 / (9 * a))


def _unit(values: Array) -> Array:
    """Return values with mean 0 and mean square 1; zeros where they are all the same."""
    low, high = values.min(), values.max()
    centred = values - _mean(values)
    rms = _rms(centred)
    alike = rms <= 1e-12 * max(abs(low), abs(high), 1.0)
    return np.zeros_like(values) if alike else centred / rms


def _mean(values: Array) -> float:
    return halving_sum(values) / len(values)


def _rms(values: Array) -> float:
    """Return the root mean square; scaled, so that no square leaves the range."""
    top = float(np.abs(values).max())
    if top == 0 or not math.isfinite(top):
        return top
    return top * math.sqrt(_mean((values / top) ** 2))
