"""Tests whether fresh rows still follow the line that a champion was fitted to.

Both lines are estimates. If the champion's were taken to be exact, the test would find drift in
unchanged data far too often. Under normal noise the two tests, of the line and of the noise, are
independent (the ratio of two residual sums of squares does not depend on their total), so their
joint level is exact.

Knows nothing of files, of MLflow or of what is done about a drift.
"""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy import special

from knownline.core.formatting import plain, significant
from knownline.core.line import Line
from knownline.core.moments import Compressed

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Sample:
    """Statistics of the rows a line was fitted to, as far as the tests need them.

    line: least squares, in the units of the data. rows: their number, 3 or more.
    mean_x: the mean of x. squares: the sum of squared distances of x from it.
    residual: the sum of squared distances of y from the line.
    """

    line: Line
    rows: int
    mean_x: float
    squares: float
    residual: float

    @classmethod
    def of(cls, rows: Compressed) -> "Sample":
        """Return the sample of compressed rows.

        The residual has a lower limit: the sum of squares that rounding y to float64 causes.
        """
        line = rows.least_squares()
        rms_y = math.hypot(rows.mean_y, math.sqrt(rows.var_y))
        rounding = (rows.rows - 2) * rows.rows * (_EPS * rms_y) ** 2
        residual = max(rows.mean_squared_error(line) * rows.rows, rounding)
        return cls(line, rows.rows, rows.mean_x, rows.moments.uu, residual)

    @property
    def variance(self) -> float:
        """The residual variance, rows - 2 degrees of freedom."""
        return self.residual / (self.rows - 2)

    def to_json(self) -> str:
        """Return the sample as JSON whose numbers round-trip."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Sample":
        """Read what `to_json` wrote. Raises: ValueError if the text is not such JSON."""
        try:
            fields = json.loads(text)
            sample = cls(Line(**fields.pop("line")), **fields)
            usable = sample.rows > 2 and sample.squares > 0 and sample.residual >= 0
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no sample is written there ({error})") from error
        if not usable:
            raise ValueError("no sample is written there")
        return sample


@dataclass(frozen=True, slots=True)
class Drift:
    """The results of the tests.

    line_f, line_p: the statistic and the p-value of the joint test of (w, b).
    variance_f, variance_p: those of the test of the residual variances, fresh over champion's,
    two-sided. p: of both tests together. level: a p below it counts as drift.
    """

    line_f: float
    line_p: float
    variance_f: float
    variance_p: float
    p: float
    level: float

    @property
    def drifted(self) -> bool:
        """Whether the data has drifted."""
        return self.p < self.level

    @property
    def words(self) -> str:
        """The result in one sentence."""
        parts = [
            name
            for name, p in (("the line", self.line_p), ("the noise", self.variance_p))
            if p <= self.level
        ]
        verdict = f"{' and '.join(parts or ['the data'])} drifted" if self.drifted else "no drift"
        return (
            f"{verdict}: p = {significant(self.p, 2)} (line {significant(self.line_p, 2)}, noise"
            f" {significant(self.variance_p, 2)}; below {plain(self.level)} is drift)"
        )


def compare(champion: Sample, fresh: Sample, *, level: float) -> Drift:
    """Compare `champion`, the rows its line was fitted to, with `fresh` rows.

    The line: both coefficients at once, F with 2 and n + m - 4 degrees of freedom. The noise:
    the ratio of the residual variances, F with m - 2 and n - 2.

    Source: Chow, Tests of Equality Between Sets of Coefficients in Two Linear Regressions
    (Econometrica 1960); the joint level is Sidak's (1967).
    """
    line_f, line_p = _compare_lines(champion, fresh)
    ratio, ratio_p = _compare_variances(champion, fresh)
    smaller = min(line_p, ratio_p)
    return Drift(line_f, line_p, ratio, ratio_p, smaller * (2.0 - smaller), level)


def _compare_lines(champion: Sample, fresh: Sample) -> tuple[float, float]:
    """Return F and p of the hypothesis that one line fits both samples.

    The lines are compared at the x where the slope and the height of their difference are
    uncorrelated, so that the statistic is a sum of two squares.
    """
    share = (1 / champion.squares) / (1 / champion.squares + 1 / fresh.squares)
    x = fresh.mean_x + share * (champion.mean_x - fresh.mean_x)
    slope = (fresh.line.w - champion.line.w) ** 2 / (1 / champion.squares + 1 / fresh.squares)
    height_variance = sum(1 / s.rows + (x - s.mean_x) ** 2 / s.squares for s in (champion, fresh))
    height = (fresh.line.at(x) - champion.line.at(x)) ** 2 / height_variance
    freedom = champion.rows + fresh.rows - 4
    variance = (champion.residual + fresh.residual) / freedom
    if variance == 0:
        return (math.inf, 0.0) if slope + height > 0 else (0.0, 1.0)
    f = (slope + height) / 2 / variance
    return f, math.exp(
        -freedom / 2 * math.log1p(2 * f / freedom)
    )  # the tail of F with 2 degrees of freedom, in closed form


def _compare_variances(champion: Sample, fresh: Sample) -> tuple[float, float]:
    """Return the ratio of the residual variances and its two-sided p."""
    if champion.variance == 0 or fresh.variance == 0:
        equal = champion.variance == fresh.variance
        return (1.0, 1.0) if equal else (math.inf if fresh.variance else 0.0, 0.0)
    f = fresh.variance / champion.variance
    below = float(special.fdtr(fresh.rows - 2, champion.rows - 2, f))
    above = float(special.fdtrc(fresh.rows - 2, champion.rows - 2, f))
    return f, min(1.0, 2 * min(below, above))
