"""What is said of a line, against scipy, numpy, exact arithmetic and a certified table."""

import math
from collections.abc import Sequence
from dataclasses import astuple
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.line import Line
from knownline.core.moments import Compressed, compress
from knownline.evaluate.statistics import (
    Coefficients,
    Evaluation,
    Gate,
    Way,
    as_metrics,
    assess,
    judge,
    optimiser_error,
    optimiser_rounding,
    standard_errors,
)
from knownline.generate import draw
from knownline.params import Evaluate, Noise
from knownline.train import descent

Array = npt.NDArray[np.float64]

TRUTH = Line(20.0, 5.0)
RULES = Evaluate(z=4.0, optimiser_tolerance=1e-9)

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
    seed: int, *, rows: int = 80, offset: float = 0.0, noise: float = 1.5, line: Line = TRUTH
) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return x, line.at(x) + noise * draws.standard_normal(rows)


def cut(x: Array, y: Array, places: Sequence[int]) -> list[tuple[Array, Array]]:
    at = sorted({place for place in places if 0 < place < len(x)})
    return list(zip(np.split(x, at), np.split(y, at), strict=True))


def found_for(
    line: Line,
    train: Compressed,
    *,
    holdout: Compressed | None = None,
    truth: Line | None = TRUTH,
    last_loss: float = 2.0,
) -> Evaluation:
    return assess(line, train=train, holdout=holdout, truth=truth, last_loss=last_loss)


def descended(rows: Compressed) -> Line:
    """Return the line that the shipped training finds."""
    return descent.fit(
        *rows.three_points(standardize=True),
        epochs=100,
        learning_rate=0.25,
        dtype="float64",
        device=torch.device("cpu"),
        scaling=descent.Scaling(rows.mean_x, rows.sd_x),
    ).line


# Standard errors


@settings(deadline=None)
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
    true = stats.linregress(x, y)
    assume(true.stderr > 0)  # else its r² was rounded to 1
    se = standard_errors(compress(cut(x, y, places)))
    # With few degrees of freedom all the noise can be in the last digits of linregress' r².
    rel = 1e-9 + 1e-14 * (float(np.std(y)) / (float(true.stderr) * float(np.std(x)))) ** 2
    assert se.w == pytest.approx(float(true.stderr), rel=rel)
    assert se.b == pytest.approx(float(true.intercept_stderr), rel=rel)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("rows", [3, 4, 80])
def test_standard_errors_are_the_exact_ones(rows: int, offset: float) -> None:
    x, y = drawn(1, rows=rows, offset=offset)
    px, py = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
    zero = Fraction(0)
    mean_x, mean_y = sum(px, start=zero) / rows, sum(py, start=zero) / rows
    xx = sum(((p - mean_x) ** 2 for p in px), start=zero)
    xy = sum(((p - mean_x) * (q - mean_y) for p, q in zip(px, py, strict=True)), start=zero)
    yy = sum(((q - mean_y) ** 2 for q in py), start=zero)
    variance = (yy - xy * xy / xx) / (rows - 2)
    se = standard_errors(compress([(x, y)]))
    assert se.w == pytest.approx(math.sqrt(variance / xx), rel=1e-8)
    assert se.b == pytest.approx(
        math.sqrt(variance * (Fraction(1, rows) + mean_x**2 / xx)), rel=1e-8
    )


def test_nists_certified_values_for_norris() -> None:
    train = compress([(np.array(NORRIS_X), np.array(NORRIS_Y))])
    ols = train.least_squares()
    found = found_for(ols, train, holdout=train, truth=None)
    assert found.ols.w == pytest.approx(1.00211681802045, rel=1e-13)
    assert found.ols.b == pytest.approx(-0.262323073774029, rel=1e-12)
    assert found.se.w == pytest.approx(0.429796848199937e-03, rel=1e-12)
    assert found.se.b == pytest.approx(0.232818234301152, rel=1e-12)
    assert found.train_rmse * math.sqrt(36 / 34) == pytest.approx(0.884796396144373, rel=1e-12)
    assert found.holdout_r2 == pytest.approx(0.999993745883712, abs=1e-14)


@pytest.mark.parametrize("rows", [10, 1000])
def test_noiseless_points_have_standard_errors_of_the_size_of_rounding(rows: int) -> None:
    x, y = drawn(2, rows=rows, noise=0.0)
    se = standard_errors(compress([(x, y)]))
    quantum = 2.0**-52 * float(np.sqrt(np.mean(y**2)))
    assert 0.01 * quantum / math.sqrt(rows) <= se.w * float(np.std(x)) <= 10 * quantum


