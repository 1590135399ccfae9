"""Tensors that numpy's functions accept, so that a function of model.py works for both.

`np.exp` of such a tensor calls torch.exp, with its gradient.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class NumpyTensor(torch.Tensor):
    """A tensor for which a function of numpy calls the function of torch with the same name.

    The result is such a tensor too.
    """

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Call the function of torch with the name of one of numpy or scipy, such as np.exp."""
        if method != "__call__" or options:
            raise TypeError(f"np.{ufunc.__name__}.{method} has no counterpart in torch")
        return _called(ufunc.__name__, inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, inputs: Any, options: Any
    ) -> Any:
        """Call the function of torch with the name of one of numpy, such as np.where."""
        return _called(function.__name__, inputs, **options)


def _called(name: str, inputs: Any, **options: Any) -> Any:
    own = {"power": "pow"}.get(name, name)
    function = getattr(torch, own, None) or getattr(torch.special, own, None)
    tensors = [each for each in inputs if isinstance(each, torch.Tensor)]
    if function is None or not tensors:
        raise TypeError(f"np.{name} has no counterpart in torch")
    number = next((each.dtype for each in tensors if each.is_floating_point()), torch.float64)
    device = tensors[0].device
    return function(*(_as_tensor(each, number, device) for each in inputs), **options)


def _as_tensor(value: Any, number: torch.dtype, device: torch.device) -> Any:
    """Return a number or an array of numbers as a tensor of a type; anything else as it is."""
    if isinstance(value, float | int | np.number | np.ndarray) and not isinstance(value, bool):
        return torch.as_tensor(value, dtype=number, device=device)
    return value
