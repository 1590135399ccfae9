"""The models that can be fitted. `model: NAME` in params.yaml chooses one, in lower case.

This is the file to edit for a model of your own; docs/make-it-yours.md shows it step by step. Data
is drawn around these models, so a change here makes every stage run again.

MLflow stores a copy with each served model. So imports from this package must be relative, and the
imported modules must be listed in dvc.yaml, under meta.samerun.model.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .core.kinds import Linear, Network, Nonlinear

LINE = Linear(inputs=("x",), terms={"w": lambda x: x, "b": lambda x: 1.0})

QUADRATIC = Linear(
    inputs=("x",), terms={"c": lambda x: np.square(x), "w": lambda x: x, "b": lambda x: 1.0}
)


def PLANE(inputs: tuple[str, ...]) -> Linear:  # noqa: N802 — a model is named in capitals
    """Return the model with a coefficient for each column, w_COLUMN, and an intercept b."""

    def term(index: int) -> Callable[..., Any]:
        return lambda *columns: columns[index]

    terms = {f"w_{_word(name)}": term(index) for index, name in enumerate(inputs)}
    return Linear(inputs, {**terms, "b": lambda *_: 1.0})


def _decay(x: Any, y: Any) -> dict[str, float]:
    """Return the start of an exponential's fit: the best of some rates k, growth included.

    For a given k the model is a line in exp(-k x), so a and c follow by least squares.
    """
    rates = np.geomspace(0.1, 100.0, 61) / (x.max() - x.min())
    best: tuple[float, dict[str, float]] = (np.inf, {})
    for k in (*rates, *-rates):
        origin = x.min() if k > 0 else x.max()
        part = np.exp(-k * (x - origin))
        along = part - part.mean()
        slope = (along * y).mean() / (along * along).mean()
        loss = ((y - y.mean() - slope * along) ** 2).mean()
        if loss < best[0]:
            start = {"a": slope * np.exp(k * origin), "k": k, "c": y.mean() - slope * part.mean()}
            best = loss, start
    return best[1]


EXPONENTIAL = Nonlinear(
    inputs=("x",), function=lambda x, a, k, c: a * np.exp(-k * x) + c, start=_decay
)


def MLP(inputs: tuple[str, ...]) -> Network:  # noqa: N802
    """Return a network with two hidden layers, for any columns."""

    def build() -> Any:
        from torch import nn  # here, because importing it takes seconds

        return nn.Sequential(
            nn.Linear(len(inputs), 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
        )

    return Network(inputs, build)


def _word(name: str) -> str:
    """Return a column's name, with an underscore for characters that Python's names cannot have."""
    letters = (letter if f"w{letter}".isidentifier() else " " for letter in name)
    return "_".join("".join(letters).split())
