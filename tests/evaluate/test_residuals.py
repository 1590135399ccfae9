"""Residuals that are noise and residuals that are not, held against scipy."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.line import Line
from knownline.core.moments import Compressed, compress
from knownline.evaluate.residuals import MIN_ROWS, SAMPLES, Check, Residuals
from knownline.evaluate.residuals import examine as of_rows

Array = npt.NDArray[np.float64]
LINE = Line(20.0, 5.0)


def points(seed: int, rows: int = 80) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    x = np.sort(draw.uniform(1.0, 99.0, rows))
    return x, LINE.at(x) + 1.5 * draw.standard_normal(rows)


def least_squares(x: Array, y: Array) -> Line:
    w, b = np.polyfit(x, y, 1)
    return Line(float(w), float(b))


def examine(x: Array, y: Array, line: Line, rows: Compressed | None = None) -> Residuals:
    """Return what is said of points that are all the rows, unless `rows` are more."""
    return of_rows(x, y, line, rows=rows or compress([(x, y)]))


def named(x: Array, y: Array, line: Line, about: str) -> Check:
    (check,) = (check for check in examine(x, y, line).checks if about in check.about)
    return check


@pytest.mark.parametrize("rows", [20, 80, 2000])
@pytest.mark.parametrize("seed", range(5))
def test_normality_is_scipys(seed: int, rows: int) -> None:
    x, y = points(seed, rows)
    oracle = stats.normaltest(y - least_squares(x, y).at(x))
    assert named(x, y, LINE, "bell").value == pytest.approx(oracle.statistic, rel=1e-6)


@pytest.mark.parametrize("noise", ["uniform", "standard_cauchy", "exponential"])
def test_normality_of_other_noise_is_scipys(noise: str) -> None:
    x, _ = points(1, 500)
    y = LINE.at(x) + getattr(np.random.default_rng(2), noise)(size=500)
    check = named(x, y, LINE, "bell")
    assert check.value == pytest.approx(
        stats.normaltest(y - least_squares(x, y).at(x)).statistic, rel=1e-6
    )
    assert check.sign == "clear"


@pytest.mark.parametrize("seed", range(5))
def test_a_trend_is_scipys_correlation(seed: int) -> None:
    x, y = points(seed)
    line = Line(20.01, 4.2)
    r = stats.pearsonr(x, y - line.at(x)).statistic
    check = named(x, y, line, "trend")
    assert check.value == pytest.approx(len(x) * r * r, rel=1e-9)
    assert within(check.as_much, stats.chi2.sf(check.value, 1))


@pytest.mark.parametrize("seed", range(5))
def test_a_bend_is_what_a_quadratic_explains(seed: int) -> None:
    x, y = points(seed)
    y = y + 0.0003 * (x - 50) ** 2
    line = least_squares(x, y)
    r = y - line.at(x)
    left = r - np.polyval(np.polyfit(x, r, 2), x)
    explained = 1 - (left @ left) / (r @ r)
    check = named(x, y, line, "bend")
    assert check.value == pytest.approx(len(x) * explained, rel=1e-6)
    # Of least squares' residuals this share has a beta law, exactly: one of n - 2 directions.
    assert within(check.as_much, stats.beta.sf(explained, 0.5, (len(x) - 3) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_a_changing_scatter_is_scipys_correlation_of_squares(seed: int) -> None:
    x, y = points(seed)
    r = stats.pearsonr(x, (y - least_squares(x, y).at(x)) ** 2).statistic
    assert named(x, y, LINE, "scatter").value == pytest.approx(len(x) * r * r, rel=1e-6)


def within(count: int, share: float) -> bool:
    """Return whether a count of SAMPLES is what a share gives, but once in a million."""
    low, high = stats.binom.interval(1 - 1e-6, SAMPLES, share)
    return bool(low <= count <= high)


@pytest.mark.parametrize("rows", [10, 80])
def test_the_tail_of_the_bell_is_counted_and_not_looked_up(rows: int) -> None:
    """Held against scipy's statistic over 40,000 samples of other noise, a line taken from each."""
    x = np.linspace(1.0, 99.0, rows)
    basis = np.linalg.qr(np.stack([np.ones(rows), x], axis=1))[0]
    noise = np.random.default_rng(7).standard_normal((40_000, rows))
    many = stats.normaltest(noise - (noise @ basis) @ basis.T, axis=1).statistic
    for wanted in (0.3, 0.05, 0.008):
        place = int(np.argmin(np.abs(many - np.quantile(many, 1 - wanted))))
        y = LINE.at(x) + noise[place] - (noise[place] @ basis) @ basis.T
        assert within(named(x, y, LINE, "bell").as_much, wanted), wanted


def test_what_is_there_shows_a_clear_sign_and_noise_none() -> None:
    x, y = points(3, 400)
    line = least_squares(x, y)
    assert [check.sign for check in examine(x, y, line).checks] == ["none"] * 3
    assert named(x, y, Line(line.w + 0.1, line.b - 5), "trend").sign == "clear"
    bent = y + 0.002 * (x - 50) ** 2
    assert named(x, bent, least_squares(x, bent), "bend").sign == "clear"
    fan = LINE.at(x) + x / 50 * np.random.default_rng(4).standard_normal(400)
    assert named(x, fan, least_squares(x, fan), "scatter").sign == "clear"


