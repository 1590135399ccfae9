"""Least squares of a linear model on compressed rows, and the few points that replace the rows.

Knows nothing of files, of torch or of the truth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from knownline.core.factor import Factor
from knownline.core.kinds import Linear, Parameters
from knownline.core.moments import Compressed

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the columns of a fit follow from the terms: centred, made orthogonal, of mean square 1.

    means: subtracted from the terms, (k,). factor: makes them orthogonal. sds: the divisors, (k,).
    Without `factor`, the columns are the terms.
    """

    model: Linear
    means: Sequence[float] = ()
    factor: Factor | None = None
    sds: Sequence[float] = ()

    @property
    def level(self) -> float:
        """The value of the constant column: 1 if the columns are scaled, 0 if there is none."""
        return self.model.level if self.factor is None else float(self.model.constant is not None)

    def columns(self, terms: Sequence[Array]) -> list[Array]:
        """Return the columns for terms of (rows,) each: as many of (rows,)."""
        if self.factor is None:
            return list(terms)
        orthogonal: list[Array] = []
        for term, mean, shares in zip(terms, self.means, self.factor.lower, strict=True):
            column = np.subtract(term, mean)
            for share, earlier in zip(shares, orthogonal, strict=False):
                column -= share * earlier
            orthogonal.append(column)
        return [np.divide(column, sd) for column, sd in zip(orthogonal, self.sds, strict=True)]

    def in_data_units(self, raw: Sequence[float]) -> list[float]:
        """Return the model's parameters, given those of the columns; both in the model's order."""
        if self.factor is None:
            return list(raw)
        values = dict(zip(self.model.names, raw, strict=True))
        varying = self.factor.upwards(
            [values[name] / sd for name, sd in zip(self.model.varying, self.sds, strict=True)]
        )
        values |= dict(zip(self.model.varying, varying, strict=True))
        if self.model.constant:
            for value, mean in zip(varying, self.means, strict=True):
                values[self.model.constant] -= value * mean
            values[self.model.constant] /= self.model.level
        return list(values.values())


