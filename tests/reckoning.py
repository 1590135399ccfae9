"""Which version should be the champion, computed from the rows alone by numpy and scipy.

The rehearsal's oracle: it shares nothing with the code it judges but the levels in params.yaml.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Points = tuple[Array, Array]
"""x and y of some rows, (rows,) each."""


@dataclass
class Reckoning:
    """The version that should be the champion, and the rows it was fitted to."""

    rules: dict[str, Any]
    champion: int = 0
    since: int = 0
    rows: Points | None = None

    def day(
        self, number: int, version: int, train: Points, held: Points, *, good: bool
    ) -> tuple[str, float | None]:
        """Return the verdict and drift p of a day, and remember the champion after it."""
        p = None
        if not good:
            verdict = "refused"
            if self.rows:
                p = self._drift(train, held)[0]
        elif self.rows is None:
            verdict = "promoted"
        else:
            p, drifted = self._drift(train, held)
            better, worse = self._scores(train, held)
            stale = number - self.since >= self.rules["stale_after_days"]
            promoted = better or (not worse and (drifted or stale))
            verdict = "promoted" if promoted else "kept"
        if verdict == "promoted":
            self.champion, self.since, self.rows = version, number, train
        return verdict, p

    def _drift(self, train: Points, held: Points) -> tuple[float, bool]:
        assert self.rows
        (x0, y0), (x1, y1) = self.rows, _joined(train, held)
        apart = _rss(x0, y0) + _rss(x1, y1)
        freedom = len(x0) + len(x1) - 4
        both = _rss(np.concatenate([x0, x1]), np.concatenate([y0, y1]))
        line = stats.f.sf((both - apart) / 2 / (apart / freedom), 2, freedom)
        ratio = (_rss(x1, y1) / (len(x1) - 2)) / (_rss(x0, y0) / (len(x0) - 2))
        noise = stats.f(len(x1) - 2, len(x0) - 2)
        least = min(line, 2 * min(noise.cdf(ratio), noise.sf(ratio)))
        p = float(1 - (1 - least) ** 2) if least > 1e-8 else float(2 * least)
        return p, p < self.rules["drift_level"]

    def _scores(self, train: Points, held: Points) -> tuple[bool, bool]:
        assert self.rows
        x, y = held
        old, new = ((np.polyval(np.polyfit(*rows, 1), x) - y) ** 2 for rows in (self.rows, train))
        level = self.rules["comparison_level"]
        better = stats.ttest_rel(old, new, alternative="greater").pvalue
        worse = stats.ttest_rel(old, new, alternative="less").pvalue
        return bool(better < level), bool(worse < level)


def _joined(*points: Points) -> Points:
    x, y = zip(*points, strict=True)
    return np.concatenate(x), np.concatenate(y)


def _rss(x: Array, y: Array) -> float:
    design = np.column_stack([x - x.mean(), np.ones_like(x)])
    return float(np.linalg.lstsq(design, y, rcond=None)[1][0])
