"""Moments and what follows from them, against exact arithmetic on the same float64 rows."""

import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core import moments
from knownline.core.line import Line
from knownline.core.moments import (
    Compressed,
    Moments,
    Pivot,
    Room,
    chunk_moments,
    compress,
    pivot_line,
    sums,
)

Array = npt.NDArray[np.float64]
Points = list[tuple[float, float]]

SRC = str(Path(moments.__file__).parents[2])
"""Where processes of our own find what is tested here."""

EPS = 2.0**-52
FEW = 16
"""Roundings that may add up in one number: log2(rows) additions and a handful of operations."""

TRUTH = Line(20.0, 5.0)


def sum_of(values: Iterator[Fraction]) -> Fraction:
    return sum(values, start=Fraction(0))


@dataclass(frozen=True)
class Exact:
    """Means and centred sums of squares of float64 rows, without any rounding."""

    rows: int
    mean_x: Fraction
    mean_y: Fraction
    xx: Fraction
    xy: Fraction
    yy: Fraction

    @property
    def w(self) -> Fraction:
        return self.xy / self.xx

    @property
    def b(self) -> Fraction:
        return self.mean_y - self.w * self.mean_x

    @property
    def residual_variance(self) -> Fraction:
        """Return the least mean squared error that any line has."""
        return (self.yy - self.xy * self.xy / self.xx) / self.rows


def exact(x: Sequence[Fraction], y: Sequence[Fraction]) -> Exact:
    rows = len(x)
    mean_x, mean_y = sum_of(iter(x)) / rows, sum_of(iter(y)) / rows
    dx, dy = [value - mean_x for value in x], [value - mean_y for value in y]
    return Exact(
        rows,
        mean_x,
        mean_y,
        sum_of(p * p for p in dx),
        sum_of(p * q for p, q in zip(dx, dy, strict=True)),
        sum_of(q * q for q in dy),
    )


def exact_of(x: Array, y: Array) -> Exact:
    return exact([Fraction(value) for value in x.tolist()], [Fraction(v) for v in y.tolist()])


def error_of(found: float, true: Fraction) -> float:
    return float(abs(Fraction(found) - true))


def relative_error(found: float, true: Fraction) -> float:
    return float(abs(Fraction(found) / true - 1))


def columns(points: Points) -> tuple[Array, Array]:
    x, y = zip(*points, strict=True)
    return np.array(x), np.array(y)


def cut(x: Array, y: Array, at: Sequence[int]) -> list[tuple[Array, Array]]:
    places = sorted({place for place in at if 0 < place < len(x)})
    return list(zip(np.split(x, places), np.split(y, places), strict=True))


def drawn(
    seed: int, *, rows: int = 200, offset: float = 0.0, line: Line = TRUTH, noise: float = 1.5
) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return x, line.at(x) + noise * draws.standard_normal(rows)


def sizes(x: Array, y: Array, pivot: Pivot) -> tuple[float, float, float]:
    """Return how large u gets, what r is the difference of, and r."""
    u = np.abs(x - pivot.x0)
    parts = np.abs(y - pivot.y0) + abs(pivot.slope) * u
    r = (y - pivot.y0) - pivot.slope * (x - pivot.x0)
    return float(u.max()), float(parts.max()), float(np.abs(r).max())


numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
some_points = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40)
cuts = st.lists(st.integers(1, 39), max_size=4)


# The sum


def sum_(values: Array) -> float:
    return float(sums(values[None])[0])


@settings(deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), max_size=600))
def test_a_sum_is_that_of_fsum_to_rounding(values: list[float]) -> None:
    size = math.fsum(map(abs, values))
    assert abs(sum_(np.array(values)) - math.fsum(values)) <= 2 * FEW * EPS * size


@pytest.mark.parametrize(
    "count", [*range(20), *range(120, 150), 256, 257, 1000, 4096, 65_536, 65_537]
)
def test_every_value_is_summed_once(count: int) -> None:
    assert sum_(np.arange(count, dtype=np.float64)) == count * (count - 1) // 2


