"""Compares two models by their squared errors on the same rows: the paired t-test.

Knows nothing of what the comparison decides.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedErrors:
    """Squared errors of two models on the same rows, champion's minus challenger's by row.

    mean: of the differences, in squared units of y; positive if the challenger is better.
    sd: their standard deviation (divided by rows - 1). The RMSEs are in units of y.
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
    def effect(self) -> float:
        """By how much the worse model misses y in addition, in RMSEs of the better one.

        It is the root of the difference of their mean squared errors. For a model that is off by
        that much everywhere, 0.1 makes the RMSE 0.5% larger.
        """
        better = min(self.champion_rmse, self.challenger_rmse)
        if better == 0:
            return math.inf if self.mean else 0.0
        return math.sqrt(abs(self.mean)) / better

    @property
    def p_better(self) -> float:
        """How often noise alone would make the challenger look this much better."""
        return float(special.stdtr(self.rows - 1, -self.t))

    @property
    def p_worse(self) -> float:
        """How often noise alone would make the challenger look this much worse."""
        return float(special.stdtr(self.rows - 1, self.t))


def compare_errors(chunks: Iterable[tuple[Array, Array]]) -> PairedErrors | None:
    """Return the comparison of errors, champion's and challenger's of (rows,) each, by chunks.

    None if there are fewer than two rows. Source: the merge is that of `core.moments.merge`.
    """
    rows, mean, squares, totals = 0, 0.0, 0.0, np.zeros(2)
    for champion, challenger in chunks:
        if len(champion) == 0:
            continue
        difference = champion**2 - challenger**2
        totals += [float(np.sum(champion**2)), float(np.sum(challenger**2))]
        chunk_mean, chunk_rows = float(np.mean(difference)), len(difference)
        step = chunk_mean - mean
        squares += float(np.sum((difference - chunk_mean) ** 2)) + step**2 * rows * chunk_rows / (
            rows + chunk_rows
        )
        mean, rows = mean + step * chunk_rows / (rows + chunk_rows), rows + chunk_rows
    if rows < 2:
        return None
    champion_rmse, challenger_rmse = (math.sqrt(total / rows) for total in totals)
    return PairedErrors(rows, mean, math.sqrt(squares / (rows - 1)), champion_rmse, challenger_rmse)
