"""Descent of models whose constant term is not 1, or that have none."""

import numpy as np
import pytest
import torch

from knownline.core.kinds import Linear
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.train import descent


@pytest.mark.parametrize("level", [None, 1.0, 2.0, -0.1, 1e4])
@pytest.mark.parametrize("by_points", [True, False])
def test_standardised_descent_at_rate_a_quarter_arrives_whatever_the_constant_term_is(
    level: float | None, by_points: bool
) -> None:
    terms = {"w": lambda x: x, **({} if level is None else {"b": lambda x: level})}
    model = Linear(("x",), terms)
    random = np.random.default_rng(1)
    x = random.uniform(1.0, 99.0, 200)
    y = 20.0 * x + 5.0 + random.standard_normal(200)
    fitted = LeastSquares(model, compress([(model.columns([x]), y)]))
    if by_points:
        columns, targets = fitted.points(standardize=True)
    else:
        columns, targets = fitted.scaling.columns(model.columns([x])), y
    history = descent.fit(
        columns,
        targets,
        kind=model,
        epochs=100,
        learning_rate=0.25,
        dtype="float64",
        device=torch.device("cpu"),
        scaling=fitted.scaling,
        halving=not by_points,
    )
    assert fitted.distance(history.parameters()) <= 1e-9 * float(y.std())
    expected = np.mean((model.at(history.parameters(), [x]) - y) ** 2)
    assert history.loss[-1] == pytest.approx(float(expected), rel=1e-9)
