"""The gate on real fits: noise of every kind, and how often it refuses by chance."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.evaluate.gate import Convergence, judge
from knownline.evaluate.statistics import assess
from knownline.generate import draw
from knownline.model import LINE
from knownline.params import Evaluate
from knownline.params.data import Noise
from knownline.train import descent
from tests.evaluate.test_gate import RULES, training
from tests.evaluate.test_statistics import TRUTH, assessed, descended, drawn, in_chunks
from tests.models import at, data_of, line

X = np.arange(1.0, 100.0)
LINES = [TRUTH, line(0.1, 0.3), line(3.7, -210.4), line(0.0, 7.0), line(-1e-3, 1e6), line(0.3, 0.0)]


@pytest.mark.parametrize("rows", [10, 79, 1000, 100_000])
@pytest.mark.parametrize("truth", LINES, ids=str)
def test_noiseless_points_refuse_neither_the_true_line_nor_the_trained_one(
    truth: Parameters, rows: int
) -> None:
    # The trained line differs in the last digits of w and b, which more rows do not mend.
    x = np.linspace(1.0, 99.0, rows)
    train = in_chunks(x, at(truth, x), range(0, rows, 65_536))
    for fit in (truth, descended(train)):
        gate = judge(assessed(fit, train, truth=truth), RULES)
        assert gate.passed, gate.reasons


@pytest.mark.parametrize("shared", [-10, -3, -1, 1, 2, 10])
@pytest.mark.parametrize("fit", [lambda data: data.solution, descended], ids=["exact", "trained"])
def test_one_draw_shared_by_all_points_is_refused(
    fit: Callable[[LeastSquares], Parameters], shared: int
) -> None:
    train = data_of(X, at(TRUTH, X) + shared)
    gate = judge(assessed(fit(train), train), RULES)
    assert not gate.passed
    assert any(r.startswith("b = ") and "from the true value 5" in r for r in gate.reasons)


@pytest.mark.parametrize("seed", range(6))
def test_shared_integer_noise_as_it_is_drawn_is_refused_unless_it_is_0(seed: int) -> None:
    noise = draw.noise(Noise(kind="shared-integer", scale=10.0), seed=seed, chunk=0, rows=len(X))
    train = data_of(X, at(TRUTH, X) + noise)
    assert judge(assessed(train.solution, train), RULES).passed == (noise[0] == 0)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e8])
@pytest.mark.parametrize("seed", range(5))
def test_noisy_points_do_not_refuse_their_truth(seed: int, offset: float) -> None:
    train, holdout = (data_of(*drawn(s, offset=offset)) for s in (seed, seed + 99))
    gate = judge(assessed(descended(train), train, holdout=holdout), RULES)
    assert gate.passed, gate.reasons


def test_the_limit_is_in_standard_errors_of_linregress() -> None:
    y = at(TRUTH, X) + 1.5 * np.random.default_rng(1).standard_normal(99)
    fit = stats.linregress(X, y)
    data = data_of(X, y)
    for times, passes in ((3.9, True), (4.1, False), (-3.9, True), (-4.1, False)):
        truth = line(fit.slope - times * fit.stderr, fit.intercept)
        assert judge(assessed(data.solution, data, truth=truth), RULES).passed == passes


def test_points_of_constant_y_pass_only_with_their_own_line() -> None:
    for y, b in ((7.0, 7.0), (7.0, 3.5), (0.0, 0.0), (0.0, 1e-300)):
        data = data_of(np.arange(9.0), np.full(9, y))
        assert judge(assessed(line(0.0, b), data, truth=None), RULES).passed == (b == y)


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.6])
def test_a_float32_training_passes_with_the_tolerance_it_is_advised(rate: float) -> None:
    x = np.linspace(1.0, 99.0, 79)
    data = data_of(x, at(TRUTH, x) + 1.5 * np.random.default_rng(3).standard_normal(79))
    history = descent.fit(
        *data.points(standardize=True), kind=LINE, epochs=2000, learning_rate=rate,
        dtype="float32", device=torch.device("cpu"), scaling=data.scaling,
    )  # fmt: skip
    found = assessed(history.parameters(), data)
    train = training(dtype="float32", learning_rate=rate)
    convergence = Convergence.of(history, data)
    gate = judge(found, RULES, train, convergence)
    (tolerance,) = re.findall(r"optimiser_tolerance (1\.0e-\d)\?", gate.reasons[0])
    assert judge(found, Evaluate(z=4.0, optimiser_tolerance=float(tolerance)), train).passed


# By chance

SEEDS, ROWS, Z = 2_000, 1_000, 2.0
NOT_BY_CHANCE = 1e-3
"""Seeds are fixed, so a test that passes once passes always."""


@dataclass(frozen=True)
class Sample:
    """Distances from the truth, (seeds, 2), and whether the gate refused, (seeds,)."""

    z: npt.NDArray[np.float64]
    refused: npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Return the gate's verdicts on least squares of 2,000 draws of the shipped noise."""
    rules = Evaluate(z=Z, optimiser_tolerance=1e-9)
    x = np.linspace(1.0, 99.0, ROWS)
    z, refused = [], []
    for seed in range(SEEDS):
        noise = draw.noise(Noise(kind="normal", scale=1.5), seed=seed, chunk=0, rows=ROWS)
        data = data_of(x, at(TRUTH, x) + noise)
        found = assess(data.solution, train=data, holdout=None, truth=TRUTH, last_loss=2.0)
        assert found.z is not None
        z.append((found.z["w"], found.z["b"]))
        refused.append(not judge(found, rules).passed)
    return Sample(np.array(z), np.array(refused))


def correlation() -> float:
    """Return that of the estimates of w and b, from the inverse of the normal equations."""
    x = np.linspace(1.0, 99.0, ROWS)
    return -float(np.mean(x)) / math.sqrt(float(np.mean(x**2)))


@pytest.mark.parametrize("column", [0, 1], ids=["w", "b"])
def test_distances_have_students_distribution(sample: Sample, column: int) -> None:
    z = sample.z[:, column]
    assert stats.kstest(z, stats.t(ROWS - 2).cdf).pvalue > NOT_BY_CHANCE
    beyond = int(np.sum(np.abs(z) > Z))
    assert stats.binomtest(beyond, SEEDS, 2 * float(stats.norm.sf(Z))).pvalue > NOT_BY_CHANCE


def test_the_gate_refuses_as_often_as_the_bivariate_normal_distribution_predicts(
    sample: Sample,
) -> None:
    rho = correlation()
    law = stats.multivariate_normal([0.0, 0.0], [[1.0, rho], [rho, 1.0]])
    within = float(law.cdf([Z, Z], lower_limit=[-Z, -Z]))
    refusals = int(sample.refused.sum())
    assert stats.binomtest(refusals, SEEDS, 1 - within).pvalue > NOT_BY_CHANCE
