"""Least squares of models with any number of terms, against exact arithmetic and numpy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from knownline.core.kinds import Linear, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.model import QUADRATIC
from tests.core.exact import EPS, error_of, solved

Array = npt.NDArray[np.float64]

ROWS = 60

counts = pytest.mark.parametrize("count", [1, 2, 3, 10])
levels = pytest.mark.parametrize("level", [None, 1.0, 2.0])
"""The value of the constant term, if there is one."""


def model_of(count: int, level: float | None) -> Linear:
    """Return the model with a coefficient for each input, and a constant term among them."""

    def term(number: int) -> Callable[..., Any]:
        return lambda *x: x[number]

    terms: dict[str, Callable[..., Any]] = {f"w{i}": term(i) for i in range(count)}
    if level is not None:
        items = [*terms.items()]
        terms = dict([*items[: count // 2], ("b", lambda *_: level), *items[count // 2 :]])
    return Linear(tuple(f"x{i}" for i in range(count)), terms)


class Case:
    """A model, rows drawn around it, and what numpy makes of them."""

    def __init__(
        self,
        count: int,
        level: float | None,
        *,
        rows: int = ROWS,
        offset: float = 0.0,
        noise: float = 1.5,
        shared: float = 0.5,
    ) -> None:
        """shared: the share of what all inputs have in common."""
        self.model = model_of(count, level)
        self.random = np.random.default_rng(100 * count + rows)
        common = self.random.uniform(1.0, 99.0, rows)
        self.inputs = [
            offset + shared * common + (1 - shared) * self.random.uniform(1.0, 99.0, rows)
            for _ in range(count)
        ]
        truth = {name: 3.0 + i for i, name in enumerate(self.model.names)}
        self.y = self.model.at(truth, self.inputs) + noise * self.random.standard_normal(rows)
        cuts = [rows // 3, rows // 2]
        pieces = zip(*(np.split(column, cuts) for column in (*self.inputs, self.y)), strict=True)
        self.fit = LeastSquares(
            self.model, compress((self.model.columns(piece[:-1]), piece[-1]) for piece in pieces)
        )

    @property
    def columns(self) -> Array:
        """The terms of all parameters in the model's order, (rows, parameters)."""
        terms = self.model.terms.values()
        return np.column_stack([np.broadcast_to(t(*self.inputs), self.y.shape) for t in terms])

    def parameters(self) -> Parameters:
        """Return parameters at random, some near least squares and some far away."""
        size = self.random.choice([1e-3, 1.0, 100.0])
        values = self.random.standard_normal(len(self.model.names)) * size
        return {
            name: self.fit.solution[name] + value
            for name, value in zip(self.model.names, values.tolist(), strict=True)
        }


def vector(parameters: Parameters) -> Array:
    return np.array(list(parameters.values()))


# The solution


@counts
@levels
@pytest.mark.parametrize(("offset", "noise"), [(0.0, 1.5), (0.0, 1e-6), (1e4, 1.5), (1e8, 1.5)])
def test_the_solution_is_the_exact_one_to_rounding(
    count: int, level: float | None, offset: float, noise: float
) -> None:
    if level is None and offset and count > 1:
        return  # the columns are multiples of each other, and refused: see below
    case = Case(count, level, rows=45, offset=offset, noise=noise)
    expected, least, _ = solved(list(case.columns.T), case.y)
    found = case.fit.solution
    assert tuple(found) == case.model.names
    for name, value, true in zip(found, found.values(), expected, strict=True):
        # The constant is what is left of numbers of the size of slope times offset.
        size = abs(offset) * 100 * count if name == "b" else 0.0
        assert error_of(value, true) <= 1e-11 * abs(float(true)) + 100 * EPS * size
    # y itself has the digits of its own size, and so has what is left of it.
    digits = 1e-11 + 100 * EPS * float(np.abs(case.y).max()) / noise
    assert case.fit.mean_squared_error(found) == pytest.approx(float(least), rel=digits)


@counts
@levels
def test_the_solution_is_numpys(count: int, level: float | None) -> None:
    case = Case(count, level, rows=1000)
    expected = np.linalg.lstsq(case.columns, case.y, rcond=None)[0]
    assert vector(case.fit.solution) == pytest.approx(expected, rel=1e-10)


# Standard errors


@counts
@levels
def test_standard_errors_are_numpys(count: int, level: float | None) -> None:
    case = Case(count, level)
    columns = case.columns
    expected = np.sqrt(2.25 * np.diag(np.linalg.inv(columns.T @ columns)))
    found = case.fit.standard_errors(2.25)
    assert tuple(found) == case.model.names
    assert vector(found) == pytest.approx(expected, rel=1e-9)


@counts
@pytest.mark.parametrize("level", [1.0, 2.0])
@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_standard_errors_far_from_zero_are_the_exact_ones(
    count: int, level: float, offset: float
) -> None:
    case = Case(count, level, rows=24, offset=offset)
    _, _, diagonal = solved(list(case.columns.T), case.y)
    found = case.fit.standard_errors(2.25)
    assert vector(found) == pytest.approx([math.sqrt(2.25 * d) for d in diagonal], rel=1e-11)


