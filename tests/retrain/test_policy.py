"""Which model becomes champion: every branch of the rules, and the paired test of scipy."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from knownline.params import Retrain
from knownline.retrain.drift import Drift
from knownline.retrain.policy import (
    Challenger,
    Champion,
    PairedErrors,
    Verdict,
    compare_errors,
    decide,
)

RULES = Retrain()
GOOD = Challenger(gate=[], clean=True, complete=True, finite=True)
STEADY = Drift("line", 1.0, 0.4, 0.2, 1.0, 0.9, 0.001, 0.1)
DRIFTED = replace(STEADY, fit_f=99.0, fit_p=1e-20, distance=5.0)
TIE = PairedErrors(20, 0.01, 1.0, 1.5, 1.49)
BETTER = PairedErrors(20, 1.0, 1.0, 2.0, 1.5)
WORSE = PairedErrors(20, -1.0, 1.0, 1.5, 2.0)
NEAR = PairedErrors(10**8, 0.01, 1.0, math.sqrt(1.51), math.sqrt(1.5))
AHEAD, BEHIND = replace(NEAR, mean=0.02), replace(NEAR, mean=-0.02)
CURRENT = Champion("version 3", days=2, drift=STEADY, scores=TIE)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replace(GOOD, gate=["w lies 9 standard errors away"]), "the gate refused it: w lies 9"),
        (replace(GOOD, clean=False), "tree was not clean"),
        (replace(GOOD, complete=False), "run is not complete"),
        (replace(GOOD, finite=False), "numbers are not finite"),
        (replace(GOOD, rolled_back="too steep"), "rolled back: too steep"),
    ],
)
@pytest.mark.parametrize(
    "champion",
    [None, CURRENT, replace(CURRENT, damaged="no file"), replace(CURRENT, scores=BETTER, days=99)],
)
def test_a_challenger_that_is_not_eligible_is_refused_whatever_the_champion(
    bad: Challenger, why: str, champion: Champion | None
) -> None:
    decision = decide(bad, champion, RULES)
    assert decision.verdict == Verdict.REFUSED
    assert why in decision.reasons[0]


def test_every_reason_of_a_refusal_is_given() -> None:
    assert len(decide(Challenger(["a", "b"], False, False, False, "no"), None, RULES).reasons) == 6


@pytest.mark.parametrize(
    ("champion", "verdict", "why"),
    [
        (None, Verdict.PROMOTED, "there is no champion yet"),
        (replace(CURRENT, damaged="line.json is gone"), Verdict.PROMOTED, "line.json is gone"),
        (replace(CURRENT, scores=None), Verdict.KEPT, "generate.holdout"),
        (replace(CURRENT, scores=None, drift=DRIFTED), Verdict.KEPT, "generate.holdout"),
        (CURRENT, Verdict.KEPT, "a tie keeps the champion"),
        (replace(CURRENT, drift=None), Verdict.KEPT, "drift could not be tested"),
        (replace(CURRENT, days=6), Verdict.KEPT, "a tie keeps"),
        (replace(CURRENT, days=-3), Verdict.KEPT, "a tie keeps"),
        (replace(CURRENT, days=7), Verdict.PROMOTED, "stale: 7 days"),
        (replace(CURRENT, drift=DRIFTED), Verdict.PROMOTED, "the line drifted"),
        (replace(CURRENT, scores=BETTER), Verdict.PROMOTED, "better beyond noise"),
        (replace(CURRENT, scores=BETTER, drift=DRIFTED), Verdict.PROMOTED, "better beyond noise"),
        (replace(CURRENT, other_problem="plane"), Verdict.PROMOTED, "no champion yet"),
        (replace(CURRENT, other_problem="plane"), Verdict.PROMOTED, "version 3 solves another"),
        (replace(CURRENT, other_problem="plane", scores=WORSE), Verdict.PROMOTED, "not compared"),
        (replace(CURRENT, scores=NEAR), Verdict.KEPT, "too small to matter"),
        (replace(CURRENT, scores=replace(NEAR, mean=-0.01)), Verdict.KEPT, "too small to matter"),
        (replace(CURRENT, scores=NEAR, days=7), Verdict.PROMOTED, "stale: 7 days"),
        (replace(CURRENT, scores=NEAR, drift=DRIFTED), Verdict.PROMOTED, "the line drifted"),
        (replace(CURRENT, scores=AHEAD), Verdict.PROMOTED, "better beyond noise"),
        (replace(CURRENT, scores=BEHIND), Verdict.KEPT, "worse beyond noise"),
        (replace(CURRENT, scores=WORSE), Verdict.KEPT, "worse beyond noise"),
        (replace(CURRENT, scores=WORSE, days=99), Verdict.KEPT, "worse beyond noise"),
        (replace(CURRENT, scores=WORSE, drift=DRIFTED), Verdict.KEPT, "worse beyond noise"),
        (replace(CURRENT, scores=replace(TIE, mean=math.nan)), Verdict.KEPT, "not finite"),
        (replace(CURRENT, scores=replace(TIE, sd=math.inf)), Verdict.KEPT, "not finite"),
    ],
)
def test_the_verdict_follows_the_rules(
    champion: Champion | None, verdict: Verdict, why: str
) -> None:
    decision = decide(GOOD, champion, RULES)
    assert decision.verdict == verdict
    assert why in decision.reasons[0] + decision.reasons[-1]


def test_the_levels_are_those_of_the_parameters() -> None:
    loose = Retrain(comparison_level=0.49, stale_after_days=99, minimum_effect=0.06)
    assert decide(GOOD, replace(CURRENT, days=50), loose).verdict == Verdict.PROMOTED
    assert "better" in decide(GOOD, CURRENT, loose).reasons[0]
    assert decide(GOOD, replace(CURRENT, scores=NEAR), loose).verdict == Verdict.PROMOTED


@pytest.mark.parametrize("distance", [0.02, 0.1, 3.0])
def test_the_effect_is_the_distance_that_makes_the_worse_model_worse(distance: float) -> None:
    """A model that is off by `distance` standard deviations of the noise has that effect."""
    noise = 1.5 * np.random.default_rng(1).standard_normal(200_000)
    found = compare_errors([(noise + 1.5 * distance, noise)])
    assert found is not None
    assert found.effect**2 == pytest.approx(distance**2, abs=6 * distance / math.sqrt(200_000))
    assert found.challenger_rmse < found.champion_rmse


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
    assert pieces.champion_rmse == pytest.approx(np.sqrt(np.mean(champion**2)), rel=1e-12)


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
