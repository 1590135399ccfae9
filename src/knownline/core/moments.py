"""Compresses any number of rows to their moments, which is all that a squared loss depends on.

The rows are those of a model that is linear in its parameters: its terms t, (k,) in each row, and
y. For a squared loss, the mean over n rows depends on them only through their means and their
covariance.

Precision: t is replaced by u = t - t0, and y by r = (y - y0) - slope.u, its distance from a pivot
that is chosen from the first chunk. Moments of r keep the digits of the noise, however far the data
is from zero and however small the noise is relative to y.

Order: numbers within a chunk are added as core/sums.py says, and chunks are merged by halving. So
the bits depend on the data alone, not on SIMD width or on which process summarised which chunk.

The moments of a chunk are a row of numbers: rows; the means of u and r, (k + 1,); the centred sums
of products of each pair of them, (k + 1)(k + 2)/2: first u1 with u1, u2, …, r, then u2 with u2, ….
Knows nothing of files, of torch or of the truth.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.factor import Factor
from knownline.core.sums import ScratchBuffer, sums

Array = npt.NDArray[np.float64]
Chunk = tuple[Sequence[Array], Array]
"""The terms, (rows,) each, and y, (rows,)."""


@dataclass(frozen=True, slots=True)
class Pivot:
    """The point and the slopes that r is measured from; terms and slopes are (k,) each."""

    terms: tuple[float, ...]
    y: float
    slopes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Compressed:
    """The moments of a set of rows, in the order that the module's docstring gives."""

    pivot: Pivot
    moments: tuple[float, ...]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.moments[0])

    @property
    def mean_u(self) -> tuple[float, ...]:
        """The means of u, (k,)."""
        return self.moments[1 : 1 + len(self.pivot.terms)]

    @property
    def mean_r(self) -> float:
        """The mean of r."""
        return self.moments[1 + len(self.pivot.terms)]

    @property
    def products(self) -> list[list[float]]:
        """The centred sums of products of u and r, a symmetric matrix (k + 1, k + 1)."""
        size = len(self.pivot.terms) + 1
        matrix = [[0.0] * size for _ in range(size)]
        for value, (i, j) in zip(self.moments[1 + size :], _pairs(size), strict=True):
            matrix[i][j] = matrix[j][i] = value
        return matrix

    @property
    def mean_terms(self) -> list[float]:
        """The means of the terms, (k,)."""
        return [t0 + mean for t0, mean in zip(self.pivot.terms, self.mean_u, strict=True)]

    @property
    def mean_y(self) -> float:
        """The mean of y."""
        slope = sum(s * mean for s, mean in zip(self.pivot.slopes, self.mean_u, strict=True))
        return self.pivot.y + (slope + self.mean_r)

    @property
    def var_y(self) -> float:
        """The variance of y over the rows (divided by n)."""
        *matrix, last = self.products
        total = last[-1]
        for slope, row in zip(self.pivot.slopes, matrix, strict=True):
            inner = sum(s * value for s, value in zip(self.pivot.slopes, row, strict=False))
            total += slope * (2 * row[-1] + inner)
        return max(total, 0.0) / self.rows

    @property
    def finite(self) -> bool:
        """Whether no square overflowed float64."""
        return all(map(math.isfinite, (*self.moments, self.var_y)))


def _pairs(size: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(size), 2))


def chunk_moments(
    terms: Sequence[Array], y: Array, pivot: Pivot, buffer: ScratchBuffer | None = None
) -> Array:
    """Return the moments of a chunk about a pivot.

    terms, y: (rows,) each. buffer: memory to calculate in.
    """
    size, rows = len(terms) + 1, len(y)
    scratch = (buffer or ScratchBuffer()).take(2 * size, rows)
    centred, products = scratch[:size], scratch[size:]
    r, product = centred[-1], products[0]
    np.subtract(y, pivot.y, out=r)
    for u, term, t0, slope in zip(centred, terms, pivot.terms, pivot.slopes, strict=False):
        np.subtract(term, t0, out=u)
        np.multiply(u, slope, out=product)
        np.subtract(r, product, out=r)
    means = sums(centred) / rows
    np.subtract(centred, means[:, None], out=centred)
    totals = []
    for i in range(size):
        np.multiply(centred[i], centred[i:], out=products[i:])
        totals.append(sums(products[i:]))
    return np.concatenate([[rows], means, *totals])


def moved(chunks: Array, pivot: Pivot, to: Pivot) -> Array:
    """Return the moments of chunks, (chunks, moments), converted to another pivot.

    With r = (y - y0) - slope.u, other slopes add multiples of u to r, and another point adds a
    constant to each.
    """
    count = len(pivot.terms)
    turns = [a - b for a, b in zip(pivot.slopes, to.slopes, strict=True)]
    rows, means, table = chunks[:, 0], chunks[:, 1 : 2 + count].T, chunks[:, 2 + count :].T
    shifts = [a - b for a, b in zip(pivot.terms, to.terms, strict=True)]
    products: dict[tuple[int, int], Array] = dict(zip(_pairs(count + 1), table, strict=True))

    def product(i: int, j: int) -> Array:
        return products[min(i, j), max(i, j)]

    r = means[-1] + sum(turn * mean for turn, mean in zip(turns, means, strict=False))
    constant = (pivot.y - to.y) - sum(s * dt for s, dt in zip(to.slopes, shifts, strict=True))
    new: dict[tuple[int, int], Any] = dict(products)
    for i in range(count):
        new[i, count] = product(i, count) + sum(turns[j] * product(i, j) for j in range(count))
    new[count, count] = product(count, count) + sum(
        turns[i] * (product(i, count) + new[i, count]) for i in range(count)
    )
    moved_means = [mean + dt for mean, dt in zip(means, shifts, strict=False)]
    result: Array = np.stack([rows, *moved_means, r + constant, *new.values()], axis=1)
    return result


