"""A model of a user's own that cannot be used is refused in one line, before anything is fitted."""

import math
from typing import Any

import numpy as np
import pytest

from knownline import model
from knownline.core.kinds import Linear, Network, Nonlinear
from knownline.params import models


def linear(**terms: Any) -> Linear:
    return Linear(("x",), terms)


def curve(function: Any, start: Any) -> Nonlinear:
    return Nonlinear(("x",), function, start)


def decay(x: Any, a: float, k: float) -> Any:
    return a * np.exp(-k * x)


REFUSED: dict[str, tuple[Any, str]] = {
    "a mean over rows": (linear(w=lambda x: x - x.mean()), "from the inputs of that row alone"),
    "random": (linear(w=lambda x: np.random.rand(len(x))), "from the inputs of that row alone"),
    "fewer rows": (linear(w=lambda x: x[:3]), "from the inputs of that row alone"),
    "in place": (linear(w=lambda x: x.__imul__(2)), "read-only"),
    "raises": (linear(w=lambda x: 1 / 0), "term w: ZeroDivisionError: division by zero"),
    "not for arrays": (linear(w=lambda x: math.log(x)), "term w: TypeError"),
    "a list": (linear(w=lambda x: [1.0] * 4), "list, not an array"),
    "text": (linear(w=lambda x: x.astype(str)), "an array of <U"),
    "two constants": (linear(w=lambda x: x, b=lambda x: 1.0, c=lambda x: 2.0), "got own: b, c"),
    "a mean": (linear(w=lambda x: x, b=lambda x: float(np.mean(x))), "constant term that is a"),
    "a zero": (linear(w=lambda x: x, b=lambda x: 0.0), "constant term that is a number, not 0"),
    "constant alone": (linear(b=lambda x: 1.0), "must have a term that varies"),
    "no terms": (linear(), "a dict of terms"),
    "inputs as text": (Linear("x", {"w": lambda x: x}), "a tuple of inputs"),  # type: ignore[arg-type]
    "a comma": (linear(**{"a,b": lambda x: x}), "named by a letter"),
    "a metric": (linear(step=lambda x: x), "not have a parameter named step"),
    "no model": (lambda columns: None, "must be a Linear, a Nonlinear or a Network, or a function"),
    "a function that raises": (lambda columns: 1 / 0, "ZeroDivisionError"),
    "a start of another": (
        curve(decay, {"a": 1.0, "b": 2.0}),
        "for each of a, k, and",
    ),
    "half a start": (
        curve(decay, {"a": 1.0}),
        "nothing else (got own: a)",
    ),
    "no start": (curve(decay, 5), "must have a start: a number for each parameter"),
    "a start of text": (curve(decay, {"a": "one", "k": 2.0}), "must have a start: a number"),
    "a start that raises": (curve(decay, lambda x, y: 1 / 0), "own: ZeroDivisionError"),
    "a start for fewer": (curve(decay, lambda x: {"a": 1.0, "k": 1.0}), "own: TypeError"),
    "a curve that raises": (curve(lambda x, a: 1 / 0, {"a": 1.0}), "function: ZeroDivisionError"),
    "a curve of a mean": (curve(lambda x, a: a * x.mean() + x, {"a": 1.0}), "inputs of that row"),
    "a curve of one number": (curve(lambda x, a: a, {"a": 1.0}), "inputs of that row alone"),
    "a curve of text": (curve(lambda x, a: x.astype(str), {"a": 1.0}), "an array of <U"),
    "a curve in place": (curve(lambda x, a: x.__imul__(a), {"a": 1.0}), "read-only"),
    "no parameters": (curve(lambda x: x, {}), "a function of them and of named parameters"),
    "any parameters": (curve(lambda x, *a: x, {}), "a function of them and of named parameters"),
    "a built-in": (curve(np.exp, {}), "a function of them and of named parameters"),
    "no function": (curve(None, {}), "a function of them and of named parameters"),
    "a curve's metric": (curve(lambda x, linear: linear * x, {"linear": 1.0}), "named linear"),
    "a network to be": (Network(("x",), None), "that builds a torch.nn.Module"),  # type: ignore[arg-type]
    "a network of y": (Network(("y",), dict), "must not name a column y"),
    "a network of more": (Network(("u", "v"), dict), "must name 2 columns for the model own"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_cannot_be_used_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, words = REFUSED[case]
    monkeypatch.setattr(model, "OWN", own, raising=False)
    with pytest.raises(models.ModelError) as refused:
        models.named("own", ("x",))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_terms_of_numbers_of_any_kind_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    own = linear(w=lambda x: x > 2, v=lambda x: np.log(x - 2), u=np.float32, b=lambda x: 2)
    monkeypatch.setattr(model, "OWN", own, raising=False)
    assert models.named("own", ("x",)).names == ("w", "v", "u", "b")
    y = own.at({"w": 1.0, "v": 0.0, "u": 3.0, "b": 1.0}, [np.array([3.0, 4.0])])
    assert y.dtype == np.float64
    assert y.tolist() == [12.0, 15.0]
