"""For a line, the code for any number of terms gives the bits of the closed forms.

The expected values are the formulas for one x, written out in the order of operations that data,
history and metrics have had since before other models could be fitted.
"""

import math

import numpy as np
import numpy.typing as npt
import pytest

from knownline.core.least_squares import LeastSquares
from knownline.core.moments import chunk_moments, join, merge, moved, pivot_of
from knownline.core.sums import sums
from knownline.model import LINE

Array = npt.NDArray[np.float64]
Six = tuple[float, float, float, float, float, float]
"""rows, mean_u, mean_r, uu, ur, rr."""

seeds = pytest.mark.parametrize("seed", range(8))
EACH = 40
"""Data sets for each seed."""


def some_rows(random: np.random.Generator) -> tuple[Array, Array]:
    """Return x and y of any size, with any offset and noise; at times, without any slope."""
    rows = int(random.integers(3, 400))
    size, offset = 10.0 ** random.integers(-6, 7), random.choice([0.0, 1.0, 1e4, 1e8])
    x = offset + size * random.uniform(1.0, 99.0, rows)
    w, b = random.standard_normal(2) * 10.0 ** random.integers(-3, 4, 2)
    noise = random.choice([0.0, 1e-6, 1.5, 1e3]) * random.standard_normal(rows)
    return x, w * x + b + noise


def hexes(*values: float) -> list[str]:
    return [float(value).hex() for value in values]


def chunk_by_hand(x: Array, y: Array, x0: float, y0: float, slope: float) -> Six:
    """Return the moments of a chunk about a line."""
    u = x - x0
    r = (y - y0) - u * slope
    mean_u, mean_r = (sums(np.stack([u, r])) / len(x)).tolist()
    du, dr = u - mean_u, r - mean_r
    uu, ur, rr = sums(np.stack([du * du, du * dr, dr * dr])).tolist()
    return len(x), mean_u, mean_r, uu, ur, rr


def pivot_by_hand(x: Array, y: Array) -> tuple[float, float, float]:
    x0, y0 = float(x[0]), float(y[0])
    _, _, _, uu, ur, rr = chunk_by_hand(x, y, x0, y0, 0.0)
    slope = ur / uu if uu > 0 else 0.0
    explained = slope * ur
    good = math.isfinite(slope) and explained * len(x) > 100 * (rr - explained)
    return x0, y0, slope if good else 0.0


