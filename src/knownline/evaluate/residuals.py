"""What is left of the points when a line is taken away, and whether it looks like noise.

Questions that the gate does not ask, since no threshold is right for every table. How often pure
noise looks at least so bad is counted, on a thousand samples of it at the same x: the laws that the
statistics follow with many rows are off by a factor of four where it matters (docs/decisions/0008).
Knows nothing of files or of pictures.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from knownline.core import moments
from knownline.core.line import Line
from knownline.core.moments import Compressed

Array = npt.NDArray[np.float64]

FEWEST = 8
"""Rows below which the statistics say nothing."""

SAMPLES = 1000
"""Samples of pure noise that the points are held against."""

ROUNDING = 1e-6
"""A statistic below which there is nothing but rounding in it."""

_NOTHING = "there is nothing but rounding in them"
_AT_ONCE = 100
_KEY = 20200910

FAINT = 0.05
"""The share of the samples below which a check shows a faint sign; a clear one where none does."""

Sign = Literal["none", "faint", "clear"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the residuals.

    about: what is looked for. name, value: the statistic behind it. as_much: how many of SAMPLES
    samples of pure noise give as much or more. of_the_fit: whether it is asked of the fitted line,
    and not of what least squares leaves.
    """

    about: str
    name: str
    value: float
    as_much: int
    of_the_fit: bool = False

    @property
    def sign(self) -> Sign:
        """How plainly the residuals show what is looked for."""
        return (
            "clear" if not self.as_much else "faint" if self.as_much < FAINT * SAMPLES else "none"
        )


@dataclass(frozen=True, slots=True)
class Residuals:
    """What is known of y - line(x).

    sd: their standard deviation about zero, in units of y. farthest_x, farthest: where the largest
    lies, and its size in sd. gap: how far from there the next other x is, inf where none is.
    checks: empty where there are too few rows, or nothing but rounding.
    """

    rows: int
    sd: float
    farthest_x: float
    farthest: float
    gap: float
    checks: list[Check]
    unchecked: str


def examine(x: Array, y: Array, line: Line, *, rows: Compressed) -> Residuals:
    """Return what the residuals of a line look like.

    x, y: the points looked at, (shown,) each. rows: all rows of the training. Bend, scatter and
    shape are asked of what least squares leaves: those of a line that has not arrived are its own,
    not the noise's.
    """
    ols = rows.least_squares()
    with np.errstate(over="ignore", invalid="ignore"):
        r, noise = y - line.at(x), y - ols.at(x)
        sd, noise_sd = float(_rms(r)), float(_rms(noise))
        size = max(float(_rms(y)), float(_rms(ols.w * x)), abs(ols.b))
    rounding = 16 * float(np.finfo(np.float64).eps) * size
    if not math.isfinite(sd) or sd == 0:
        return Residuals(len(x), sd, float(x[0]), 0.0, _gap(x, 0), [], _NOTHING)
    far = int(np.argmax(np.abs(r)))
    unchecked, checks = "", []
    if sd < rounding:
        unchecked = _NOTHING
    elif not noise_sd >= rounding:
        unchecked = "they are the optimiser's, least squares leaves nothing but rounding"
    elif len(x) < FEWEST:
        unchecked = f"{len(x)} rows are too few, {FEWEST} are needed"
    else:
        with np.errstate(all="ignore"):  # what is not finite is left out
            checks = _checks(x, noise / noise_sd, _trend(line, len(x), rows))
    farthest = float(abs(r[far]) / sd)
    return Residuals(len(x), sd, float(x[far]), farthest, _gap(x, far), checks, unchecked)


def _gap(x: Array, place: int) -> float:
    away = np.abs(x / 2 - x[place] / 2)  # halved, so that none overflows
    return 2 * float(np.min(away[away > 0], initial=math.inf))


def _trend(line: Line, count: int, rows: Compressed) -> float:
    """Return n times the squared correlation of a line's residuals with x, over all rows.

    Not over those looked at: least squares leaves none over all rows, but a sample of them has one.
    """
    slope = (line.w - rows.least_squares().w) * rows.sd_x
    noise = math.sqrt(rows.mean_squared_error(rows.least_squares()))
    return count * (slope / math.hypot(slope, noise)) ** 2 if slope else 0.0


