"""Tests whether fresh rows still follow the model that a champion was fitted to.

Both fits are estimates. If the champion's fit were treated as exact, the test would find drift in
unchanged data far too often. Under normal noise the two tests, of the parameters and of the noise,
are independent (the ratio of two residual sums of squares does not depend on their total), so their
joint level is exact.

With enough rows any difference is significant. So a difference counts only if it is also larger
than a minimum, in units of the residuals' standard deviation.

Knows nothing of files, of MLflow or of what follows from a drift.
"""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg, special

from knownline.core.curve_fit import CurveFit
from knownline.core.formatting import plain, significant
from knownline.core.least_squares import LeastSquares

Array = npt.NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Sample:
    """The statistics of the rows a model was fitted to that the tests need.

    model: its name. slopes: the least-squares parameters of the varying terms, by name, (k,). For a
    model that is not linear: all parameters; the terms are those of the tangent at the solution.
    constant: whether the model has a constant term too. rows: their number, more than parameters.
    means: of the terms that vary, (k,). mean_y: of y. products: the sums of products of these
    terms, about their means if there is a constant term and about zero if not: the lower triangle
    of (k, k). residual: the sum of squared distances of y from the fit.
    """

    model: str
    slopes: dict[str, float]
    constant: bool
    rows: int
    means: list[float]
    mean_y: float
    products: list[list[float]]
    residual: float

    @classmethod
    def of(cls, model: str, data: LeastSquares | CurveFit) -> "Sample":
        """Return the sample of a model, by its name, and the rows it is fitted to.

        The residual has a lower limit: the sum of squares that rounding y to float64 causes.
        """
        rows, kind = data.rows, data.model
        names, means = kind.names, [0.0] * len(kind.names)
        if isinstance(data, LeastSquares):
            names, means = data.model.varying, rows.mean_terms
        rms_y = math.hypot(rows.mean_y, math.sqrt(rows.var_y))
        rounding = (rows.rows - len(kind.names)) * rows.rows * (_EPS * rms_y) ** 2
        return cls(
            model=model,
            slopes={name: data.solution[name] for name in names},
            constant=len(names) < len(kind.names),
            rows=rows.rows,
            means=means,
            mean_y=rows.mean_y,
            products=[row[: i + 1] for i, row in enumerate(data.products)],
            residual=max(data.mean_squared_error(data.solution) * rows.rows, rounding),
        )

    @property
    def freedom(self) -> int:
        """The degrees of freedom of the residuals: rows minus parameters."""
        return self.rows - len(self.slopes) - self.constant

    @property
    def variance(self) -> float:
        """The residual variance, `freedom` degrees of freedom."""
        return self.residual / self.freedom

    def to_json(self) -> str:
        """Return the sample as JSON whose numbers round-trip."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Sample":
        """Read what `to_json` wrote. Raises: ValueError if the text is not such JSON."""
        try:
            sample = cls(**json.loads(text))
            count = len(sample.slopes)
            lengths = [len(row) for row in sample.products]
            usable = len(sample.means) == count and lengths == [*range(1, count + 1)]
            usable = usable and all(row[-1] > 0 for row in sample.products)
            usable = usable and sample.freedom > 0 and sample.residual >= 0
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"it holds no sample: {error}") from error
        if not usable:
            raise ValueError("it holds no sample")
        return sample


@dataclass(frozen=True, slots=True)
class Drift:
    """The results of the tests.

    model: the model's name. fit_f, fit_p: the statistic and the p-value of the joint test of all
    parameters. distance: the root mean square over the fresh rows of the distance between the two
    fits, in standard deviations of the residuals. variance_f, variance_p: of the two-sided test of
    the residual variances, fresh over champion's. level: of both tests together. minimum_effect:
    how large a change must be to count.
    """

    model: str
    fit_f: float
    fit_p: float
    distance: float
    variance_f: float
    variance_p: float
    level: float
    minimum_effect: float

    @property
    def p(self) -> float:
        """The p-value of both tests together."""
        return _joint(min(self.fit_p, self.variance_p))

    @property
    def noise_change(self) -> float:
        """The ratio of the larger noise to the smaller, minus 1."""
        ratio = math.sqrt(self.variance_f)
        return (max(ratio, 1 / ratio) if ratio else math.inf) - 1

    @property
    def changes(self) -> list[str]:
        """What drifted: the changes that are significant and larger than the minimum."""
        return [
            name
            for name, p, effect in (
                (f"the {self.model}", self.fit_p, self.distance),
                ("the noise", self.variance_p, self.noise_change),
            )
            if _joint(p) < self.level and effect > self.minimum_effect
        ]

    @property
    def drifted(self) -> bool:
        """Whether the data has drifted."""
        return bool(self.changes)

    @property
    def words(self) -> str:
        """The result in one line."""
        verdict = f"{' and '.join(self.changes)} drifted" if self.drifted else "no drift"
        if not self.drifted and self.p < self.level:
            verdict = "no drift larger than the limit"
        return (
            f"{verdict}: p = {significant(self.p, 2)} ({self.model} {significant(self.fit_p, 2)},"
            f" noise {significant(self.variance_p, 2)}; level {plain(self.level)});"
            f" {self.effect_words}"
        )

    @property
    def effect_words(self) -> str:
        """The size of both changes, and the smallest that counts."""
        return (
            f"the fits are {significant(self.distance, 2)} residual standard deviations apart"
            f" (limit {plain(self.minimum_effect)}), and the noise changed by"
            f" {significant(100 * self.noise_change, 2)}% (limit"
            f" {significant(100 * self.minimum_effect, 3)}%)"
        )


def _joint(p: float) -> float:
    """Return the p of two independent tests whose smaller p is given. Source: Sidak (1967)."""
    return p * (2.0 - p)


def compare(champion: Sample, fresh: Sample, *, level: float, minimum_effect: float) -> Drift:
    """Compare `champion`, the rows its model was fitted to, with `fresh` rows.

    With p parameters, m champion's rows and n fresh ones. The parameters: all at once, F with p and
    m + n - 2p degrees of freedom. The noise: the ratio of the residual variances, F with n - p and
    m - p.

    Raises: ValueError unless both are samples of the same terms.

    Source: Chow, Tests of Equality Between Sets of Coefficients in Two Linear Regressions
    (Econometrica 1960); the joint level is Sidak's (1967).
    """
    names, others = ((s.model, *s.slopes, s.constant) for s in (champion, fresh))
    if names != others:
        raise ValueError(f"both must have the same parameters (got {names} and {others})")
    fit_f, fit_p, distance = _compare_fits(champion, fresh)
    ratio, ratio_p = _compare_variances(champion, fresh)
    return Drift(fresh.model, fit_f, fit_p, distance, ratio, ratio_p, level, minimum_effect)


def _compare_fits(champion: Sample, fresh: Sample) -> tuple[float, float, float]:
    """Return F and p of the hypothesis that one fit holds for both samples, and their distance.

    The statistic is how much the residual sum of squares grows if one fit replaces both. As a
    difference of two sums of squares it would lose its digits. So it is calculated from the
    difference of the fits, in coordinates in which the sums of products of both samples are
    diagonal (1 for the fresh rows, `shares` for the champion's). Then it is a sum of squares: one
    for each coordinate, and one for the height, taken where its difference is not correlated with
    that of the slopes.
    """
    steps, means = (
        np.array([b - a for a, b in zip(old, new, strict=True)])
        for old, new in (
            (list(champion.slopes.values()), list(fresh.slopes.values())),
            (fresh.means, champion.means),
        )
    )
    along, shares, offsets = _coordinates(champion, fresh, steps, means)
    total = float(np.sum(along**2 * (shares / (1 + shares))))
    squared_distance = float(np.sum(along**2)) / fresh.rows
    if champion.constant:
        slopes = np.array(list(champion.slopes.values()))
        at_mean = fresh.mean_y - champion.mean_y + float(slopes @ means)
        height = at_mean + float(np.sum(along * offsets / (1 + shares)))
        variance = 1 / champion.rows + 1 / fresh.rows + float(np.sum(offsets**2 / (1 + shares)))
        total += height**2 / variance
        squared_distance += at_mean**2
    freedom, count = champion.freedom + fresh.freedom, len(steps) + champion.constant
    variance = (champion.residual + fresh.residual) / freedom
    if variance == 0:
        return (math.inf, 0.0, math.inf) if total > 0 else (0.0, 1.0, 0.0)
    f = total / count / variance
    p = float(special.fdtrc(count, freedom, f))
    return f, p, math.sqrt(squared_distance / variance)


def _coordinates(
    champion: Sample, fresh: Sample, steps: Array, offsets: Array
) -> tuple[Array, Array, Array]:
    """Return slopes `steps`, the champion's sums of products and terms `offsets`, (k,) each.

    They are given in coordinates in which the sums of products are the unit matrix for the fresh
    rows, and diagonal for the champion's.
    """
    scale = np.sqrt([row[-1] for row in fresh.products])
    old, new = (
        np.array([row + [0.0] * (len(scale) - len(row)) for row in s.products])
        / np.outer(scale, scale)
        for s in (champion, fresh)
    )
    shares, vectors = linalg.eigh(old, new)  # it reads the lower triangles
    along = linalg.solve(vectors, scale * steps)
    return along, np.maximum(shares, 0.0), vectors.T @ (offsets / scale)


def _compare_variances(champion: Sample, fresh: Sample) -> tuple[float, float]:
    """Return the ratio of the residual variances and its two-sided p."""
    if champion.variance == 0 or fresh.variance == 0:
        equal = champion.variance == fresh.variance
        return (1.0, 1.0) if equal else (math.inf if fresh.variance else 0.0, 0.0)
    f = fresh.variance / champion.variance
    below = float(special.fdtr(fresh.freedom, champion.freedom, f))
    above = float(special.fdtrc(fresh.freedom, champion.freedom, f))
    return f, min(1.0, 2 * min(below, above))