# How far from the truth


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("truth", [TRUTH, Line(19.0, 0.0), Line(-1e3, 1e6)])
def test_z_is_the_distance_in_standard_errors_of_linregress(seed: int, truth: Line) -> None:
    x, y = drawn(seed)
    true = stats.linregress(x, y)
    z = found_for(Line(true.slope, true.intercept), compress([(x, y)]), truth=truth).z
    assert z is not None
    assert z.w == pytest.approx((true.slope - truth.w) / true.stderr, rel=1e-8)
    assert z.b == pytest.approx((true.intercept - truth.b) / true.intercept_stderr, rel=1e-8)


def test_without_a_truth_there_is_no_z() -> None:
    found = found_for(TRUTH, compress([drawn(1)]), truth=None)
    assert (found.truth, found.z) == (None, None)


def test_z_has_the_sign_of_the_distance() -> None:
    train = compress([drawn(1)])
    ols = train.least_squares()
    above = found_for(ols, train, truth=Line(ols.w - 1, ols.b - 1)).z
    below = found_for(ols, train, truth=Line(ols.w + 1, ols.b + 1)).z
    assert above is not None
    assert below is not None
    assert above.w > 0 > below.w
    assert above.b > 0 > below.b


# How far from least squares


@settings(deadline=None)
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
    line = Line(w + dw, b + db)
    apart = line.at(x) - (w * x + b)
    true = math.sqrt(float(np.mean(apart**2) / np.var(y)))
    assert optimiser_error(line, compress([(x, y)])) == pytest.approx(true, rel=1e-8, abs=1e-12)


def test_least_squares_itself_has_no_optimiser_error() -> None:
    rows = compress([drawn(3)])
    assert optimiser_error(rows.least_squares(), rows) == 0.0


@pytest.mark.parametrize(("line", "error"), [(Line(0.0, 0.0), 0.0), (Line(0.0, 1.0), math.inf)])
def test_where_all_y_are_0_any_distance_is_infinite(line: Line, error: float) -> None:
    rows = compress([(np.arange(5.0), np.zeros(5))])
    assert optimiser_error(line, rows) == error


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e8])
def test_a_finished_training_has_arrived_by_the_shipped_rule(offset: float) -> None:
    rows = compress([drawn(4, offset=offset)])
    assert optimiser_error(descended(rows), rows) <= max(1e-13, optimiser_rounding(rows))


def test_a_half_finished_training_has_not_arrived_by_the_shipped_rule() -> None:
    x, y = drawn(4)
    rows = compress([(x, y)])
    line = descent.fit(
        x, y, epochs=100, learning_rate=1e-4, dtype="float64", device=torch.device("cpu")
    ).line
    assert optimiser_error(line, rows) > 1e-4


# Errors on rows


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(2, 100),
    w=st.floats(-40, 40),
    b=st.floats(-100, 100),
)
def test_rmse_and_r2_are_numpys(seed: int, rows: int, w: float, b: float) -> None:
    line = Line(w, b)
    x, y = drawn(seed)
    held_x, held_y = drawn(seed + 1, rows=rows)
    found = found_for(line, compress([(x, y)]), holdout=compress([(held_x, held_y)]))
    off = held_y - line.at(held_x)
    assert found.train_rmse == pytest.approx(math.sqrt(np.mean((y - line.at(x)) ** 2)), rel=1e-9)
    assert found.holdout_rmse == pytest.approx(math.sqrt(np.mean(off**2)), rel=1e-9)
    assert found.holdout_r2 == pytest.approx(
        1 - float(np.sum(off**2) / np.sum((held_y - held_y.mean()) ** 2)), rel=1e-9, abs=1e-9
    )
    assert (found.rows, found.holdout_rows) == (80, rows)


def test_r2_of_least_squares_is_that_of_linregress() -> None:
    x, y = drawn(5)
    rows = compress([(x, y)])
    found = found_for(rows.least_squares(), rows, holdout=rows)
    assert found.holdout_r2 == pytest.approx(stats.linregress(x, y).rvalue ** 2, rel=1e-12)


