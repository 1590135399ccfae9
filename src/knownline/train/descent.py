"""The article's loop: gradient descent on the mean squared error, by autograd.

The same loop runs on all rows or on a few points with the same loss. Knows nothing of files, of
MLflow or of the truth.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from knownline.core.errors import DeviceError, DivergedError
from knownline.core.history import History
from knownline.core.kinds import Linear
from knownline.core.least_squares import Scaling
from knownline.train import summation

Array = npt.NDArray[np.float64]
Device = torch.device


class Step(NamedTuple):
    """An epoch that has just ended.

    loss, values: as in History. raw: the parameters of the loop, for the scaled columns; the loop
    needs nothing else to resume. history: loss and parameters by epoch, (1 + parameters, epochs),
    filled up to here.
    """

    epoch: int
    loss: float
    values: list[float]
    raw: list[float]
    history: Array


class ResumePoint(NamedTuple):
    """Where to resume a training: `raw` and the filled part of `history` of the last Step."""

    raw: Sequence[float]
    history: Array


Watcher = Callable[[Step], object]
"""Called after every epoch."""


def choose_device(name: str, dtype: str) -> torch.device:
    """Return the device that train.device names; auto prefers an accelerator that has the dtype.

    Raises: DeviceError if the named device is not available.
    """
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    if name == "auto":
        # mps has no float64: https://pytorch.org/docs/stable/notes/mps.html
        unsuitable = accelerator is None or (accelerator.type == "mps" and dtype == "float64")
        return torch.device("cpu") if unsuitable or accelerator is None else accelerator
    if name != "cpu" and (accelerator is None or accelerator.type != name):
        available = f"cpu and {accelerator.type}" if accelerator else "only cpu"
        raise DeviceError(f"train.device must be available here: {available} (got {name})")
    return torch.device(name)


def stable_learning_rate(columns: Sequence[Array], level: float) -> float:
    """Return the learning rate below which descent on columns, (rows,) each, cannot diverge.

    That is 2 / λmax, where λmax is the largest eigenvalue of the Hessian of the mean squared error,
    twice the mean of the products of each pair of columns. level: of the constant column, 0 if
    there is none.
    """
    # Columns are divided by their largest value, so that no square overflows.
    size = max(1.0, *(float(np.max(np.abs(column))) for column in columns))
    constant = np.full_like(columns[0], level / size)
    scaled = np.stack([*(column / size for column in columns), constant])
    largest = 2 * float(np.linalg.eigvalsh(scaled @ scaled.T / scaled.shape[1])[-1])
    return 2 / largest / size / size


def _divergence_reason(epoch: int, rate: float, stable: float, dtype: str) -> str:
    event = f"the loss left the finite numbers at epoch {epoch}"
    if rate < stable:
        return f"train.dtype must hold the squares of this data: rescale it (got {dtype}): {event}"
    return (
        f"train.learning_rate must be less than {stable:.6g} for this data (got {rate:g}): {event}"
    )


def row_bytes(count: int, dtype: str, device: torch.device) -> dict[torch.device, int]:
    """Return the bytes of memory that `fit` needs per row, by device, for so many columns.

    The columns and y are float64 on the CPU. Autograd's own memory was measured for one column: 15
    to 19 numbers per row on a CPU, 9 to 10.5 on a GPU; each more takes six at the most.
    """
    cpu, size = torch.device("cpu"), {"float64": 8, "float32": 4}[dtype]
    columns = (count + 1) * 8
    own = (20 if device == cpu else 12) + 6 * (count - 1)
    return {cpu: columns + own * size} if device == cpu else {cpu: columns, device: own * size}


def fit(
    columns: Sequence[Array],
    y: Array,
    *,
    kind: Linear,
    epochs: int,
    learning_rate: float,
    dtype: str,
    device: torch.device,
    scaling: Scaling | None = None,
    halving: bool = False,
    start: ResumePoint | None = None,
    watch: Watcher | None = None,
) -> History:
    """Fit a linear model by full-batch gradient descent, with all parameters 0 at first.

    columns: of the terms that vary, (rows,) each, already scaled if they are to be scaled.
    y: (rows,) in the data's units.
    scaling: how the columns relate to the terms, for the parameters that are returned.
    halving: sum over rows by halving, for many rows; torch's own order of summation depends on
    threads and SIMD unless the rows are few.
    start: where to resume; the result is that of a training without a break.
    watch: called after every epoch; it cannot change the fit.

    Raises: DivergedError at the first loss that is not finite.
    """
    number = {"float64": torch.float64, "float32": torch.float32}[dtype]
    scaling = scaling or Scaling(kind)
    inputs = [torch.as_tensor(column).to(device=device, dtype=number) for column in columns]
    targets = torch.as_tensor(y).to(device=device, dtype=number)
    count = len(kind.names)
    start = start or ResumePoint([0.0] * count, np.empty((1 + count, 0)))
    raw = [
        torch.tensor(value, dtype=number, device=device, requires_grad=True) for value in start.raw
    ]
    history = np.empty((1 + count, epochs))
    first = start.history.shape[1]
    history[:, :first] = start.history
    take_step = _gradient_step(
        kind, scaling.level, inputs, targets, raw, learning_rate, halving=halving
    )
    if device.type == "cuda":
        take_step = _captured(take_step, raw)
    fetch = _fetch_each if device.type == "cpu" else _fetch_at_once
    for epoch in range(first, epochs):
        *numbers, last_loss = fetch(*raw, take_step())
        values = scaling.in_data_units(numbers)
        history[:, epoch] = last_loss, *values
        if not (math.isfinite(last_loss) and all(map(math.isfinite, values))):
            stable = stable_learning_rate(columns, scaling.level)
            raise DivergedError(_divergence_reason(epoch, learning_rate, stable, dtype))
        if watch:
            watch(Step(epoch, last_loss, values, numbers, history))
    return History(kind.names, history[0], history[1:])


def _gradient_step(
    kind: Linear,
    level: float,
    inputs: Sequence[torch.Tensor],
    targets: torch.Tensor,
    raw: Sequence[torch.Tensor],
    learning_rate: float,
    *,
    halving: bool,
) -> Callable[[], torch.Tensor]:
    """Return a function that moves raw down the gradient and returns the loss before that.

    level: the value of the constant column.
    """
    shared, mean = summation.sums_for(targets, halving=halving)
    columns = dict(zip(kind.varying, inputs, strict=True))

    def part(name: str, parameter: torch.Tensor) -> torch.Tensor:
        if name == kind.constant:
            return shared(parameter) if level == 1 else shared(parameter) * level
        return columns[name] * shared(parameter)

    def take_step() -> torch.Tensor:
        parts = [part(name, each) for name, each in zip(kind.names, raw, strict=True)]
        prediction = parts[0]
        for each in parts[1:]:
            prediction = prediction + each
        losses = (prediction - targets) ** 2
        loss = mean(losses)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in raw:
                assert parameter.grad is not None
                parameter.sub_(learning_rate * parameter.grad)
        for parameter in raw:
            parameter.grad = None
        return loss

    return take_step


def _captured(
    take_step: Callable[[], torch.Tensor], raw: Sequence[torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """Return the step as one CUDA graph: the same kernels in the same order, launched together.

    If the rows are few, launching a kernel takes longer than running it. `raw` does not change.
    Source: https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """
    initial = [parameter.detach().clone() for parameter in raw]
    device = raw[0].device
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # warm up: the set-up of a first call must not be captured
            take_step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = take_step()
    with torch.no_grad():
        for parameter, value in zip(raw, initial, strict=True):
            parameter.copy_(value)

    def replay() -> torch.Tensor:
        graph.replay()
        return loss

    return replay


def _fetch_each(*numbers: torch.Tensor) -> list[float]:
    return [number.item() for number in numbers]


def _fetch_at_once(*numbers: torch.Tensor) -> list[float]:
    """Return numbers from a device in one copy, since this process waits for every copy."""
    values: list[float] = torch.stack([number.detach() for number in numbers]).tolist()
    return values
