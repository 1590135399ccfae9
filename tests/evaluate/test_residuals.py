"""Checks of the residuals, against scipy: noise shows no sign, and what is not noise does."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.kinds import Linear, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate import residuals
from knownline.evaluate.residuals import MIN_ROWS, SAMPLES, Check, Residuals

Array = npt.NDArray[np.float64]
LINE = Linear(("x",), {"w": lambda x: x, "b": lambda x: 1.0})
TRUTH = {"w": 20.0, "b": 5.0}


def points(seed: int, rows: int = 80) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    x = np.sort(generator.uniform(1.0, 99.0, rows))
    return x, 20 * x + 5 + 1.5 * generator.standard_normal(rows)


def line_of(w: float, b: float) -> Parameters:
    return {"w": float(w), "b": float(b)}


def least_squares(x: Array, y: Array) -> Parameters:
    return line_of(*np.polyfit(x, y, 1))


def left(x: Array, y: Array, line: Parameters) -> Array:
    """Return the residuals of a line."""
    return y - (line["w"] * x + line["b"])


def data_of(*columns: Array, kind: Linear = LINE) -> LeastSquares:
    *inputs, y = columns
    return LeastSquares(kind, compress([(kind.columns(inputs), y)]))


def examine(x: Array, y: Array, line: Parameters, data: LeastSquares | None = None) -> Residuals:
    """Examine points that are all the rows, unless `data` has more."""
    return residuals.examine([x], y, line, data or data_of(x, y))


def check_of(x: Array, y: Array, line: Parameters, about: str) -> Check:
    (check,) = (check for check in examine(x, y, line).checks if about in check.about)
    return check


def is_share(count: int, share: float) -> bool:
    """Return whether a count of SAMPLES fits a share; a wrong refusal is one in a million."""
    low, high = stats.binom.interval(1 - 1e-6, SAMPLES, share)
    return bool(low <= count <= high)


# The statistics


@pytest.mark.parametrize("rows", [20, 80, 2000])
@pytest.mark.parametrize("noise", ["standard_normal", "uniform", "standard_cauchy", "exponential"])
def test_normality_is_that_of_scipys_normaltest(noise: str, rows: int) -> None:
    x, _ = points(1, rows)
    y = 20 * x + 5 + getattr(np.random.default_rng(2), noise)(size=rows)
    expected = stats.normaltest(left(x, y, least_squares(x, y))).statistic
    check = check_of(x, y, TRUTH, "bell")
    assert check.value == pytest.approx(expected, rel=1e-6)
    if rows == 2000:
        assert (check.sign == "clear") == (noise != "standard_normal")


@pytest.mark.parametrize("seed", range(5))
def test_a_trend_is_scipys_correlation(seed: int) -> None:
    x, y = points(seed)
    line = line_of(20.01, 4.2)
    r = stats.pearsonr(x, left(x, y, line)).statistic
    check = check_of(x, y, line, "trend")
    assert check.value == pytest.approx(len(x) * r * r, rel=1e-9)
    assert is_share(check.as_much, stats.chi2.sf(check.value, 1))


@pytest.mark.parametrize("seed", range(5))
def test_a_bend_is_what_a_quadratic_explains(seed: int) -> None:
    x, y = points(seed)
    y = y + 0.0003 * (x - 50) ** 2
    r = left(x, y, least_squares(x, y))
    unexplained = r - np.polyval(np.polyfit(x, r, 2), x)
    explained = 1 - (unexplained @ unexplained) / (r @ r)
    check = check_of(x, y, least_squares(x, y), "bend")
    assert check.value == pytest.approx(len(x) * explained, rel=1e-6)
    # Of least squares' residuals this share has a beta distribution: one of n - 2 directions.
    assert is_share(check.as_much, stats.beta.sf(explained, 0.5, (len(x) - 3) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_a_changing_scatter_is_scipys_correlation_of_squares(seed: int) -> None:
    x, y = points(seed)
    r = stats.pearsonr(x, left(x, y, least_squares(x, y)) ** 2).statistic
    assert check_of(x, y, TRUTH, "scatter").value == pytest.approx(len(x) * r * r, rel=1e-6)


@pytest.mark.parametrize("rows", [10, 80])
def test_the_tail_of_the_normality_test_is_that_of_40000_other_samples(rows: int) -> None:
    x = np.linspace(1.0, 99.0, rows)
    basis = np.linalg.qr(np.stack([np.ones(rows), x], axis=1))[0]
    noise = np.random.default_rng(7).standard_normal((40_000, rows))
    many = stats.normaltest(noise - (noise @ basis) @ basis.T, axis=1).statistic
    for share in (0.3, 0.05, 0.008):
        place = int(np.argmin(np.abs(many - np.quantile(many, 1 - share))))
        y = 20 * x + 5 + noise[place] - (noise[place] @ basis) @ basis.T
        assert is_share(check_of(x, y, TRUTH, "bell").as_much, share), share


def test_pure_noise_shows_a_faint_sign_at_the_nominal_rate() -> None:
    """Over 150 samples of few rows, where the distributions for many rows are far off."""
    signs: dict[str, int] = {}
    for seed in range(150):
        x, y = points(seed, 10)
        for check in examine(x, y, least_squares(x, y)).checks:
            signs[check.about] = signs.get(check.about, 0) + (check.sign != "none")
    assert len(signs) == 3  # least squares leaves no trend
    for about, count in signs.items():
        assert stats.binomtest(count, 150, 0.05).pvalue > 1e-4, about


# What is shown


def test_noise_shows_no_sign_and_a_trend_a_bend_and_a_fan_show_a_clear_one() -> None:
    x, y = points(3, 400)
    line = least_squares(x, y)
    assert [check.sign for check in examine(x, y, line).checks] == ["none"] * 3
    assert examine(x, y, line) == examine(x, y, line)
    assert check_of(x, y, line_of(line["w"] + 0.1, line["b"] - 5), "trend").sign == "clear"
    bent = y + 0.002 * (x - 50) ** 2
    assert check_of(x, bent, least_squares(x, bent), "bend").sign == "clear"
    fan = 20 * x + 5 + x / 50 * np.random.default_rng(4).standard_normal(400)
    assert check_of(x, fan, least_squares(x, fan), "scatter").sign == "clear"


@pytest.mark.parametrize("line", [line_of(0.0, 0.0), line_of(19.0, 90.0), line_of(-3.0, 1e6)])
def test_a_line_that_has_not_converged_shows_its_own_trend_and_nothing_else(
    line: Parameters,
) -> None:
    x, y = points(3, 400)
    trend, *rest = examine(x, y, line).checks
    assert (trend.sign, trend.of_the_fit) == ("clear", True)
    assert rest == examine(x, y, least_squares(x, y)).checks
    assert [check.sign for check in rest] == ["none"] * 3


def test_a_trend_is_that_of_all_rows_and_not_of_the_sample() -> None:
    x, y = points(8, 5000)
    data, line = data_of(x, y), least_squares(x, y)
    biased = left(x, y, line) * (x - 50) > -20  # a sample with a trend that the rows do not have
    assert stats.pearsonr(x[biased], left(x, y, line)[biased]).pvalue < 1e-20
    sample = examine(x[biased], y[biased], data.solution, data)
    assert not any("trend" in check.about for check in sample.checks)
    steeper = line_of(line["w"] + 0.01, line["b"])
    r = stats.pearsonr(x, left(x, y, steeper)).statistic
    trend = examine(x[:500], y[:500], steeper, data).checks[0]
    assert trend.value == pytest.approx(500 * r * r, rel=1e-6)


def test_the_farthest_point_is_named() -> None:
    x, y = points(1)
    y[17] += 30
    found = examine(x, y, TRUTH)
    r = left(x, y, TRUTH)
    assert found.farthest_x == x[17]
    assert found.sd == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-12)
    assert found.farthest == pytest.approx(abs(r[17]) / np.sqrt(np.mean(r**2)), rel=1e-12)


@pytest.mark.parametrize("unit", [1.6e-19, 1e30])
def test_the_unit_of_x_changes_no_answer(unit: float) -> None:
    x, y = points(2, 40)
    bent = y + 0.05 * (x - 50) ** 2
    line = least_squares(x, bent)
    expected = [check.as_much for check in examine(x, bent, line).checks]
    found = examine(x * unit, bent, line_of(line["w"] / unit, line["b"])).checks
    assert [check.as_much for check in found] == expected
    assert len(found) == 3


# Other models

QUADRATIC = Linear(("x",), {"c": lambda x: x * x, "w": lambda x: x, "b": lambda x: 1.0})
PLANE = Linear(
    ("s", "t", "u"),
    {"s": lambda s, t, u: s, "t": lambda s, t, u: t, "u": lambda s, t, u: u, "b": lambda *_: 1.0},
)


def space(seed: int, rows: int = 200) -> tuple[list[Array], Array]:
    """Return three inputs, and y around a plane."""
    random = np.random.default_rng(seed)
    s, t, u = random.uniform(1.0, 9.0, (3, rows))
    return [s, t, u], 2 * s - t + 3 * u + 5 + random.standard_normal(rows)


def test_a_model_with_a_square_leaves_no_bend_and_one_without_does() -> None:
    x, y = points(3, 400)
    y = y + 0.05 * (x - 50) ** 2
    data = data_of(x, y, kind=QUADRATIC)
    checks = residuals.examine([x], y, data.solution, data).checks
    assert [check.sign for check in checks] == ["none"] * 2
    assert not any("bend" in check.about for check in checks)
    assert check_of(x, y, least_squares(x, y), "bend").sign == "clear"


@pytest.mark.parametrize("seed", range(3))
def test_a_trend_of_a_plane_is_what_least_squares_on_its_residuals_explains(seed: int) -> None:
    inputs, y = space(seed)
    fitted = {"s": 2.05, "t": -1.1, "u": 2.95, "b": 5.0}
    data = data_of(*inputs, y, kind=PLANE)
    trend = residuals.examine(inputs, y, fitted, data).checks[0]
    terms = np.stack([*inputs, np.ones(len(y))], axis=1)
    r = y - terms @ list(fitted.values())
    unexplained = r - terms @ np.linalg.lstsq(terms, r, rcond=None)[0]
    explained = 1 - np.var(unexplained) / np.var(r)
    assert trend.about == "a trend along the inputs, which least squares would not have"
    assert trend.value == pytest.approx(len(y) * explained, rel=1e-6)
    # Of pure noise this share has a beta distribution: three of n - 1 directions.
    assert is_share(trend.as_much, stats.beta.sf(explained, 3 / 2, (len(y) - 4) / 2))


def test_a_plane_is_examined_along_what_it_fits() -> None:
    inputs, y = space(1)
    y[17] += 30
    data = data_of(*inputs, y, kind=PLANE)
    along = PLANE.at(data.solution, inputs)
    found = residuals.examine(inputs, y, data.solution, data)
    assert found.farthest_x == along[17]
    (scatter,) = (check for check in found.checks if "scatter" in check.about)
    r = stats.pearsonr(along, (y - along) ** 2).statistic
    assert scatter.value == pytest.approx(len(y) * r * r, rel=1e-6)
    assert scatter.about == "a scatter that changes along the fitted y"
    bent = y + 0.05 * (along - along.mean()) ** 2
    data = data_of(*inputs, bent, kind=PLANE)
    checks = residuals.examine(inputs, bent, data.solution, data).checks
    assert "bend" in checks[0].about
    assert checks[0].sign == "clear"


# What is not examined


@pytest.mark.parametrize("line", [TRUTH, line_of(19.0, 4.0)], ids=["converged", "not converged"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_points_without_noise_are_not_examined(line: Parameters, shift: float) -> None:
    x = np.arange(1.0, 100.0)
    found = examine(x, 20 * x + 5 + shift, line_of(line["w"], line["b"] + shift))
    assert found.checks == []
    assert "nothing but rounding" in found.unchecked
    assert ("optimiser" in found.unchecked) == (line != TRUTH)
    assert found.gap == 1.0


def test_few_rows_are_not_examined() -> None:
    x, y = points(1, MIN_ROWS - 1)
    found = examine(x, y, TRUTH)
    assert found.checks == []
    assert "7 rows are too few" in found.unchecked


def test_two_values_of_x_have_no_bend_and_equal_residuals_have_no_shape() -> None:
    x = np.repeat([1.0, 2.0], 20)
    y = 20 * x + 5 + np.random.default_rng(1).standard_normal(40)
    checks = examine(x, y, TRUTH).checks
    assert len(checks) == 3
    assert not any("bend" in check.about for check in checks)
    equal = examine(np.arange(20.0), np.full(20, 7.0), line_of(0.0, 3.5)).checks
    assert not any("bell" in check.about for check in equal)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e160, 1e160), min_size=3, max_size=40),
    st.floats(-1e100, 1e100),
    st.floats(-1e100, 1e100),
)
def test_any_numbers_give_a_count(values: list[float], w: float, b: float) -> None:
    x = np.arange(float(len(values)))
    for check in examine(x, np.array(values), line_of(w, b)).checks:
        assert 0 <= check.as_much <= SAMPLES