@seeds
def test_the_moments_of_a_chunk(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(EACH):
        x, y = some_rows(random)
        pivot = pivot_of([x], y)[0]
        x0, y0, slope = pivot_by_hand(x, y)
        assert hexes(*pivot.terms, pivot.y, *pivot.slopes) == hexes(x0, y0, slope)
        expected = chunk_by_hand(x, y, x0, y0, slope)
        assert hexes(*chunk_moments([x], y, pivot)) == hexes(*expected)


@seeds
def test_moments_that_are_merged_or_moved(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(EACH):
        (x, y), (v, z) = some_rows(random), some_rows(random)
        pivot, to = pivot_of([x], y)[0], pivot_of([v], z)[0]
        one, other = chunk_moments([x], y, pivot), chunk_moments([v], z, pivot)
        rows = one[0] + other[0]
        share = other[0] / rows
        weight = one[0] * share
        du, dr = other[1] - one[1], other[2] - one[2]
        expected = (
            rows,
            one[1] + du * share,
            one[2] + dr * share,
            one[3] + other[3] + du * du * weight,
            one[4] + other[4] + du * dr * weight,
            one[5] + other[5] + dr * dr * weight,
        )
        assert hexes(*merge(np.stack([one, other]))) == hexes(*expected)
        count, mean_u, mean_r, uu, ur, rr = one
        turn = pivot.slopes[0] - to.slopes[0]
        dx, dy = pivot.terms[0] - to.terms[0], pivot.y - to.y
        about_another = (
            count,
            mean_u + dx,
            mean_r + turn * mean_u + (dy - to.slopes[0] * dx),
            uu,
            ur + turn * uu,
            rr + turn * (2 * ur + turn * uu),
        )
        (found,) = moved(one[None], pivot, to)
        assert hexes(*found[:5]) == hexes(*about_another[:5])
        # The last is added up in another order; only the rows of all files together have it.
        assert abs(found[5] - about_another[5]) <= 1e-12 * (rr + turn * turn * uu)


@seeds
def test_least_squares_the_loss_and_the_three_points(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(EACH):
        x, y = some_rows(random)
        pivot = pivot_of([x], y)[0]
        cut = int(random.integers(1, len(x)))
        chunks = [
            chunk_moments([x[:cut]], y[:cut], pivot),
            chunk_moments([x[cut:]], y[cut:], pivot),
        ]
        rows = join([(pivot, np.stack(chunks))])
        fit = LeastSquares(LINE, rows)
        (x0,), y0, (slope,) = pivot.terms, pivot.y, pivot.slopes
        _, mean_u, mean_r, uu, ur, rr = rows.moments
        n = len(x)

        mean_x, mean_y = x0 + mean_u, y0 + (slope * mean_u + mean_r)
        sd_x = math.sqrt(uu / n)
        var_y = max(rr + slope * (2 * ur + slope * uu), 0.0) / n
        assert hexes(*rows.mean_terms, rows.mean_y, rows.var_y) == hexes(mean_x, mean_y, var_y)
        assert hexes(*fit.sds) == hexes(sd_x)

        w = slope + ur / uu
        b = mean_y - w * mean_x
        assert hexes(*fit.solution.values()) == hexes(w, b)

        for _ in range(3):
            line_w, line_b = (np.array([w, b]) * random.normal(1.0, 0.1, 2)).tolist()
            line = {"w": line_w, "b": line_b}
            dw = line_w - slope
            bias = mean_r - (dw * mean_u + ((line_b + line_w * x0) - y0))
            expected = bias * bias + max(rr - dw * (2 * ur - dw * uu), 0.0) / n
            assert hexes(fit.mean_squared_error(line)) == hexes(expected)
            at_mean = (mean_x * line_w + line_b) - (mean_x * w + b)
            distance = math.hypot(at_mean, (line_w - w) * sd_x)
            assert hexes(fit.distance(line)) == hexes(distance)

        variance = float(random.uniform(0.0, 10.0))
        errors = math.sqrt(variance / uu), math.sqrt(variance * (1 / n + mean_x**2 / uu))
        assert hexes(*fit.standard_errors(variance).values()) == hexes(*errors)

        long, short = math.sqrt(1.5), math.sqrt(0.5)
        first = np.array([0.0, -long, long])
        second = np.array([math.sqrt(2.0), -short, -short])
        along = (ur / n) / sd_x
        across = math.sqrt(max(rr - ur * (ur / uu), 0.0) / n)
        three_u = mean_u + sd_x * first
        three_y = y0 + (slope * three_u + (mean_r + (along * first + across * second)))
        for standardize, three_x in ((True, first), (False, x0 + three_u)):
            (found_x,), found_y = fit.points(standardize=standardize)
            assert hexes(*found_x) == hexes(*three_x)
            assert hexes(*found_y) == hexes(*three_y)


@seeds
def test_the_scaling_of_x_and_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(EACH):
        x, y = some_rows(random)
        pivot = pivot_of([x], y)[0]
        fit = LeastSquares(LINE, join([(pivot, chunk_moments([x], y, pivot)[None])]))
        mean_x, sd_x = fit.rows.mean_terms[0], fit.sds[0]
        (column,) = fit.scaling.columns([x])
        assert hexes(*column) == hexes(*((x - mean_x) / sd_x))
        slope, level = random.standard_normal(2).tolist()
        w = slope / sd_x
        assert hexes(*fit.scaling.in_data_units([slope, level])) == hexes(w, level - w * mean_x)
