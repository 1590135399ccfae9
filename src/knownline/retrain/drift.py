"""Whether fresh rows still follow the line a champion was fitted to, by two tests.

Both lines are estimates, the champion's too: held to be exact, unchanged data would be called
drifted far too often. Under normal noise the two tests are independent (the ratio of two residual
sums of squares does not depend on their total), so their joint level is exact.

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
    """What a test needs of the rows a line was fitted to.

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

        The residual is not taken to be smaller than what rounding y to float64 leaves.
        """
        line = rows.least_squares()
        size = math.hypot(rows.mean_y, math.sqrt(rows.var_y))
        rounding = (rows.rows - 2) * rows.rows * (_EPS * size) ** 2
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
        """Read what `to_json` wrote. Raises: ValueError where it is no such thing."""
        try:
            fields = json.loads(text)
            found = cls(Line(**fields.pop("line")), **fields)
            usable = found.rows > 2 and found.squares > 0 and found.residual >= 0
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no sample is written there ({error})") from error
        if not usable:
            raise ValueError("no sample is written there")
        return found


@dataclass(frozen=True, slots=True)
class Drift:
    """What the tests found.

    line_f, line_p: the statistic and the p-value of the joint test of (w, b).
    variance_f, variance_p: the same of the residual variance: fresh over champion's, two-sided.
    p: of both together. level: p below it is a drift.
    """

    line_f: float
    line_p: float
    variance_f: float
    variance_p: float
    p: float
    level: float

    @property
    def found(self) -> bool:
        """Whether the data has drifted."""
        return self.p < self.level

    @property
    def words(self) -> str:
        """The finding in one sentence."""
        what = [
            name
            for name, p in (("the line", self.line_p), ("the noise", self.variance_p))
            if p <= self.level
        ]
        said = f"{' and '.join(what or ['the data'])} drifted" if self.found else "no drift"
        return (
            f"{said}: p = {significant(self.p, 2)} (line {significant(self.line_p, 2)}, noise"
            f" {significant(self.variance_p, 2)}; below {plain(self.level)} is drift)"
        )


def between(then: Sample, now: Sample, *, level: float) -> Drift:
    """Hold the line of `then`, a champion's rows, against `now`, rows it has not seen.

    The line: both coefficients at once, F with 2 and n + m - 4 degrees of freedom. The noise:
    the ratio of the residual variances, F with m - 2 and n - 2.

    Source: Chow, Tests of Equality Between Sets of Coefficients in Two Linear Regressions
    (Econometrica 1960); the joint level is Sidak's (1967).
    """
    line_f, line_p = _lines(then, now)
    ratio, ratio_p = _variances(then, now)
    least = min(line_p, ratio_p)
    return Drift(line_f, line_p, ratio, ratio_p, least * (2.0 - least), level)


def _lines(then: Sample, now: Sample) -> tuple[float, float]:
    """Return F and p of one line for both.

    They are compared where slope and height of their difference are uncorrelated, so that the
    statistic is a sum of two squares.
    """
    share = (1 / then.squares) / (1 / then.squares + 1 / now.squares)
    at = now.mean_x + share * (then.mean_x - now.mean_x)
    slope = (now.line.w - then.line.w) ** 2 / (1 / then.squares + 1 / now.squares)
    spread = sum(1 / s.rows + (at - s.mean_x) ** 2 / s.squares for s in (then, now))
    height = (now.line.at(at) - then.line.at(at)) ** 2 / spread
    freedom = then.rows + now.rows - 4
    variance = (then.residual + now.residual) / freedom
    if variance == 0:
        return (math.inf, 0.0) if slope + height > 0 else (0.0, 1.0)
    f = (slope + height) / 2 / variance
    return f, math.exp(-freedom / 2 * math.log1p(2 * f / freedom))  # F with 2, in closed form


def _variances(then: Sample, now: Sample) -> tuple[float, float]:
    """Return the ratio of the residual variances and its two-sided p."""
    if then.variance == 0 or now.variance == 0:
        same = then.variance == now.variance
        return (1.0, 1.0) if same else (math.inf if now.variance else 0.0, 0.0)
    f = now.variance / then.variance
    below = float(special.fdtr(now.rows - 2, then.rows - 2, f))
    above = float(special.fdtrc(now.rows - 2, then.rows - 2, f))
    return f, min(1.0, 2 * min(below, above))