def test_a_sum_of_a_million_keeps_its_digits() -> None:
    values = np.random.default_rng(3).uniform(0.0, 1.0, 1_000_000)
    assert sum_(values) == pytest.approx(math.fsum(values.tolist()), rel=4 * EPS)


def test_of_few_the_upper_half_is_added_to_the_lower() -> None:
    # Left to right the first 1 is lost in 1e16 and the sum is 1.
    assert sum_(np.array([1e16, 1.0, -1e16, 1.0])) == 2.0


def one_by_one(values: Sequence[float]) -> float:
    """Return the sum in the order that `sums` promises, by Python's own floats."""
    left = list(values)
    while len(left) > 128:
        width = math.ceil(len(left) / 16)
        totals = left[:width]
        for place, value in enumerate(left[width:]):
            totals[place % width] += value
        left = totals
    while len(left) > 1:
        half = 1 << (len(left) - 1).bit_length() - 1
        left = [a + b for a, b in zip_longest(left[:half], left[half:], fillvalue=0.0)]
    return left[0]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9000), st.integers(1, 5), st.integers(0, 2**32))
def test_the_order_is_the_one_that_is_promised(rows: int, many: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = draws.standard_normal((many, rows)) * 10.0 ** draws.integers(-8, 8, (many, rows))
    assert sums(values).tolist() == [one_by_one(row) for row in values.tolist()]


def test_the_order_is_the_same_for_a_whole_chunk() -> None:
    values = np.random.default_rng(9).standard_normal((3, 65_536)) ** 5
    assert sums(values).tolist() == [one_by_one(row) for row in values.tolist()]


def test_a_sum_of_zeros_has_no_sign() -> None:
    for count in (0, 1, 2, 3, 300, 1000):
        assert math.copysign(1.0, sum_(np.full(count, -0.0))) == 1.0


def test_summing_leaves_the_values_alone() -> None:
    for count in (8, 300, 1000):
        values = np.arange(float(count))
        sum_(values)
        assert values.tolist() == list(range(count))


# Moments


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_moments_are_the_exact_ones_to_rounding(points: Points, places: list[int]) -> None:
    x, y = columns(points)
    found = compress(cut(x, y, places))
    pivot, moments, n = found.pivot, found.moments, len(x)
    x0, y0, slope = Fraction(pivot.x0), Fraction(pivot.y0), Fraction(pivot.slope)
    u = [Fraction(value) - x0 for value in x.tolist()]
    r = [Fraction(q) - y0 - slope * p for p, q in zip(u, y.tolist(), strict=True)]
    true = exact(u, r)
    size_u, parts, size_r = sizes(x, y, pivot)
    noise = size_r + EPS * parts
    assert moments.rows == n
    assert error_of(moments.mean_u, true.mean_x) <= FEW * EPS * size_u
    assert error_of(moments.mean_r, true.mean_y) <= FEW * EPS * parts
    assert error_of(moments.uu, true.xx) <= FEW * EPS * n * size_u * size_u
    assert error_of(moments.ur, true.xy) <= FEW * EPS * n * size_u * parts
    assert error_of(moments.rr, true.yy) <= FEW * EPS * n * parts * noise


def moments_of(x: Array, y: Array, pivot: Pivot) -> Moments:
    return Moments.of(chunk_moments(x[None], y[None], pivot)[0])


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_merged_chunks_are_one_pass_to_rounding(points: Points, places: list[int]) -> None:
    x, y = columns(points)
    pivot = pivot_line(x, y)
    once = moments_of(x, y, pivot)
    first, *rest = [moments_of(p, q, pivot) for p, q in cut(x, y, places)]
    merged = first
    for each in rest:
        merged = merged.merged(each)
    n = len(x)
    size_u, parts, _ = sizes(x, y, pivot)
    allowed = (
        2
        * FEW
        * EPS
        * np.array([0, size_u, parts, n * size_u * size_u, n * size_u * parts, n * parts * parts])
    )
    assert np.all(np.abs(np.array(astuple(merged)) - np.array(astuple(once))) <= allowed)


def about_zero(points: Points) -> Moments:
    """Return the moments of points about the line y = 0, each rounded once."""
    true = exact_of(*columns(points))
    return Moments(true.rows, *map(float, (true.mean_x, true.mean_y, true.xx, true.xy, true.yy)))


@settings(deadline=None)
@given(left=some_points, right=some_points)
def test_merged_moments_are_the_exact_ones_of_all_rows(left: Points, right: Points) -> None:
    merged = about_zero(left).merged(about_zero(right))
    x, y = columns(left + right)
    true, n = exact_of(x, y), len(x)
    size_x, size_y = float(np.abs(x).max()), float(np.abs(y).max())
    assert merged.rows == n
    assert error_of(merged.mean_u, true.mean_x) <= FEW * EPS * size_x
    assert error_of(merged.mean_r, true.mean_y) <= FEW * EPS * size_y
    assert error_of(merged.uu, true.xx) <= FEW * EPS * n * size_x * size_x
    assert error_of(merged.ur, true.xy) <= FEW * EPS * n * size_x * size_y
    assert error_of(merged.rr, true.yy) <= FEW * EPS * n * size_y * size_y


def test_the_moments_of_a_chunk_are_48_bytes() -> None:
    x, y = drawn(0)
    assert chunk_moments(x[None], y[None], Pivot(0.0, 0.0, 0.0)).nbytes == 48


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 1024, 65_536])
def test_chunks_taken_together_have_the_bits_of_each_by_itself(rows: int) -> None:
    draw = np.random.default_rng(rows)
    x, y = draw.normal(1e6, 1.0, (5, rows)), draw.normal(-3.0, 2.0, (5, rows))
    pivot, room = Pivot(1e6, 0.5, 0.1), Room()
    together = chunk_moments(x, y, pivot, room)
    alone = np.concatenate(
        [chunk_moments(x[i : i + 1], y[i : i + 1], pivot, room) for i in range(5)]
    )
    assert together.tobytes() == alone.tobytes()


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_chunks_without_rows_change_no_bit(points: Points, places: list[int]) -> None:
    x, y = columns(points)
    none = (np.empty(0), np.empty(0))
    chunks = cut(x, y, places)
    padded = [none, *(piece for chunk in chunks for piece in (chunk, none))]
    assert compress(padded) == compress(chunks)


