"""Trains a network: epochs of minibatches in a seeded order, on the accelerator if there is one.

Every epoch has its own random generators, keyed by the seed and the epoch. So a resumed training
draws the same numbers as one without a break.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from knownline.core import network
from knownline.core.errors import ParamsError
from knownline.core.history import History
from knownline.core.kinds import Network
from knownline.core.least_squares import LeastSquares
from knownline.params import Train
from knownline.train import optimizers
from knownline.train.descent import ResumePoint, Watcher, divergence_reason, run_epochs
from knownline.train.optimizers import State

Array = npt.NDArray[np.float64]

_PROBED = 8
"""The number of rows that a new module is tried on."""

_WEIGHTS = "weights."
"""The prefix of a module's weights in the state of a loop."""


def fit(
    kind: Network,
    data: LeastSquares,
    inputs: Sequence[Array],
    y: Array,
    *,
    settings: Train,
    device: torch.device,
    start: ResumePoint | None = None,
    watch: Watcher | None = None,
) -> tuple[History, bytes]:
    """Return the history of a training, and the content of the file of weights.

    data: the linear model of the rows, whose moments standardise them. inputs, y: all rows, (rows,)
    each. An epoch's loss is the mean of its minibatches' losses, in squared units of y.

    Raises: ParamsError if the module cannot be trained, DivergedError if the loss is not finite.
    """
    number = {"float64": torch.float64, "float32": torch.float32}[settings.dtype]
    _make_deterministic(device)
    torch.manual_seed(settings.seed)
    module = _built(kind).to(device=device, dtype=number)
    scaling = _scaling(data)
    rows, targets = _standardised(inputs, y, scaling, number, device)
    _check_output(module, rows[:_PROBED])
    chosen = optimizers.named(settings.optimizer, module.parameters(), settings.learning_rate)
    if start:
        _restore(start.state, module, chosen)
    unit = float(scaling["y.sd"]) ** 2
    batches = _Batches(len(y), settings.batch_size or len(y), settings.seed, device)

    def run(epoch: int) -> tuple[float, list[float]]:
        torch.manual_seed((settings.seed * 1_000_003 + epoch + 1) % 2**63)
        total = torch.zeros(
            (), dtype=torch.float64, device="cpu" if device.type == "mps" else device
        )
        for batch in batches.of(epoch):
            loss = chosen.step(_closure(module, rows, targets, batch)).detach()
            total += loss * (len(targets) if batch is None else len(batch))
        return float(total) / len(targets) * unit, []

    history = run_epochs(
        run,
        names=(),
        epochs=settings.epochs,
        state=lambda: {**_weights(module), **optimizers.state_of(chosen)},
        start=start.history if start else None,
        watch=watch,
        diverged=lambda epoch: divergence_reason(epoch, settings.learning_rate),
    )
    return history, network.as_bytes(module, scaling)


def row_bytes(count: int, dtype: str, device: torch.device) -> dict[torch.device, int]:
    """Return the bytes of memory that `fit` needs per row, by device. count: of inputs.

    The module's own memory, which depends on the minibatch, is not included.
    """
    cpu, size = torch.device("cpu"), {"float64": 8, "float32": 4}[dtype]
    read, own = 3 * 8 * (count + 1), 2 * size * (count + 1)
    return {cpu: read + own} if device == cpu else {cpu: read, device: own}


