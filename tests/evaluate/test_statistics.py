"""Standard errors, distances and errors of a line, against scipy, numpy, fractions and NIST."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate.statistics import (
    Evaluation,
    assess,
    optimiser_error,
    optimiser_rounding,
    standard_errors,
)
from knownline.model import LINE
from knownline.train import descent
from tests.models import at, data_of, line

Array = npt.NDArray[np.float64]

TRUTH = line(20.0, 5.0)

# https://www.itl.nist.gov/div898/strd/lls/data/Norris.shtml: 36 observations, certified values.
NORRIS_Y = [
    0.1, 338.8, 118.1, 888.0, 9.2, 228.1, 668.5, 998.5, 449.1, 778.9, 559.2, 0.3, 0.1, 778.1,
    668.8, 339.3, 448.9, 10.8, 557.7, 228.3, 998.0, 888.8, 119.6, 0.3, 0.6, 557.6, 339.3, 888.0,
    998.5, 778.9, 10.2, 117.6, 228.9, 668.4, 449.2, 0.2,
]  # fmt: skip
NORRIS_X = [
    0.2, 337.4, 118.2, 884.6, 10.1, 226.5, 666.3, 996.3, 448.6, 777.0, 558.2, 0.4, 0.6, 775.5,
    666.9, 338.0, 447.5, 11.6, 556.0, 228.1, 995.8, 887.6, 120.2, 0.3, 0.3, 556.8, 339.1, 887.2,
    999.0, 779.0, 11.1, 118.3, 229.2, 669.1, 448.9, 0.5,
]  # fmt: skip


def drawn(
    seed: int, *, rows: int = 80, offset: float = 0.0, noise: float = 1.5
) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    x = offset + generator.uniform(1.0, 99.0, rows)
    return x, at(TRUTH, x) + noise * generator.standard_normal(rows)


def in_chunks(x: Array, y: Array, places: Sequence[int]) -> LeastSquares:
    ends = sorted({place for place in places if 0 < place < len(x)})
    chunks = zip(np.split(x, ends), np.split(y, ends), strict=True)
    return LeastSquares(LINE, compress([([u], v) for u, v in chunks]))


def assessed(
    fitted: Parameters,
    train: LeastSquares,
    *,
    holdout: LeastSquares | None = None,
    truth: Parameters | None = TRUTH,
) -> Evaluation:
    return assess(fitted, train=train, holdout=holdout, truth=truth, last_loss=2.0)


def descended(data: LeastSquares) -> Parameters:
    """Return the parameters that the shipped training finds."""
    return descent.fit(
        *data.points(standardize=True),
        kind=data.model,
        epochs=100,
        learning_rate=0.25,
        dtype="float64",
        device=torch.device("cpu"),
        scaling=data.scaling,
    ).parameters()


# Standard errors


@settings(deadline=None, max_examples=50)
@example(seed=982184388, rows=3, offset=0.0, noise=1e-3, places=[])
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(3, 200),
    offset=st.floats(-1e3, 1e3),
    noise=st.floats(1e-3, 1e3),
    places=st.lists(st.integers(1, 199), max_size=3),
)
def test_standard_errors_are_those_of_linregress(
    seed: int, rows: int, offset: float, noise: float, places: list[int]
) -> None:
    x, y = drawn(seed, rows=rows, offset=offset, noise=noise)
    fit = stats.linregress(x, y)
    assume(fit.stderr > 0)  # else its r² was rounded to 1
    se = standard_errors(in_chunks(x, y, places))
    # With few degrees of freedom all the noise can be in the last digits of linregress' r².
    rel = 1e-9 + 1e-14 * (float(np.std(y)) / (float(fit.stderr) * float(np.std(x)))) ** 2
    assert se["w"] == pytest.approx(float(fit.stderr), rel=rel)
    assert se["b"] == pytest.approx(float(fit.intercept_stderr), rel=rel)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("rows", [3, 4, 80])
def test_standard_errors_are_those_of_exact_arithmetic(rows: int, offset: float) -> None:
    x, y = drawn(1, rows=rows, offset=offset)
    px, py = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
    zero = Fraction(0)
    mean_x, mean_y = sum(px, start=zero) / rows, sum(py, start=zero) / rows
    xx = sum(((p - mean_x) ** 2 for p in px), start=zero)
    xy = sum(((p - mean_x) * (q - mean_y) for p, q in zip(px, py, strict=True)), start=zero)
    yy = sum(((q - mean_y) ** 2 for q in py), start=zero)
    variance = (yy - xy * xy / xx) / (rows - 2)
    se = standard_errors(data_of(x, y))
    assert se["w"] == pytest.approx(math.sqrt(variance / xx), rel=1e-8)
    assert se["b"] == pytest.approx(
        math.sqrt(variance * (Fraction(1, rows) + mean_x**2 / xx)), rel=1e-8
    )


def test_nists_certified_values_for_norris() -> None:
    train = data_of(np.array(NORRIS_X), np.array(NORRIS_Y))
    found = assessed(train.solution, train, holdout=train, truth=None)
    assert found.ols["w"] == pytest.approx(1.00211681802045, rel=1e-13)
    assert found.ols["b"] == pytest.approx(-0.262323073774029, rel=1e-12)
    assert found.se["w"] == pytest.approx(0.429796848199937e-03, rel=1e-12)
    assert found.se["b"] == pytest.approx(0.232818234301152, rel=1e-12)
    assert found.train_rmse * math.sqrt(36 / 34) == pytest.approx(0.884796396144373, rel=1e-12)
    assert found.holdout_r2 == pytest.approx(0.999993745883712, abs=1e-14)


@pytest.mark.parametrize("rows", [10, 1000])
def test_noiseless_points_have_standard_errors_of_the_size_of_rounding(rows: int) -> None:
    x, y = drawn(2, rows=rows, noise=0.0)
    se = standard_errors(data_of(x, y))
    quantum = 2.0**-52 * float(np.sqrt(np.mean(y**2)))
    assert 0.01 * quantum / math.sqrt(rows) <= se["w"] * float(np.std(x)) <= 10 * quantum


# The distance from the truth


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("truth", [TRUTH, line(19.0, 0.0), line(-1e3, 1e6)])
def test_z_is_the_signed_distance_in_standard_errors_of_linregress(
    seed: int, truth: Parameters
) -> None:
    x, y = drawn(seed)
    fit = stats.linregress(x, y)
    z = assessed(line(fit.slope, fit.intercept), data_of(x, y), truth=truth).z
    assert z is not None
    assert z["w"] == pytest.approx((fit.slope - truth["w"]) / fit.stderr, rel=1e-8)
    assert z["b"] == pytest.approx((fit.intercept - truth["b"]) / fit.intercept_stderr, rel=1e-8)


def test_without_a_truth_there_is_no_z() -> None:
    found = assessed(TRUTH, data_of(*drawn(1)), truth=None)
    assert (found.truth, found.z) == (None, None)


# The distance from least squares


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    offset=st.floats(-1e3, 1e3),
    dw=st.floats(-10, 10),
    db=st.floats(-1e3, 1e3),
)
def test_the_optimiser_error_is_the_rms_of_predictions_in_standard_deviations_of_y(
    seed: int, offset: float, dw: float, db: float
) -> None:
    x, y = drawn(seed, offset=offset)
    (w, b), *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    fitted = line(w + dw, b + db)
    difference = at(fitted, x) - (w * x + b)
    expected = math.sqrt(float(np.mean(difference**2) / np.var(y)))
    assert optimiser_error(fitted, data_of(x, y)) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_least_squares_itself_has_no_optimiser_error() -> None:
    data = data_of(*drawn(3))
    assert optimiser_error(data.solution, data) == 0.0


@pytest.mark.parametrize(
    ("y", "b", "error"), [(0.0, 0.0, 0.0), (0.0, 1.0, math.inf), (7.0, 7.0, 0.0), (7.0, 3.5, 0.5)]
)
def test_the_optimiser_error_of_constant_y_is_relative_to_the_size_of_y(
    y: float, b: float, error: float
) -> None:
    assert optimiser_error(line(0.0, b), data_of(np.arange(9.0), np.full(9, y))) == error


def test_a_large_offset_of_y_does_not_hide_a_slope_that_was_not_fitted() -> None:
    x = np.linspace(1.0, 99.0, 79)
    data = data_of(x, 20.0 * x + 1e12)
    level = line(0.0, data.rows.mean_y)
    assert optimiser_error(level, data) == pytest.approx(1.0, rel=1e-6)
    assert optimiser_rounding(data) < 1e-4


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e8])
def test_a_finished_training_has_no_optimiser_error_but_rounding(offset: float) -> None:
    data = data_of(*drawn(4, offset=offset))
    assert optimiser_error(descended(data), data) <= max(1e-13, optimiser_rounding(data))


def test_an_unfinished_training_has_an_optimiser_error() -> None:
    x, y = drawn(4)
    history = descent.fit(
        [x], y, kind=LINE, epochs=100, learning_rate=1e-4, dtype="float64",
        device=torch.device("cpu"),
    )  # fmt: skip
    assert optimiser_error(history.parameters(), data_of(x, y)) > 1e-4


# Errors on rows


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(2, 100),
    w=st.floats(-40, 40),
    b=st.floats(-100, 100),
)
def test_rmse_and_r2_are_numpys(seed: int, rows: int, w: float, b: float) -> None:
    fitted = line(w, b)
    x, y = drawn(seed)
    held_x, held_y = drawn(seed + 1, rows=rows)
    found = assessed(fitted, data_of(x, y), holdout=data_of(held_x, held_y))
    residual = held_y - at(fitted, held_x)
    assert found.train_rmse == pytest.approx(math.sqrt(np.mean((y - at(fitted, x)) ** 2)), rel=1e-9)
    assert found.holdout_rmse == pytest.approx(math.sqrt(np.mean(residual**2)), rel=1e-9)
    assert found.holdout_r2 == pytest.approx(
        1 - float(np.sum(residual**2) / np.sum((held_y - held_y.mean()) ** 2)), rel=1e-9, abs=1e-9
    )
    assert found.train_r2 == pytest.approx(
        1 - float(np.mean((y - at(fitted, x)) ** 2) / np.var(y)), rel=1e-9, abs=1e-9
    )
    assert (found.rows, found.holdout_rows) == (80, rows)


@pytest.mark.parametrize(
    ("x", "y", "rmse", "r2"),
    [
        ([10.0], [204.0], 1.0, None),  # R² needs two rows
        ([9.0, 11.0], [205.0, 205.0], 20.0, None),  # … and a y that varies
        ([10.0, 10.0], [204.0, 208.0], math.sqrt(5.0), 1 - 10.0 / 8.0),
        (None, None, None, None),
    ],
    ids=["one row", "equal y", "equal x", "no rows"],
)
def test_the_error_of_a_small_holdout(
    x: list[float] | None, y: list[float] | None, rmse: float | None, r2: float | None
) -> None:
    holdout = data_of(np.array(x), np.array(y)) if x and y else None
    found = assessed(TRUTH, data_of(*drawn(6)), holdout=holdout)
    assert found.holdout_rows == len(x or [])
    assert found.holdout_rmse == (rmse and pytest.approx(rmse, rel=1e-12))
    assert found.holdout_r2 == (r2 and pytest.approx(r2, rel=1e-12))