@pytest.mark.parametrize("chunks", [[], [(np.empty(0), np.empty(0))]])
def test_no_rows_at_all_are_refused(chunks: list[tuple[Array, Array]]) -> None:
    with pytest.raises(ValueError, match="there is no row to compress"):
        compress(chunks)


# Bits

HEX = """
import numpy as np
from knownline.core.moments import compress
simd = np.show_config(mode="dicts")["SIMD Extensions"]
draws = np.random.default_rng(7)
chunks = []
for rows in (65_536, 65_536, 12_347, 5):
    x = 1e6 + draws.integers(0, 2**40, rows) * 2.0**-30
    chunks.append((x, 20 * x + 5 + draws.integers(-(2**20), 2**20, rows) * 2.0**-18))
found = compress(chunks)
x, y = found.three_points(standardize=False)
line = found.least_squares()
m, p = found.moments, found.pivot
print("found:", *simd.get("found", []))
print(m.rows, *[float(v).hex() for v in (p.x0, p.y0, p.slope, m.mean_u, m.mean_r, m.uu, m.ur, m.rr,
      *x, *y, line.w, line.b, found.mean_x, found.mean_y, found.sd_x, found.var_y)])
"""


def bits(**env: str) -> tuple[list[str], str]:
    """Return what SIMD numpy uses and the hex of all that is known of some rows."""
    done = subprocess.run(
        [sys.executable, "-c", HEX],
        env={**os.environ, "PYTHONPATH": SRC, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    simd, line = done.stdout.splitlines()
    return simd.split()[1:], line


@pytest.fixture(scope="module")
def default_bits() -> tuple[list[str], str]:
    return bits()


def test_bits_do_not_depend_on_simd(default_bits: tuple[list[str], str]) -> None:
    simd, default = default_bits
    if not simd:
        pytest.skip("numpy dispatches nothing on this CPU")
    left, without = bits(NPY_DISABLE_CPU_FEATURES=" ".join(simd))
    assert left == []
    assert without == default


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_bits_do_not_depend_on_threads(threads: str, default_bits: tuple[list[str], str]) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert bits(**dict.fromkeys(names, threads)) == default_bits


def test_bits_do_not_depend_on_how_a_chunk_lies_in_memory() -> None:
    x, y = drawn(5, rows=4097)
    table = np.column_stack([x, y])
    shifted = np.concatenate([[0.0], x])[1:], np.concatenate([[0.0], y])[1:]
    assert compress([(table[:, 0], table[:, 1])]) == compress([(x, y)])
    assert compress([shifted]) == compress([(x, y)])


# Least squares


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_least_squares_is_the_exact_line_to_rounding(points: Points, places: list[int]) -> None:
    x, y = columns(points)
    assume(len(set(x.tolist())) > 1)
    found = compress(cut(x, y, places))
    _, parts, _ = sizes(x, y, found.pivot)
    true = exact_of(x, y)
    assume(float(true.xx) > 1e-60 * len(x))
    line = found.least_squares()
    slope_error = FEW * EPS * (abs(float(true.w)) + parts * math.sqrt(len(x) / float(true.xx)))
    level = abs(float(true.mean_y)) + abs(line.w) * float(np.abs(x).max())
    assert error_of(line.w, true.w) <= slope_error
    assert error_of(line.b, true.b) <= slope_error * float(np.abs(x).max()) + FEW * EPS * (
        level + parts
    )


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6, 1e8, -1e8])
@pytest.mark.parametrize("chunk", [1, 10, 99])
@pytest.mark.parametrize("noise", [0.0, 1.5, 100.0])
def test_a_grid_far_from_zero_keeps_its_slope(offset: float, chunk: int, noise: float) -> None:
    x = offset + np.arange(1.0, 100.0)
    y = 20.0 * x + 5.0 + noise * np.random.default_rng(11).standard_normal(99)
    true = exact_of(x, y)
    line = compress(cut(x, y, range(0, 99, chunk))).least_squares()
    assert relative_error(line.w, true.w) <= 1e-14
    # b is what is left of numbers of the size of w * x: it has their last digits.
    assert error_of(line.b, true.b) <= 4 * EPS * (abs(line.w) * abs(offset + 50.0) + 100.0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), places=st.lists(st.integers(1, 199), max_size=4))