def _built(kind: Network) -> Any:
    """Return a new module. Raises: ParamsError if it cannot be built or trained."""
    try:
        module = kind.build()
    except (Exception, SystemExit) as error:  # it is the user's code
        raise _unusable(f"{type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise _unusable(type(module).__name__)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise _unusable("a module without weights")
    if not all(isinstance(each, torch.Tensor) for each in module.state_dict().values()):
        raise _unusable("a module with a state that is not a tensor")
    return module


def _check_output(module: Any, rows: torch.Tensor) -> None:
    """Raise ParamsError unless a module gives each row a number that depends on that row alone.

    A module that uses other rows, or random numbers, would predict differently when it is served.
    """
    module.eval()
    try:
        with torch.no_grad():
            shape = tuple(module(rows).shape)
            if shape not in ((len(rows),), (len(rows), 1)):
                raise TypeError(f"{shape} for {len(rows)} rows")
            together, again = (module(rows).reshape(-1) for _ in range(2))
            alone = torch.cat([module(row[None]).reshape(-1) for row in rows])
    except (Exception, SystemExit) as error:  # it is the user's code
        raise _unusable(f"{type(error).__name__}: {error}") from error
    if not torch.equal(together, again):
        raise _unusable("one whose predictions change from call to call")
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise _unusable("one whose prediction for a row depends on other rows")
    module.train()


def _unusable(got: str) -> ParamsError:
    rule = "model must build a torch.nn.Module that gives one number for each row of inputs"
    return ParamsError(f"{rule} (got {' '.join(got.split())[:160]})")


def _make_deterministic(device: torch.device) -> None:
    """Make torch add in an order that is the same in every run on this device.

    On a CPU this means one thread, whose order does not depend on the number of cores. Minibatches
    of a hundred rows gain nothing from a second thread.
    """
    torch.set_num_threads(1)
    if device.type == "cuda":  # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def _scaling(data: LeastSquares) -> dict[str, torch.Tensor]:
    """Return the tensors of network.SCALING: the means and standard deviations of the rows."""
    count = data.rows.rows
    squares = [row[index] / count for index, row in enumerate(data.products)]
    numbers = (data.rows.mean_terms, np.sqrt(squares), data.rows.mean_y, math.sqrt(data.rows.var_y))
    tensors = [torch.tensor(each, dtype=torch.float64) for each in numbers]
    if float(tensors[-1]) == 0:
        tensors[-1] = torch.ones((), dtype=torch.float64)
    return dict(zip(network.SCALING, tensors, strict=True))


def _standardised(
    inputs: Sequence[Array],
    y: Array,
    scaling: dict[str, torch.Tensor],
    number: torch.dtype,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs, (rows, inputs), and y, (rows,), of mean 0 and variance 1, on the device."""
    mean, sd, y_mean, y_sd = (scaling[name] for name in network.SCALING)
    rows = torch.empty((len(y), len(inputs)), dtype=number)
    for index, column in enumerate(inputs):
        rows[:, index] = (torch.as_tensor(column) - mean[index]) / sd[index]
    targets = ((torch.as_tensor(y) - y_mean) / y_sd).to(number)
    return rows.to(device), targets.to(device)


class _Batches:
    """The minibatches of each epoch: the numbers of their rows, (batch,) each."""

    def __init__(self, rows: int, size: int, seed: int, device: torch.device) -> None:
        self._rows, self._size, self._seed, self._device = rows, min(size, rows), seed, device

    def of(self, epoch: int) -> Iterator[torch.Tensor | None]:
        """Yield the minibatches of an epoch; None stands for all rows."""
        if self._size == self._rows:
            yield None
            return
        key = np.array([self._seed, epoch], dtype=np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(self._rows)
        yield from torch.split(torch.as_tensor(order).to(self._device), self._size)


def _closure(
    module: Any, rows: torch.Tensor, targets: torch.Tensor, batch: torch.Tensor | None
) -> Callable[[], torch.Tensor]:
    # A copy, because a layer may change its input in place.
    own, wanted = (rows.clone(), targets) if batch is None else (rows[batch], targets[batch])

    def closure() -> torch.Tensor:
        module.zero_grad()
        try:
            loss = torch.mean((module(own).reshape(-1) - wanted) ** 2)
            loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # it is the user's code, such as a BatchNorm of one row
            if "out of memory" in str(error):
                raise
            raise _unusable(f"{type(error).__name__}: {error}") from error
        return loss

    return closure


def _weights(module: Any) -> State:
    tensors = module.state_dict().items()
    return {f"{_WEIGHTS}{name}": each.detach().cpu().numpy().copy() for name, each in tensors}


def _restore(state: State, module: Any, optimizer: optimizers.Optimizer) -> None:
    weights = {
        name.removeprefix(_WEIGHTS): torch.tensor(values)
        for name, values in state.items()
        if name.startswith(_WEIGHTS)
    }
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise optimizers.StateError("the checkpoint belongs to another network") from error
    optimizers.restore(optimizer, state)
