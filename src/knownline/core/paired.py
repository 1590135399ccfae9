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
    """Squared errors of two models on the same rows, the reference's minus the candidate's by row.

    mean: of the differences, in squared units of y; positive if the candidate is better.
    sd: their standard deviation (divided by rows - 1). The RMSEs are in units of y.
    """

    rows: int
    mean: float
    sd: float
    reference_rmse: float
    candidate_rmse: float

    @property
    def t(self) -> float:
        """The paired t statistic, rows - 1 degrees of freedom."""
        if self.sd == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / (self.sd / math.sqrt(self.rows))

    @property
    def effect(self) -> float:
        """The additional error of the worse model, in RMSEs of the better one.

        It is the root of the difference of their mean squared errors: an effect of 0.1 makes the
        RMSE 0.5% larger.
        """
        better = min(self.reference_rmse, self.candidate_rmse)
        if better == 0:
            return math.inf if self.mean else 0.0
        return math.sqrt(abs(self.mean)) / better

    @property
    def p_better(self) -> float:
        """How often noise alone would make the candidate look this much better."""
        return float(special.stdtr(self.rows - 1, -self.t))

    @property
    def p_worse(self) -> float:
        """How often noise alone would make the candidate look this much worse."""
        return float(special.stdtr(self.rows - 1, self.t))


def compare_errors(chunks: Iterable[tuple[Array, Array]]) -> PairedErrors | None:
    """Return the comparison of errors, the reference's and the candidate's of (rows,) each.

    The errors come in chunks. None if there are fewer than two rows. Chunks are merged as in
    `core.moments.merge`.
    """
    rows, totals = 0, np.zeros(2)
    mean, squares = np.float64(0), np.float64(0)  # these overflow to inf, a float would raise
    for reference, candidate in chunks:
        if len(reference) == 0:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            difference = reference**2 - candidate**2
            totals += [np.sum(reference**2), np.sum(candidate**2)]
            chunk_mean, chunk_rows = np.mean(difference), len(difference)
            step, both = chunk_mean - mean, rows + chunk_rows
            squares += np.sum((difference - chunk_mean) ** 2) + step**2 * rows * chunk_rows / both
            mean, rows = mean + step * chunk_rows / both, both
    if rows < 2:
        return None
    rmses = [math.sqrt(total / rows) for total in totals]
    return PairedErrors(rows, float(mean), math.sqrt(squares / (rows - 1)), *rmses)
