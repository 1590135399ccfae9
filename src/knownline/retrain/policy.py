"""Decides whether a challenger replaces the champion, and gives the reasons in words.

Knows nothing of files, of MLflow or of how a model is promoted.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from knownline.core.formatting import plain, significant
from knownline.core.paired import PairedErrors
from knownline.params import Retrain
from knownline.retrain.drift import Drift

BETTER_IS_ASKED_FOR = "evaluate.beats_champion requires a better challenger"


class Verdict(StrEnum):
    """The outcome for a challenger."""

    PROMOTED = "promoted"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Challenger:
    """What makes a model eligible, before it is compared with the champion.

    gate: the gate's reasons for refusing it, empty if it passed. clean: whether the recorded commit
    alone gives the code that ran. complete: whether its run is complete. finite: whether its
    numbers are finite. rolled_back: the reason of an earlier rollback from it, or None.
    """

    gate: list[str]
    clean: bool
    complete: bool
    finite: bool
    rolled_back: str | None = None


@dataclass(frozen=True, slots=True)
class Champion:
    """The current champion and its performance on the fresh data.

    name: for the reasons, e.g. "version 3". days: since it became champion.
    other_problem: the problem that it solves, if it is not the challenger's: then nothing is
    compared. damaged: why its model cannot serve, or None. drift, scores: None if unknown.
    trained_on_holdout: whether it may have been fitted to some of the rows that it is scored on.
    """

    name: str
    days: int
    other_problem: str | None = None
    damaged: str | None = None
    drift: Drift | None = None
    scores: PairedErrors | None = None
    trained_on_holdout: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict and every reason for it."""

    verdict: Verdict
    reasons: list[str] = field(default_factory=list)


def decide(
    challenger: Challenger,
    champion: Champion | None,
    rules: Retrain,
    *,
    must_beat_champion: bool = False,
) -> Decision:
    """Return the verdict on a challenger. A model that is not known to be good is not promoted.

    must_beat_champion: evaluate.beats_champion. If set, a challenger that is compared is promoted
    only if it is better beyond noise: not because the champion is stale or its data has drifted.
    """
    objections = _objections(challenger)
    if objections:
        return Decision(Verdict.REFUSED, objections)
    if champion is None:
        return Decision(Verdict.PROMOTED, ["the gate passed, and there was no champion before"])
    if champion.other_problem:
        return Decision(
            Verdict.PROMOTED,
            [
                "the gate passed, and this problem had no champion before",
                f"{champion.name} solves another problem ({champion.other_problem}): not compared",
            ],
        )
    if champion.damaged:
        return Decision(
            Verdict.PROMOTED,
            [f"the champion, {champion.name}, cannot serve: {champion.damaged}"],
        )
    if champion.scores is None:
        return Decision(
            Verdict.KEPT,
            ["there are not two held-out rows to compare on: set generate.holdout"],
        )
    decision = _compare(champion, champion.scores, rules, must_beat_champion)
    if champion.trained_on_holdout:
        decision.reasons.append(
            f"{champion.name} may have been trained on some of these rows, and look better than it"
            " is: the table did not only grow since then"
        )
    return decision


def _objections(challenger: Challenger) -> list[str]:
    """Return why a challenger is not eligible; empty if it is."""
    objections = [f"the gate failed: {reason}" for reason in challenger.gate]
    if not challenger.clean:
        objections.append(
            "there were uncommitted changes: its commit alone does not give the code that ran;"
            " commit or undo them"
        )
    if not challenger.complete:
        objections.append("its run is not complete")
    if not challenger.finite:
        objections.append("its numbers are not finite")
    if challenger.rolled_back is not None:
        objections.append(f"it was the champion and was rolled back: {challenger.rolled_back}")
    return objections


def _compare(champion: Champion, scores: PairedErrors, rules: Retrain, must_beat: bool) -> Decision:
    """Decide by the scores on the holdout; if they tie, by drift and by the champion's age."""
    level = rules.comparison_level
    asked = [BETTER_IS_ASKED_FOR] if must_beat else []
    if not all(map(math.isfinite, (scores.mean, scores.sd))):
        return Decision(Verdict.KEPT, ["the squared errors on the holdout are not finite", *asked])
    scored = (
        f"holdout RMSE {significant(scores.candidate_rmse, 4)} against the champion's"
        f" {significant(scores.reference_rmse, 4)} on the same {scores.rows:,} rows"
    )
    matters = scores.effect > rules.minimum_effect
    if scores.p_worse < level and matters:
        worse = f"the challenger is worse beyond noise: {scored} {_p_clause(scores.p_worse, level)}"
        return Decision(Verdict.KEPT, [worse, *asked])
    drift = champion.drift
    drift_reasons = [drift.words] if drift and drift.drifted else []
    if scores.p_better < level and matters:
        better = (
            f"the challenger is better beyond noise: {scored} {_p_clause(scores.p_better, level)}"
        )
        return Decision(Verdict.PROMOTED, [better, *drift_reasons])
    p = min(scores.p_better, scores.p_worse)
    tie = f"neither is better beyond noise: {scored} {_p_clause(p, level)}"
    if p < level:
        tie = (
            f"the difference is beyond noise, but too small to matter: {scored}"
            f" {_p_clause(p, level)}; the worse one misses y by {significant(scores.effect, 2)}"
            f" RMSEs more (limit {plain(rules.minimum_effect)})"
        )
    stale = champion.days >= rules.stale_after_days
    reasons = drift_reasons + (
        [f"the champion is stale: {champion.days} days old (limit {rules.stale_after_days})"]
        if stale
        else []
    )
    if reasons and must_beat:
        but = f"that would have promoted this one, but {BETTER_IS_ASKED_FOR}"
        return Decision(Verdict.KEPT, [tie, *reasons, but])
    if reasons:
        return Decision(Verdict.PROMOTED, [*reasons, tie])
    unknown = [] if drift else ["drift could not be tested"]
    return Decision(Verdict.KEPT, [f"{tie}; a tie keeps the champion", *asked, *unknown])


def _p_clause(p: float, level: float) -> str:
    return f"(p = {significant(p, 3)}, level {plain(level)})"
