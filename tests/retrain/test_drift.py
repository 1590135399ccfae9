"""Drift: the tests hold their level, see what must be seen, and agree with other ways to F."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.retrain import drift
from knownline.retrain.drift import Sample

Array = npt.NDArray[np.float64]

TRUTH = Line(20.0, 5.0)
X = np.linspace(1.0, 99.0, 99)


def drawn(seed: int, *, truth: Line = TRUTH, noise: float = 1.5, x: Array = X) -> Array:
    return np.asarray(truth.at(x) + noise * np.random.default_rng(seed).standard_normal(len(x)))


def sample(y: Array, x: Array = X) -> Sample:
    return Sample.of(compress([(x, y)]))


def p_values(seeds: int, **changed: object) -> Array:
    """Return (seeds, 3): line, noise and joint p, champion and fresh data drawn anew each time."""
    found = [
        drift.compare(
            sample(drawn(2 * seed)[::2], X[::2]),
            sample(drawn(2 * seed + 1, **changed)),  # type: ignore[arg-type]
            level=0.05,
        )
        for seed in range(seeds)
    ]
    return np.array([(each.line_p, each.variance_p, each.p) for each in found])


def test_unchanged_data_is_flagged_at_the_nominal_rate_over_2000_seeds() -> None:
    p = p_values(2_000)
    for column, name in enumerate(("line", "noise", "joint")):
        for level in (0.01, 0.05, 0.2):
            flagged = int((p[:, column] < level).sum())
            low, high = stats.binom.interval(1 - 1e-4, 2_000, level)
            assert low <= flagged <= high, (name, level, flagged)
        assert stats.kstest(p[:, column], "uniform").pvalue > 1e-4


def test_the_two_tests_are_independent() -> None:
    p = p_values(2_000)
    assert abs(stats.spearmanr(p[:, 0], p[:, 1]).statistic) < 4 / math.sqrt(2_000)


def test_an_exact_champion_would_be_flagged_far_too_often() -> None:
    """The reason why the champion's own error is part of the test."""
    flagged = 0
    for seed in range(300):
        champion, rows = sample(drawn(2 * seed)).line, compress([(X, drawn(2 * seed + 1))])
        least = rows.mean_squared_error(rows.least_squares())
        f = (rows.mean_squared_error(champion) - least) / 2 / (least / (99 - 2))
        flagged += bool(stats.f.sf(f, 2, 97) < 0.05)
    assert flagged > 45  # 15 would be nominal


def test_a_slope_of_20_that_became_20_2_is_drift_for_every_seed() -> None:
    assert p_values(200, truth=Line(20.2, 5.0))[:, 2].max() < 1e-20


@pytest.mark.parametrize(
    ("changed", "column"),
    [({"truth": Line(20.0, 7.0)}, 0), ({"noise": 3.0}, 1), ({"noise": 0.6}, 1)],
)
def test_what_changed_is_what_is_named(changed: dict[str, object], column: int) -> None:
    p = p_values(100, **changed)
    assert np.median(p[:, column]) < 1e-4
    found = drift.compare(sample(drawn(0)), sample(drawn(1, **changed)), level=0.01)  # type: ignore[arg-type]
    assert found.found
    assert found.words.startswith(("the line drifted", "the noise drifted")[column])


def chow(y0: Array, x0: Array, y1: Array, x1: Array) -> tuple[float, float]:
    """Return Chow's F by three fits of numpy's own least squares, and its p by scipy."""

    def rss(x: Array, y: Array) -> float:
        design = np.column_stack([x - 50, np.ones_like(x)])
        return float(np.linalg.lstsq(design, y, rcond=None)[1][0])

    apart = rss(x0, y0) + rss(x1, y1)
    both = rss(np.concatenate([x0, x1]), np.concatenate([y0, y1]))
    freedom = len(x0) + len(x1) - 4
    f = (both - apart) / 2 / (apart / freedom)
    return f, float(stats.f.sf(f, 2, freedom))


@pytest.mark.parametrize("seed", range(20))
def test_statistics_are_those_of_three_least_squares_fits(seed: int) -> None:
    draws = np.random.default_rng(seed)
    x0, x1 = draws.uniform(0, 50, 3 + seed), draws.uniform(20, 100, 40)
    y0, y1 = drawn(seed, x=x0), drawn(seed + 100, x=x1, noise=2.0)
    found = drift.compare(sample(y0, x0), sample(y1, x1), level=0.05)
    f, p = chow(y0, x0, y1, x1)
    assert found.line_f == pytest.approx(f, rel=1e-6)
    assert found.line_p == pytest.approx(p, rel=1e-5)
    assert found.variance_f == pytest.approx(
        (stats.linregress(x1, y1).stderr / stats.linregress(x0, y0).stderr) ** 2
        * (np.var(x1) * len(x1)) / (np.var(x0) * len(x0)),
        rel=1e-6,
    )  # fmt: skip
    ratio = stats.f(len(x1) - 2, len(x0) - 2)
    assert found.variance_p == pytest.approx(
        2 * min(ratio.cdf(found.variance_f), ratio.sf(found.variance_f)), rel=1e-9
    )


@pytest.mark.parametrize(
    ("rows", "level", "printed"), [(7, 0.05, 5.05), (12, 0.05, 2.98), (22, 0.01, 2.94)]
)
def test_published_upper_points(rows: int, level: float, printed: float) -> None:
    """Scale the noise until the test is at its level: F(m, m) is then the printed upper point.

    Source: Snedecor and Cochran, Statistical Methods, Table A 14, m = 5, 10 and 20.
    """
    x = X[:rows]
    y = drawn(0, x=x)
    then = sample(y, x)
    fitted = then.line.at(x)

    def above(scale: float) -> float:
        now = sample(fitted + scale * (y - fitted), x)
        return drift.compare(then, now, level=0.05).variance_p - 2 * level

    assert optimize.brentq(above, 1, 10) ** 2 == pytest.approx(printed, abs=0.006)


def test_points_without_noise_do_not_divide_by_zero() -> None:
    exact = sample(TRUTH.at(X))
    assert not drift.compare(exact, sample(TRUTH.at(X)), level=0.001).found
    assert drift.compare(exact, sample(TRUTH.at(X) + 3.0), level=0.001).found
    zero = sample(np.zeros(99))
    assert drift.compare(zero, zero, level=0.001).p == 1.0
    assert drift.compare(zero, sample(np.ones(99)), level=0.001).found


def test_far_from_zero_it_is_the_same() -> None:
    y0, y1 = drawn(0), drawn(1, truth=Line(20.0, 5.5))
    near = drift.compare(sample(y0), sample(y1), level=0.05)
    far = drift.compare(sample(y0, X + 1e8), sample(y1, X + 1e8), level=0.05)
    assert far.line_p == pytest.approx(near.line_p, rel=1e-4)


def test_a_sample_round_trips_and_refuses_what_is_none() -> None:
    found = sample(drawn(3))
    assert Sample.from_json(found.to_json()) == found
    for text in ("", "[]", "{}", '{"line": {"w": 1, "b": 2}, "rows": 2, "mean_x": 0}', "null"):
        with pytest.raises(ValueError, match=r"sample|Expecting"):
            Sample.from_json(text)
