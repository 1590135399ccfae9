"""A function of a model that is written with numpy's functions has torch's gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special

from knownline.core.kinds import Nonlinear
from knownline.train import descent, predictions
from knownline.train.summation import sums_for

Array = npt.NDArray[np.float64]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": lambda x, a, b: a * np.exp(-b * x),
    "log": lambda x, a, b: a * np.log(x + b),
    "where": lambda x, a, b: np.where(x > 2.0, a * x, b * np.square(x)),
    "where a number": lambda x, a, b: np.where(x < np.float64(2.0), 0.5, a * x) + b,
    "where of parameters": lambda x, a, b: np.where(x > a, a * (x - a), 0.0) + b,
    "where of numbers": lambda x, a, b: a * np.where(x > 2.0, 0.1, -0.3) + b * x,
    "sin": lambda x, a, b: a * np.sin(b * x) + np.cos(a * x),
    "power": lambda x, a, b: a * np.power(x, b),
    "operators": lambda x, a, b: 2**x * a - x**b / (1 + x) + (-a),
    "maximum": lambda x, a, b: np.maximum(a * (x - 1.0), b * x) + np.minimum(x, a),
    "maximum of a number": lambda x, a, b: np.maximum(x - a, 0) * b,
    "clip": lambda x, a, b: a * np.clip(x, 0.5, 2.0) + b,
    "numpy's numbers": lambda x, a, b: np.float64(2.0) * a + np.float32(3.0) * b * x + np.pi,
    "tanh": lambda x, a, b: a * np.tanh(b * x) + np.arctan(x) * a,
    "square root": lambda x, a, b: np.sqrt(np.abs(a * x)) + np.log1p(b * x) + np.expm1(b),
    "two": lambda x, a, b: np.hypot(a, x) + np.arctan2(b, x) + np.logaddexp(a, x),
    "scipy": lambda x, a, b: a * special.expit(b * x) + special.erf(x * b),
}

X = np.linspace(0.6, 3.4, 15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_agree_with_numpy(name: str) -> None:
    model = Nonlinear(("x",), FUNCTIONS[name], {})
    assert model.names == ("a", "b")
    values = np.array([1.3, 0.7])
    raw = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (0.0, 0.0)]
    x = torch.as_tensor(X)
    predict = predictions.nonlinear(
        model, predictions.Start(values.tolist(), [1.0, 1.0]), [x], sums_for(x, halving=True)[0]
    )
    y = predict(raw)
    assert type(y) is torch.Tensor
    expected = model.at(dict(zip("ab", values, strict=True)), [X])
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-14)
    weights = np.random.default_rng(1).standard_normal(len(X))
    found = torch.autograd.grad((y * torch.as_tensor(weights)).sum(), raw)
    for index, gradient in enumerate(found):
        step = np.zeros(2)
        step[index] = 1e-6
        above, below = (
            model.at(dict(zip("ab", values + sign * step, strict=True)), [X]) @ weights
            for sign in (1, -1)
        )
        assert float(gradient) == pytest.approx((above - below) / 2e-6, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("name", ["exp", "where", "sin", "power", "maximum", "tanh"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_such_a_model_trains_to_its_parameters(name: str, dtype: str) -> None:
    truth, start = {"a": 1.3, "b": 0.7}, {"a": 1.2, "b": 0.75}
    model = Nonlinear(("x",), FUNCTIONS[name], start)
    y = model.at(truth, [X])
    scaling = predictions.start_of(model, start, [X], y, scaled=True)
    history = descent.fit(
        [X], y, kind=model, epochs=60, learning_rate=1.0, dtype=dtype, scaling=scaling,
        device=torch.device("cpu"), optimizer="lbfgs", halving=True,
    )  # fmt: skip
    assert history.parameters() == pytest.approx(truth, rel=1e-9 if dtype == "float64" else 1e-4)


def test_of_several_inputs_each_is_in_its_place() -> None:
    model = Nonlinear(("u", "v"), lambda u, v, a, b: a * u + np.exp(b * v), {"a": 0.0, "b": 0.0})
    random = np.random.default_rng(2)
    u, v = random.uniform(0, 1, (2, 30))
    y = 3.0 * u + np.exp(-2.0 * v)
    start = predictions.start_of(model, {"a": 0.0, "b": 0.0}, [u, v], y, scaled=True)
    found = descent.fit(
        [u, v], y, kind=model, epochs=30, learning_rate=1.0, dtype="float64", scaling=start,
        device=torch.device("cpu"), optimizer="lbfgs",
    ).parameters()  # fmt: skip
    assert found == pytest.approx({"a": 3.0, "b": -2.0}, rel=1e-8)
