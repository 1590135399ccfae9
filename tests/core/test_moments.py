"""Moments and what follows from them, against exact arithmetic on the same float64 rows."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core.line import Line
from knownline.core.moments import (
    Compressed,
    Pivot,
    ScratchBuffer,
    chunk_moments,
    compress,
    join,
    merge,
    moved,
    pivot_line,
)

Array = npt.NDArray[np.float64]
Points = list[tuple[float, float]]

EPS = 2.0**-52
FEW = 16
"""Roundings that may add up in one number: log2(rows) additions and a handful of operations."""

TRUTH = Line(20.0, 5.0)


@dataclass(frozen=True)
class Exact:
    """Means and centred sums of squares of float64 rows, without any rounding."""

    rows: int
    mean_x: Fraction
    mean_y: Fraction
    xx: Fraction
    xy: Fraction
    yy: Fraction

    @classmethod
    def of(cls, x: Sequence[Fraction], y: Sequence[Fraction]) -> "Exact":
        rows = len(x)
        mean_x, mean_y = sum(x, Fraction(0)) / rows, sum(y, Fraction(0)) / rows
        pairs = [(p - mean_x, q - mean_y) for p, q in zip(x, y, strict=True)]
        xx, xy, yy = (
            sum(products, Fraction(0))
            for products in zip(*[(p * p, p * q, q * q) for p, q in pairs], strict=True)
        )
        return cls(rows, mean_x, mean_y, xx, xy, yy)

    @classmethod
    def of_floats(cls, x: Array, y: Array) -> "Exact":
        return cls.of([Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()])

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


def error_of(value: float, true: Fraction) -> float:
    return float(abs(Fraction(value) - true))


def relative_error(value: float, true: Fraction) -> float:
    return float(abs(Fraction(value) / true - 1))


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
    """Return the largest |u|, operand of r = (y - y0) - slope * u, and |r|."""
    u = np.abs(x - pivot.x0)
    operands = np.abs(y - pivot.y0) + abs(pivot.slope) * u
    r = (y - pivot.y0) - pivot.slope * (x - pivot.x0)
    return float(u.max()), float(operands.max()), float(np.abs(r).max())


numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
some_points = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40)
cuts = st.lists(st.integers(1, 39), max_size=4)
seeds = st.integers(0, 2**32)
few_examples = settings(deadline=None, max_examples=40)


# Moments


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_moments_are_exact_to_rounding_wherever_the_rows_are_cut(
    points: Points, places: list[int]
) -> None:
    x, y = columns(points)
    compressed = compress(cut(x, y, places))
    pivot, moments, n = compressed.pivot, compressed.moments, len(x)
    x0, y0, slope = Fraction(pivot.x0), Fraction(pivot.y0), Fraction(pivot.slope)
    u = [Fraction(value) - x0 for value in x.tolist()]
    r = [Fraction(q) - y0 - slope * p for p, q in zip(u, y.tolist(), strict=True)]
    true = Exact.of(u, r)
    size_u, operands, size_r = sizes(x, y, pivot)
    noise = size_r + EPS * operands
    assert moments.rows == n
    assert error_of(moments.mean_u, true.mean_x) <= FEW * EPS * size_u
    assert error_of(moments.mean_r, true.mean_y) <= FEW * EPS * operands
    assert error_of(moments.uu, true.xx) <= FEW * EPS * n * size_u * size_u
    assert error_of(moments.ur, true.xy) <= FEW * EPS * n * size_u * operands
    assert error_of(moments.rr, true.yy) <= FEW * EPS * n * operands * noise


def about_zero(points: Points) -> list[float]:
    """Return the moments of points about the line y = 0, each rounded once."""
    true = Exact.of_floats(*columns(points))
    return [true.rows, *map(float, (true.mean_x, true.mean_y, true.xx, true.xy, true.yy))]


@few_examples
@given(chunks=st.lists(some_points, min_size=1, max_size=9))
def test_merged_moments_are_the_exact_ones_of_all_rows(chunks: list[Points]) -> None:
    table = np.array([about_zero(points) for points in chunks])
    before = table.copy()
    merged = merge(table)
    x, y = columns([point for points in chunks for point in points])
    true, n = Exact.of_floats(x, y), len(x)
    size_x, size_y = float(np.abs(x).max()), float(np.abs(y).max())
    assert merged.rows == n
    assert error_of(merged.mean_u, true.mean_x) <= FEW * EPS * size_x
    assert error_of(merged.mean_r, true.mean_y) <= FEW * EPS * size_y
    assert error_of(merged.uu, true.xx) <= FEW * EPS * n * size_x * size_x
    assert error_of(merged.ur, true.xy) <= FEW * EPS * n * size_x * size_y
    assert error_of(merged.rr, true.yy) <= FEW * EPS * n * size_y * size_y
    assert table.tobytes() == before.tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 1024, 65_536])
def test_memory_that_is_used_again_changes_no_bit(rows: int) -> None:
    draws = np.random.default_rng(rows)
    x, y = draws.normal(1e6, 1.0, rows), draws.normal(-3.0, 2.0, rows)
    pivot, used = Pivot(1e6, 0.5, 0.1), ScratchBuffer()
    for other in (2 * rows, 7, rows):
        chunk_moments(draws.normal(size=other), draws.normal(size=other), pivot, used)
        again = chunk_moments(x, y, pivot, used)
        assert again.tobytes() == chunk_moments(x, y, pivot).tobytes()


lines = st.builds(Pivot, numbers, numbers, st.floats(-100, 100))


@few_examples
@given(chunks=st.lists(some_points, min_size=1, max_size=4), pivot=lines, to=lines)
def test_moments_about_another_line_are_the_exact_ones(
    chunks: list[Points], pivot: Pivot, to: Pivot
) -> None:
    table = np.array([chunk_moments(*columns(points), pivot) for points in chunks])
    before = table.copy()
    for points, found in zip(chunks, moved(table, pivot, to).tolist(), strict=True):
        x, y = columns(points)
        x0, y0, slope = Fraction(to.x0), Fraction(to.y0), Fraction(to.slope)
        u = [Fraction(value) - x0 for value in x.tolist()]
        r = [Fraction(q) - y0 - slope * p for p, q in zip(u, y.tolist(), strict=True)]
        true, n = Exact.of(u, r), len(x)
        size_u, size_r = (
            max(size) for size in zip(sizes(x, y, pivot)[:2], sizes(x, y, to)[:2], strict=True)
        )
        size_r += abs(pivot.slope - to.slope) * size_u
        assert found[0] == n
        assert error_of(found[1], true.mean_x) <= FEW * EPS * size_u
        assert error_of(found[2], true.mean_y) <= FEW * EPS * size_r
        assert error_of(found[3], true.xx) <= FEW * EPS * n * size_u * size_u
        assert error_of(found[4], true.xy) <= FEW * EPS * n * size_u * size_r
        assert error_of(found[5], true.yy) <= FEW * EPS * n * size_r * size_r
    assert table.tobytes() == before.tobytes()


def longdouble_moments(x: Array, y: Array, pivot: Pivot) -> list[float]:
    """Return the moments by numpy's own sums, with 64 bits of mantissa or more."""
    u = x.astype(np.longdouble) - pivot.x0
    r = (y.astype(np.longdouble) - pivot.y0) - np.longdouble(pivot.slope) * u
    du, dr = u - u.mean(), r - r.mean()
    return [float(v) for v in (u.mean(), r.mean(), (du * du).sum(), (du * dr).sum(), (dr**2).sum())]


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e8])
@pytest.mark.parametrize("noise", [1.5, 1e-6])
@pytest.mark.parametrize("cuts_at", [[], [1], [700, 701, 5000]])
def test_parts_about_lines_of_their_own_give_the_line_of_all_rows(
    offset: float, noise: float, cuts_at: list[int]
) -> None:
    x, y = drawn(23, rows=20_000, offset=offset, noise=noise)
    parts = []
    for part_x, part_y in cut(x, y, [*cuts_at, 12_000]):
        pivot = pivot_line(part_x, part_y)
        chunks = [chunk_moments(u, v, pivot) for u, v in cut(part_x, part_y, [300, 3000])]
        parts.append((pivot, np.array(chunks)))
    joined, whole = join(parts), compress([(x, y)])
    assert joined.rows == 20_000
    line, least = joined.least_squares(), whole.least_squares()
    assert line.w == pytest.approx(least.w, rel=1e-13)
    assert error_of(line.b, Fraction(least.b)) <= 8 * EPS * (abs(line.w * offset) + 2000.0)
    # A part of one row has a flat line, about which its moments have the digits of y, not of r.
    flat = any(pivot.slope == 0.0 for pivot, _ in parts)
    digits = EPS * (abs(offset) + 100.0) * 20.0 / noise + 1e-12
    if not flat:
        error = joined.mean_squared_error(line)
        assert error == pytest.approx(whole.mean_squared_error(least), rel=FEW * digits)
    found = joined.moments
    expected = longdouble_moments(x, y, joined.pivot)
    assert found.mean_u == pytest.approx(expected[0], rel=1e-12)
    assert found.uu == pytest.approx(expected[2], rel=1e-12)
    scale = math.sqrt(expected[2] * expected[4])
    assert found.ur == pytest.approx(expected[3], rel=1e-12, abs=FEW * digits * scale)


