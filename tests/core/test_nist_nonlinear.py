"""Fits of models that are not linear against the values that NIST certifies, to 11 digits."""

import numpy as np
import pytest
import torch

from knownline.core.curve_fit import CurveFit
from knownline.core.moments import compress
from knownline.train import descent, predictions
from tests.core import nist_nonlinear
from tests.core.nist_nonlinear import Dataset
from tests.core.test_nist import digits

DATA = {"Misra1a": nist_nonlinear.MISRA_1A, "Thurber": nist_nonlinear.THURBER}

every_dataset = pytest.mark.parametrize("name", DATA)


def reference(data: Dataset) -> CurveFit:
    rows = compress([([data.x], data.y)])
    return CurveFit(data.model, rows, [data.x], data.y, start=data.start)


@every_dataset
def test_the_reference_has_the_certified_digits(name: str) -> None:
    data = DATA[name]
    fit, rows = reference(data), len(data.y)
    assert tuple(fit.solution) == data.model.names
    assert digits(fit.solution.values(), data.parameters) >= 9
    residual = fit.mean_squared_error(fit.solution) * rows
    assert digits([residual], [data.residual]) >= 9.5
    errors = fit.standard_errors(residual / (rows - len(data.parameters)))
    assert digits(errors.values(), data.errors) >= 8


@every_dataset
@pytest.mark.parametrize("halving", [True, False])
def test_a_training_with_lbfgs_has_the_certified_digits(name: str, *, halving: bool) -> None:
    data = DATA[name]
    start = predictions.start_of(data.model, data.start, [data.x], data.y, scaled=True)
    history = descent.fit(
        [data.x], data.y, kind=data.model, epochs=200, learning_rate=1.0, dtype="float64",
        device=torch.device("cpu"), scaling=start, optimizer="lbfgs", halving=halving,
    )  # fmt: skip
    found = history.parameters()
    assert digits(found.values(), data.parameters) >= 6
    loss = float(np.mean((data.model.at(found, [data.x]) - data.y) ** 2))
    assert digits([loss * len(data.y)], [data.residual]) >= 9
    # The gate's own measure: the predictions, relative to the standard deviation of y.
    assert reference(data).distance(found) / float(np.std(data.y)) < 1e-6