class LeastSquares:
    """A linear model and the rows it is fitted to, compressed.

    With a constant term, sums of products are centred; without one, they are taken about zero.
    """

    def __init__(self, model: Linear, rows: Compressed) -> None:
        self.model, self.rows = model, rows
        self._centred = model.constant is not None

    @property
    def start(self) -> Parameters:
        """The parameters that a training starts from: all are 0."""
        return dict.fromkeys(self.model.names, 0.0)

    @cached_property
    def factor(self) -> Factor:
        """The factor of the sums of products of the terms and y (of r, if they are centred)."""
        return Factor(self._matrix)

    @property
    def products(self) -> list[list[float]]:
        """The sums of products of the terms, (k, k); centred, if there is a constant term."""
        return [row[:-1] for row in self._matrix[:-1]]

    @cached_property
    def _matrix(self) -> list[list[float]]:
        products = self.rows.products
        if self._centred:
            return products
        slopes, means = self.rows.pivot.slopes, [*self.rows.mean_terms, self.rows.mean_y]
        count = len(slopes)
        for i in range(count):
            extra = sum(slopes[j] * products[i][j] for j in range(count))
            products[i][count] = products[count][i] = products[i][count] + extra
        products[count][count] = self.rows.var_y * self.rows.rows
        return [
            [products[i][j] + self.rows.rows * means[i] * means[j] for j in range(count + 1)]
            for i in range(count + 1)
        ]

    @property
    def collinear(self) -> str | None:
        """The first parameter whose term is collinear with the terms before it, or None."""
        index = self.factor.collinear
        return None if index is None else self.model.varying[index]

    @cached_property
    def sds(self) -> list[float]:
        """The root mean squares of the terms made orthogonal, (k,)."""
        return [math.sqrt(square / self.rows.rows) for square in self.factor.squares]

    @cached_property
    def scaling(self) -> Scaling:
        """How the terms are standardised."""
        means = self.rows.mean_terms if self._centred else [0.0] * len(self.sds)
        return Scaling(self.model, means, self.factor, self.sds)

    @cached_property
    def solution(self) -> Parameters:
        """The parameters with the smallest squared loss, in closed form."""
        varying = self.factor.solution()
        if self._centred:
            varying = [s + extra for s, extra in zip(self.rows.pivot.slopes, varying, strict=True)]
        values = dict(zip(self.model.varying, varying, strict=True))
        if self.model.constant:
            level = self.rows.mean_y
            for value, mean in zip(varying, self.rows.mean_terms, strict=True):
                level -= value * mean
            values[self.model.constant] = level / self.model.level
        return {name: values[name] for name in self.model.names}

    def _varying(self, parameters: Mapping[str, float]) -> list[float]:
        return [parameters[name] for name in self.model.varying]

    def _level(self, parameters: Mapping[str, float]) -> float:
        constant = self.model.constant
        return parameters[constant] * self.model.level if constant else 0.0

    def predict(self, parameters: Mapping[str, float], inputs: Sequence[Array]) -> Array:
        """Return the model's y, (rows,), for inputs of (rows,) each."""
        return np.broadcast_to(self.model.at(parameters, inputs), inputs[0].shape)

    def tangent(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the derivative of y by each parameter but the constant term's, (rows,) each."""
        return self.model.columns(inputs)

    def mean_squared_error(self, parameters: Mapping[str, float]) -> float:
        """Return the mean over the rows of (the model's y - y)²."""
        rows, pivot = self.rows, self.rows.pivot
        values = self._varying(parameters)
        steps = [value - slope for value, slope in zip(values, pivot.slopes, strict=True)]
        along = sum(step * mean for step, mean in zip(steps, rows.mean_u, strict=True))
        level = self._level(parameters)
        for value, t0 in zip(values, pivot.terms, strict=True):
            level += value * t0
        bias = rows.mean_r - (along + (level - pivot.y))
        *matrix, last = rows.products
        squares = last[-1]
        for step, row in zip(steps, matrix, strict=True):
            inner = sum(other * value for other, value in zip(steps, row, strict=False))
            squares -= step * (2 * row[-1] - inner)
        return bias * bias + max(squares, 0.0) / rows.rows

    def distance(self, parameters: Mapping[str, float]) -> float:
        """Return the root mean square over the rows of the distance from least squares, in y."""
        spread = self.spread(parameters)
        if not self._centred:
            return math.hypot(*spread)
        return math.hypot(self._at_mean(parameters) - self._at_mean(self.solution), *spread)

    def spread(self, parameters: Mapping[str, float]) -> list[float]:
        """Return the distance from least squares along each term made orthogonal, (k,), in y."""
        steps = [parameters[name] - self.solution[name] for name in self.model.varying]
        lower = self.factor.lower
        return [
            sd * sum(lower[j][i] * steps[j] for j in range(i, len(steps)))
            for i, sd in enumerate(self.sds)
        ]

    def _at_mean(self, parameters: Mapping[str, float]) -> float:
        total = 0.0
        for value, mean in zip(self._varying(parameters), self.rows.mean_terms, strict=True):
            total += mean * value
        return total + self._level(parameters)

    def standard_errors(self, variance: float) -> Parameters:
        """Return the standard errors of the least-squares parameters, given the residual variance.

        Source: any text on linear regression, e.g. Draper and Smith, Applied Regression Analysis.
        """
        squares, count = self.factor.squares, len(self.factor.squares)
        errors = {}
        for j, name in enumerate(self.model.varying):
            unit = self.factor.downwards([float(i == j) for i in range(count)])
            errors[name] = math.sqrt(
                sum(g**2 * variance / square for g, square in zip(unit, squares, strict=True))
            )
        if self.model.constant:
            means = self.factor.downwards(self.rows.mean_terms)
            share = 1 / self.rows.rows
            share += sum(g**2 / square for g, square in zip(means, squares, strict=True))
            errors[self.model.constant] = math.sqrt(variance * share) / abs(self.model.level)
        return {name: errors[name] for name in self.model.names}

    def points(self, *, standardize: bool) -> tuple[list[Array], Array]:
        """Return columns, (p + 1,) each, and y, (p + 1,): points that have the loss of all rows.

        They have the mean and the covariance of the rows (without a constant term: the mean
        squares), so the loss and its gradient are those of the rows at every parameter vector.
        With `standardize`, the columns are those of `scaling`, otherwise the terms.
        """
        factor, n = self.factor, self.rows.rows
        *axes, last = _axes(len(self.sds) + 1, centred=self._centred)
        along = [(a / n) / sd for a, sd in zip(factor.along, self.sds, strict=True)]
        across = math.sqrt(max(factor.rest, 0.0) / n)
        residuals = _combined(along, axes) + across * last
        terms = [
            _combined([share * sd for share, sd in zip(shares, self.sds, strict=True)], axes)
            for shares in factor.lower
        ]
        if not self._centred:
            return (axes if standardize else terms), residuals
        pivot = self.rows.pivot
        us = [mean + term for mean, term in zip(self.rows.mean_u, terms, strict=True)]
        y = pivot.y + (_combined(pivot.slopes, us) + (self.rows.mean_r + residuals))
        return (axes if standardize else [t0 + u for t0, u in zip(pivot.terms, us, strict=True)]), y


def _combined(factors: Sequence[float], columns: Sequence[Array]) -> Array:
    """Return the sum of the columns, each times its factor; zero factors are skipped."""
    parts = [f * column for f, column in zip(factors, columns, strict=False) if f]
    total = parts[0] if parts else np.zeros_like(columns[0])
    for part in parts[1:]:
        total = total + part
    return total


def _axes(count: int, *, centred: bool) -> list[Array]:
    """Return `count` columns of points, uncorrelated, of mean square 1 and, if centred, mean 0.

    The centred ones are Helmert's contrasts, scaled: for two, an equilateral triangle.
    """
    if not centred:
        return list(math.sqrt(count) * np.eye(count))
    size, axes = count + 1, []
    for number in range(1, count + 1):
        axis = np.zeros(size)
        sign = -1.0 if number == 1 else 1.0
        axis[size - 1 - number] = sign * math.sqrt(size * number / (number + 1))
        axis[size - number :] = -sign * math.sqrt(size / (number * (number + 1)))
        axes.append(axis)
    return axes