def test_joined_parts_about_one_line_have_the_bits_of_all_chunks() -> None:
    x, y = drawn(29, rows=5000)
    chunks = cut(x, y, range(0, 5000, 700))
    pivot = pivot_line(*chunks[0])
    table = np.array([chunk_moments(u, v, pivot) for u, v in chunks])
    whole = compress(chunks)
    for split in range(1, len(table)):
        assert join([(pivot, table[:split]), (pivot, table[split:])]) == whole


def test_nothing_to_join_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no row to compress"):
        join([])


@few_examples
@given(points=some_points, places=cuts)
def test_chunks_without_rows_change_no_bit(points: Points, places: list[int]) -> None:
    none = (np.empty(0), np.empty(0))
    chunks = cut(*columns(points), places)
    padded = [none, *(piece for chunk in chunks for piece in (chunk, none))]
    assert compress(padded) == compress(chunks)


@pytest.mark.parametrize("chunks", [[], [(np.empty(0), np.empty(0))]])
def test_no_rows_at_all_are_refused(chunks: list[tuple[Array, Array]]) -> None:
    with pytest.raises(ValueError, match="there is no row to compress"):
        compress(chunks)


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
    compressed = compress(cut(x, y, places))
    _, operands, _ = sizes(x, y, compressed.pivot)
    true = Exact.of_floats(x, y)
    assume(float(true.xx) > 1e-60 * len(x))
    line = compressed.least_squares()
    slope_error = FEW * EPS * (abs(float(true.w)) + operands * math.sqrt(len(x) / float(true.xx)))
    level = abs(float(true.mean_y)) + abs(line.w) * float(np.abs(x).max())
    assert error_of(line.w, true.w) <= slope_error
    assert error_of(line.b, true.b) <= slope_error * float(np.abs(x).max()) + FEW * EPS * (
        level + operands
    )


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6, 1e8, -1e8])
@pytest.mark.parametrize("chunk", [1, 10, 99])
@pytest.mark.parametrize("noise", [0.0, 1.5, 100.0])
def test_rows_far_from_zero_keep_their_slope(offset: float, chunk: int, noise: float) -> None:
    draws = np.random.default_rng(11)
    for x in (offset + np.arange(1.0, 100.0), offset + draws.uniform(1.0, 99.0, 99)):
        y = 20.0 * x + 5.0 + noise * draws.standard_normal(99)
        true = Exact.of_floats(x, y)
        line = compress(cut(x, y, range(0, 99, chunk))).least_squares()
        assert relative_error(line.w, true.w) <= 1e-14
        # b is what is left of numbers of the size of w * x: it has their last digits.
        assert error_of(line.b, true.b) <= 4 * EPS * (abs(line.w) * abs(offset + 50.0) + 100.0)