@pytest.mark.parametrize("away", [Line(0.0, 0.0), Line(19.0, 90.0), Line(-3.0, 1e6)])
def test_a_line_that_has_not_arrived_shows_its_own_trend_and_the_noise_nothing_else(
    away: Line,
) -> None:
    x, y = points(3, 400)
    trend, *rest = examine(x, y, away).checks
    assert (trend.sign, trend.of_the_fit) == ("clear", True)
    assert rest == examine(x, y, least_squares(x, y)).checks
    assert [check.sign for check in rest] == ["none"] * 3


def test_a_trend_is_that_of_all_rows_and_not_of_those_looked_at() -> None:
    """Those looked at are chosen to have one, which noise has not."""
    x, y = points(8, 5000)
    rows, line = compress([(x, y)]), least_squares(x, y)
    chosen = (y - line.at(x)) * (x - 50) > -20
    assert stats.pearsonr(x[chosen], (y - line.at(x))[chosen]).pvalue < 1e-20
    some = examine(x[chosen], y[chosen], rows.least_squares(), rows)
    assert not any("trend" in check.about for check in some.checks)
    off = Line(line.w + 0.01, line.b)
    r = stats.pearsonr(x, y - off.at(x)).statistic
    trend = examine(x[:500], y[:500], off, rows).checks[0]
    assert trend.value == pytest.approx(500 * r * r, rel=1e-6)


def test_points_on_a_line_that_was_not_reached_are_not_examined() -> None:
    x = np.arange(1.0, 100.0)
    found = examine(x, LINE.at(x), Line(19.0, 4.0))
    assert found.checks == []
    assert found.unchecked == "they are the optimiser's, least squares leaves nothing but rounding"
    assert (found.farthest_x, found.gap) == (99.0, 1.0)


def test_pure_noise_shows_a_faint_sign_as_often_as_it_says() -> None:
    """Over 300 samples of few rows, where the laws of many rows are far off."""
    found: dict[str, int] = {}
    for seed in range(300):
        x, y = points(seed, 10)
        for check in examine(x, y, least_squares(x, y)).checks:
            found[check.about] = found.get(check.about, 0) + (check.sign != "none")
    assert len(found) == 3  # least squares leaves no trend
    for about, signs in found.items():
        assert stats.binomtest(signs, 300, 0.05).pvalue > 1e-4, about


def test_the_same_points_get_the_same_answer() -> None:
    x, y = points(5)
    assert examine(x, y, LINE) == examine(x, y, LINE)


def test_the_farthest_point_is_named() -> None:
    x, y = points(1)
    y[17] += 30
    found = examine(x, y, LINE)
    r = y - LINE.at(x)
    assert found.farthest_x == x[17]
    assert found.sd == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-12)
    assert found.farthest == pytest.approx(abs(r[17]) / np.sqrt(np.mean(r**2)), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_points_without_noise_are_not_examined(shift: float) -> None:
    x = np.arange(1.0, 100.0)
    found = examine(x, LINE.at(x) + shift, Line(20.0, 5.0 + shift))
    assert found.checks == []
    assert "nothing but rounding" in found.unchecked


def test_few_rows_are_not_examined() -> None:
    x, y = points(1, MIN_ROWS - 1)
    found = examine(x, y, LINE)
    assert found.checks == []
    assert "7 rows are too few" in found.unchecked


def test_x_of_two_values_has_no_bend() -> None:
    draw = np.random.default_rng(1)
    x = np.repeat([1.0, 2.0], 20)
    found = examine(x, LINE.at(x) + draw.standard_normal(40), LINE)
    assert not any("bend" in check.about for check in found.checks)
    assert len(found.checks) == 3


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e160, 1e160), min_size=3, max_size=40),
    st.floats(-1e100, 1e100),
    st.floats(-1e100, 1e100),
)
def test_whatever_the_numbers_a_count_comes_out(values: list[float], w: float, b: float) -> None:
    x = np.arange(float(len(values)))
    for check in examine(x, np.array(values), Line(w, b)).checks:
        assert 0 <= check.as_much <= SAMPLES


def test_residuals_that_are_all_the_same_have_no_shape() -> None:
    x = np.arange(20.0)
    assert not any(
        "bell" in check.about for check in examine(x, np.full(20, 7.0), Line(0.0, 3.5)).checks
    )


@pytest.mark.parametrize("unit", [1.6e-19, 1.0, 1e30])
def test_the_unit_of_x_changes_no_answer(unit: float) -> None:
    x, y = points(2, 40)
    bent = y + 0.05 * (x - 50) ** 2
    known = examine(x, bent, least_squares(x, bent))
    line = least_squares(x, bent)
    other = examine(x * unit, bent, Line(line.w / unit, line.b))
    assert [check.as_much for check in other.checks] == [check.as_much for check in known.checks]
    assert len(known.checks) == 3
