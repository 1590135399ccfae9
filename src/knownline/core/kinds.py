"""The kinds of models that can be fitted: linear in the parameters, not linear, and networks.

A model declares its inputs, the names of its parameters, and how y follows from both. Those names
appear everywhere, from history.csv to MLflow. Knows nothing of files.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Parameters = dict[str, float]
"""The value of each parameter by name, in the order of the model."""


@dataclass(frozen=True)
class Linear:
    """A model that is linear in its parameters: y is the sum of each parameter times its term.

    inputs: the names of the inputs. terms: for each parameter, by name, a function of the inputs
    (arrays of (rows,) each, in order) that returns an array of (rows,). The constant term, which is
    the same in every row, is a function that returns a number; a model has at most one.
    """

    inputs: tuple[str, ...]
    terms: Mapping[str, Callable[..., Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self.terms)

    @property
    def summarised(self) -> "Linear":
        """The linear model whose moments summarise the rows: this one."""
        return self

    @cached_property
    def constant(self) -> str | None:
        """The name of the parameter whose term is the same in every row, or None."""
        probe = [np.array([1.0, 2.0])] * len(self.inputs)
        found = [name for name, term in self.terms.items() if np.ndim(term(*probe)) == 0]
        if len(found) > 1:
            raise ValueError(f"a model can have one constant term (got {', '.join(found)})")
        return found[0] if found else None

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The names of the parameters whose terms vary, in order."""
        return tuple(name for name in self.names if name != self.constant)

    @cached_property
    def level(self) -> float:
        """The value of the constant term; 0 if there is none."""
        if self.constant is None:
            return 0.0
        return float(self.terms[self.constant](*[np.array([1.0, 2.0])] * len(self.inputs)))

    def columns(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the terms that vary, (rows,) each, for inputs of (rows,) each."""
        fixed = [_read_only(values) for values in inputs]
        return [np.asarray(self.terms[name](*fixed), dtype=np.float64) for name in self.varying]

    def at(self, parameters: Mapping[str, float], inputs: Sequence[Any]) -> Any:
        """Return y for inputs, arrays of (rows,) each or numbers."""
        total: Any = None
        fixed = [_read_only(values) for values in inputs]
        for name, term in self.terms.items():
            value = term(*fixed)
            if isinstance(value, np.ndarray):
                value = np.asarray(value, dtype=np.float64)
            part = value * parameters[name]
            if total is None:
                total = part
            elif isinstance(total, np.ndarray):
                np.add(total, part, out=total)  # in place: new memory for each term costs more
            else:
                total = total + part
        return total


@dataclass(frozen=True)
class Nonlinear:
    """A model that is not linear in its named parameters.

    inputs: the names of the inputs. function: takes the inputs, in order, then the parameters, and
    names them: lambda x, a, k: a * np.exp(-k * x) has the parameters a and k. It is called with
    arrays of (rows,), and with tensors that numpy's functions accept. start: the parameters that a
    fit starts from, by name; or a function that returns them for a sample of the rows: the inputs,
    then y, (shown,) each.
    """

    inputs: tuple[str, ...]
    function: Callable[..., Any]
    start: Mapping[str, float] | Callable[..., Mapping[str, float]]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(inspect.signature(self.function).parameters)[len(self.inputs) :]

    @cached_property
    def summarised(self) -> Linear:
        """The linear model whose moments are kept beside the rows."""
        return linear_in(self.inputs)

    def at(self, parameters: Mapping[str, float], inputs: Sequence[Any]) -> Any:
        """Return y for inputs, arrays of (rows,) each or numbers."""
        fixed = [_read_only(values) for values in inputs]
        y = self.function(*fixed, *(parameters[name] for name in self.names))
        return np.asarray(y, dtype=np.float64) if isinstance(y, np.ndarray) else y

    def starting(self, inputs: Sequence[Array], y: Array) -> Parameters:
        """Return the parameters that a fit starts from, in order. inputs, y: a sample of rows."""
        start = self.start(*inputs, y) if callable(self.start) else self.start
        return {name: float(start[name]) for name in self.names}


@dataclass(frozen=True)
class Network:
    """A model without named parameters: a torch.nn.Module.

    inputs: the names of the inputs. build: returns a new module, which takes a tensor of
    (rows, inputs) and returns y, of (rows, 1) or (rows,). The module sees standardised inputs and
    y: their mean is 0 and their variance 1 over the training rows.
    """

    inputs: tuple[str, ...]
    build: Callable[[], Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters: none."""
        return ()

    @cached_property
    def summarised(self) -> Linear:
        """The linear model that the network is compared with."""
        return linear_in(self.inputs)


Parametric = Linear | Nonlinear
"""A model with named parameters."""

Model = Linear | Nonlinear | Network


def linear_in(inputs: tuple[str, ...]) -> Linear:
    """Return the model that is linear in its inputs, with an intercept."""

    def term(index: int) -> Callable[..., Any]:
        return lambda *columns: columns[index]

    terms = {name: term(index) for index, name in enumerate(inputs)}
    constant = "intercept"
    while constant in terms:
        constant += "_"
    return Linear(inputs, {**terms, constant: lambda *_: 1.0})


def _read_only(values: Any) -> Any:
    """Return a read-only view of an array, so that a term cannot change it; a number as it is."""
    if not isinstance(values, np.ndarray):
        return values
    view = values.view()
    view.flags.writeable = False
    return view
