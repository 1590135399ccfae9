"""Least squares of models that are not linear, against scipy's curve_fit and exact cases."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from knownline.core.curve_fit import CurveFit, jacobian, starting
from knownline.core.errors import ParamsError
from knownline.core.kinds import Nonlinear
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate import statistics
from knownline.evaluate.gate import judge
from knownline.model import EXPONENTIAL, LINE
from knownline.params import Evaluate

Array = npt.NDArray[np.float64]

TRUTH = {"a": 5.0, "k": 0.8, "c": 1.0}


def decay(x: Array, a: float, k: float, c: float) -> Array:
    """Return the exponential as a textbook has it: y of (rows,)."""
    return a * np.exp(-k * x) + c


def derivatives(x: Array, a: float, k: float) -> Array:
    """Return its derivatives by a, k and c, by hand: (rows, 3)."""
    part = np.exp(-k * x)
    return np.column_stack([part, -a * x * part, np.ones_like(x)])


def fit_of(model: Nonlinear, x: Array, y: Array, **start: float) -> CurveFit:
    begin = start or model.starting([x], y)
    return CurveFit(model, compress([([x], y)]), [x], y, start=begin)


def drawn(seed: int, rows: int = 80) -> tuple[Array, Array]:
    """Return x and y, (rows,), around an exponential whose parameters are drawn too."""
    random = np.random.default_rng(seed)
    a, k, c = random.uniform(-20, 20), random.uniform(0.3, 2.0), random.uniform(-50, 50)
    x = random.uniform(0.0, 4.0, rows)
    return x, decay(x, a, k, c) + 0.01 * abs(a) * random.standard_normal(rows)


@pytest.mark.parametrize("seed", range(12))
def test_the_solution_and_its_standard_errors_are_those_of_scipys_curve_fit(seed: int) -> None:
    x, y = drawn(seed)
    fit = fit_of(EXPONENTIAL, x, y)
    expected, covariance = optimize.curve_fit(
        decay, x, y, p0=list(fit.solution.values()), method="trf", xtol=1e-15, ftol=1e-15,
        gtol=1e-15, jac=lambda x, a, k, c: derivatives(x, a, k), x_scale="jac",
    )  # fmt: skip
    found = fit.solution
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-6)
    # At the solution no parameter can lower the loss: the residuals are orthogonal to each.
    slope = derivatives(x, found["a"], found["k"]).T @ (decay(x, **found) - y)
    assert np.max(np.abs(slope)) < 1e-10 * np.sum(np.abs(y))
    errors = statistics.standard_errors(fit)
    np.testing.assert_allclose(list(errors.values()), np.sqrt(np.diag(covariance)), rtol=1e-6)


def test_a_linear_model_that_is_written_as_one_that_is_not_has_the_same_fit() -> None:
    random = np.random.default_rng(3)
    x = random.uniform(1, 9, 50)
    y = 20 * x + 5 + random.standard_normal(50)
    rows = compress([([x], y)])
    line = LeastSquares(LINE, rows)
    curve = CurveFit(
        Nonlinear(("x",), lambda x, w, b: w * x + b, {}), rows, [x], y, start={"w": 0.0, "b": 0.0}
    )
    variance = line.mean_squared_error(line.solution) * 50 / 48
    assert curve.solution == pytest.approx(line.solution, rel=1e-12)
    assert curve.standard_errors(variance) == pytest.approx(
        line.standard_errors(variance), rel=1e-10
    )
    away = {"w": 19.0, "b": 8.0}
    assert curve.distance(away) == pytest.approx(line.distance(away), rel=1e-12)
    assert curve.mean_squared_error(away) == pytest.approx(line.mean_squared_error(away), rel=1e-12)


POINTS = {
    "usual": (np.linspace(-3.0, 4.0, 29), 5.0, 0.8, 1.0),
    "far from zero": (np.linspace(1990.0, 2020.0, 31), 5e86, 0.1, 3.0),
    "small steps of k": (np.linspace(0.0, 1e9, 31), 5.0, 3e-9, 1.0),
    "large steps of k": (np.linspace(0.0, 1e-9, 31), 5.0, 3e9, 1.0),
    "no intercept": (np.linspace(0.0, 4.0, 31), -3e7, 0.5, 0.0),
    "a tiny intercept": (np.linspace(0.0, 4.0, 31), 3e7, 0.5, -1e-17),
    "small": (np.linspace(0.0, 4.0, 31), 2e-12, 0.5, 1e-25),
    "none": (np.linspace(0.0, 4.0, 31), 0.0, 0.5, 0.0),
}


@pytest.mark.parametrize("name", POINTS)
def test_the_derivatives_are_those_by_hand(name: str) -> None:
    x, a, k, c = POINTS[name]
    found = jacobian(EXPONENTIAL, {"a": a, "k": k, "c": c}, [x])
    for one, other in zip(found.T, derivatives(x, a, k).T, strict=True):
        assert np.max(np.abs(one - other)) <= 1e-9 * np.max(np.abs(other))


@pytest.mark.parametrize("w", [1e-3, 1.0, 50.0, 1e3])
def test_the_derivative_by_a_frequency_does_not_jump_over_waves(w: float) -> None:
    x = np.linspace(0.0, 100.0, 401)
    wave = Nonlinear(("x",), lambda x, a, w, p: a * np.sin(w * x + p), {})
    found = jacobian(wave, {"a": 2.0, "w": w, "p": 0.3}, [x])
    phase = w * x + 0.3
    expected = [np.sin(phase), 2 * x * np.cos(phase), 2 * np.cos(phase)]
    for one, other in zip(found.T, expected, strict=True):
        assert np.max(np.abs(one - other)) <= 1e-7 * np.max(np.abs(other))


@pytest.mark.parametrize("c", [0.0, 1e-14, 1e6])
def test_points_without_noise_give_back_the_parameters(c: float) -> None:
    x = np.linspace(0.0, 5.0, 60)
    truth = {"a": 5.0, "k": 0.8, "c": c}
    fit = fit_of(EXPONENTIAL, x, decay(x, **truth))
    assert fit.solution == pytest.approx(truth, rel=1e-8, abs=1e-13)
    errors = statistics.standard_errors(fit)
    assert all(0 < error < 1e-6 for error in errors.values())
    found = statistics.assess(fit.solution, train=fit, holdout=None, truth=truth, last_loss=0.0)
    assert judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-9)).passed


REPEATED: dict[str, Callable[..., Any]] = {
    "a product": lambda x, a, b: a * b * x,
    "a sum": lambda x, a, b, c: (a + b) * x + c,
    "a factor": lambda x, a, b, c: a * np.exp(b + c * x),
    "without effect": lambda x, a, b: a * x + 0 * b,
}


@pytest.mark.parametrize("name", REPEATED)
def test_parameters_that_determine_each_other_have_no_standard_errors(name: str) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        x = random.uniform(0.1, 2.0, 40)
        y = 2 * x + random.standard_normal(40)
        model = Nonlinear(("x",), REPEATED[name], dict.fromkeys("abc", 1.3))
        fit = fit_of(model, x, y)
        assert set(fit.standard_errors(1.0).values()) == {math.inf}
        found = statistics.assess(fit.solution, train=fit, holdout=None, truth=None, last_loss=1.0)
        verdict = judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-9))
        assert not verdict.passed
        assert "the standard error of a is not a finite number" in verdict.reasons


@pytest.mark.parametrize("seed", range(10))
def test_it_ends_no_higher_than_it_started_even_where_there_is_nothing_to_find(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = np.sort(random.uniform(0, 4, 12)), random.standard_normal(12)
    start = EXPONENTIAL.starting([x], y)
    fit = fit_of(EXPONENTIAL, x, y)
    assert fit.mean_squared_error(fit.solution) <= fit.mean_squared_error(start)


def test_a_start_that_gives_no_numbers_leaves_the_other_start() -> None:
    x, y = drawn(1)
    good = fit_of(EXPONENTIAL, x, y).solution
    never = {"a": 1.0, "k": -1e6, "c": 0.0}
    rows = compress([([x], y)])
    found = CurveFit(EXPONENTIAL, rows, [x], y, start=never, near=good).solution
    assert found == pytest.approx(good, rel=1e-9)


def test_a_start_of_ones_own_that_raises_is_refused_in_one_line() -> None:
    def start(x: Array, y: Array) -> dict[str, float]:
        raise ValueError("no start\nfor such rows")

    model = Nonlinear(("x",), decay, start)
    with pytest.raises(ParamsError, match=r"^model must have a start .*ValueError: no start for"):
        starting(model, np.zeros((2, 4)))
    short = Nonlinear(("x",), decay, lambda x, y: {"a": 1.0})
    with pytest.raises(ParamsError, match=r"KeyError: 'k'"):
        starting(short, np.zeros((2, 4)))


@pytest.mark.parametrize("a", [3e86, 3e87])
def test_years_as_x_lead_to_the_fit_of_years_that_are_counted_from_the_first(a: float) -> None:
    """From 0, a and k determine each other almost: the search needs hundreds of evaluations."""
    x = np.linspace(1990.0, 2020.0, 160)
    y = decay(x, a, 0.1, 7.0) + 0.1 * np.random.default_rng(3).standard_normal(160)
    fit = fit_of(EXPONENTIAL, x, y)
    expected, _ = optimize.curve_fit(decay, x - 1990, y, p0=[1.0, 0.1, 7.0], xtol=1e-15, ftol=1e-15)
    from_first = decay(x - 1990, *expected)
    apart = fit.predict(fit.solution, [x]) - from_first
    assert np.sqrt(np.mean(apart**2)) < 1e-6 * np.std(y)


@pytest.mark.parametrize("seed", range(5))
def test_two_starts_end_at_the_same_digits_however_badly_the_model_fits(seed: int) -> None:
    """Of such residuals, the steps of Gauss and Newton alone leave half the digits."""
    x = np.linspace(0.0, 5.0, 160)
    y = 1.0 + 0.5 * np.exp(-0.8 * x) + np.random.default_rng(seed).standard_normal(160)
    one = fit_of(EXPONENTIAL, x, y)
    moved = {name: value * 1.01 for name, value in one.solution.items()}
    other = fit_of(EXPONENTIAL, x, y, **moved)
    assert one.distance(other.solution) < 1e-10 * np.std(y)


@pytest.mark.parametrize("k", [-3.0, -0.8, 0.3, 0.8, 3.0])
@pytest.mark.parametrize("a", [-5.0, 2.0])
@pytest.mark.parametrize("low", [-2.0, 0.0, 20.0])
def test_the_exponentials_own_start_leads_to_decay_and_to_growth(
    a: float, k: float, low: float
) -> None:
    random = np.random.default_rng(5)
    x = np.linspace(low, low + 4.0, 100)
    truth = {"a": a * math.exp(k * low), "k": k, "c": 7.0}
    clean = decay(x, **truth)
    fit = fit_of(EXPONENTIAL, x, clean + 0.01 * np.std(clean) * random.standard_normal(100))
    errors = statistics.standard_errors(fit)
    for name, value in fit.solution.items():
        assert abs(value - truth[name]) < 4 * errors[name]


# By chance

ROWS, Z = 200, 2.0


@pytest.mark.parametrize("seeds", [300, pytest.param(2_000, marks=pytest.mark.slow)])
def test_the_gate_refuses_as_often_as_the_normal_law_of_the_parameters_says(seeds: int) -> None:
    """The seed is fixed, so if the test passes once, it passes always."""
    random = np.random.default_rng(12)
    x = np.linspace(0.0, 5.0, ROWS)
    clean, rules = decay(x, **TRUTH), Evaluate(z=Z, optimiser_tolerance=1e-9)
    distances, refusals = [], 0
    for noise in random.standard_normal((seeds, ROWS)):
        # So little noise that the model is as good as linear in it.
        fit = fit_of(EXPONENTIAL, x, clean + 0.02 * noise)
        found = statistics.assess(fit.solution, train=fit, holdout=None, truth=TRUTH, last_loss=1.0)
        assert found.z is not None
        distances.append(list(found.z.values()))
        refusals += not judge(found, rules).passed
    slopes = derivatives(x, TRUTH["a"], TRUTH["k"])
    covariance = np.linalg.inv(slopes.T @ slopes)
    sd = np.sqrt(np.diag(covariance))
    law = stats.multivariate_normal(np.zeros(3), covariance / np.outer(sd, sd), seed=1)
    within = float(law.cdf(np.full(3, Z), lower_limit=np.full(3, -Z)))
    assert stats.binomtest(refusals, seeds, 1 - within).pvalue > 1e-3
    for column in np.array(distances).T:
        assert stats.kstest(column, stats.t(ROWS - 3).cdf).pvalue > 1e-3
