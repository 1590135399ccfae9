"""Checks of the residuals, against scipy: noise shows no sign, and what is not noise does."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.line import Line
from knownline.core.moments import Compressed, compress
from knownline.evaluate import residuals
from knownline.evaluate.residuals import MIN_ROWS, SAMPLES, Check, Residuals

Array = npt.NDArray[np.float64]
LINE = Line(20.0, 5.0)


def points(seed: int, rows: int = 80) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    x = np.sort(generator.uniform(1.0, 99.0, rows))
    return x, LINE.at(x) + 1.5 * generator.standard_normal(rows)


def least_squares(x: Array, y: Array) -> Line:
    w, b = np.polyfit(x, y, 1)
    return Line(float(w), float(b))


def examine(x: Array, y: Array, line: Line, rows: Compressed | None = None) -> Residuals:
    """Examine points that are all the rows, unless `rows` are more."""
    return residuals.examine(x, y, line, rows=rows or compress([(x, y)]))


def check_of(x: Array, y: Array, line: Line, about: str) -> Check:
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
    y = LINE.at(x) + getattr(np.random.default_rng(2), noise)(size=rows)
    expected = stats.normaltest(y - least_squares(x, y).at(x)).statistic
    check = check_of(x, y, LINE, "bell")
    assert check.value == pytest.approx(expected, rel=1e-6)
    if rows == 2000:
        assert (check.sign == "clear") == (noise != "standard_normal")


@pytest.mark.parametrize("seed", range(5))
def test_a_trend_is_scipys_correlation(seed: int) -> None:
    x, y = points(seed)
    line = Line(20.01, 4.2)
    r = stats.pearsonr(x, y - line.at(x)).statistic
    check = check_of(x, y, line, "trend")
    assert check.value == pytest.approx(len(x) * r * r, rel=1e-9)
    assert is_share(check.as_much, stats.chi2.sf(check.value, 1))


@pytest.mark.parametrize("seed", range(5))
def test_a_bend_is_what_a_quadratic_explains(seed: int) -> None:
    x, y = points(seed)
    y = y + 0.0003 * (x - 50) ** 2
    r = y - least_squares(x, y).at(x)
    unexplained = r - np.polyval(np.polyfit(x, r, 2), x)
    explained = 1 - (unexplained @ unexplained) / (r @ r)
    check = check_of(x, y, least_squares(x, y), "bend")
    assert check.value == pytest.approx(len(x) * explained, rel=1e-6)
    # Of least squares' residuals this share has a beta distribution: one of n - 2 directions.
    assert is_share(check.as_much, stats.beta.sf(explained, 0.5, (len(x) - 3) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_a_changing_scatter_is_scipys_correlation_of_squares(seed: int) -> None:
    x, y = points(seed)
    r = stats.pearsonr(x, (y - least_squares(x, y).at(x)) ** 2).statistic
    assert check_of(x, y, LINE, "scatter").value == pytest.approx(len(x) * r * r, rel=1e-6)


@pytest.mark.parametrize("rows", [10, 80])
def test_the_tail_of_the_normality_test_is_that_of_40000_other_samples(rows: int) -> None:
    x = np.linspace(1.0, 99.0, rows)
    basis = np.linalg.qr(np.stack([np.ones(rows), x], axis=1))[0]
    noise = np.random.default_rng(7).standard_normal((40_000, rows))
    many = stats.normaltest(noise - (noise @ basis) @ basis.T, axis=1).statistic
    for share in (0.3, 0.05, 0.008):
        place = int(np.argmin(np.abs(many - np.quantile(many, 1 - share))))
        y = LINE.at(x) + noise[place] - (noise[place] @ basis) @ basis.T
        assert is_share(check_of(x, y, LINE, "bell").as_much, share), share


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
    assert check_of(x, y, Line(line.w + 0.1, line.b - 5), "trend").sign == "clear"
    bent = y + 0.002 * (x - 50) ** 2
    assert check_of(x, bent, least_squares(x, bent), "bend").sign == "clear"
    fan = LINE.at(x) + x / 50 * np.random.default_rng(4).standard_normal(400)
    assert check_of(x, fan, least_squares(x, fan), "scatter").sign == "clear"


@pytest.mark.parametrize("line", [Line(0.0, 0.0), Line(19.0, 90.0), Line(-3.0, 1e6)])
def test_a_line_that_has_not_converged_shows_its_own_trend_and_nothing_else(line: Line) -> None:
    x, y = points(3, 400)
    trend, *rest = examine(x, y, line).checks
    assert (trend.sign, trend.of_the_fit) == ("clear", True)
    assert rest == examine(x, y, least_squares(x, y)).checks
    assert [check.sign for check in rest] == ["none"] * 3


def test_a_trend_is_that_of_all_rows_and_not_of_the_sample() -> None:
    x, y = points(8, 5000)
    rows, line = compress([(x, y)]), least_squares(x, y)
    biased = (y - line.at(x)) * (x - 50) > -20  # a sample with a trend that the rows do not have
    assert stats.pearsonr(x[biased], (y - line.at(x))[biased]).pvalue < 1e-20
    sample = examine(x[biased], y[biased], rows.least_squares(), rows)
    assert not any("trend" in check.about for check in sample.checks)
    steeper = Line(line.w + 0.01, line.b)
    r = stats.pearsonr(x, y - steeper.at(x)).statistic
    trend = examine(x[:500], y[:500], steeper, rows).checks[0]
    assert trend.value == pytest.approx(500 * r * r, rel=1e-6)


def test_the_farthest_point_is_named() -> None:
    x, y = points(1)
    y[17] += 30
    found = examine(x, y, LINE)
    r = y - LINE.at(x)
    assert found.farthest_x == x[17]
    assert found.sd == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-12)
    assert found.farthest == pytest.approx(abs(r[17]) / np.sqrt(np.mean(r**2)), rel=1e-12)


@pytest.mark.parametrize("unit", [1.6e-19, 1e30])
def test_the_unit_of_x_changes_no_answer(unit: float) -> None:
    x, y = points(2, 40)
    bent = y + 0.05 * (x - 50) ** 2
    line = least_squares(x, bent)
    expected = [check.as_much for check in examine(x, bent, line).checks]
    found = examine(x * unit, bent, Line(line.w / unit, line.b)).checks
    assert [check.as_much for check in found] == expected
    assert len(found) == 3


# What is not examined


@pytest.mark.parametrize("line", [LINE, Line(19.0, 4.0)], ids=["converged", "not converged"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_points_without_noise_are_not_examined(line: Line, shift: float) -> None:
    x = np.arange(1.0, 100.0)
    found = examine(x, LINE.at(x) + shift, Line(line.w, line.b + shift))
    assert found.checks == []
    assert "nothing but rounding" in found.unchecked
    assert ("optimiser" in found.unchecked) == (line != LINE)
    assert found.gap == 1.0


def test_few_rows_are_not_examined() -> None:
    x, y = points(1, MIN_ROWS - 1)
    found = examine(x, y, LINE)
    assert found.checks == []
    assert "7 rows are too few" in found.unchecked


def test_two_values_of_x_have_no_bend_and_equal_residuals_have_no_shape() -> None:
    x = np.repeat([1.0, 2.0], 20)
    y = LINE.at(x) + np.random.default_rng(1).standard_normal(40)
    checks = examine(x, y, LINE).checks
    assert len(checks) == 3
    assert not any("bend" in check.about for check in checks)
    equal = examine(np.arange(20.0), np.full(20, 7.0), Line(0.0, 3.5)).checks
    assert not any("bell" in check.about for check in equal)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e160, 1e160), min_size=3, max_size=40),
    st.floats(-1e100, 1e100),
    st.floats(-1e100, 1e100),
)
def test_any_numbers_give_a_count(values: list[float], w: float, b: float) -> None:
    x = np.arange(float(len(values)))
    for check in examine(x, np.array(values), Line(w, b)).checks:
        assert 0 <= check.as_much <= SAMPLES
