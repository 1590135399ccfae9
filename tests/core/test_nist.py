"""Least squares against the values that NIST certifies for data that is hard to fit.

Digits are the log relative error, -log10(|found - certified| / |certified|). NIST prints 15 digits.
"""

import math
from collections.abc import Iterable

import numpy as np
import pytest

from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from tests.core import nist
from tests.core.nist import Dataset

DIGITS = {
    "NORRIS": 12.0,
    "PONTIUS": 12.0,
    "NO_INT_1": 13.0,
    "NO_INT_2": 13.0,
    "LONGLEY": 11.0,
    "WAMPLER_1": 6.0,
    "WAMPLER_2": 6.0,
    "WAMPLER_3": 6.0,
    "WAMPLER_4": 6.0,
    "WAMPLER_5": 6.0,
}
"""The digits that the parameters of each data set must have at least."""

every_dataset = pytest.mark.parametrize("name", DIGITS)


def dataset(name: str) -> Dataset:
    found: Dataset = getattr(nist, name)
    return found


def fitted(data: Dataset) -> LeastSquares:
    return LeastSquares(data.model, compress([(data.model.columns(data.inputs), data.y)]))


def digits(found: Iterable[float], certified: Iterable[float]) -> float:
    """Return the fewest digits that a number and its certified value have in common."""
    errors = [abs(a - b) / abs(b) for a, b in zip(found, certified, strict=True)]
    return min(15.0, *(-math.log10(error) for error in errors if error))


@every_dataset
def test_the_parameters_have_the_certified_digits(name: str) -> None:
    data = dataset(name)
    fit = fitted(data)
    assert fit.collinear is None
    assert tuple(fit.solution) == data.model.names
    assert digits(fit.solution.values(), data.parameters) >= DIGITS[name]


@every_dataset
def test_the_parameters_have_no_fewer_digits_than_lapacks(name: str) -> None:
    data = dataset(name)
    theirs = np.linalg.lstsq(data.columns, data.y, rcond=None)[0].tolist()
    # Luck decides the last half of a digit.
    ours = digits(fitted(data).solution.values(), data.parameters)
    assert ours >= digits(theirs, data.parameters) - 0.5


@pytest.mark.parametrize(
    ("name", "least"),
    [
        *(("NORRIS", 12.0), ("PONTIUS", 12.0), ("NO_INT_1", 13.0), ("NO_INT_2", 13.0)),
        *(("LONGLEY", 11.0), ("WAMPLER_3", 9.0), ("WAMPLER_4", 9.0), ("WAMPLER_5", 9.0)),
    ],
)
def test_the_standard_errors_have_the_certified_digits(name: str, least: float) -> None:
    data = dataset(name)
    fit, rows = fitted(data), len(data.y)
    residual = fit.mean_squared_error(fit.solution) * rows / (rows - len(data.parameters))
    assert digits(fit.standard_errors(residual).values(), data.errors) >= least


def test_a_polynomial_of_degree_10_whose_powers_float64_cannot_tell_apart_is_refused() -> None:
    data = nist.FILIP
    assert fitted(data).collinear in data.model.varying
    # Numpy's own limit for the rank refuses it too.
    rank = np.linalg.lstsq(data.columns, data.y, rcond=None)[2]
    assert rank < len(data.parameters)
