"""Examines the residuals of a model: whether they look like noise.

By default the gate does not test this, since no threshold is right for every table. The p-values
come from simulation, a thousand samples of pure noise at the same x, because the asymptotic
distributions of the statistics are off by a factor of four where it matters (decision 0008).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from knownline.core.fits import Fit
from knownline.core.kinds import Linear, Model, Parameters
from knownline.core.sums import sums

Array = npt.NDArray[np.float64]

MIN_ROWS = 8
"""The fewest rows that the checks need."""

SAMPLES = 1000
"""Simulated samples of pure noise that the residuals are compared with."""

ROUNDING = 1e-6
"""A trend statistic below this is nothing but rounding."""

_ONLY_ROUNDING = "there is nothing but rounding in them"
_BATCH, _KEY = 100, 20200910  # samples simulated at a time; the key of their generator

FAINT = 0.05
"""A sign is faint if less than this share of the samples is as extreme, and clear if none is."""

Sign = Literal["none", "faint", "clear"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the residuals.

    key: bend, scatter, normality or trend. about: the departure from noise that is tested. name,
    value: the test statistic. as_much: how many of SAMPLES samples of pure noise give this value or
    a larger one. of_the_fit: whether the residuals are those of the fit, not of least squares.
    """

    key: str
    about: str
    name: str
    value: float
    as_much: int
    of_the_fit: bool = False

    @property
    def sign(self) -> Sign:
        """How clearly the residuals show the departure."""
        return (
            "clear" if not self.as_much else "faint" if self.as_much < FAINT * SAMPLES else "none"
        )


@dataclass(frozen=True, slots=True)
class Residuals:
    """The residuals, y minus the prediction, in numbers.

    sd: their root mean square, in units of y. farthest_x, farthest: the x of the largest one (the
    fitted y of several inputs), and its size in sd. gap: the distance from that x to the nearest
    different one, inf if none differs.
    checks: empty if there are too few rows, or only rounding errors; `unchecked` says why.
    """

    rows: int
    sd: float
    farthest_x: float
    farthest: float
    gap: float
    checks: list[Check]
    unchecked: str


def examine(inputs: Sequence[Array], y: Array, fitted: Parameters, data: Fit) -> Residuals:
    """Return the residuals of a model in numbers, and the checks of them.

    inputs, y: the points to examine, (shown,) each. data: the model and all training rows. Bend,
    scatter and shape are tested on the residuals of least squares, because a fit that has not
    converged adds a bias. They are tested along x or, with several inputs, along the fitted y.
    """
    kind, ols = data.model, data.solution
    with np.errstate(over="ignore", invalid="ignore"):
        expected = data.predict(ols, inputs)
        along = inputs[0] if len(inputs) == 1 else expected
        residuals, noise = y - data.predict(fitted, inputs), y - expected
        sd, noise_sd = float(_rms(residuals)), float(_rms(noise))
        terms = data.tangent(inputs)
        scale = max([float(_rms(y)), *_sizes(kind, ols, terms)])
    rounding = 16 * float(np.finfo(np.float64).eps) * scale
    if not math.isfinite(sd) or sd == 0:
        return Residuals(len(y), sd, float(along[0]), 0.0, _gap(along, 0), [], _ONLY_ROUNDING)
    farthest = int(np.argmax(np.abs(residuals)))
    unchecked, checks = "", []
    fewest = MIN_ROWS + max(len(kind.names) - 2, 0)
    if sd < rounding:
        unchecked = _ONLY_ROUNDING
    elif not noise_sd >= rounding:
        unchecked = (
            "they are optimiser error: in those of least squares there is nothing but rounding"
        )
    elif len(y) < fewest:
        unchecked = f"{len(y)} rows are too few ({fewest} needed)"
    else:
        with np.errstate(all="ignore"):  # checks that are not finite are dropped
            basis = _basis(terms or [along])  # for a network, a trend along y is no bend
            trend = _trend(fitted, len(y), data)
            axis = "x" if len(inputs) == 1 else "the fitted y"
            checks = _checks(along, axis, basis, noise / noise_sd, trend)
    distance = float(abs(residuals[farthest]) / sd)
    gap = _gap(along, farthest)
    return Residuals(len(y), sd, float(along[farthest]), distance, gap, checks, unchecked)


def _sizes(kind: Model, ols: Parameters, terms: Sequence[Array]) -> list[float]:
    """Return the sizes of the summands of y, whose rounding errors are in the residuals."""
    if not isinstance(kind, Linear):
        return [float(_rms(term)) * abs(ols[name]) for name, term in zip(ols, terms, strict=True)]
    level = abs(ols[kind.constant] * kind.level) if kind.constant else 0.0
    named = zip(kind.varying, terms, strict=True)
    return [*(float(_rms(ols[name] * term)) for name, term in named), level]


def _gap(x: Array, index: int) -> float:
    distances = np.abs(x / 2 - x[index] / 2)  # halved, so that none overflows
    return 2 * float(np.min(distances[distances > 0], initial=math.inf))


def _trend(fitted: Parameters, count: int, data: Fit) -> float:
    """Return n times the squared correlation of a fit's residuals with the terms, over all rows.

    Not over the examined points: the least-squares residuals are uncorrelated with the terms over
    all rows, but not over a sample of them.
    """
    spread = math.hypot(*data.spread(fitted))
    noise = math.sqrt(data.mean_squared_error(data.solution))
    return count * (spread / math.hypot(spread, noise)) ** 2 if spread else 0.0