def _checks(x: Array, r: Array, trend: float) -> list[Check]:
    """Return what is found of r, what least squares leaves; trend: see `_trend`."""
    questions = {
        "a bend that no straight line follows": ("n·r²", _bend),
        "a scatter that changes along x": ("n·r²", _scatter),
        "a shape other than the normal's bell": ("K²", _normality),
    }
    straight = _unit(x)
    square = straight * straight
    bend = _unit(square - _mean(square * straight) * straight)
    along = {_bend: bend, _scatter: straight, _normality: straight}
    if not np.any(bend):  # x of two values has none
        del questions["a bend that no straight line follows"]
    found = {ask: float(ask(r[None], along[ask])[0]) for _, ask in questions.values()}
    for question, (_, ask) in list(questions.items()):
        if not math.isfinite(found[ask]):  # residuals that are all the same have no shape
            del found[ask], questions[question]
    more, more_trend = dict.fromkeys(found, 0), 0
    for noise in _samples(len(x)):
        # A line is taken from the noise as well, but where a trend is asked for: it left none.
        more_trend += int(np.count_nonzero(_correlation(noise, straight) >= trend))
        left = noise - _mean(noise)[:, None]
        left = left - _mean(left * straight)[:, None] * straight
        for ask, value in found.items():
            more[ask] += int(np.count_nonzero(ask(left, along[ask]) >= value))
    checks = [Check(about, name, found[ask], more[ask]) for about, (name, ask) in questions.items()]
    if not trend >= ROUNDING:  # the fit has arrived: there is none to look for
        return checks
    about = "a trend along x, which least squares would not leave"
    return [Check(about, "n·r²", trend, more_trend, of_the_fit=True), *checks]


def _samples(rows: int) -> Any:
    """Yield samples of pure noise, (_AT_ONCE, rows), the same ones at every call."""
    draws = np.random.Generator(np.random.Philox(key=_KEY))
    for _ in range(SAMPLES // _AT_ONCE):
        yield draws.standard_normal((_AT_ONCE, rows))


def _bend(r: Array, bend: Array) -> Array:
    """Return n times the squared correlation of r, (samples, n), with what a parabola adds."""
    return _correlation(r, bend)


def _scatter(r: Array, straight: Array) -> Array:
    """Return n times the squared correlation of the squares with x.

    Source: Breusch and Pagan, The Lagrange Multiplier Test and its Applications to Model
    Specification in Econometrics (1980).
    """
    spread = r * r
    return _correlation(spread - _mean(spread)[:, None], straight)


def _correlation(r: Array, direction: Array) -> Array:
    along = _mean(_unit(r) * direction)
    found: Array = r.shape[-1] * along * along
    return found


def _normality(r: Array, _: Array) -> Array:
    """Return D'Agostino and Pearson's K² of each sample, (samples, n).

    Source: D'Agostino, Belanger and D'Agostino, A Suggestion for Using Powerful and Informative
    Tests of Normality (1990); the kurtosis by Anscombe and Glynn (1983).
    """
    r = r - _mean(r)[:, None]
    square = r * r
    second = np.maximum(_mean(square), np.finfo(np.float64).tiny)
    skewness = _mean(square * r) / second**1.5
    kurtosis = _mean(square * square) / second**2
    n = r.shape[-1]
    found: Array = _skewness_z(skewness, n) ** 2 + _kurtosis_z(kurtosis, n) ** 2
    return found


def _skewness_z(skewness: Array, n: int) -> Array:
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = math.sqrt(2 * (beta - 1)) - 1
    found: Array = np.arcsinh(y / math.sqrt(2 / (w2 - 1))) / math.sqrt(0.5 * math.log(w2))
    return found


def _kurtosis_z(kurtosis: Array, n: int) -> Array:
    expected = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (kurtosis - expected) / math.sqrt(variance)
    root = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9))
    root *= math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / root * (2 / root + math.sqrt(1 + 4 / root**2))
    cube = (1 - 2 / a) / (1 + x * math.sqrt(2 / (a - 4)))
    found: Array = (1 - 2 / (9 * a) - np.cbrt(cube)) / math.sqrt(2 / (9 * a))
    return found


def _unit(values: Array) -> Array:
    """Return values, (..., n), with mean 0 and mean square 1; zeros where they are all the same."""
    size = np.abs(values).max(axis=-1, keepdims=True)
    centred = values - _mean(values)[..., None]
    rms = _rms(centred)[..., None]
    alike = rms <= 1e-12 * size
    return np.where(alike, 0.0, centred / np.where(alike, 1.0, rms))


def _mean(values: Array) -> Array:
    """Return the means over the last axis: the same bits on every machine."""
    *many, rows = values.shape
    found: Array = moments.sums(values.reshape(-1, rows)).reshape(many) / rows
    return found


def _rms(values: Array) -> Array:
    """Return the root mean squares over the last axis; scaled, so that no square overflows."""
    top = np.abs(values).max(axis=-1)
    safe = np.where((top > 0) & np.isfinite(top), top, 1.0)
    scaled = values / safe[..., None]
    found: Array = np.where(safe == top, top * np.sqrt(_mean(scaled * scaled)), top)
    return found