def test_drawn_points_shifted_by_1e8_keep_their_slope(seed: int, places: list[int]) -> None:
    x, y = drawn(seed, offset=1e8)
    line = compress(cut(x, y, places)).least_squares()
    assert relative_error(line.w, exact_of(x, y).w) <= 1e-14


@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_least_squares_is_that_of_lstsq(noise: float) -> None:
    x, y = drawn(1, noise=noise)
    (w, b), *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    line = compress([(x, y)]).least_squares()
    assert line.w == pytest.approx(w, rel=1e-12)
    assert line.b == pytest.approx(b, rel=1e-10)


# Small spread far from zero: src/test/regress/sql/aggregates.sql of PostgreSQL, which returned 0
# or less than 0 for such variances before it took Youngs and Cramer's sums in 2018.


@pytest.mark.parametrize(
    ("values", "mean", "variance"),
    [
        ([100000003.0, 100000004.0, 100000006.0, 100000007.0], 100000005.0, 2.5),
        ([7000000000005.0, 7000000000007.0], 7000000000006.0, 1.0),
    ],
)
def test_postgresqls_variances_with_a_large_offset(
    values: list[float], mean: float, variance: float
) -> None:
    far, near = np.array(values), np.arange(len(values), dtype=np.float64)
    as_x, as_y = compress([(far, near)]), compress([(near, far)])
    assert (as_x.mean_x, as_y.mean_y) == (mean, mean)
    assert as_x.sd_x**2 == pytest.approx(variance, rel=4 * EPS)
    assert as_y.var_y == pytest.approx(variance, rel=FEW * EPS)


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize(
    "y",
    [
        [10000000.01, 9999999.99, 10000000.03, 9999999.97],
        [9999999.99, 10000000.01, 9999999.97, 10000000.03],
        [10000000.01, 9999999.97, 9999999.99, 10000000.03],
    ],
)
def test_a_small_spread_around_1e7_keeps_its_covariance(y: list[float], chunk: int) -> None:
    x = np.array([10000000.01, 9999999.99, 10000000.03, 9999999.97])
    found = compress(cut(x, np.array(y), range(0, 4, chunk)))
    true = exact_of(x, np.array(y))
    m, slope = found.moments, found.pivot.slope
    assert relative_error(m.uu, true.xx) <= 1e-14
    assert relative_error(m.ur + slope * m.uu, true.xy) <= 1e-13
    assert relative_error(found.var_y * 4, true.yy) <= 1e-13
    assert relative_error(found.least_squares().w, true.w) <= 1e-13