def _basis(terms: Sequence[Array]) -> list[Array]:
    """Return the terms, (n,) each, made orthogonal, of mean 0 and mean square 1."""
    basis: list[Array] = []
    for term in terms:
        basis.append(_unit(_residual(_unit(term), basis) if basis else term))
    return basis


def _without(values: Array, basis: Sequence[Array]) -> Array:
    """Return values, (..., n), minus their projection on the basis."""
    for direction in basis:
        values = values - _mean(values * direction)[..., None] * direction
    return values


def _residual(values: Array, basis: Sequence[Array]) -> Array:
    """Return `_without(values, basis)`, (n,); zeros if the result is only rounding errors."""
    rest = _without(values, basis)
    return rest if _rms(rest) > 1e-9 * _rms(values) else np.zeros_like(rest)


def _checks(
    along: Array, axis: str, basis: Sequence[Array], residuals: Array, trend: float
) -> list[Check]:
    """Return the checks of the least-squares residuals, (n,).

    axis: what `along` is called. trend: the value of `_trend`.
    """
    questions = {
        "a bend that the model does not follow": ("n·r²", _bend),
        f"a scatter that changes along {axis}": ("n·r²", _scatter),
        "a shape other than the normal's bell": ("K²", _normality),
    }
    straight = _unit(along)
    square = straight * straight
    bend = _unit(_residual(square, basis))
    directions = {_bend: bend, _scatter: straight, _normality: straight}
    if not np.any(bend):  # if x has two values only, or the model has a square, every bend is zero
        del questions["a bend that the model does not follow"]
    values = {
        statistic: float(statistic(residuals[None], directions[statistic])[0])
        for _, statistic in questions.values()
    }
    for question, (_, statistic) in list(questions.items()):
        if not math.isfinite(values[statistic]):  # residuals that are all equal have no shape
            del values[statistic], questions[question]
    counts, trend_count = dict.fromkeys(values, 0), 0
    for noise in _samples(len(along)):
        # The trend is counted before a line is fitted to the noise, which would remove it.
        alike = sum(_correlation(noise, direction) for direction in basis)
        trend_count += int(np.count_nonzero(alike >= trend))
        detrended = _without(noise - _mean(noise)[:, None], basis)
        for statistic, value in values.items():
            simulated = statistic(detrended, directions[statistic])
            counts[statistic] += int(np.count_nonzero(simulated >= value))
    checks = [
        Check(statistic.__name__.strip("_"), about, name, values[statistic], counts[statistic])
        for about, (name, statistic) in questions.items()
    ]
    if not trend >= ROUNDING:  # the fit has converged: its residuals have no trend
        return checks
    where = "x" if axis == "x" else "the inputs"
    about = f"a trend along {where}, which least squares would not have"
    return [Check("trend", about, "n·r²", trend, trend_count, of_the_fit=True), *checks]


def _samples(rows: int) -> Iterator[Array]:
    """Yield samples of pure noise, (_BATCH, rows), the same ones at every call."""
    random = np.random.Generator(np.random.Philox(key=_KEY))
    for _ in range(SAMPLES // _BATCH):
        yield random.standard_normal((_BATCH, rows))


def _bend(r: Array, bend: Array) -> Array:
    """Return n times the squared correlation of r, (samples, n), with what a parabola adds."""
    return _correlation(r, bend)


def _scatter(r: Array, straight: Array) -> Array:
    """Return n times the squared correlation of the squared residuals with x.

    Source: Breusch and Pagan, The Lagrange Multiplier Test and its Applications to Model
    Specification in Econometrics (1980).
    """
    squares = r * r
    return _correlation(squares - _mean(squares)[:, None], straight)


def _correlation(r: Array, direction: Array) -> Array:
    projection = _mean(_unit(r) * direction)
    result: Array = r.shape[-1] * projection * projection
    return result


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
    result: Array = _skewness_z(skewness, n) ** 2 + _kurtosis_z(kurtosis, n) ** 2
    return result


def _skewness_z(skewness: Array, n: int) -> Array:
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = math.sqrt(2 * (beta - 1)) - 1
    result: Array = np.arcsinh(y / math.sqrt(2 / (w2 - 1))) / math.sqrt(0.5 * math.log(w2))
    return result


def _kurtosis_z(kurtosis: Array, n: int) -> Array:
    expected = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (kurtosis - expected) / math.sqrt(variance)
    root = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9))
    root *= math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / root * (2 / root + math.sqrt(1 + 4 / root**2))
    cube = (1 - 2 / a) / (1 + x * math.sqrt(2 / (a - 4)))
    result: Array = (1 - 2 / (9 * a) - np.cbrt(cube)) / math.sqrt(2 / (9 * a))
    return result


def _unit(values: Array) -> Array:
    """Return values, (..., n), scaled to mean 0 and mean square 1; zeros if they are all equal."""
    largest = np.abs(values).max(axis=-1, keepdims=True)
    centred = values - _mean(values)[..., None]
    rms = _rms(centred)[..., None]
    small = rms <= 1e-12 * largest
    return np.where(small, 0.0, centred / np.where(small, 1.0, rms))


def _mean(values: Array) -> Array:
    """Return the means over the last axis, with the same bits on every machine."""
    *leading, count = values.shape
    result: Array = sums(values.reshape(-1, count)).reshape(leading) / count
    return result


def _rms(values: Array) -> Array:
    """Return the root mean squares over the last axis, scaled so that no square overflows."""
    largest = np.abs(values).max(axis=-1)
    divisor = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    scaled = values / divisor[..., None]
    result: Array = np.where(divisor == largest, largest * np.sqrt(_mean(scaled * scaled)), largest)
    return result