# Small spread far from zero: src/test/regress/sql/aggregates.sql of PostgreSQL, which returned 0
# or less than 0 for such variances before it took Youngs and Cramer's sums in 2018.


@pytest.mark.parametrize(
    ("values", "mean", "variance"),
    [
        ([100000003.0, 100000004.0, 100000006.0, 100000007.0], 100000005.0, 2.5),
        ([7000000000005.0, 7000000000007.0], 7000000000006.0, 1.0),
    ],
)
def test_variances_with_a_large_offset(values: list[float], mean: float, variance: float) -> None:
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
    compressed = compress(cut(x, np.array(y), range(0, 4, chunk)))
    true = Exact.of_floats(x, np.array(y))
    m, slope = compressed.moments, compressed.pivot.slope
    assert relative_error(m.uu, true.xx) <= 1e-14
    assert relative_error(m.ur + slope * m.uu, true.xy) <= 1e-13
    assert relative_error(compressed.var_y * 4, true.yy) <= 1e-13
    assert relative_error(compressed.least_squares().w, true.w) <= 1e-13


# The loss


@few_examples
@given(
    seed=seeds,
    w=st.floats(-100, 100),
    b=st.floats(-1000, 1000),
    places=st.lists(st.integers(1, 199), max_size=3),
)
def test_the_mean_squared_error_is_numpys(seed: int, w: float, b: float, places: list[int]) -> None:
    x, y = drawn(seed)
    # A first chunk of one row gives a flat pivot: then moments have the digits of y².
    allowed = 4 * EPS * float(np.mean(y * y))
    expected = float(np.mean((w * x + b - y) ** 2))
    error = compress(cut(x, y, places)).mean_squared_error(Line(w, b))
    assert error == pytest.approx(expected, rel=1e-12, abs=allowed)


@pytest.mark.parametrize(
    ("line", "noise"),
    [(Line(2.0, 1e6), 1e-3), (Line(-3.0, -1e6), 1e-3), (Line(1e4, 0.0), 1e-3), (TRUTH, 1e-6)],
)
@pytest.mark.parametrize("chunk", [10, 99])
def test_tiny_noise_beside_a_big_y_keeps_its_digits(line: Line, noise: float, chunk: int) -> None:
    x = np.arange(1.0, 100.0)
    y = line.at(x) + noise * np.random.default_rng(13).standard_normal(99)
    compressed = compress(cut(x, y, range(0, 99, chunk)))
    least = compressed.mean_squared_error(compressed.least_squares())
    assert relative_error(least, Exact.of_floats(x, y).residual_variance) <= 1e-6


