"""Moments, against exact arithmetic and numpy on the same float64 rows."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core.least_squares import LeastSquares
from knownline.core.moments import (
    Compressed,
    Pivot,
    chunk_moments,
    compress,
    join,
    merge,
    moved,
    pivot_of,
)
from knownline.core.sums import ScratchBuffer
from knownline.model import LINE, PLANE
from tests.core.exact import (
    EPS,
    FEW,
    Exact,
    Points,
    columns,
    cut,
    cuts,
    drawn,
    error_of,
    few_examples,
    numbers,
    of_line,
    sizes,
    some_points,
)

Array = npt.NDArray[np.float64]


def line_pivot(x0: float, y0: float, slope: float) -> Pivot:
    return Pivot((x0,), y0, (slope,))


def point_of(pivot: Pivot) -> tuple[float, float, float]:
    """Return x0, y0 and the slope of a line's pivot."""
    return pivot.terms[0], pivot.y, pivot.slopes[0]


def moments_of_line(x: Array, y: Array, pivot: Pivot) -> Array:
    return chunk_moments([x], y, pivot)


# Moments of a line


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_moments_are_exact_to_rounding_wherever_the_rows_are_cut(
    points: Points, places: list[int]
) -> None:
    x, y = columns(points)
    compressed = of_line(cut(x, y, places))
    rows, mean_u, mean_r, uu, ur, rr = compressed.moments
    point, n = point_of(compressed.pivot), len(x)
    x0, y0, slope = map(Fraction, point)
    u = [Fraction(value) - x0 for value in x.tolist()]
    r = [Fraction(q) - y0 - slope * p for p, q in zip(u, y.tolist(), strict=True)]
    true = Exact.of(u, r)
    size_u, operands, size_r = sizes(x, y, point)
    noise = size_r + EPS * operands
    assert rows == compressed.rows == n
    assert error_of(mean_u, true.mean_x) <= FEW * EPS * size_u
    assert error_of(mean_r, true.mean_y) <= FEW * EPS * operands
    assert error_of(uu, true.xx) <= FEW * EPS * n * size_u * size_u
    assert error_of(ur, true.xy) <= FEW * EPS * n * size_u * operands
    assert error_of(rr, true.yy) <= FEW * EPS * n * operands * noise


def about_zero(points: Points) -> list[float]:
    """Return the moments of points about the line y = 0, each rounded once."""
    true = Exact.of_floats(*columns(points))
    return [true.rows, *map(float, (true.mean_x, true.mean_y, true.xx, true.xy, true.yy))]


@few_examples
@given(chunks=st.lists(some_points, min_size=1, max_size=9))
def test_merged_moments_are_the_exact_ones_of_all_rows(chunks: list[Points]) -> None:
    table = np.array([about_zero(points) for points in chunks])
    before = table.copy()
    rows, mean_u, mean_r, uu, ur, rr = merge(table)
    x, y = columns([point for points in chunks for point in points])
    true, n = Exact.of_floats(x, y), len(x)
    size_x, size_y = float(np.abs(x).max()), float(np.abs(y).max())
    assert rows == n
    assert error_of(mean_u, true.mean_x) <= FEW * EPS * size_x
    assert error_of(mean_r, true.mean_y) <= FEW * EPS * size_y
    assert error_of(uu, true.xx) <= FEW * EPS * n * size_x * size_x
    assert error_of(ur, true.xy) <= FEW * EPS * n * size_x * size_y
    assert error_of(rr, true.yy) <= FEW * EPS * n * size_y * size_y
    assert table.tobytes() == before.tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 1024, 65_536])
def test_memory_that_is_used_again_changes_no_bit(rows: int) -> None:
    draws = np.random.default_rng(rows)
    x, y = draws.normal(1e6, 1.0, rows), draws.normal(-3.0, 2.0, rows)
    pivot, used = line_pivot(1e6, 0.5, 0.1), ScratchBuffer()
    for other in (2 * rows, 7, rows):
        chunk_moments([draws.normal(size=other)], draws.normal(size=other), pivot, used)
        again = chunk_moments([x], y, pivot, used)
        assert again.tobytes() == chunk_moments([x], y, pivot).tobytes()


lines = st.builds(line_pivot, numbers, numbers, st.floats(-100, 100))


@few_examples
@given(chunks=st.lists(some_points, min_size=1, max_size=4), pivot=lines, to=lines)
def test_moments_about_another_line_are_the_exact_ones(
    chunks: list[Points], pivot: Pivot, to: Pivot
) -> None:
    table = np.array([moments_of_line(*columns(points), pivot) for points in chunks])
    before = table.copy()
    for points, found in zip(chunks, moved(table, pivot, to).tolist(), strict=True):
        x, y = columns(points)
        x0, y0, slope = map(Fraction, point_of(to))
        u = [Fraction(value) - x0 for value in x.tolist()]
        r = [Fraction(q) - y0 - slope * p for p, q in zip(u, y.tolist(), strict=True)]
        true, n = Exact.of(u, r), len(x)
        size_u, size_r = (
            max(size)
            for size in zip(
                sizes(x, y, point_of(pivot))[:2], sizes(x, y, point_of(to))[:2], strict=True
            )
        )
        size_r += abs(pivot.slopes[0] - to.slopes[0]) * size_u
        assert found[0] == n
        assert error_of(found[1], true.mean_x) <= FEW * EPS * size_u
        assert error_of(found[2], true.mean_y) <= FEW * EPS * size_r
        assert error_of(found[3], true.xx) <= FEW * EPS * n * size_u * size_u
        assert error_of(found[4], true.xy) <= FEW * EPS * n * size_u * size_r
        assert error_of(found[5], true.yy) <= FEW * EPS * n * size_r * size_r
    assert table.tobytes() == before.tobytes()


