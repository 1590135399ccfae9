"""The optimizers that train.optimizer names, and their state as arrays, without pickle."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

Closure = Callable[[], torch.Tensor]

State = dict[str, npt.NDArray[Any]]
"""Arrays by name."""

_STRUCTURE = "structure"
"""The name of the array with the structure of the state, as bytes of JSON."""


class StateError(ValueError):
    """A state belongs to another training."""


class Optimizer(Protocol):
    """The methods of torch.optim's optimizers that the loops use."""

    def step(self, closure: Closure) -> Any:
        """Take a step; return the loss before it. closure: sets the gradients, returns the loss."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as torch does."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""


class PlainDescent:
    """Gradient descent as in the article: each parameter moves against its gradient.

    The bits of torch.optim.SGD depend on the processor: a fused multiply-add rounds once less.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], learning_rate: float) -> None:
        self._parameters, self._learning_rate = list(parameters), learning_rate

    def step(self, closure: Closure) -> torch.Tensor:
        """Take a step; return the loss before it."""
        loss = closure()
        with torch.no_grad():
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.sub_(self._learning_rate * parameter.grad)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state: there is none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""


def named(name: str, parameters: Iterable[torch.Tensor], learning_rate: float) -> Optimizer:
    """Return the optimizer that train.optimizer names.

    L-BFGS searches along each direction (strong Wolfe) and makes at most 20 iterations per step. It
    does not stop at small changes, because the loss is flat near its minimum.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate)
    if name == "lbfgs":
        return torch.optim.LBFGS(
            parameters,
            lr=learning_rate,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
    return PlainDescent(parameters, learning_rate)


def state_of(optimizer: Optimizer) -> State:
    """Return an optimizer's state as arrays, exact to the bit."""
    arrays: State = {}
    structure = json.dumps(_flattened(optimizer.state_dict(), arrays))
    return {**arrays, _STRUCTURE: np.frombuffer(structure.encode(), dtype=np.uint8)}


def restore(optimizer: Optimizer, state: State) -> None:
    """Continue from what `state_of` returned. Raises: StateError if it cannot."""
    try:
        structure = json.loads(state[_STRUCTURE].tobytes())
        optimizer.load_state_dict(_nested(structure, state))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StateError(f"the checkpoint has no state of this optimizer ({error})") from error


def _flattened(value: Any, arrays: State) -> Any:
    """Return a nested state as JSON, with the type of each value; put its tensors into `arrays`."""
    if isinstance(value, torch.Tensor):
        name = f"tensor.{len(arrays)}"
        arrays[name] = value.detach().cpu().numpy().copy()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_flattened(k, arrays), _flattened(v, arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flattened(each, arrays) for each in value]}
    if isinstance(value, float):
        return {"float": value.hex()}
    return {"plain": value}


def _nested(node: dict[str, Any], state: State) -> Any:
    """Return the value that `_flattened` got."""
    ((kind, content),) = node.items()
    if kind == "tensor":
        return torch.tensor(state[content])
    if kind == "dict":
        return {_nested(k, state): _nested(v, state) for k, v in content}
    if kind == "list":
        return [_nested(each, state) for each in content]
    return float.fromhex(content) if kind == "float" else content
