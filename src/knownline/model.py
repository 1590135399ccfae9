"""What is fitted. `model: NAME` in params.yaml names one of the models below, in lower case.

This is the file to edit for a model of your own; docs/make-it-yours.md does it step by step. Data
is drawn around these models, so a change here makes every stage run again.

MLflow stores a copy with each served model, so imports from this package must be relative, and what
they name must be listed in dvc.yaml, under meta.samerun.model.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .core.kinds import Linear

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


def _word(name: str) -> str:
    """Return the name of a column with an underscore for whatever a name in Python cannot have."""
    letters = (letter if f"w{letter}".isidentifier() else " " for letter in name)
    return "_".join("".join(letters).split())
