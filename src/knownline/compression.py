"""Any number of rows as six moments, and three points that have the same loss.

For a squared loss, the mean over n rows depends on the rows only through their mean and their
covariance. So three points with that mean and that covariance have the same loss and the same
gradient at every (w, b), and the article's loop can run on them unchanged.

Precision: y is replaced by r = (y - y0) - slope*(x - x0), its distance from a pivot line that the
first chunk decides. Moments of r keep the noise's own digits, however far the data lies from zero
and however small the noise is beside y.

Order: a sum is taken by elementwise halving within a chunk, chunks are merged in index order; the
bits depend on the data alone. Knows nothing of files, of torch or of the truth.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.line import Line

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of u = x - x0 and r over `rows` rows, the second ones centred: 48 bytes a chunk."""

    rows: int
    mean_u: float
    mean_r: float
    uu: float
    ur: float
    rr: float

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows together.

        Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
        Sample Variances (1979), eq. 2.1, and its analogue for covariances.
        """
        rows = self.rows + other.rows
        share, both = other.rows / rows, self.rows * (other.rows / rows)
        du, dr = other.mean_u - self.mean_u, other.mean_r - self.mean_r
        return Moments(
            rows,
            self.mean_u + du * share,
            self.mean_r + dr * share,
            self.uu + other.uu + du * du * both,
            self.ur + other.ur + du * dr * both,
            self.rr + other.rr + dr * dr * both,
        )


@dataclass(frozen=True, slots=True)
class Pivot:
    """The line that moments are taken from: through (x0, y0), with a slope."""

    x0: float
    y0: float
    slope: float


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a squared loss can know of a set of rows."""

    pivot: Pivot
    moments: Moments

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.moments.rows

    @property
    def mean_x(self) -> float:
        """The mean of x."""
        return self.pivot.x0 + self.moments.mean_u

    @property
    def mean_y(self) -> float:
        """The mean of y."""
        return self.pivot.y0 + (self.pivot.slope * self.moments.mean_u + self.moments.mean_r)

    @property
    def sd_x(self) -> float:
        """The standard deviation of x over the rows (divided by n, not n - 1)."""
        return math.sqrt(self.moments.uu / self.rows)

    @property
    def var_y(self) -> float:
        """The variance of y over the rows (divided by n)."""
        m, slope = self.moments, self.pivot.slope
        return max(m.rr + slope * (2 * m.ur + slope * m.uu), 0.0) / self.rows

    @property
    def finite(self) -> bool:
        """Whether no square left the float64 range on the way, above or below."""
        m = self.moments
        return m.uu > 0 and all(
            map(math.isfinite, (m.mean_u, m.mean_r, m.uu, m.ur, m.rr, self.var_y))
        )

    def least_squares(self) -> Line:
        """Return the line with the smallest squared loss, in closed form."""
        w = self.pivot.slope + self.moments.ur / self.moments.uu
        return Line(w, self.mean_y - w * self.mean_x)

    def mean_squared_error(self, line: Line) -> float:
        """Return the mean of (w*x + b - y)² over the rows."""
        m, dw = self.moments, line.w - self.pivot.slope
        bias = m.mean_r - (dw * m.mean_u + ((line.b + line.w * self.pivot.x0) - self.pivot.y0))
        return bias * bias + max(m.rr - dw * (2 * m.ur - dw * m.uu), 0.0) / self.rows

    def three_points(self, *, standardize: bool) -> tuple[Array, Array]:
        """Return x and y, (3,) each, whose mean and covariance are those of the rows.

        They are an equilateral triangle, stretched by the Cholesky factor of the covariance. With
        `standardize`, x is (x - mean_x) / sd_x.
        """
        m = self.moments
        long, short = math.sqrt(1.5), math.sqrt(0.5)
        first = np.array([0.0, -long, long])  # mean 0, mean square 1, uncorrelated with second
        second = np.array([math.sqrt(2.0), -short, -short])
        sd_u = self.sd_x
        along = (m.ur / self.rows) / sd_u
        across = math.sqrt(max(m.rr - m.ur * (m.ur / m.uu), 0.0) / self.rows)
        u = m.mean_u + sd_u * first
        r = m.mean_r + (along * first + across * second)
        y = self.pivot.y0 + (self.pivot.slope * u + r)
        return (first if standardize else self.pivot.x0 + u), y


def halving_sum(values: Array) -> float:
    """Return the sum of `values`, (n,), by adding the upper half to the lower until one is left.

    Every step is an elementwise addition, so the order does not depend on SIMD width, threads or
    device, as that of `numpy.sum` does. The error grows with log2(n), as in pairwise summation.
    """
    size = 1 << max(len(values) - 1, 0).bit_length()
    padded = np.zeros(size)
    padded[: len(values)] = values
    while size > 1:
        size //= 2
        padded = padded[:size] + padded[size:]
    return float(padded[0])


def chunk_moments(x: Array, y: Array, pivot: Pivot) -> Moments:
    """Return the moments of one chunk, x and y of (rows,) each, about a pivot line."""
    rows = len(x)
    u = x - pivot.x0
    r = (y - pivot.y0) - pivot.slope * u
    mean_u, mean_r = halving_sum(u) / rows, halving_sum(r) / rows
    du, dr = u - mean_u, r - mean_r
    return Moments(
        rows, mean_u, mean_r, halving_sum(du * du), halving_sum(du * dr), halving_sum(dr * dr)
    )


def pivot_line(x: Array, y: Array) -> Pivot:
    """Return a line close to the points of the first chunk: its first point, its own slope.

    The slope is taken only where it explains most of y there. Of a chunk whose x hardly differ it
    would be noise over next to nothing, and moments about so steep a line would lose the rest.
    """
    flat = Pivot(float(x[0]), float(y[0]), 0.0)
    about = chunk_moments(x, y, flat)
    slope = about.ur / about.uu if about.uu > 0 else 0.0
    explained = slope * about.ur
    clear = math.isfinite(slope) and explained * len(x) > 100 * (about.rr - explained)
    return Pivot(flat.x0, flat.y0, slope if clear else 0.0)


def compress(chunks: Iterable[tuple[Array, Array]]) -> Compressed:
    """Read chunks of x and y, (rows,) each, once and return all a squared loss needs of them.

    Raises: ValueError where there is no row.
    """
    pivot: Pivot | None = None
    total: Moments | None = None
    with np.errstate(over="ignore", invalid="ignore"):  # `finite` says so, once, at the end
        for x, y in chunks:
            if len(x) == 0:
                continue
            pivot = pivot or pivot_line(x, y)
            moments = chunk_moments(x, y, pivot)
            total = moments if total is None else total.merged(moments)
    if pivot is None or total is None:
        raise ValueError("there is no row to compress")
    return Compressed(pivot, total)