def test_one_row_held_out_has_an_error_but_no_r2() -> None:
    holdout = compress([(np.array([10.0]), np.array([204.0]))])
    found = found_for(TRUTH, compress([drawn(6)]), holdout=holdout)
    assert found.holdout_rows == 1
    assert found.holdout_rmse == pytest.approx(1.0, rel=1e-12)
    assert found.holdout_r2 is None


def test_a_holdout_of_equal_y_has_an_error_but_no_r2() -> None:
    holdout = compress([(np.array([9.0, 11.0]), np.array([205.0, 205.0]))])
    found = found_for(TRUTH, compress([drawn(6)]), holdout=holdout)
    assert found.holdout_rmse == pytest.approx(20.0, rel=1e-12)
    assert found.holdout_r2 is None


def test_a_holdout_of_equal_x_is_judged_like_any_other() -> None:
    holdout = compress([(np.array([10.0, 10.0]), np.array([204.0, 208.0]))])
    found = found_for(TRUTH, compress([drawn(6)]), holdout=holdout)
    assert found.holdout_rmse == pytest.approx(math.sqrt(5.0), rel=1e-12)
    assert found.holdout_r2 == pytest.approx(1 - 10.0 / 8.0, rel=1e-12)


def test_without_a_holdout_nothing_is_said_of_one() -> None:
    found = found_for(TRUTH, compress([drawn(6)]), holdout=None)
    assert (found.holdout_rows, found.holdout_rmse, found.holdout_r2) == (0, None, None)
    assert judge(found_for(found.ols, compress([drawn(6)])), RULES).passed


def test_what_was_given_is_kept() -> None:
    train = compress([drawn(7)])
    found = found_for(Line(1.0, 2.0), train, truth=Line(3.0, 4.0), last_loss=0.125)
    assert (found.line, found.truth) == (Line(1.0, 2.0), Line(3.0, 4.0))
    assert (found.ols, found.last_loss) == (train.least_squares(), 0.125)


# Noise of other kinds, judged


LINES = [TRUTH, Line(0.1, 0.3), Line(3.7, -210.4), Line(0.0, 7.0), Line(-1e-3, 1e6), Line(0.3, 0.0)]


@pytest.mark.parametrize("rows", [10, 79, 1000, 100_000])
@pytest.mark.parametrize("line", LINES, ids=str)
def test_noiseless_points_do_not_refuse_the_true_line(line: Line, rows: int) -> None:
    x = np.linspace(1.0, 99.0, rows)
    train = compress(cut(x, line.at(x), range(0, rows, 65_536)))
    gate = judge(found_for(line, train, truth=line), RULES)
    assert gate.passed, gate.reasons


@pytest.mark.parametrize("rows", [10, 79, 1000, 100_000])
@pytest.mark.parametrize("line", LINES, ids=str)
def test_noiseless_points_do_not_refuse_the_line_that_training_finds(line: Line, rows: int) -> None:
    # It is the true line but for the last digits of w and b, which no number of rows can mend.
    x = np.linspace(1.0, 99.0, rows)
    train = compress(cut(x, line.at(x), range(0, rows, 65_536)))
    gate = judge(found_for(descended(train), train, truth=line), RULES)
    assert gate.passed, gate.reasons


@pytest.mark.parametrize("draw", [-10, -3, -1, 1, 2, 10])
@pytest.mark.parametrize("fit", [Compressed.least_squares, descended], ids=["exact", "trained"])
def test_one_draw_shared_by_all_points_is_refused(fit: Any, draw: int) -> None:
    x = np.arange(1.0, 100.0)
    train = compress([(x, TRUTH.at(x) + draw)])
    gate = judge(found_for(fit(train), train), RULES)
    assert not gate.passed
    assert any(r.startswith("b = ") and "from the true 5" in r for r in gate.reasons)


@pytest.mark.parametrize("seed", range(6))
def test_shared_integer_noise_as_it_is_drawn_is_refused_unless_it_is_0(seed: int) -> None:
    x = np.arange(1.0, 100.0)
    noise = draw.noise(Noise(kind="shared-integer", scale=10.0), seed=seed, chunk=0, rows=len(x))
    train = compress([(x, TRUTH.at(x) + noise)])
    gate = judge(found_for(train.least_squares(), train), RULES)
    assert gate.passed == (noise[0] == 0)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e8])
