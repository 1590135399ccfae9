"""Writes a model and its parameters as text, with the digits that are needed to draw it.

A line is y = w x + b. Any other model has no text, so its parameters are listed. Knows nothing of
where the text is shown.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from knownline.core.fits import Fit
from knownline.core.formatting import minus, plain, rounded
from knownline.core.kinds import Linear, Model, Network, Parameters

Array = npt.NDArray[np.float64]


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


def of_fit(data: Fit, inputs: Sequence[Array], y: Array, fitted: Parameters) -> str:
    """Return a fit with enough digits to draw it over its points, (shown,) each.

    Rounding the parameters moves the curve by little compared with its residuals. The standard
    errors would not be the right measure: if x is far from 0, those of w and b are large but cancel
    each other.
    """
    kind = data.model
    with np.errstate(over="ignore", invalid="ignore"):
        rms_residual = float(np.sqrt(np.mean((y - data.predict(fitted, inputs)) ** 2)))
        rounding = max(0.1 * rms_residual, 1e-5 * float(np.std(y)))
        largest = [float(np.max(np.abs(term))) for term in data.tangent(inputs)]
    if not math.isfinite(rounding):
        rounding = 0.0
    sizes = dict(
        zip(kind.varying if isinstance(kind, Linear) else kind.names, largest, strict=True)
    )
    if isinstance(kind, Linear) and kind.constant:
        sizes[kind.constant] = abs(kind.level)
    return _text(
        kind,
        {
            name: rounded(value, rounding / sizes[name] if sizes[name] else 0.0)
            for name, value in fitted.items()
        },
    )


def of_truth(kind: Model, truth: Parameters) -> str:
    """Return a model that somebody chose, with the digits it was given."""
    return _text(kind, {name: plain(value) for name, value in truth.items()})


def _text(kind: Model, numbers: dict[str, str]) -> str:
    if not isinstance(kind, Linear) or not is_line(kind) or kind.constant is None:
        return minus(", ".join(f"{name} = {number}" for name, number in numbers.items()))
    w, b = numbers[kind.varying[0]], numbers[kind.constant]
    sign = "−" if b.startswith("-") else "+"
    return minus(f"y = {w} x {sign} {b.removeprefix('-')}")
