"""The kinds of models that can be fitted.

A model says which inputs it has, how its parameters are called, and how y follows from both.
Whatever has names, from history.csv to MLflow, takes them from here. Knows nothing of files.
"""

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
    (arrays of (rows,) each, in order) that returns an array of (rows,), or a number: the term that
    is the same in every row, of which a model has one at the most.
    """

    inputs: tuple[str, ...]
    terms: Mapping[str, Callable[..., Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self.terms)

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


def _read_only(values: Any) -> Any:
    """Return an array that a term cannot change; a number as it is."""
    if not isinstance(values, np.ndarray):
        return values
    view = values.view()
    view.flags.writeable = False
    return view
