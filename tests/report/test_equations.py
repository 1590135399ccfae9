"""A model and its parameters as text."""

import numpy as np
import pytest

from knownline.core.kinds import Linear, Model
from knownline.model import LINE
from knownline.report.equations import is_line, of_fit, of_truth
from tests.report.fits import drawn, plane

QUADRATIC = drawn("quadratic", {"c": 1.0, "w": 1.0, "b": 1.0}).kind


@pytest.mark.parametrize(
    ("w", "b", "shown"),
    [
        (20.0, 5.0, "y = 20 x + 5"),
        (-0.5, -0.25, "y = −0.5 x − 0.25"),
        (1e-7, 0.0, "y = 1e−7 x + 0"),
        (3.14159265, -1234567.0, "y = 3.14159265 x − 1234567"),
    ],
)
def test_a_chosen_line_has_the_digits_it_was_given_and_a_true_minus(
    w: float, b: float, shown: str
) -> None:
    assert of_truth(LINE, {"w": w, "b": b}) == shown


@pytest.mark.parametrize(
    ("kind", "errors", "shown"),
    [
        (LINE, {"w": 0.0063, "b": 0.36}, "y = 20.0022 x − 4.80"),
        (LINE, {"w": 0.0, "b": np.inf}, "y = 20.0022 x − 4.80123"),
        (QUADRATIC, {"c": 0.2, "w": 0.0063, "b": 0.36}, "c = 1.23, w = 20.0022, b = −4.80"),
    ],
)
def test_a_fit_has_the_digits_of_its_standard_errors(
    kind: Model, errors: dict[str, float], shown: str
) -> None:
    fitted = {"c": 1.23456, "w": 20.00217, "b": -4.801234}
    assert of_fit(kind, {name: fitted[name] for name in kind.names}, errors) == shown


def test_only_a_line_is_called_one() -> None:
    assert is_line(LINE)
    assert is_line(Linear(("t",), {"b": lambda t: 1.0, "w": lambda t: t}))
    others: list[Model] = [
        Linear(("x",), {"w": lambda x: x}),
        Linear(("x",), {"w": lambda x: x, "b": lambda x: 2.0}),
        Linear(("x",), {"w": lambda x: x * x, "b": lambda x: 1.0}),
        plane(2).kind,
        QUADRATIC,
    ]
    assert not any(map(is_line, others))
