"""Drift: the tests keep their level, find a change, and agree with other ways to compute F."""

import math
from typing import Any

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


def p_values(seeds: int, **changed: Any) -> Array:
    """Return p of line, noise and both, (seeds, 3): champion and fresh data drawn for each seed."""
    tests = [
        drift.compare(
            sample(drawn(2 * seed)[::2], X[::2]), sample(drawn(2 * seed + 1, **changed)), level=0.05
        )
        for seed in range(seeds)
    ]
    return np.array([(test.line_p, test.variance_p, test.p) for test in tests])


def test_unchanged_data_is_flagged_at_the_nominal_rate_by_two_independent_tests() -> None:
    p = p_values(2_000)
    for column, name in enumerate(("line", "noise", "both")):
        for level in (0.01, 0.05, 0.2):
            flagged = int((p[:, column] < level).sum())
            low, high = stats.binom.interval(1 - 1e-4, 2_000, level)
            assert low <= flagged <= high, (name, level, flagged)
        assert stats.kstest(p[:, column], "uniform").pvalue > 1e-4
    assert abs(stats.spearmanr(p[:, 0], p[:, 1]).statistic) < 4 / math.sqrt(2_000)


def test_a_change_of_the_slope_from_20_to_20_2_is_drift_for_every_seed() -> None:
    assert p_values(200, truth=Line(20.2, 5.0))[:, 2].max() < 1e-20


@pytest.mark.parametrize(
    ("changed", "column"),
    [({"truth": Line(20.0, 7.0)}, 0), ({"noise": 3.0}, 1), ({"noise": 0.6}, 1)],
)
def test_the_change_is_named(changed: dict[str, Any], column: int) -> None:
    p = p_values(100, **changed)
    assert np.median(p[:, column]) < 1e-4
    found = drift.compare(sample(drawn(0)), sample(drawn(1, **changed)), level=0.01)
    assert found.drifted
    assert found.words.startswith(("the line drifted", "the noise drifted")[column])


def chow(y0: Array, x0: Array, y1: Array, x1: Array) -> tuple[float, float]:
    """Return Chow's F by three fits of numpy's own least squares, and its p by scipy."""

    def rss(x: Array, y: Array) -> float:
        design = np.column_stack([x - 50, np.ones_like(x)])
        return float(np.linalg.lstsq(design, y, rcond=None)[1][0])

    separate = rss(x0, y0) + rss(x1, y1)
    both = rss(np.concatenate([x0, x1]), np.concatenate([y0, y1]))
    freedom = len(x0) + len(x1) - 4
    f = (both - separate) / 2 / (separate / freedom)
    return f, float(stats.f.sf(f, 2, freedom))


@pytest.mark.parametrize("seed", range(8))
def test_both_statistics_are_those_of_three_least_squares_fits(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x0, x1 = generator.uniform(0, 50, 3 + seed), generator.uniform(20, 100, 40)
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
def test_the_noise_test_has_the_published_upper_points_of_f(
    rows: int, level: float, printed: float
) -> None:
    """Scaled until the test is at its level, the noise gives the printed upper point of F(m, m).

    Source: Snedecor and Cochran, Statistical Methods, Table A 14, m = 5, 10 and 20.
    """
    x = X[:rows]
    y = drawn(0, x=x)
    before = sample(y, x)
    fitted = before.line.at(x)

    def above(scale: float) -> float:
        after = sample(fitted + scale * (y - fitted), x)
        return drift.compare(before, after, level=0.05).variance_p - 2 * level

    assert optimize.brentq(above, 1, 10) ** 2 == pytest.approx(printed, abs=0.006)


def test_points_without_noise_do_not_divide_by_zero() -> None:
    exact = sample(TRUTH.at(X))
    assert not drift.compare(exact, sample(TRUTH.at(X)), level=0.001).drifted
    assert drift.compare(exact, sample(TRUTH.at(X) + 3.0), level=0.001).drifted
    zero = sample(np.zeros(99))
    assert drift.compare(zero, zero, level=0.001).p == 1.0
    assert drift.compare(zero, sample(np.ones(99)), level=0.001).drifted


def test_an_offset_of_x_changes_no_result() -> None:
    y0, y1 = drawn(0), drawn(1, truth=Line(20.0, 5.5))
    near = drift.compare(sample(y0), sample(y1), level=0.05)
    far = drift.compare(sample(y0, X + 1e8), sample(y1, X + 1e8), level=0.05)
    assert far.line_p == pytest.approx(near.line_p, rel=1e-4)


def test_a_sample_is_read_back_and_anything_else_is_refused() -> None:
    found = sample(drawn(3))
    assert Sample.from_json(found.to_json()) == found
    for text in ("", "[]", "{}", '{"line": {"w": 1, "b": 2}, "rows": 2, "mean_x": 0}', "null"):
        with pytest.raises(ValueError, match=r"sample|Expecting"):
            Sample.from_json(text)