@pytest.mark.parametrize("spread", [0.0, 1.0, 1e-3, 1e-6, 1e-9, 1e-12])
def test_a_narrow_first_chunk_does_not_spoil_the_noise_of_the_rest(spread: float) -> None:
    # A table sorted by x begins with equal or nearly equal x: rain gauges with dry days first.
    draws = np.random.default_rng(17)
    x = np.concatenate([spread * draws.uniform(0.0, 1.0, 100), draws.uniform(1.0, 99.0, 900)])
    y = TRUTH.at(x) + 1.5 * draws.standard_normal(1000)
    compressed, true = compress(cut(x, y, [100])), Exact.of_floats(x, y)
    line = compressed.least_squares()
    assert relative_error(line.w, true.w) <= 1e-10
    assert relative_error(compressed.mean_squared_error(line), true.residual_variance) <= 1e-6


def test_points_on_a_line_have_no_negative_error() -> None:
    x = np.linspace(0.1, 0.9, 77)
    compressed = compress([(x, 0.3 * x - 0.7)])
    assert 0.0 <= compressed.mean_squared_error(compressed.least_squares()) <= EPS * EPS
    assert compressed.var_y >= 0.0


# Three points


def of_three(compressed: Compressed, *, standardize: bool) -> Exact:
    x, y = compressed.three_points(standardize=standardize)
    assert (x.shape, y.shape) == ((3,), (3,))
    return Exact.of_floats(x, y)


@few_examples
@given(seed=seeds, offset=st.floats(-100, 100), noise=st.floats(1e-3, 1e3))
def test_three_points_have_mean_and_covariance_of_the_rows(
    seed: int, offset: float, noise: float
) -> None:
    x, y = drawn(seed, offset=offset, noise=noise)
    true, three = Exact.of_floats(x, y), of_three(compress([(x, y)]), standardize=False)
    assert error_of(float(three.mean_x), true.mean_x) <= FEW * EPS * float(np.abs(x).max())
    assert error_of(float(three.mean_y), true.mean_y) <= FEW * EPS * float(np.abs(y).max())
    assert float(three.xx / 3) == pytest.approx(float(true.xx / true.rows), rel=1e-12)
    assert float(three.xy / 3) == pytest.approx(float(true.xy / true.rows), rel=1e-9)
    assert float(three.yy / 3) == pytest.approx(float(true.yy / true.rows), rel=1e-12)


@few_examples
@given(seed=seeds, offset=st.floats(-1e8, 1e8))
def test_standardised_points_have_mean_0_and_variance_1(seed: int, offset: float) -> None:
    three = of_three(compress([drawn(seed, offset=offset)]), standardize=True)
    assert float(three.mean_x) == pytest.approx(0.0, abs=EPS)
    assert float(three.xx / 3) == pytest.approx(1.0, rel=4 * EPS)


@few_examples
@given(
    seed=seeds,
    offset=st.floats(-100, 100),
    noise=st.floats(0.1, 1e3),
    w=st.floats(-100, 100),
    b=st.floats(-1e4, 1e4),
    standardize=st.booleans(),
)
def test_three_points_have_the_loss_of_all_rows_for_every_line(
    seed: int, offset: float, noise: float, w: float, b: float, standardize: bool
) -> None:
    x, y = drawn(seed, offset=offset, noise=noise)
    three_x, three_y = compress([(x, y)]).three_points(standardize=standardize)
    if standardize:
        x = (x - x.mean()) / x.std()
    loss = float(np.mean((w * three_x + b - three_y) ** 2))
    assert loss == pytest.approx(float(np.mean((w * x + b - y) ** 2)), rel=1e-9)


# Squares that do not fit into float64


@pytest.mark.parametrize(
    ("x_scale", "y_scale"), [(1e200, 1.0), (1.0, 1e200), (1e308, 1.0), (1.0, 1e306)]
)
def test_squares_that_overflow_are_reported_without_a_warning(
    x_scale: float, y_scale: float
) -> None:
    x, y = drawn(3, line=Line(1.0, 1.0), noise=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not compress([(x / 99 * x_scale, y / 99 * y_scale)]).finite


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1.0, 1e100])
def test_rows_of_any_ordinary_size_are_finite(scale: float) -> None:
    x, y = drawn(3)
    compressed = compress([(x * scale, y)])
    assert compressed.finite
    expected = float(Exact.of_floats(x, y).w) / scale
    assert compressed.least_squares().w == pytest.approx(expected, rel=1e-12)