# The loss and the distance from least squares


@counts
@levels
@pytest.mark.parametrize("noise", [1.5, 1e-3])
def test_the_mean_squared_error_is_numpys_for_any_parameters(
    count: int, level: float | None, noise: float
) -> None:
    case = Case(count, level, noise=noise)
    for _ in range(20):
        parameters = case.parameters()
        residuals = case.model.at(parameters, case.inputs) - case.y
        expected = float(np.mean(residuals**2))
        assert case.fit.mean_squared_error(parameters) == pytest.approx(expected, rel=1e-8)


@counts
@levels
def test_the_distance_is_the_root_mean_square_of_the_difference_of_predictions(
    count: int, level: float | None
) -> None:
    case = Case(count, level)
    for _ in range(20):
        parameters = case.parameters()
        steps = {name: parameters[name] - case.fit.solution[name] for name in parameters}
        expected = math.sqrt(np.mean(case.model.at(steps, case.inputs) ** 2))
        assert case.fit.distance(parameters) == pytest.approx(expected, rel=1e-9)
    assert case.fit.distance(case.fit.solution) == 0.0


@counts
@levels
def test_the_spread_is_the_distance_along_each_orthogonal_term(
    count: int, level: float | None
) -> None:
    case = Case(count, level)
    terms = np.column_stack(case.inputs)
    centred = terms if level is None else terms - terms.mean(axis=0)
    upper = np.linalg.qr(centred, mode="r")
    upper = upper * np.sign(np.diag(upper))[:, None]
    for _ in range(20):
        parameters = case.parameters()
        steps = [parameters[f"w{i}"] - case.fit.solution[f"w{i}"] for i in range(count)]
        expected = upper @ np.array(steps) / math.sqrt(ROWS)
        scale = np.abs(expected).max()
        assert case.fit.spread(parameters) == pytest.approx(expected, rel=1e-8, abs=1e-9 * scale)


# The points that stand for all rows


def loss_and_gradient(columns: Array, y: Array, raw: Array) -> tuple[float, Array]:
    """Return the mean squared error and its gradient, for columns of (rows, parameters)."""
    residuals = columns @ raw - y
    gradient: Array = 2 * columns.T @ residuals / len(y)
    return float(np.mean(residuals**2)), gradient


def with_constant(case: Case, columns: list[Array], level: float) -> Array:
    """Return columns of all parameters in the model's order, (rows, parameters)."""
    by_name = dict(zip(case.model.varying, columns, strict=True))
    constant = np.full_like(columns[0], level)
    return np.column_stack([by_name.get(name, constant) for name in case.model.names])


@counts
@levels
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("noise", [1.5, 1e-2])
def test_one_point_more_than_parameters_has_the_loss_and_the_gradient_of_all_rows(
    count: int, level: float | None, standardize: bool, noise: float
) -> None:
    case = Case(count, level, noise=noise)
    scaling, terms = case.fit.scaling, case.model.columns(case.inputs)
    few_columns, few_y = case.fit.points(standardize=standardize)
    shape = (len(case.model.names) + 1,)
    assert {column.shape for column in (*few_columns, few_y)} == {shape}
    height = scaling.level if standardize else case.model.level
    few = with_constant(case, few_columns, height)
    every = with_constant(case, scaling.columns(terms) if standardize else terms, height)
    for size in (1e-3, 1.0, 100.0) * 4:
        raw = size * case.random.standard_normal(len(case.model.names))
        loss, gradient = loss_and_gradient(few, few_y, raw)
        true_loss, true_gradient = loss_and_gradient(every, case.y, raw)
        assert loss == pytest.approx(true_loss, rel=1e-9)
        scale = np.abs(true_gradient).max()
        assert gradient == pytest.approx(true_gradient, rel=1e-9, abs=1e-9 * scale)


@counts
@levels
def test_the_loss_of_the_points_is_that_of_the_parameters_in_the_datas_units(
    count: int, level: float | None
) -> None:
    case = Case(count, level)
    few = with_constant(case, case.fit.points(standardize=True)[0], case.fit.scaling.level)
    y = case.fit.points(standardize=True)[1]
    for _ in range(10):
        raw = 5 * case.random.standard_normal(len(case.model.names))
        values = case.fit.scaling.in_data_units(raw.tolist())
        parameters = dict(zip(case.model.names, values, strict=True))
        expected = np.mean((case.model.at(parameters, case.inputs) - case.y) ** 2)
        assert loss_and_gradient(few, y, raw)[0] == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("offset", [1e4, 1e8])
@pytest.mark.parametrize("count", [1, 2, 10])
def test_points_far_from_zero_keep_the_covariance_of_the_rows(count: int, offset: float) -> None:
    case = Case(count, 1.0, offset=offset)
    columns, y = case.fit.points(standardize=False)
    digits = 1e-9 + 100 * EPS * offset
    assert [column.mean() for column in columns] == pytest.approx(
        [x.mean() for x in case.inputs], rel=4 * EPS
    )
    found = np.cov([*columns, y], ddof=0)
    assert found == pytest.approx(np.cov([*case.inputs, case.y], ddof=0), rel=digits)