# The loss


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    w=st.floats(-100, 100),
    b=st.floats(-1000, 1000),
    places=st.lists(st.integers(1, 199), max_size=3),
)
def test_the_mean_squared_error_is_numpys(seed: int, w: float, b: float, places: list[int]) -> None:
    x, y = drawn(seed)
    found = compress(cut(x, y, places)).mean_squared_error(Line(w, b))
    # A first chunk of one row gives a flat pivot: then moments have the digits of y².
    allowed = 4 * EPS * float(np.mean(y * y))
    expected = float(np.mean((w * x + b - y) ** 2))
    assert found == pytest.approx(expected, rel=1e-12, abs=allowed)


@pytest.mark.parametrize(
    ("line", "noise"),
    [(Line(2.0, 1e6), 1e-3), (Line(-3.0, -1e6), 1e-3), (Line(1e4, 0.0), 1e-3), (TRUTH, 1e-6)],
)
@pytest.mark.parametrize("chunk", [10, 99])
def test_tiny_noise_beside_a_big_y_keeps_its_digits(line: Line, noise: float, chunk: int) -> None:
    x = np.arange(1.0, 100.0)
    y = line.at(x) + noise * np.random.default_rng(13).standard_normal(99)
    found = compress(cut(x, y, range(0, 99, chunk)))
    least = found.mean_squared_error(found.least_squares())
    assert relative_error(least, exact_of(x, y).residual_variance) <= 1e-6


@pytest.mark.parametrize("spread", [0.0, 1.0, 1e-3, 1e-6, 1e-9, 1e-12])
def test_a_narrow_first_chunk_does_not_spoil_the_noise_of_the_rest(spread: float) -> None:
    # A table sorted by x begins with equal or nearly equal x: rain gauges with dry days first.
    draws = np.random.default_rng(17)
    x = np.concatenate([spread * draws.uniform(0.0, 1.0, 100), draws.uniform(1.0, 99.0, 900)])
    y = TRUTH.at(x) + 1.5 * draws.standard_normal(1000)
    found = compress(cut(x, y, [100]))
    true = exact_of(x, y)
    line = found.least_squares()
    assert relative_error(line.w, true.w) <= 1e-10
    assert relative_error(found.mean_squared_error(line), true.residual_variance) <= 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_no_line_has_less_error_than_least_squares(seed: int) -> None:
    found = compress([drawn(seed)])
    best = found.least_squares()
    least = found.mean_squared_error(best)
    for dw, db in ((1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-2), (0.0, -1e-2), (1e-3, -5e-2)):
        assert found.mean_squared_error(Line(best.w + dw, best.b + db)) > least


