"""Drift: the tests keep their level, find a change, and agree with other ways to compute F."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from knownline.core.kinds import Linear
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import Compressed, Pivot, compress
from knownline.model import LINE, PLANE, QUADRATIC
from knownline.retrain import drift
from knownline.retrain.drift import Drift, Sample

Array = npt.NDArray[np.float64]

TRUTH = {"w": 20.0, "b": 5.0}
X = np.linspace(1.0, 99.0, 99)

ORIGIN = Linear(inputs=("x",), terms={"w": lambda x: x})
CURVE = Linear(inputs=("x",), terms={"c": lambda x: x * x, "w": lambda x: x})
KINDS = {
    "origin": ORIGIN,
    "line": LINE,
    "curve": CURVE,
    "quadratic": QUADRATIC,
    "plane": PLANE(("x", "z", "v")),
    "doubled": Linear(inputs=("x",), terms={"b": lambda x: 2.0, "w": lambda x: x}),
}


def drawn(seed: int, *, truth: dict[str, float] = TRUTH, noise: float = 1.5, x: Array = X) -> Array:
    return np.asarray(LINE.at(truth, [x]) + noise * np.random.default_rng(seed).normal(size=len(x)))


def sample(y: Array, *inputs: Array, name: str = "line") -> Sample:
    kind = KINDS[name]
    return Sample.of(name, LeastSquares(kind, compress([(kind.columns(inputs or (X,)), y)])))


def compare(champion: Sample, fresh: Sample, level: float = 0.05, minimum: float = 0.0) -> Drift:
    return drift.compare(champion, fresh, level=level, minimum_effect=minimum)


def p_values(seeds: int, **changed: Any) -> Array:
    """Return p of line, noise and both, (seeds, 3): champion and fresh data drawn for each seed."""
    tests = [
        compare(sample(drawn(2 * seed)[::2], X[::2]), sample(drawn(2 * seed + 1, **changed)))
        for seed in range(seeds)
    ]
    return np.array([(test.fit_p, test.variance_p, test.p) for test in tests])


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
    assert p_values(200, truth={"w": 20.2, "b": 5.0})[:, 2].max() < 1e-20


@pytest.mark.parametrize(
    ("changed", "column"),
    [({"truth": {"w": 20.0, "b": 7.0}}, 0), ({"noise": 3.0}, 1), ({"noise": 0.6}, 1)],
)
def test_the_change_is_named(changed: dict[str, Any], column: int) -> None:
    p = p_values(100, **changed)
    assert np.median(p[:, column]) < 1e-4
    found = compare(sample(drawn(0)), sample(drawn(1, **changed)), 0.01, 0.1)
    assert found.drifted
    assert found.words.startswith(("the line drifted", "the noise drifted")[column])


def terms(kind: Linear, inputs: Sequence[Array]) -> Array:
    """Return the design matrix, (rows, p)."""
    rows = len(inputs[0])
    return np.column_stack([np.broadcast_to(term(*inputs), rows) for term in kind.terms.values()])


def rss(design: Array, y: Array) -> float:
    """Return the residual sum of squares of numpy's least squares; columns of similar size."""
    scaled = design / np.linalg.norm(design, axis=0)
    return float(np.sum((y - scaled @ np.linalg.lstsq(scaled, y, rcond=None)[0]) ** 2))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", KINDS)
def test_the_statistics_are_those_of_three_least_squares_fits(name: str, seed: int) -> None:
    """The oracle is the classical form: pooled against separate residual sums of squares."""
    kind, draws = KINDS[name], np.random.default_rng(seed)
    p, sizes = len(kind.names), (len(kind.names) + 1 + 3 * seed, 40)
    data = []
    for rows, (low, high), shift in zip(sizes, ((0, 50), (20, 100)), (0.0, 2.0), strict=True):
        inputs = [draws.uniform(low, high, rows) for _ in kind.inputs]
        slopes = {each: 1.0 + i for i, each in enumerate(kind.names)}
        data.append((inputs, kind.at(slopes, inputs) + draws.normal(shift, 1.0 + shift, rows)))
    champion, fresh = (sample(y, *inputs, name=name) for inputs, y in data)
    found = compare(champion, fresh)

    designs, ys = [terms(kind, inputs) for inputs, _ in data], [y for _, y in data]
    separate = [rss(design, y) for design, y in zip(designs, ys, strict=True)]
    pooled = rss(np.concatenate(designs), np.concatenate(ys))
    freedom = sum(sizes) - 2 * p
    f = (pooled - sum(separate)) / p / (sum(separate) / freedom)
    assert found.fit_f == pytest.approx(f, rel=1e-6)
    assert found.fit_p == pytest.approx(stats.f.sf(f, p, freedom), rel=1e-4)
    m, n = sizes
    ratio = (separate[1] / (n - p)) / (separate[0] / (m - p))
    assert found.variance_f == pytest.approx(ratio, rel=1e-6)
    spread = stats.f(n - p, m - p)
    assert found.variance_p == pytest.approx(2 * min(spread.cdf(ratio), spread.sf(ratio)), rel=1e-5)
    old, new = (np.linalg.lstsq(d, y, rcond=None)[0] for d, y in zip(designs, ys, strict=True))
    apart = np.sqrt(np.mean((designs[1] @ (new - old)) ** 2))
    assert found.distance == pytest.approx(apart / math.sqrt(sum(separate) / freedom), rel=1e-6)


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
    fitted = np.polyval(np.polyfit(x, y, 1), x)

    def above(scale: float) -> float:
        after = sample(fitted + scale * (y - fitted), x)
        return compare(before, after).variance_p - 2 * level

    assert optimize.brentq(above, 1, 10) ** 2 == pytest.approx(printed, abs=0.006)


