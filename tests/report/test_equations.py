"""The equation of a line, as text."""

import re

import numpy as np
import pytest

from knownline.core.kinds import Linear, Model
from knownline.model import LINE
from knownline.report.equations import is_line, of_fit, of_truth
from tests.report.fits import compressed, drawn, linear, plane


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


@pytest.mark.parametrize("shift", [0.0, 1.7e9, -1e7])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1.5, 100.0])
@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_the_equation_of_a_fitted_line_is_as_precise_as_the_noise(
    shift: float, noise: float, unit: float
) -> None:
    """Parsed again, it is within a tenth of the noise, or within what the eye can see."""
    x = np.linspace(0.0, 99.0, 80)
    y = unit * (20 * x + 5 + noise * np.random.default_rng(1).standard_normal(80))
    x = x + shift
    w, b0 = np.polyfit(x - x.mean(), y, 1)
    line = {"w": float(w), "b": float(b0 - w * x.mean())}
    equation = re.fullmatch(
        r"y = (\S+) x ([+−]) (\S+)", of_fit(compressed(LINE, [x], y), [x], y, line)
    )
    assert equation
    w, b = (float(text.replace("−", "-")) for text in (equation[1], equation[3]))
    parsed = {"w": w, "b": -b if equation[2] == "−" else b}
    fitted = LINE.at(line, [x])
    difference = np.max(np.abs(LINE.at(parsed, [x]) - fitted))
    assert difference <= max(0.1 * np.std(y - fitted), 1e-4 * np.std(y))


def test_the_equation_of_the_shipped_data_has_few_digits() -> None:
    x = np.linspace(1.0, 99.0, 80)
    y = 20 * x + 5 + 1.5 * np.random.default_rng(1).standard_normal(80)
    data = compressed(LINE, [x], y)
    assert of_fit(data, [x], y, {"w": 20.0022, "b": 4.8012}) == "y = 20.0022 x + 4.80"
    assert of_fit(data, [np.zeros(3)], np.ones(3), {"w": 0.0, "b": 1.0}) == "y = 0 x + 1"


@pytest.mark.parametrize("noise", [0.0, 1.5, 100.0])
def test_the_parameters_of_a_quadratic_are_as_precise_as_the_noise(noise: float) -> None:
    x = np.linspace(1.0, 99.0, 80)
    y = 0.1 * x * x - 3 * x + 5 + noise * np.random.default_rng(1).standard_normal(80)
    c, w, b = np.polyfit(x, y, 2)
    kind = linear(drawn("quadratic", {"c": 1.0, "w": 1.0, "b": 1.0}))
    text = of_fit(compressed(kind, [x], y), [x], y, {"c": float(c), "w": float(w), "b": float(b)})
    shown = re.fullmatch(r"c = (\S+), w = (\S+), b = (\S+)", text)
    assert shown
    parsed = [float(number.replace("−", "-")) for number in shown.groups()]
    fitted = np.polyval([c, w, b], x)
    difference = np.max(np.abs(np.polyval(parsed, x) - fitted))
    assert difference <= max(0.1 * np.std(y - fitted), 1e-4 * np.std(y))


def test_only_a_line_is_called_one() -> None:
    assert is_line(LINE)
    assert is_line(Linear(("t",), {"b": lambda t: 1.0, "w": lambda t: t}))
    others: list[Model] = [
        Linear(("x",), {"w": lambda x: x}),
        Linear(("x",), {"w": lambda x: x, "b": lambda x: 2.0}),
        Linear(("x",), {"w": lambda x: x * x, "b": lambda x: 1.0}),
        plane(2).kind,
        drawn("quadratic", {"c": 1.0, "w": 1.0, "b": 1.0}).kind,
    ]
    assert not any(map(is_line, others))