@pytest.mark.parametrize("seed", range(5))
def test_noisy_points_do_not_refuse_their_truth(seed: int, offset: float) -> None:
    train, holdout = (compress([drawn(s, offset=offset)]) for s in (seed, seed + 99))
    gate = judge(found_for(descended(train), train, holdout=holdout), RULES)
    assert gate.passed, gate.reasons


# metrics.json

NAMES = {
    "w", "b", "truth.w", "truth.b", "ols.w", "ols.b", "se.w", "se.b", "z.w", "z.b",
    "optimiser_error", "holdout.rmse", "holdout.r2", "train.rmse", "rows", "gate.passed",
    "gate.reasons",
}  # fmt: skip
"""The names of the contract."""


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found


def test_metrics_have_the_names_of_the_contract_and_the_numbers_found() -> None:
    train, holdout = compress([drawn(8)]), compress([drawn(9, rows=20)])
    found = found_for(Line(20.01, 4.9), train, holdout=holdout)
    metrics = flat(as_metrics(found, Gate(passed=False, reasons=["because"])))
    assert found.z is not None
    assert set(metrics) == NAMES | {"holdout.rows"}
    assert (metrics["w"], metrics["b"]) == (20.01, 4.9)
    assert (metrics["truth.w"], metrics["truth.b"]) == (20.0, 5.0)
    assert (metrics["ols.w"], metrics["ols.b"]) == astuple(train.least_squares())
    assert Coefficients(metrics["se.w"], metrics["se.b"]) == found.se
    assert Coefficients(metrics["z.w"], metrics["z.b"]) == found.z
    assert metrics["optimiser_error"] == pytest.approx(found.optimiser_error, rel=5e-4)
    assert len(f"{metrics['optimiser_error']:e}".partition("e")[0].rstrip("0")) <= 5  # 1.234
    assert (metrics["rows"], metrics["holdout.rows"]) == (80, 20)
    assert (metrics["train.rmse"], metrics["holdout.rmse"]) == (
        found.train_rmse,
        found.holdout_rmse,
    )
    assert metrics["holdout.r2"] == found.holdout_r2
    assert (metrics["gate.passed"], metrics["gate.reasons"]) == (False, ["because"])


def test_what_is_not_known_is_null_in_metrics() -> None:
    found = found_for(TRUTH, compress([drawn(8)]), truth=None)
    metrics = flat(as_metrics(found, judge(found, RULES)))
    unknown = {name for name, value in metrics.items() if value is None}
    assert unknown == {"truth.w", "truth.b", "z.w", "z.b", "holdout.rmse", "holdout.r2"}


def test_an_offset_does_not_hide_a_fit_that_has_not_begun() -> None:
    x = np.linspace(1.0, 99.0, 79)
    rows = compress([(x, 20.0 * x + 1e12)])
    flat = Line(0.0, rows.mean_y)
    assert optimiser_error(flat, rows) == pytest.approx(1.0, rel=1e-6)
    assert optimiser_rounding(rows) < 1e-4


# How the training went


def way(w: list[float], b: list[float], loss: float = 0.0) -> Way:
    x = np.array([-1.0, 0.0, 1.0])
    rows = compress([(x, 2 * x + 1)])  # the mean squared error of (0, 0) is 11/3
    return Way.of(np.full(len(w), loss), np.array(w), np.array(b), rows=rows)


@pytest.mark.parametrize(
    ("w", "trend"),
    [
        ([1.0], "shrinks"),
        ([1.0, 1.5, 1.75], "shrinks"),
        ([1.75, 1.5, 1.0], "grows"),
        ([1.0, 1.5, 1.5], "stands still"),
        ([1.0, 1.5, 1.4, 1.5, 1.4], "stands still"),
        ([1.0 + 1e-12 * n for n in range(100)], "shrinks"),
    ],
)
def test_an_optimiser_stands_still_when_it_is_where_it_was(w: list[float], trend: str) -> None:
    assert way(w, [1.0] * len(w)).trend == trend


def test_one_that_still_moves_in_b_does_not_stand_still() -> None:
    assert way([2.0, 2.0, 2.0], [0.5, 0.6, 0.7]).trend == "shrinks"


@pytest.mark.parametrize(("first", "squared"), [(11 / 3, True), (11 / 6, False), (5 / 3, False)])
def test_the_first_loss_tells_whether_it_is_the_squared_one(first: float, squared: bool) -> None:
    """Half of it is torch's 0.5 r², 5/3 the mean absolute error of (0, 0)."""
    assert way([1.0], [1.0], first).squared is squared