def test_points_without_noise_do_not_divide_by_zero() -> None:
    y = LINE.at(TRUTH, [X])
    assert not compare(sample(y), sample(y), 0.001, 0.1).drifted
    assert compare(sample(y), sample(y + 3.0), 0.001, 0.1).drifted
    zero = sample(np.zeros(99))
    assert compare(zero, zero).p == 1.0
    assert compare(zero, sample(np.ones(99)), 0.001, 0.1).drifted


def test_an_offset_of_x_changes_no_result() -> None:
    y0, y1 = drawn(0), drawn(1, truth={"w": 20.0, "b": 5.5})
    near = compare(sample(y0), sample(y1))
    far = compare(sample(y0, X + 1e8), sample(y1, X + 1e8))
    assert far.fit_p == pytest.approx(near.fit_p, rel=1e-4)


def many(*, w: float = 20.0, b: float = 5.0, sd: float = 1.5, rows: int = 10**8) -> Sample:
    """Return the sample of many rows, without drawing them: x of mean 50 and standard deviation 28.

    Its least squares are exactly w and b, and its residual variance sd² n / (n - 2).
    """
    pivot = Pivot((50.0,), 50.0 * w + b, (w,))
    moments = (float(rows), 0.0, 0.0, 28.0**2 * rows, 0.0, sd**2 * rows)
    return Sample.of("line", LeastSquares(LINE, Compressed(pivot, moments)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"b": 5.14},
            "no drift larger than the limit",
        ),  # 0.093 standard deviations of the residuals
        ({"b": 5.16}, "the line drifted"),
        ({"w": 20.0 + 0.14 / math.hypot(50, 28)}, "no drift larger than the limit"),
        ({"w": 20.0 + 0.16 / math.hypot(50, 28)}, "the line drifted"),
        ({"sd": 1.5 * 1.09}, "no drift larger than the limit"),
        ({"sd": 1.5 / 1.09}, "no drift larger than the limit"),
        ({"sd": 1.5 * 1.11}, "the noise drifted"),
        ({"sd": 1.5 / 1.11}, "the noise drifted"),
        ({"b": 6.0, "sd": 2.0}, "the line and the noise drifted"),
        ({"b": 5.0 + 1e-5}, "no drift: "),
    ],
)
def test_of_many_rows_a_change_counts_only_if_it_matters(
    changed: dict[str, Any], words: str
) -> None:
    found = compare(many(), many(**changed), 0.001, 0.1)
    assert found.words.startswith(words)
    assert found.drifted == words.endswith("drifted")
    assert (found.p < 0.001) == (words != "no drift: ")


def test_of_few_rows_a_large_change_counts_only_beyond_noise() -> None:
    found = compare(many(rows=20), many(rows=20, b=5.5), 0.001, 0.1)
    assert found.distance > 0.3
    assert found.words.startswith("no drift: ")


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_is_read_back(name: str) -> None:
    found = sample(drawn(3), *[X, np.sqrt(X), np.cos(X)][: len(KINDS[name].inputs)], name=name)
    assert Sample.from_json(found.to_json()) == found


def test_anything_else_is_no_sample() -> None:
    good = json.loads(sample(drawn(3)).to_json())
    wrong: list[dict[str, Any]] = [
        {"rows": 2}, {"products": [[0.0]]}, {"products": []}, {"products": [[1.0], [1.0, 2.0]]},
        {"means": []}, {"residual": -1.0}, {"slopes": 5}, {"more": 1},
    ]  # fmt: skip
    texts = [json.dumps(good | change) for change in wrong]
    for text in ("", "[]", "{}", '{"line": {"w": 1, "b": 2}, "rows": 9}', "null", *texts):
        with pytest.raises(ValueError, match=r"sample|Expecting"):
            Sample.from_json(text)


def test_samples_of_other_terms_are_not_compared() -> None:
    line = sample(drawn(3))
    for other in (
        sample(drawn(3), name="quadratic"),
        replace(line, slopes={"v": 20.0}),
        replace(line, model="plane"),
    ):
        with pytest.raises(ValueError, match="the same parameters"):
            compare(line, other)
