"""Writes a model and its parameters as text, with the digits that the parameters' tables have.

A line is y = w x + b. Any other model has no text, so its parameters are listed. Knows nothing of
where the text is shown.
"""

import numpy as np

from knownline.core.formatting import minus, plain
from knownline.core.kinds import Linear, Model, Network, Parameters
from knownline.report.values import measured


def is_line(kind: Model) -> bool:
    """Return whether a model is a straight line with an intercept."""
    if not isinstance(kind, Linear):
        return False
    if (len(kind.inputs), len(kind.varying), kind.level) != (1, 1, 1.0):
        return False
    probe = np.array([1.0, 2.0, 5.0])
    return np.array_equal(kind.columns([probe])[0], probe)


def noun(kind: Model) -> str:
    """Return what a model is called in a sentence: a line, a network or a model."""
    if isinstance(kind, Network):
        return "network"
    return "line" if is_line(kind) else "model"


def of_fit(kind: Model, fitted: Parameters, errors: Parameters) -> str:
    """Return a fit, each parameter rounded by its standard error."""
    return _text(kind, {name: measured(value, errors[name]) for name, value in fitted.items()})


def of_truth(kind: Model, truth: Parameters) -> str:
    """Return a model that somebody chose, with the digits it was given."""
    return _text(kind, {name: minus(plain(value)) for name, value in truth.items()})


def _text(kind: Model, numbers: dict[str, str]) -> str:
    if not isinstance(kind, Linear) or not is_line(kind) or kind.constant is None:
        return ", ".join(f"{name} = {number}" for name, number in numbers.items())
    w, b = numbers[kind.varying[0]], numbers[kind.constant]
    return f"y = {w} x {'−' if b.startswith('−') else '+'} {b.removeprefix('−')}"
