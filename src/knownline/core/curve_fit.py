"""Least squares of a model that is not linear in its parameters, on all rows.

This is the reference that a training is compared with. It uses scipy's Levenberg-Marquardt method,
from the model's start. Knows nothing of files, of torch or of the truth.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize

from knownline.core.errors import ParamsError
from knownline.core.kinds import Nonlinear, Parameters
from knownline.core.moments import Compressed
from knownline.core.sums import sums

Array = npt.NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)

_SINGULAR = 64 * _EPS
"""An eigenvalue of the correlations below this is rounding: some parameters are collinear."""

_EVALUATIONS = 3_000
"""The most evaluations in a search. Nearly collinear parameters take hundreds."""

_POLISHING = 20
"""The most Newton steps after the search."""

_STEP: float = _EPS**0.25
"""The relative step of the differences: truncation is its fourth power, rounding _EPS over it."""

_TRIES, _LARGEST_FACTOR = 12, 1e4
"""The most corrections of a step, and the largest factor of one correction."""


class CurveFit:
    """A model and the rows it is fitted to."""

    def __init__(
        self,
        model: Nonlinear,
        rows: Compressed,
        inputs: Sequence[Array],
        y: Array,
        *,
        start: Parameters,
        near: Parameters | None = None,
    ) -> None:
        """inputs, y: all rows, (rows,) each, which `rows` compresses.

        start: where the reference fit starts. near: another start, such as a training's result.
        """
        self.model, self.rows = model, rows
        self._inputs, self._y = list(inputs), y
        self.start, self._near = start, near

    @cached_property
    def solution(self) -> Parameters:
        """The parameters with the smallest squared loss found from any of the starts."""
        starts = [self.start, self._near] if self._near else [self.start]
        found = [self._from(start) for start in starts]
        return min(found, key=lambda each: _or_inf(self.mean_squared_error(each)))

    def _from(self, start: Parameters) -> Parameters:
        values = np.array([start[name] for name in self.model.names])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                found = optimize.least_squares(
                    lambda each: self.predict(self._named(each), self._inputs) - self._y,
                    values,
                    jac=lambda each: jacobian(self.model, self._named(each), self._inputs),
                    method="lm",
                    x_scale="jac",
                    ftol=2 * _EPS,
                    xtol=2 * _EPS,
                    gtol=2 * _EPS,
                    max_nfev=_EVALUATIONS,
                )
            except ValueError:  # the residuals at the start are not finite
                return start
            polished = self._polished(found.x)
            before, after = map(self.mean_squared_error, (self._named(found.x), polished))
            # Away from a minimum a Newton step can make the loss larger: then it is not taken.
            return polished if after <= before * (1 + 1e-6) else self._named(found.x)

    def _polished(self, values: Array) -> Parameters:
        """Return the parameters after Newton steps, taken for as long as each halves the last.

        Levenberg-Marquardt stops when the loss no longer changes. The loss is flat near its
        minimum, so the parameters then have only half their digits. The Hessian is computed once.
        """
        effects = jacobian(self.model, self._named(values), self._inputs).T
        scale = np.sqrt([mean_square(each) for each in effects])
        size = math.sqrt(mean_square(self._y))
        moves = np.diag(1e-4 * (float(np.std(self._y)) or size) / scale)
        last = math.inf
        try:
            columns = [
                self._gradient(values + each) - self._gradient(values - each) for each in moves
            ]
            hessian = np.array(columns) / (2 * np.diag(moves)[:, None]) / np.outer(scale, scale)
            factor = linalg.cho_factor((hessian + hessian.T) / 2)
            for _ in range(_POLISHING):
                step = linalg.cho_solve(factor, self._gradient(values) / scale)
                if not np.max(np.abs(step)) < last / 2:
                    break
                values, last = values - step / scale, float(np.max(np.abs(step)))
                if last <= _EPS * size:
                    break
        except (linalg.LinAlgError, ValueError):  # no minimum, or not finite
            pass
        return self._named(values)

    def _gradient(self, values: Array) -> Array:
        """Return half the gradient of the mean squared error, (parameters,)."""
        errors = self.predict(self._named(values), self._inputs) - self._y
        effects = jacobian(self.model, self._named(values), self._inputs).T
        return sums(effects * errors) / len(errors)

    def _named(self, values: Array) -> Parameters:
        return dict(zip(self.model.names, values.tolist(), strict=True))

    def predict(self, parameters: Mapping[str, float], inputs: Sequence[Array]) -> Array:
        """Return the model's y, (rows,), for inputs of (rows,) each."""
        return np.broadcast_to(self.model.at(parameters, inputs), inputs[0].shape)

    def tangent(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the derivative of y by each parameter, at the solution: (rows,) each."""
        return list(jacobian(self.model, self.solution, inputs).T)

    def mean_squared_error(self, parameters: Mapping[str, float]) -> float:
        """Return the mean over the rows of (the model's y - y)²."""
        with np.errstate(all="ignore"):
            return mean_square(self.predict(parameters, self._inputs) - self._y)

    def distance(self, parameters: Mapping[str, float]) -> float:
        """Return the root mean square over the rows of the distance from least squares, in y."""
        with np.errstate(all="ignore"):
            predicted = [self.predict(each, self._inputs) for each in (parameters, self.solution)]
            return math.sqrt(mean_square(predicted[0] - predicted[1]))

    def spread(self, parameters: Mapping[str, float]) -> list[float]:
        """Return the distance from least squares, as `LeastSquares` does by term: (1,)."""
        return [self.distance(parameters)]

    @cached_property
    def products(self) -> list[list[float]]:
        """The sums of products of the tangent at the solution, (parameters, parameters)."""
        tangent = self.tangent(self._inputs)
        return [sums(np.stack(tangent) * column).tolist() for column in tangent]

    def standard_errors(self, variance: float) -> Parameters:
        """Return the standard errors of the least-squares parameters, given the residual variance.

        They are those of the linear model that is tangent at the solution; infinite if its terms
        are collinear. Source: Seber and Wild, Nonlinear Regression (1989), section 2.1.2.
        """
        products = np.array(self.products)
        scale = np.sqrt(np.diag(products))
        names = self.model.names
        if not np.all(np.isfinite(scale)) or not np.all(scale > 0):
            return dict.fromkeys(names, math.inf)
        correlations = products / np.outer(scale, scale)
        values, vectors = linalg.eigh(correlations)
        if values[0] <= _SINGULAR:
            return dict.fromkeys(names, math.inf)
        diagonal = np.sum(vectors**2 / values, axis=1) / scale**2
        return dict(zip(names, np.sqrt(diagonal * variance).tolist(), strict=True))


def starting(model: Nonlinear, sample: Array) -> Parameters:
    """Return the parameters that a fit starts from.

    sample: the inputs and y of some rows, (inputs + 1, shown). Raises: ParamsError if the model's
    own start function fails for them.
    """
    *inputs, y = sample
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return model.starting(inputs, y)
    except Exception as error:  # it is the user's code
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        rule = "model must have a start that gives each parameter a number for these rows"
        raise ParamsError(f"{rule} (got {reason})") from error


def jacobian(model: Nonlinear, parameters: Mapping[str, float], inputs: Sequence[Array]) -> Array:
    """Return the derivatives of y by the parameters, (rows, parameters).

    By differences of fourth order: numpy has no gradients, and torch takes seconds to import.
    """
    columns = []
    for name in model.names:

        def moved(step: float, name: str = name) -> Array:
            return np.asarray(model.at({**parameters, name: parameters[name] + step}, inputs))

        step = _step(moved, abs(parameters[name]))
        inner, outer = moved(step) - moved(-step), moved(2 * step) - moved(-2 * step)
        columns.append(np.broadcast_to((8 * inner - outer) / (12 * step), inputs[0].shape))
    return np.stack(columns, axis=1)


def _step(moved: Callable[[float], Array], size: float) -> float:
    """Return a step of a parameter that changes y by about _STEP of its standard deviation.

    moved: returns y after a step. size: the parameter's absolute value. It says little about the
    effect on y: the effect of a frequency grows with x, and an intercept may be near 0 by chance.
    """
    y = np.ravel(moved(0.0))
    scale, step = float(np.std(y)) or math.sqrt(mean_square(y)), float(_STEP * (size or 1.0))
    if not 0 < scale < math.inf:
        return step
    for _ in range(_TRIES):
        change = math.sqrt(mean_square(np.ravel(moved(step)) - y)) / scale
        if 1e-2 * _STEP < change < 10 * _STEP:
            break
        factor = _STEP / change if change > 0 else _LARGEST_FACTOR
        if not math.isfinite(change):
            factor = 0.0
        factor = min(max(factor, 1 / _LARGEST_FACTOR), _LARGEST_FACTOR)
        step = min(step * factor, _STEP * max(size, 1.0, scale))
    return step


def mean_square(values: Array) -> float:
    """Return the mean of the squares of values, (n,), added in a fixed order."""
    return float(sums((values * values)[None])[0]) / len(values)


def _or_inf(value: float) -> float:
    return value if math.isfinite(value) else math.inf