# Columns made orthogonal


@counts
@levels
@pytest.mark.parametrize("shared", [0.0, 0.9, 0.99])
def test_scaled_columns_are_orthogonal_of_mean_square_1_and_centred_if_there_is_a_constant(
    count: int, level: float | None, shared: float
) -> None:
    case = Case(count, level, shared=shared)
    found = np.array(case.fit.scaling.columns(case.model.columns(case.inputs)))
    assert found @ found.T / ROWS == pytest.approx(np.eye(count), abs=1e-9)
    if level is not None:
        assert found.mean(axis=1) == pytest.approx(np.zeros(count), abs=1e-11)


@counts
@levels
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.97, 0.999])
def test_descent_at_rate_a_quarter_arrives_in_100_epochs_however_the_columns_are_correlated(
    count: int, level: float | None, shared: float
) -> None:
    case = Case(count, level, shared=shared, rows=200)
    assert case.fit.collinear is None
    columns, y = case.fit.points(standardize=True)
    table = with_constant(case, columns, case.fit.scaling.level)
    raw = np.zeros(len(case.model.names))
    for _ in range(100):
        raw -= 0.25 * loss_and_gradient(table, y, raw)[1]
    values = case.fit.scaling.in_data_units(raw.tolist())
    parameters = dict(zip(case.model.names, values, strict=True))
    assert case.fit.distance(parameters) <= 1e-9 * float(case.y.std())


def test_descent_arrives_for_a_quadratic_far_from_zero() -> None:
    """Where x² is hardly more than a multiple of x."""
    random = np.random.default_rng(2)
    x = random.uniform(990.0, 1010.0, 500)
    y = 0.5 * x * x - 3.0 * x + 7.0 + random.standard_normal(500)
    fit = LeastSquares(QUADRATIC, compress([(QUADRATIC.columns([x]), y)]))
    assert fit.collinear is None
    columns, few_y = fit.points(standardize=True)
    table = np.column_stack([*columns, np.ones(4)])
    raw = np.zeros(3)
    for _ in range(100):
        raw -= 0.25 * loss_and_gradient(table, few_y, raw)[1]
    values = fit.scaling.in_data_units(raw.tolist())
    parameters = dict(zip(QUADRATIC.names, values, strict=True))
    assert fit.distance(parameters) <= 1e-9 * float(y.std())


# Collinear terms


@pytest.mark.parametrize("apart", [0.0, 1e-10, 1e-6, 1e-4])
def test_a_first_chunk_with_collinear_terms_does_not_spoil_the_rest(apart: float) -> None:
    """Slopes of the pivot that are noise divided by almost nothing would lose the digits of all."""
    random = np.random.default_rng(2)
    first, second, third = random.uniform(1.0, 99.0, (3, 300))
    third[:100] = first[:100] + second[:100] + apart * random.standard_normal(100)
    model = model_of(3, 1.0)
    truth = {"w0": 20.0, "w1": 3.0, "w2": -5.0, "b": 5.0}
    terms = [first, second, third]
    y = model.at(truth, terms) + 1.5 * random.standard_normal(300)
    chunks = [([term[own] for term in terms], y[own]) for own in (slice(100), slice(100, 300))]
    fit = LeastSquares(model, compress(chunks))
    expected, least, _ = solved([first, np.ones(300), second, third], y)
    assert list(fit.solution.values()) == pytest.approx([float(e) for e in expected], rel=1e-12)
    assert fit.mean_squared_error(fit.solution) == pytest.approx(float(least), rel=1e-9)


@levels
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_column_that_follows_from_others_is_named(level: float | None, offset: float) -> None:
    random = np.random.default_rng(1)
    a, b, c = random.uniform(1.0, 99.0, (3, 50))
    a = a + offset
    model = model_of(4, level)
    y = random.standard_normal(50)
    for columns, expected in (
        ([a, b, 2 * a - 3 * b, c], "w2"),
        ([a, 5 * a, b, c], "w1"),
        ([a, b, c, a + b + c], "w3"),
        ([a, b, c, random.uniform(1.0, 99.0, 50)], None),
    ):
        assert LeastSquares(model, compress([(columns, y)])).collinear == expected


def test_a_column_that_is_constant_is_collinear_only_beside_a_constant_term() -> None:
    random = np.random.default_rng(1)
    x, y = random.uniform(1.0, 99.0, (2, 50))
    rows = compress([([x, np.full(50, 7.0)], y)])
    assert LeastSquares(model_of(2, 1.0), rows).collinear == "w1"
    assert LeastSquares(model_of(2, None), rows).collinear is None


def test_columns_far_from_zero_are_collinear_without_a_constant_term() -> None:
    assert Case(2, None, offset=1e8).fit.collinear == "w1"
    assert Case(2, 1.0, offset=1e8).fit.collinear is None
