"""The factor L D Lᵀ of a matrix of sums of products, in a fixed order of operations.

LAPACK's last bits depend on its build; these depend on the numbers alone.
"""

import math
from collections.abc import Sequence

COLLINEAR = 1e-10
"""A term is collinear if the terms before it explain all but this share of its sum of squares."""


class Factor:
    """The factor of a symmetric matrix (k + 1, k + 1) of products of k terms and y.

    lower: L, a unit lower triangle (k, k). squares: D, the part of each term's sum of squares that
    the terms before it do not explain, (k,). along: the product of y with the unexplained part of
    each term, (k,). rest: the part of y's sum of squares that the terms do not explain.
    """

    def __init__(self, matrix: Sequence[Sequence[float]]) -> None:
        count = len(matrix) - 1
        self.lower = [[float(i == j) for j in range(count)] for i in range(count)]
        self.squares: list[float] = []
        self.along: list[float] = []
        self.totals = [matrix[i][i] for i in range(count)]
        rest = [list(row) for row in matrix]
        for j in range(count):
            square = rest[j][j]
            self.squares.append(square)
            self.along.append(rest[j][count])
            for i in range(j + 1, count + 1):
                share = _ratio(rest[i][j], square)
                if i < count:
                    self.lower[i][j] = share
                for m in range(j + 1, i + 1):
                    rest[i][m] = rest[m][i] = rest[i][m] - rest[m][j] * share
        self.rest = rest[count][count]

    @property
    def collinear(self) -> int | None:
        """The first term that is collinear with the terms before it, or None."""
        for index, (square, total) in enumerate(zip(self.squares, self.totals, strict=True)):
            if not square > COLLINEAR * total:
                return index
        return None

    def solution(self) -> list[float]:
        """Return the coefficients of least squares, (k,)."""
        return self.upwards([_ratio(a, d) for a, d in zip(self.along, self.squares, strict=True)])

    def upwards(self, values: Sequence[float]) -> list[float]:
        """Return c with Lᵀ c = values, (k,)."""
        result = list(values)
        for i in reversed(range(len(result))):
            for j in range(i + 1, len(result)):
                result[i] -= self.lower[j][i] * result[j]
        return result

    def downwards(self, values: Sequence[float]) -> list[float]:
        """Return c with L c = values, (k,)."""
        result = list(values)
        for i in range(len(result)):
            for j in range(i):
                result[i] -= self.lower[i][j] * result[j]
        return result


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan
