"""The weights of a network in a file, and its predictions from them.

Weights are safetensors: named numbers, and nothing that can be executed. MLflow stores this module
with the served model, so it imports nothing of knownline. torch is imported only when needed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Predictor = Callable[[Sequence[Array]], Array]
"""Takes inputs of (rows,) each, and returns y, (rows,)."""

NETWORK = "network."
"""The prefix of the names of the module's own weights."""

SCALING = ("inputs.mean", "inputs.sd", "y.mean", "y.sd")
"""The tensors by which inputs, (inputs,) each, and y, () each, are standardised."""

_BATCH = 1 << 16
"""Rows that are predicted at a time."""


def as_bytes(module: Any, scaling: dict[str, Any]) -> bytes:
    """Return the content of the file: a module's weights, and how inputs and y are standardised.

    scaling: the tensors of SCALING.
    """
    from safetensors.torch import save

    tensors = {f"{NETWORK}{name}": value for name, value in module.state_dict().items()} | scaling
    return bytes(save({name: _own(value) for name, value in tensors.items()}))


def _own(tensor: Any) -> Any:
    """Return a contiguous copy of a tensor, as safetensors requires."""
    return tensor.detach().cpu().contiguous().clone()


def load(path: Path, build: Callable[[], Any]) -> Predictor:
    """Return the function that predicts by the weights in a file, on the CPU.

    build: returns the module they belong to. Raises: an error of any type if they do not fit it.
    """
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    mean, sd, y_mean, y_sd = (tensors.pop(name) for name in SCALING)
    weights = {name.removeprefix(NETWORK): value for name, value in tensors.items()}
    module = build()
    module.to(next((w.dtype for w in weights.values() if w.is_floating_point()), torch.float64))
    module.load_state_dict(weights)
    module.eval()
    dtype = next((each.dtype for each in module.parameters()), torch.float64)

    def predict(inputs: Sequence[Array]) -> Array:
        y = np.empty(len(inputs[0]))
        for start in range(0, len(y), _BATCH):
            rows = torch.stack(
                [torch.tensor(x[start : start + _BATCH], dtype=torch.float64) for x in inputs],
                dim=1,
            )
            with torch.no_grad():
                output = module(((rows - mean) / sd).to(dtype))
            own = output.reshape(-1).to(torch.float64) * y_sd + y_mean
            y[start : start + _BATCH] = own.numpy()
        return y

    return predict
