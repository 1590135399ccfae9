"""Least squares of a line and its three points, against exact arithmetic on the same rows."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core.least_squares import LeastSquares
from knownline.model import LINE
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
    of_line,
    relative_error,
    seeds,
    sizes,
    some_points,
)

Array = npt.NDArray[np.float64]


def fit(chunks: Sequence[tuple[Array, Array]]) -> LeastSquares:
    return LeastSquares(LINE, of_line(chunks))


# Least squares


@settings(deadline=None)
@given(points=some_points, places=cuts)
def test_least_squares_is_the_exact_line_to_rounding(points: Points, places: list[int]) -> None:
    x, y = columns(points)
    assume(len(set(x.tolist())) > 1)
    compressed = of_line(cut(x, y, places))
    pivot = compressed.pivot
    _, operands, _ = sizes(x, y, (pivot.terms[0], pivot.y, pivot.slopes[0]))
    true = Exact.of_floats(x, y)
    assume(float(true.xx) > 1e-60 * len(x))
    w, b = LeastSquares(LINE, compressed).solution.values()
    slope_error = FEW * EPS * (abs(float(true.w)) + operands * math.sqrt(len(x) / float(true.xx)))
    level = abs(float(true.mean_y)) + abs(w) * float(np.abs(x).max())
    assert error_of(w, true.w) <= slope_error
    assert error_of(b, true.b) <= slope_error * float(np.abs(x).max()) + FEW * EPS * (
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
        w, b = fit(cut(x, y, range(0, 99, chunk))).solution.values()
        assert relative_error(w, true.w) <= 1e-14
        # b is what is left of numbers of the size of w * x: it has their last digits.
        assert error_of(b, true.b) <= 4 * EPS * (abs(w) * abs(offset + 50.0) + 100.0)


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
    as_x, as_y = of_line([(far, near)]), of_line([(near, far)])
    assert (as_x.mean_terms, as_y.mean_y) == ([mean], mean)
    assert LeastSquares(LINE, as_x).sds[0] ** 2 == pytest.approx(variance, rel=4 * EPS)
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
    compressed = of_line(cut(x, np.array(y), range(0, 4, chunk)))
    true = Exact.of_floats(x, np.array(y))
    _, _, _, uu, ur, _ = compressed.moments
    assert relative_error(uu, true.xx) <= 1e-14
    assert relative_error(ur + compressed.pivot.slopes[0] * uu, true.xy) <= 1e-13
    assert relative_error(compressed.var_y * 4, true.yy) <= 1e-13
    assert relative_error(LeastSquares(LINE, compressed).solution["w"], true.w) <= 1e-13


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
    error = fit(cut(x, y, places)).mean_squared_error({"w": w, "b": b})
    assert error == pytest.approx(expected, rel=1e-12, abs=allowed)


@pytest.mark.parametrize(
    ("w", "b", "noise"),
    [(2.0, 1e6, 1e-3), (-3.0, -1e6, 1e-3), (1e4, 0.0, 1e-3), (20.0, 5.0, 1e-6)],
)
@pytest.mark.parametrize("chunk", [10, 99])
def test_tiny_noise_beside_a_big_y_keeps_its_digits(
    w: float, b: float, noise: float, chunk: int
) -> None:
    x = np.arange(1.0, 100.0)
    y = x * w + b + noise * np.random.default_rng(13).standard_normal(99)
    fitted = fit(cut(x, y, range(0, 99, chunk)))
    least = fitted.mean_squared_error(fitted.solution)
    assert relative_error(least, Exact.of_floats(x, y).residual_variance) <= 1e-6


@pytest.mark.parametrize("spread", [0.0, 1.0, 1e-3, 1e-6, 1e-9, 1e-12])
def test_a_narrow_first_chunk_does_not_spoil_the_noise_of_the_rest(spread: float) -> None:
    # A table sorted by x begins with equal or nearly equal x: rain gauges with dry days first.
    draws = np.random.default_rng(17)
    x = np.concatenate([spread * draws.uniform(0.0, 1.0, 100), draws.uniform(1.0, 99.0, 900)])
    y = x * 20.0 + 5.0 + 1.5 * draws.standard_normal(1000)
    fitted, true = fit(cut(x, y, [100])), Exact.of_floats(x, y)
    line = fitted.solution
    assert relative_error(line["w"], true.w) <= 1e-10
    assert relative_error(fitted.mean_squared_error(line), true.residual_variance) <= 1e-6


def test_points_on_a_line_have_no_negative_error() -> None:
    x = np.linspace(0.1, 0.9, 77)
    fitted = fit([(x, 0.3 * x - 0.7)])
    assert 0.0 <= fitted.mean_squared_error(fitted.solution) <= EPS * EPS
    assert fitted.rows.var_y >= 0.0


# Three points


def of_three(fitted: LeastSquares, *, standardize: bool) -> Exact:
    (x,), y = fitted.points(standardize=standardize)
    assert (x.shape, y.shape) == ((3,), (3,))
    return Exact.of_floats(x, y)


@few_examples
@given(seed=seeds, offset=st.floats(-100, 100), noise=st.floats(1e-3, 1e3))
def test_three_points_have_mean_and_covariance_of_the_rows(
    seed: int, offset: float, noise: float
) -> None:
    x, y = drawn(seed, offset=offset, noise=noise)
    true, three = Exact.of_floats(x, y), of_three(fit([(x, y)]), standardize=False)
    assert error_of(float(three.mean_x), true.mean_x) <= FEW * EPS * float(np.abs(x).max())
    assert error_of(float(three.mean_y), true.mean_y) <= FEW * EPS * float(np.abs(y).max())
    assert float(three.xx / 3) == pytest.approx(float(true.xx / true.rows), rel=1e-12)
    assert float(three.xy / 3) == pytest.approx(float(true.xy / true.rows), rel=1e-9)
    assert float(three.yy / 3) == pytest.approx(float(true.yy / true.rows), rel=1e-12)


@few_examples
@given(seed=seeds, offset=st.floats(-1e8, 1e8))
def test_standardised_points_have_mean_0_and_variance_1(seed: int, offset: float) -> None:
    three = of_three(fit([drawn(seed, offset=offset)]), standardize=True)
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
    (three_x,), three_y = fit([(x, y)]).points(standardize=standardize)
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
    x, y = drawn(3, w=1.0, b=1.0, noise=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not of_line([(x / 99 * x_scale, y / 99 * y_scale)]).finite


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1.0, 1e100])
def test_rows_of_any_ordinary_size_are_finite(scale: float) -> None:
    x, y = drawn(3)
    compressed = of_line([(x * scale, y)])
    assert compressed.finite
    expected = float(Exact.of_floats(x, y).w) / scale
    assert LeastSquares(LINE, compressed).solution["w"] == pytest.approx(expected, rel=1e-12)
