"""The equation of a line, as text."""

import re

import numpy as np
import pytest

from knownline.core.line import Line
from knownline.report.equations import of_fit, of_truth


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (Line(20.0, 5.0), "y = 20 x + 5"),
        (Line(-0.5, -0.25), "y = −0.5 x − 0.25"),
        (Line(1e-7, 0.0), "y = 1e−7 x + 0"),
        (Line(3.14159265, -1234567.0), "y = 3.14159265 x − 1234567"),
    ],
)
def test_a_chosen_line_has_the_digits_it_was_given_and_a_true_minus(line: Line, shown: str) -> None:
    assert of_truth(line) == shown


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
    line = Line(float(w), float(b0 - w * x.mean()))
    equation = re.fullmatch(r"y = (\S+) x ([+−]) (\S+)", of_fit(x, y, line))
    assert equation
    w, b = (float(text.replace("−", "-")) for text in (equation[1], equation[3]))
    parsed = Line(w, -b if equation[2] == "−" else b)
    difference = np.max(np.abs(parsed.at(x) - line.at(x)))
    assert difference <= max(0.1 * np.std(y - line.at(x)), 1e-4 * np.std(y))


def test_the_equation_of_the_shipped_data_has_few_digits() -> None:
    x = np.linspace(1.0, 99.0, 80)
    y = 20 * x + 5 + 1.5 * np.random.default_rng(1).standard_normal(80)
    assert of_fit(x, y, Line(20.0022, 4.8012)) == "y = 20.0022 x + 4.80"
    assert of_fit(np.zeros(3), np.ones(3), Line(0.0, 1.0)) == "y = 0 x + 1"
