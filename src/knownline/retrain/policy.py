"""The rules of promotion: who serves, the champion or its challenger, and why, in words.

Knows nothing of files, of MLflow or of how a model is put in its place.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import special

from knownline.core.formatting import plain, significant
from knownline.params import Retrain
from knownline.retrain.drift import Drift

Array = npt.NDArray[np.float64]


class Verdict(StrEnum):
    """What became of a challenger."""

    PROMOTED = "promoted"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PairedErrors:
    """Squared errors of two models on the same rows: champion's minus challenger's, by row.

    mean: of the differences, in squared units of y; above 0 the challenger is nearer.
    sd: their standard deviation (rows - 1). rmse: of the champion and of the challenger.
    """

    rows: int
    mean: float
    sd: float
    champion_rmse: float
    challenger_rmse: float

    @property
    def t(self) -> float:
        """The paired t statistic, rows - 1 degrees of freedom."""
        if self.sd == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / (self.sd / math.sqrt(self.rows))

    @property
    def p_better(self) -> float:
        """How often noise alone would make the challenger look this much better."""
        return float(special.stdtr(self.rows - 1, -self.t))

    @property
    def p_worse(self) -> float:
        """How often noise alone would make the challenger look this much worse."""
        return float(special.stdtr(self.rows - 1, self.t))


def compare_errors(chunks: Iterable[tuple[Array, Array]]) -> PairedErrors | None:
    """Return the comparison of errors, champion's and challenger's of (rows,) each.

    None where there are fewer than two rows. Source: the merge is that of `compression.Moments`.
    """
    rows, mean, squares, total = 0, 0.0, 0.0, np.zeros(2)
    for champion, challenger in chunks:
        if len(champion) == 0:
            continue
        difference = champion**2 - challenger**2
        total += [float(np.sum(champion**2)), float(np.sum(challenger**2))]
        here, new = float(np.mean(difference)), len(difference)
        step = here - mean
        squares += float(np.sum((difference - here) ** 2)) + step**2 * rows * new / (rows + new)
        mean, rows = mean + step * new / (rows + new), rows + new
    if rows < 2:
        return None
    first, second = (math.sqrt(each / rows) for each in total)
    return PairedErrors(rows, mean, math.sqrt(squares / (rows - 1)), first, second)


@dataclass(frozen=True, slots=True)
class Challenger:
    """What is asked of a model before it is compared with anyone.

    gate: why the gate refused it; empty where it passed. clean: whether the recorded commit alone
    gives the code that ran. complete: whether its run is. finite: whether its numbers are.
    rolled_back: why somebody took it down when it served, or None.
    """

    gate: list[str]
    clean: bool
    complete: bool
    finite: bool
    rolled_back: str | None = None


@dataclass(frozen=True, slots=True)
class Champion:
    """Who serves now, and how it stands on the fresh data.

    name: for the reasons, e.g. "version 3". days: since it became champion.
    damaged: why its model cannot serve, or None. drift, scores: None where unknown.
    """

    name: str
    days: int
    damaged: str | None = None
    drift: Drift | None = None
    scores: PairedErrors | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict and every reason for it."""

    verdict: Verdict
    reasons: list[str] = field(default_factory=list)


def decide(challenger: Challenger, champion: Champion | None, rules: Retrain) -> Decision:
    """Return who serves from now on. What is not known to be good is not promoted."""
    broken = _not_eligible(challenger)
    if broken:
        return Decision(Verdict.REFUSED, broken)
    if champion is None:
        return Decision(Verdict.PROMOTED, ["the gate passed and there is no champion yet"])
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
    return _compared(champion, champion.scores, rules)


def _not_eligible(challenger: Challenger) -> list[str]:
    broken = [f"the gate refused it: {reason}" for reason in challenger.gate]
    if not challenger.clean:
        broken.append(
            "the tree was not clean: its commit alone does not give the code that ran; commit or"
            " undo the edits"
        )
    if not challenger.complete:
        broken.append("its run is not complete")
    if not challenger.finite:
        broken.append("its numbers are not finite")
    if challenger.rolled_back is not None:
        broken.append(f"it served and was rolled back: {challenger.rolled_back}")
    return broken


def _compared(champion: Champion, scores: PairedErrors, rules: Retrain) -> Decision:
    """Decide by the scores on the holdout, and where they tie by drift and age."""
    level = rules.comparison_level
    if not all(map(math.isfinite, (scores.mean, scores.sd))):
        return Decision(Verdict.KEPT, ["the squared errors on the holdout are not finite"])
    seen = (
        f"holdout RMSE {significant(scores.challenger_rmse, 4)} against the champion's"
        f" {significant(scores.champion_rmse, 4)} on the same {scores.rows:,} rows"
    )
    if scores.p_worse < level:
        return Decision(
            Verdict.KEPT,
            [f"the challenger is worse beyond noise: {seen} {_p(scores.p_worse, level)}"],
        )
    drift = champion.drift
    drifted = [drift.words] if drift and drift.found else []
    if scores.p_better < level:
        better = f"the challenger is better beyond noise: {seen} {_p(scores.p_better, level)}"
        return Decision(Verdict.PROMOTED, [better, *drifted])
    p = min(scores.p_better, scores.p_worse)
    tie = f"neither is better beyond noise: {seen} {_p(p, level)}"
    stale = champion.days >= rules.stale_after_days
    because = drifted + (
        [f"the champion is stale: {champion.days} days, {rules.stale_after_days} make it so"]
        if stale
        else []
    )
    if because:
        return Decision(Verdict.PROMOTED, [*because, tie])
    unknown = [] if drift else ["drift could not be tested"]
    return Decision(Verdict.KEPT, [f"{tie}; a tie keeps the champion", *unknown])


def _p(p: float, level: float) -> str:
    return f"(p = {significant(p, 3)}, {plain(level)} decides)"
