"""Models: their names, their terms, and y for inputs."""

import math
from typing import Any

import numpy as np
import pytest

from knownline.core.kinds import Linear
from knownline.model import LINE, PLANE, QUADRATIC

THROUGH_ZERO = Linear(("x",), {"w": lambda x: x})
WAVE = Linear(
    ("t", "v"),
    {"s": lambda t, v: np.sin(t), "level": lambda t, v: 2.0, "p": lambda t, v: t * v},
)


@pytest.mark.parametrize(
    ("model", "names", "constant", "varying", "level"),
    [
        (LINE, ("w", "b"), "b", ("w",), 1.0),
        (QUADRATIC, ("c", "w", "b"), "b", ("c", "w"), 1.0),
        (PLANE(("area", "age")), ("w_area", "w_age", "b"), "b", ("w_area", "w_age"), 1.0),
        (THROUGH_ZERO, ("w",), None, ("w",), 0.0),
        (WAVE, ("s", "level", "p"), "level", ("s", "p"), 2.0),
    ],
)
def test_a_model_knows_its_parameters_and_its_constant_term(
    model: Linear, names: Any, constant: Any, varying: Any, level: float
) -> None:
    assert model.names == names
    assert model.constant == constant
    assert model.varying == varying
    assert model.level == level


def test_two_constant_terms_are_refused_by_name() -> None:
    twice = Linear(("x",), {"a": lambda x: 1.0, "w": lambda x: x, "b": lambda x: 2.0})
    for use in (lambda: twice.constant, lambda: twice.varying, lambda: twice.level):
        with pytest.raises(ValueError, match=r"one constant term \(got a, b\)"):
            use()


def test_columns_are_the_terms_that_vary_in_float64() -> None:
    t, v = np.array([0.0, 1.0, 2.0]), np.array([3, 4, 5])
    found = WAVE.columns([t, v])
    assert [column.tolist() for column in found] == [np.sin(t).tolist(), [0.0, 4.0, 10.0]]
    assert {column.dtype for column in PLANE(("a",)).columns([v])} == {np.dtype(np.float64)}


@pytest.mark.parametrize("inputs", [[2.0, 3.0], [np.array([2.0, -1.0]), np.array([3.0, 0.5])]])
def test_y_is_the_sum_of_each_parameter_times_its_term(inputs: list[Any]) -> None:
    parameters = {"p": 10.0, "s": 4.0, "level": -1.5}  # in another order than the model's
    t, v = inputs
    expected = 4.0 * np.sin(t) - 1.5 * 2.0 + 10.0 * (t * v)
    assert np.asarray(WAVE.at(parameters, inputs)).tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_line_is_evaluated_in_float64(dtype: type[np.floating[Any]]) -> None:
    y = LINE.at({"w": 2.0, "b": -1.0}, [np.array([-1.0, 0.0, 2.5], dtype=dtype)])
    assert y.dtype == np.float64
    assert y.tolist() == [-3.0, -1.0, 4.0]
    assert LINE.at({"w": 2.0, "b": -1.0}, [2.5]) == 4.0


@pytest.mark.parametrize("model", [LINE, QUADRATIC, THROUGH_ZERO, WAVE])
def test_evaluating_changes_no_input(model: Linear) -> None:
    inputs = [np.array([1.0, 2.0]) for _ in model.inputs]
    before = [x.tolist() for x in inputs]
    model.at(dict.fromkeys(model.names, 3.0), inputs)
    model.columns(inputs)
    assert [x.tolist() for x in inputs] == before


def test_a_line_of_numbers_is_pythons_own_sum() -> None:
    for w, b, x in ((20.1, 5.3, 7.7), (1e16, 1.0, 3.0), (-0.1, 0.3, 3.0)):
        assert LINE.at({"w": w, "b": b}, [x]) == x * w + b
        assert math.copysign(1.0, LINE.at({"w": 0.0, "b": -0.0}, [-x])) == -1.0


def test_a_planes_coefficients_are_named_for_their_columns() -> None:
    plane = PLANE(("living area (m²)", "age", "größe"))
    assert plane.names == ("w_living_area_m", "w_age", "w_größe", "b")
    assert plane.inputs == ("living area (m²)", "age", "größe")
    parameters = dict(zip(plane.names, (1.0, 10.0, 100.0, 1000.0), strict=True))
    assert plane.at(parameters, [1.0, 2.0, 3.0]) == 1321.0