def test_points_on_a_line_have_no_negative_error() -> None:
    x = np.linspace(0.1, 0.9, 77)
    found = compress([(x, 0.3 * x - 0.7)])
    assert 0.0 <= found.mean_squared_error(found.least_squares()) <= EPS * EPS
    assert found.var_y >= 0.0


# Three points


def of_three(found: Compressed, *, standardize: bool) -> Exact:
    x, y = found.three_points(standardize=standardize)
    assert (x.shape, y.shape) == ((3,), (3,))
    return exact_of(x, y)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), offset=st.floats(-100, 100), noise=st.floats(1e-3, 1e3))
def test_three_points_have_mean_and_covariance_of_the_rows(
    seed: int, offset: float, noise: float
) -> None:
    x, y = drawn(seed, offset=offset, noise=noise)
    true, three = exact_of(x, y), of_three(compress([(x, y)]), standardize=False)
    size_x, size_y = float(np.abs(x).max()), float(np.abs(y).max())
    assert error_of(float(three.mean_x), true.mean_x) <= FEW * EPS * size_x
    assert error_of(float(three.mean_y), true.mean_y) <= FEW * EPS * size_y
    assert float(three.xx / 3) == pytest.approx(float(true.xx / true.rows), rel=1e-12)
    assert float(three.xy / 3) == pytest.approx(float(true.xy / true.rows), rel=1e-9)
    assert float(three.yy / 3) == pytest.approx(float(true.yy / true.rows), rel=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), offset=st.floats(-1e8, 1e8))
def test_standardised_points_have_mean_0_and_variance_1(seed: int, offset: float) -> None:
    three = of_three(compress([drawn(seed, offset=offset)]), standardize=True)
    assert float(three.mean_x) == pytest.approx(0.0, abs=EPS)
    assert float(three.xx / 3) == pytest.approx(1.0, rel=4 * EPS)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    offset=st.floats(-100, 100),
    noise=st.floats(0.1, 1e3),
    w=st.floats(-100, 100),
    b=st.floats(-1e4, 1e4),
    standardize=st.booleans(),
)
def test_three_points_have_the_loss_of_all_rows(
    seed: int, offset: float, noise: float, w: float, b: float, standardize: bool
) -> None:
    x, y = drawn(seed, offset=offset, noise=noise)
    few_x, few_y = compress([(x, y)]).three_points(standardize=standardize)
    if standardize:
        x = (x - x.mean()) / x.std()
    few = float(np.mean((w * few_x + b - few_y) ** 2))
    assert few == pytest.approx(float(np.mean((w * x + b - y) ** 2)), rel=1e-9)


@pytest.mark.parametrize("standardize", [True, False])
def test_three_points_have_the_least_loss_of_all_rows(standardize: bool) -> None:
    x, y = drawn(2)
    few = of_three(compress([(x, y)]), standardize=standardize)
    assert float(few.residual_variance) == pytest.approx(
        float(exact_of(x, y).residual_variance), rel=1e-9
    )


# What does not fit into float64


@pytest.mark.parametrize(
    ("x_scale", "y_scale"), [(1e200, 1.0), (1.0, 1e200), (1e308, 1.0), (1.0, 1e306)]
)
def test_squares_past_float64_are_told_without_a_warning(x_scale: float, y_scale: float) -> None:
    x, y = drawn(3, line=Line(1.0, 1.0), noise=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not compress([(x / 99 * x_scale, y / 99 * y_scale)]).finite


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1.0, 1e100])
def test_rows_of_any_ordinary_size_are_finite(scale: float) -> None:
    x, y = drawn(3)
    found = compress([(x * scale, y)])
    assert found.finite
    assert found.least_squares().w == pytest.approx(float(exact_of(x, y).w) / scale, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-165, 1e-200, 1e-300])
def test_squares_of_x_that_vanish_are_told_too(scale: float) -> None:
    x, y = drawn(3)
    assert not compress([(x * scale, y)]).finite