def longdouble_moments(x: Array, y: Array, pivot: Pivot) -> list[float]:
    """Return the moments by numpy's own sums, with 64 bits of mantissa or more."""
    x0, y0, slope = point_of(pivot)
    u = x.astype(np.longdouble) - x0
    r = (y.astype(np.longdouble) - y0) - np.longdouble(slope) * u
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
        pivot = pivot_of([part_x], part_y)[0]
        chunks = [chunk_moments([u], v, pivot) for u, v in cut(part_x, part_y, [300, 3000])]
        parts.append((pivot, np.array(chunks)))
    joined, whole = LeastSquares(LINE, join(parts)), LeastSquares(LINE, of_line([(x, y)]))
    assert joined.rows.rows == 20_000
    line, least = joined.solution, whole.solution
    assert line["w"] == pytest.approx(least["w"], rel=1e-13)
    size = abs(line["w"] * offset) + 2000.0
    assert error_of(line["b"], Fraction(least["b"])) <= 8 * EPS * size
    # A part of one row has a flat line, about which its moments have the digits of y, not of r.
    flat = any(pivot.slopes == (0.0,) for pivot, _ in parts)
    digits = EPS * (abs(offset) + 100.0) * 20.0 / noise + 1e-12
    if not flat:
        error = joined.mean_squared_error(line)
        assert error == pytest.approx(whole.mean_squared_error(least), rel=FEW * digits)
    _, mean_u, _, uu, ur, _ = joined.rows.moments
    expected = longdouble_moments(x, y, joined.rows.pivot)
    assert mean_u == pytest.approx(expected[0], rel=1e-12)
    assert uu == pytest.approx(expected[2], rel=1e-12)
    scale = math.sqrt(expected[2] * expected[4])
    assert ur == pytest.approx(expected[3], rel=1e-12, abs=FEW * digits * scale)


def test_joined_parts_about_one_line_have_the_bits_of_all_chunks() -> None:
    x, y = drawn(29, rows=5000)
    chunks = cut(x, y, range(0, 5000, 700))
    pivot = pivot_of([chunks[0][0]], chunks[0][1])[0]
    table = np.array([chunk_moments([u], v, pivot) for u, v in chunks])
    whole = of_line(chunks)
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
    assert of_line(padded) == of_line(chunks)


@pytest.mark.parametrize("chunks", [[], [(np.empty(0), np.empty(0))]])
def test_no_rows_at_all_are_refused(chunks: list[tuple[Array, Array]]) -> None:
    with pytest.raises(ValueError, match="there is no row to compress"):
        of_line(chunks)


def test_bits_do_not_depend_on_how_a_chunk_lies_in_memory() -> None:
    x, y = drawn(5, rows=4097)
    table = np.column_stack([x, y])
    shifted = np.concatenate([[0.0], x])[1:], np.concatenate([[0.0], y])[1:]
    assert of_line([(table[:, 0], table[:, 1])]) == of_line([(x, y)])
    assert of_line([shifted]) == of_line([(x, y)])


# Moments of any number of terms


def several(seed: int, rows: int, count: int, offset: float = 0.0) -> tuple[list[Array], Array]:
    """Return terms, (rows,) each, that are correlated, and a y that depends on them."""
    draws = np.random.default_rng(seed)
    shared = draws.uniform(1.0, 99.0, rows)
    terms = [offset + shared + draws.uniform(0.0, 50.0, rows) for _ in range(count)]
    y = sum(number * term for number, term in enumerate(terms, 1))
    return terms, y + 3.0 + draws.standard_normal(rows)


def expected_moments(terms: list[Array], y: Array, pivot: Pivot) -> tuple[Array, Array]:
    """Return the means of u and r, and the sums of their products, by numpy's long double."""
    us = [term.astype(np.longdouble) - t0 for term, t0 in zip(terms, pivot.terms, strict=True)]
    r = y.astype(np.longdouble) - pivot.y
    for u, slope in zip(us, pivot.slopes, strict=True):
        r = r - np.longdouble(slope) * u
    table = np.array([*us, r])
    means = table.mean(axis=1)
    centred = table - means[:, None]
    return means.astype(float), (centred @ centred.T).astype(float)