def join(parts: Iterable[tuple[Pivot, Array]], to: Pivot | None = None) -> Compressed:
    """Return the rows of all parts, compressed: the pivot and chunks, (chunks, moments), of each.

    All are converted to one pivot, `to` or the first; parts about that pivot keep their bits.

    Raises: ValueError if there is no part.
    """
    first, tables = to, []
    with ignoring_overflow():
        for pivot, chunks in parts:
            first = first or pivot
            tables.append(chunks if pivot == first else moved(chunks, pivot, first))
        if not tables or first is None:
            raise ValueError("there is no row to compress")
        return Compressed(first, merge(np.concatenate(tables)))


def merge(chunks: Array) -> tuple[float, ...]:
    """Return the moments of all rows, given those of each chunk in order: (chunks, moments).

    The upper half of the chunks is merged into the lower half, until one chunk is left.
    """
    table = np.array(chunks.T)
    count = table.shape[1]
    while count > 1:
        half = 1 << (count - 1).bit_length() - 1
        lower, upper = table[:, : count - half], table[:, half:count]
        table[:, : count - half] = _merge_pair(lower, upper)
        count = half
    return tuple(table[:, 0].tolist())


def _merge_pair(one: Array, other: Array) -> Array:
    """Return the moments of two sets of rows together: (moments, pairs).

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances (1979), eq. 2.1, and its analogue for covariances.
    """
    size = _size(len(one))
    rows = one[0] + other[0]
    share = other[0] / rows
    weight = one[0] * share
    steps = other[1 : 1 + size] - one[1 : 1 + size]
    merged = np.empty_like(one)
    merged[0] = rows
    merged[1 : 1 + size] = one[1 : 1 + size] + steps * share
    for place, (i, j) in enumerate(_pairs(size), 1 + size):
        merged[place] = one[place] + other[place] + steps[i] * steps[j] * weight
    return merged


def _size(numbers: int) -> int:
    """Return k + 1 for a row of so many moments: 1 + (k + 1) + (k + 1)(k + 2)/2."""
    return (math.isqrt(8 * numbers + 1) - 3) // 2


def pivot_of(terms: Sequence[Array], y: Array) -> tuple[Pivot, bool]:
    """Return a pivot near the points of a chunk, through the first of them, and whether it is good.

    Its slopes are those of least squares if these explain most of y, else 0. A term that hardly
    varies in the chunk, or nearly follows from others, has the slope 0: its own would be noise
    divided by almost nothing, and moments about so steep a plane would lose the digits of all other
    rows. Then the pivot is not good, and that of a later chunk may be.
    """
    count = len(terms)
    flat = Pivot(tuple(float(term[0]) for term in terms), float(y[0]), (0.0,) * count)
    matrix = Compressed(flat, tuple(chunk_moments(terms, y, flat).tolist())).products
    kept = list(range(count))
    factor = Factor(_part(matrix, kept))
    while factor.collinear is not None:
        del kept[factor.collinear]
        factor = Factor(_part(matrix, kept))
    slopes = [0.0] * count
    for index, slope in zip(kept, factor.solution(), strict=True):
        slopes[index] = slope
    explained = sum(slope * row[-1] for slope, row in zip(slopes, matrix, strict=False))
    finite = all(map(math.isfinite, slopes))
    good = len(kept) == count
    if finite and explained * len(y) > 100 * (matrix[-1][-1] - explained):
        return Pivot(flat.terms, flat.y, tuple(slopes)), good
    return flat, good


def _part(matrix: Sequence[Sequence[float]], kept: Sequence[int]) -> list[list[float]]:
    """Return the rows and columns of some terms, and of y."""
    places = [*kept, len(matrix) - 1]
    return [[matrix[i][j] for j in places] for i in places]


class Summation:
    """Collects the moments of chunks, each about the best pivot so far."""

    def __init__(self, pivot: Pivot | None = None) -> None:
        """pivot: a good one, or None to choose it from the chunks."""
        self._pivot, self._good = pivot, pivot is not None
        self._scratch = ScratchBuffer()
        self._parts: list[tuple[Pivot, list[Array]]] = []

    def add(self, terms: Sequence[Array], y: Array) -> None:
        """Add a chunk, (rows,) each, at least one row."""
        if not self._good:
            pivot, self._good = pivot_of(terms, y)
            self._pivot = pivot if self._good or self._pivot is None else self._pivot
        assert self._pivot is not None
        if not self._parts or self._parts[-1][0] != self._pivot:
            self._parts.append((self._pivot, []))
        self._parts[-1][1].append(chunk_moments(terms, y, self._pivot, self._scratch))

    @property
    def good_pivot(self) -> Pivot | None:
        """The pivot, None if it is not good."""
        return self._pivot if self._good else None

    def parts(self) -> list[tuple[Pivot, Array]]:
        """Return the moments of the chunks, (chunks, moments), about each pivot, in order."""
        return [(pivot, np.array(chunks)) for pivot, chunks in self._parts]


def compress(chunks: Iterable[Chunk]) -> Compressed:
    """Return the rows of all chunks, compressed; each is read once.

    Raises: ValueError if there is no row.
    """
    total = Summation()
    with ignoring_overflow():
        for terms, y in chunks:
            if len(y):
                total.add(terms, y)
    return join(total.parts(), total.good_pivot)


def ignoring_overflow() -> Any:
    """Silence numpy's warnings of overflow: `Compressed.finite` reports it once, at the end."""
    return np.errstate(over="ignore", invalid="ignore")
