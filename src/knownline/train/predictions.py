"""The predictions of a model with named parameters, as torch's tensors with gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from knownline.core.curve_fit import jacobian
from knownline.core.errors import ParamsError
from knownline.core.kinds import Linear, Nonlinear, Parameters
from knownline.train.numpy_functions import NumpyTensor
from knownline.train.summation import Sum

Array = npt.NDArray[np.float64]

Prediction = Callable[[Sequence[torch.Tensor]], torch.Tensor]
"""Takes the parameters of the loop, () each; returns the model's y, (rows,)."""


@dataclass(frozen=True, slots=True)
class Start:
    """The start of the fit of a model that is not linear, and the units of the loop's parameters.

    values: the parameters at the start, (parameters,). units: the factors of the loop's parameters,
    (parameters,). unit: of y.
    """

    values: Sequence[float]
    units: Sequence[float]
    unit: float = 1.0

    def in_data_units(self, raw: Sequence[float]) -> list[float]:
        """Return the model's parameters, given those of the loop."""
        return [
            value + number * unit
            for value, number, unit in zip(self.values, raw, self.units, strict=True)
        ]


def start_of(
    kind: Nonlinear, parameters: Parameters, inputs: Sequence[Array], y: Array, *, scaled: bool
) -> Start:
    """Return the start of a fit. inputs, y: the rows, (rows,) each.

    scaled: whether each parameter is scaled by its root mean square effect on y at the start, so
    that steps are equally large for all of them.

    Raises: ParamsError if the model's y at the start is not finite.
    """
    values, ones = list(parameters.values()), [1.0] * len(parameters)
    with np.errstate(all="ignore"):
        if not np.all(np.isfinite(kind.at(parameters, inputs))):
            shown = ", ".join(f"{name} = {value:g}" for name, value in parameters.items())
            raise ParamsError(f"model must give finite numbers where it starts (got {shown})")
        if not scaled:
            return Start(values, ones)
        effects = np.sqrt(np.mean(jacobian(kind, parameters, inputs) ** 2, axis=0)).tolist()
    usable = [np.isfinite(effect) and effect > 0 for effect in effects]
    units = [
        1 / effect if good else abs(value) or 1.0
        for effect, good, value in zip(effects, usable, values, strict=True)
    ]
    return Start(values, units, float(np.std(y)) or 1.0)


def linear(kind: Linear, level: float, columns: Sequence[torch.Tensor], shared: Sum) -> Prediction:
    """Return the prediction of a linear model.

    level: the value of the constant column. shared: repeats a number for every row.
    """
    named = dict(zip(kind.varying, columns, strict=True))

    def part(name: str, parameter: torch.Tensor) -> torch.Tensor:
        if name == kind.constant:
            return shared(parameter) if level == 1 else shared(parameter) * level
        return named[name] * shared(parameter)

    def predict(raw: Sequence[torch.Tensor]) -> torch.Tensor:
        parts = [part(name, each) for name, each in zip(kind.names, raw, strict=True)]
        prediction = parts[0]
        for each in parts[1:]:
            prediction = prediction + each
        return prediction

    return predict


def nonlinear(
    kind: Nonlinear, start: Start, inputs: Sequence[torch.Tensor], shared: Sum
) -> Prediction:
    """Return the prediction of a model that is not linear.

    inputs: (rows,) each. shared: repeats a number for every row.
    """
    columns = [column.as_subclass(NumpyTensor) for column in inputs]

    def predict(raw: Sequence[torch.Tensor]) -> torch.Tensor:
        values = [
            (value + shared(number) * unit).as_subclass(NumpyTensor)
            for value, number, unit in zip(start.values, raw, start.units, strict=True)
        ]
        try:
            y = torch.as_tensor(kind.function(*columns, *values)).as_subclass(torch.Tensor)
        except Exception as error:  # it is the user's code
            if "out of memory" in str(error):
                raise
            raise _unusable(f"{type(error).__name__}: {error}") from error
        if not y.requires_grad:
            raise _unusable("one whose y has no gradient")
        return y

    return predict


def _unusable(got: str) -> ParamsError:
    rule = "model must have a function that torch can call and differentiate by its parameters"
    return ParamsError(f"{rule} (got {' '.join(got.split())[:160]})")