def assert_moments(found: Compressed, terms: list[Array], y: Array, digits: float = 1e-11) -> None:
    means, products = expected_moments(terms, y, found.pivot)
    scale = np.sqrt(np.diag(products))
    assert found.rows == len(y)
    assert np.abs([*found.mean_u, found.mean_r] - means).max() <= digits * np.abs(means).max()
    assert np.abs((np.array(found.products) - products) / np.outer(scale, scale)).max() <= digits
    assert found.mean_terms == pytest.approx([term.mean() for term in terms], rel=1e-14)
    assert found.mean_y == pytest.approx(y.mean(), rel=1e-13)
    assert found.var_y == pytest.approx(y.var(), rel=1e-10)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("cuts_at", [[], [40], [100, 101, 300, 700]])
def test_moments_of_several_terms_are_numpys_wherever_the_rows_are_cut(
    count: int, offset: float, cuts_at: list[int]
) -> None:
    terms, y = several(count, 1000, count, offset)
    pieces = zip(*(np.split(column, cuts_at) for column in (*terms, y)), strict=True)
    found = compress((piece[:-1], piece[-1]) for piece in pieces)
    assert len(found.moments) == 1 + (count + 1) + (count + 1) * (count + 2) // 2
    assert_moments(found, terms, y)
    assert found.finite


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_the_moments_are_the_covariance(count: int) -> None:
    terms, y = several(5, 400, count)
    found = compress([(terms, y)])
    covariance = np.cov([*terms, y], ddof=0)
    assert np.array(found.products)[:-1, :-1] / 400 == pytest.approx(
        covariance[:-1, :-1], rel=1e-12
    )


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_moments_of_several_terms_are_moved_to_another_plane(count: int) -> None:
    terms, y = several(7, 500, count)
    draws = np.random.default_rng(count)
    pivot, to = (
        Pivot(tuple(draws.normal(50, 9, count)), 8.0, tuple(draws.normal(2, 1, count)))
        for _ in range(2)
    )
    table = np.array([chunk_moments(terms, y, pivot)])
    before = table.copy()
    assert_moments(Compressed(to, tuple(moved(table, pivot, to)[0].tolist())), terms, y)
    assert table.tobytes() == before.tobytes()
    assert moved(table, pivot, pivot).tolist() == pytest.approx(table, rel=1e-15)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_parts_of_several_terms_about_planes_of_their_own_are_joined(count: int) -> None:
    terms, y = several(9, 900, count)
    parts = []
    for own in (slice(0, 200), slice(200, 550), slice(550, 900)):
        some = [term[own] for term in terms]
        pivot = pivot_of(some, y[own])[0]
        parts.append((pivot, np.array([chunk_moments(some, y[own], pivot)])))
    joined = join(parts)
    assert joined.pivot == parts[0][0]
    assert_moments(joined, terms, y, digits=1e-9)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_pivot_of_several_terms_keeps_the_digits_of_tiny_noise(count: int) -> None:
    terms, _ = several(11, 300, count)
    noise = np.random.default_rng(1).standard_normal(300)
    y = sum(terms) * 1e6 + 1e-4 * noise
    found = compress([(terms, y)])
    *_, (*_, rest) = found.products
    # The slopes of the pivot have the last digits of 1e6 times the terms.
    assert 0.5 < rest / (1e-4 * np.linalg.norm(noise - noise.mean())) ** 2 < 2.0


def test_terms_that_hardly_differ_give_a_flat_pivot() -> None:
    terms = [np.full(50, 3.0), np.full(50, 4.0)]
    pivot = pivot_of(terms, np.random.default_rng(1).standard_normal(50))[0]
    assert (pivot.terms, pivot.slopes) == ((3.0, 4.0), (0.0, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_terms_that_are_alike_in_the_first_chunk_cost_no_digits(seed: int) -> None:
    """Rows sorted by a column of zeros and ones, as tables often are."""
    draws = np.random.default_rng(seed)
    a, late = draws.random(1000), np.repeat([0.0, 1.0], [660, 340])
    y = 1e9 * a + 5 * late + draws.standard_normal(1000)
    chunks = [([a[i : i + 100], late[i : i + 100]], y[i : i + 100]) for i in range(0, 1000, 100)]
    fit = LeastSquares(PLANE(("a", "late")), compress(chunks))
    columns = np.stack([a - a.mean(), late, np.ones(1000)], axis=1)
    _, (squares,), *_ = np.linalg.lstsq(columns, y - 1e9 * (a - a.mean()), rcond=None)
    assert fit.mean_squared_error(fit.solution) == pytest.approx(squares / 1000, rel=1e-6)


def test_a_column_that_varies_late_keeps_the_digits_of_small_noise() -> None:
    draws = np.random.default_rng(4)
    x = np.concatenate([np.ones(700), np.sort(draws.random(300)) + 1])
    y = 1e6 * x + 1e-4 * draws.standard_normal(1000)
    chunks = [([x[i : i + 100]], y[i : i + 100]) for i in range(0, 1000, 100)]
    fit = LeastSquares(LINE, compress(chunks))
    residuals = y - 1e6 * x
    centred = residuals - residuals.mean() - np.polyfit(x, residuals, 1)[0] * (x - x.mean())
    assert fit.mean_squared_error(fit.solution) == pytest.approx(np.mean(centred**2), rel=1e-3)
