"""The comparison of two models on the same rows is the paired test of scipy."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from knownline.core.paired import compare_errors


@pytest.mark.parametrize("distance", [0.02, 0.1, 3.0])
def test_the_effect_is_the_distance_that_makes_the_worse_model_worse(distance: float) -> None:
    """A model that is off by `distance` standard deviations of the noise has that effect."""
    noise = 1.5 * np.random.default_rng(1).standard_normal(200_000)
    found = compare_errors([(noise + 1.5 * distance, noise)])
    assert found is not None
    assert found.effect**2 == pytest.approx(distance**2, abs=6 * distance / math.sqrt(200_000))
    assert found.candidate_rmse < found.reference_rmse


def test_the_effect_without_errors_is_none_or_unlimited() -> None:
    zeros, ones = np.zeros(9), np.ones(9)
    same, ahead = compare_errors([(zeros, zeros)]), compare_errors([(ones, zeros)])
    assert same is not None
    assert ahead is not None
    assert (same.effect, ahead.effect) == (0.0, math.inf)


@pytest.mark.parametrize("seed", range(5))
def test_the_paired_test_is_scipys_however_the_rows_are_chunked(seed: int) -> None:
    draws = np.random.default_rng(seed)
    champion, challenger = draws.normal(0, 1.1, 57), draws.normal(0, 1, 57)
    whole = compare_errors([(champion, challenger)])
    assert whole is not None
    for side, p in (("greater", whole.p_better), ("less", whole.p_worse)):
        oracle = stats.ttest_rel(champion**2, challenger**2, alternative=side)
        assert p == pytest.approx(oracle.pvalue, rel=1e-9)
        assert whole.t == pytest.approx(oracle.statistic, rel=1e-9)
    cuts = [0, 1, 1, 20, 57]
    pieces = compare_errors((champion[a:b], challenger[a:b]) for a, b in pairwise(cuts))
    assert pieces is not None
    assert pieces.t == pytest.approx(whole.t, rel=1e-9)
    assert pieces.reference_rmse == pytest.approx(np.sqrt(np.mean(champion**2)), rel=1e-12)


def test_fewer_than_two_rows_give_no_comparison() -> None:
    empty, one = np.empty(0), np.ones(1)
    assert compare_errors([]) is None
    assert compare_errors([(empty, empty), (one, one)]) is None


def test_equal_models_tie_and_a_constant_lead_is_certain() -> None:
    errors = np.linspace(-2, 2, 9)
    same = compare_errors([(errors, errors)])
    ahead = compare_errors([(np.full(9, 2.0), np.ones(9))])
    assert same is not None
    assert ahead is not None
    assert (same.t, same.p_better) == (0.0, 0.5)
    assert (ahead.t, ahead.p_better, ahead.p_worse) == (math.inf, 0.0, 1.0)


def test_equally_good_models_win_at_the_nominal_rate_over_2000_seeds() -> None:
    won = lost = 0
    for seed in range(2_000):
        noise = np.random.default_rng(seed).standard_normal(20)
        found = compare_errors([(noise - 0.4, noise + 0.4)])
        assert found is not None
        won += found.p_better < 0.05
        lost += found.p_worse < 0.05
    low, high = stats.binom.interval(1 - 1e-4, 2_000, 0.05)
    assert low <= won <= high
    assert low <= lost <= high
