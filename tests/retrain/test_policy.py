"""Which model becomes champion: every branch of the rules."""

import math
from dataclasses import replace

import pytest

from knownline.core.paired import PairedErrors
from knownline.params import Retrain
from knownline.retrain.drift import Drift
from knownline.retrain.policy import Challenger, Champion, Verdict, decide

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
        (replace(GOOD, gate=["w lies 9 standard errors away"]), "the gate failed: w lies 9"),
        (replace(GOOD, clean=False), "uncommitted changes"),
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
        (None, Verdict.PROMOTED, "there was no champion before"),
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
        (replace(CURRENT, other_problem="plane"), Verdict.PROMOTED, "no champion before"),
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


def test_a_champion_that_may_know_the_rows_is_said_to_whatever_the_verdict() -> None:
    for scores in (TIE, BETTER, WORSE):
        champion = replace(CURRENT, scores=scores)
        unsure = decide(GOOD, replace(champion, trained_on_holdout=True), RULES)
        sure = decide(GOOD, champion, RULES)
        assert unsure.verdict == sure.verdict
        assert "version 3 may have been trained on some of these rows" in unsure.reasons[-1]
        assert unsure.reasons[:-1] == sure.reasons


STALE = "the champion is stale: 7 days old (limit 7)"
ASKED = "evaluate.beats_champion requires a better challenger"
WOULD = f"that would have promoted this one, but {ASKED}"


@pytest.mark.parametrize(
    ("champion", "reasons"),
    [
        (CURRENT, [ASKED]),
        (replace(CURRENT, drift=None), [ASKED, "drift could not be tested"]),
        (replace(CURRENT, days=7), [STALE, WOULD]),
        (replace(CURRENT, drift=DRIFTED), [DRIFTED.words, WOULD]),
        (replace(CURRENT, drift=DRIFTED, days=7), [DRIFTED.words, STALE, WOULD]),
        (replace(CURRENT, scores=NEAR), [ASKED]),
        (replace(CURRENT, scores=NEAR, days=7), [STALE, WOULD]),
        (replace(CURRENT, scores=NEAR, drift=DRIFTED), [DRIFTED.words, WOULD]),
        (replace(CURRENT, scores=WORSE), [ASKED]),
        (replace(CURRENT, scores=WORSE, days=7, drift=DRIFTED), [ASKED]),
        (replace(CURRENT, scores=replace(TIE, mean=math.nan), days=7), [ASKED]),
    ],
)
def test_where_the_champion_must_be_beaten_a_challenger_that_is_not_better_is_not_promoted(
    champion: Champion, reasons: list[str]
) -> None:
    decision = decide(GOOD, champion, RULES, must_beat_champion=True)
    assert decision.verdict == Verdict.KEPT
    assert decision.reasons[1:] == reasons  # the first is what the comparison found


@pytest.mark.parametrize(
    "champion",
    [
        None,
        replace(CURRENT, other_problem="plane", scores=WORSE),
        replace(CURRENT, damaged="line.json is gone"),
        replace(CURRENT, scores=None, drift=DRIFTED, days=7),
        replace(CURRENT, scores=BETTER),
        replace(CURRENT, scores=BETTER, drift=DRIFTED, days=7),
        replace(CURRENT, scores=AHEAD),
    ],
)
@pytest.mark.parametrize("challenger", [GOOD, replace(GOOD, clean=False)])
def test_that_rule_changes_nothing_where_nothing_is_compared_or_the_challenger_is_better(
    challenger: Challenger, champion: Champion | None
) -> None:
    asked = decide(challenger, champion, RULES, must_beat_champion=True)
    assert asked == decide(challenger, champion, RULES)


def test_the_levels_are_those_of_the_parameters() -> None:
    loose = Retrain(comparison_level=0.49, stale_after_days=99, minimum_effect=0.06)
    assert decide(GOOD, replace(CURRENT, days=50), loose).verdict == Verdict.PROMOTED
    assert "better" in decide(GOOD, CURRENT, loose).reasons[0]
    assert decide(GOOD, replace(CURRENT, scores=NEAR), loose).verdict == Verdict.PROMOTED
