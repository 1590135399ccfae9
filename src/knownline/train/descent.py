"""The article's loop: gradient descent on the mean squared error, by autograd.

The same loop runs on all rows or on three points with the same loss. Knows nothing of files, of
MLflow or of the truth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from knownline.core.errors import DeviceError, DivergedError
from knownline.core.line import Line
from knownline.train import summation

Array = npt.NDArray[np.float64]
Device = torch.device


class Step(NamedTuple):
    """An epoch that has just ended.

    loss, w, b: as in History. raw_w, raw_b: the parameters of the loop, for the scaled x; the loop
    needs nothing else to resume. columns: loss, w and b by epoch, (3, epochs), filled up to here.
    """

    epoch: int
    loss: float
    w: float
    b: float
    raw_w: float
    raw_b: float
    columns: Array


class ResumePoint(NamedTuple):
    """Where to resume a training: raw_w, raw_b and the filled columns of the last Step."""

    w: float
    b: float
    columns: Array


Watcher = Callable[[Step], object]
"""Called after every epoch."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the x of the fit relates to the x of the data: (x - mean) / sd."""

    mean: float = 0.0
    sd: float = 1.0

    def in_data_units(self, w: float, b: float) -> Line:
        """Return the line for the data's x, given w and b for the scaled x."""
        return Line(w / self.sd, b - (w / self.sd) * self.mean)


@dataclass(frozen=True, slots=True)
class History:
    """Loss, w and b of every epoch, from epoch 0 on: (epochs,) each, w and b in the data's units.

    loss is the mean squared error before the epoch's step, as the article prints it; w and b are
    the coefficients after the step.
    """

    loss: Array
    w: Array
    b: Array

    @property
    def line(self) -> Line:
        """The line after the last step."""
        return Line(float(self.w[-1]), float(self.b[-1]))


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


def stable_learning_rate(x: Array) -> float:
    """Return the learning rate below which descent on x, (rows,), cannot diverge: 2 / λmax.

    λmax is the largest eigenvalue of the Hessian of the mean squared error in (w, b),
    2 [[mean x², mean x], [mean x, 1]].
    """
    # x is divided by its largest value, so that x² cannot overflow.
    size = max(1.0, float(np.max(np.abs(x))))
    scaled = x / size
    square, mean, one = float(np.mean(scaled**2)), float(np.mean(scaled)) / size, 1 / size / size
    largest = (square + one) + math.hypot(square - one, 2 * mean)
    return 2 / largest / size / size


def _divergence_reason(epoch: int, rate: float, stable: float, dtype: str) -> str:
    event = f"the loss left the finite numbers at epoch {epoch}"
    if rate < stable:
        return f"train.dtype must hold the squares of this data: rescale it (got {dtype}): {event}"
    return (
        f"train.learning_rate must be less than {stable:.6g} for this data (got {rate:g}): {event}"
    )


def row_bytes(dtype: str, device: torch.device) -> dict[torch.device, int]:
    """Return the bytes of memory that `fit` needs per row, by device.

    x and y are float64 on the CPU. Autograd's own memory was measured: 15 to 19 numbers per row on
    a CPU, 9 to 10.5 on a GPU.
    """
    cpu, size = torch.device("cpu"), {"float64": 8, "float32": 4}[dtype]
    columns = 2 * 8
    return {cpu: columns + 20 * size} if device == cpu else {cpu: columns, device: 12 * size}


def fit(
    x: Array,
    y: Array,
    *,
    epochs: int,
    learning_rate: float,
    dtype: str,
    device: torch.device,
    scaling: Scaling = Scaling(),
    halving: bool = False,
    start: ResumePoint | None = None,
    watch: Watcher | None = None,
) -> History:
    """Fit y = w*x + b by full-batch gradient descent from w = b = 0.

    x: (rows,), already scaled if it is to be scaled.
    y: (rows,) in the data's units.
    scaling: how x relates to the data's x, for the w and b that are returned.
    halving: sum over rows by halving, for many rows; torch's own order of summation depends on
    threads and SIMD unless the rows are few.
    start: where to resume; the result is that of a training without a break.
    watch: called after every epoch; it cannot change the fit.

    Raises: DivergedError at the first loss that is not finite.
    """
    kind = {"float64": torch.float64, "float32": torch.float32}[dtype]
    inputs = torch.as_tensor(x).to(device=device, dtype=kind)
    targets = torch.as_tensor(y).to(device=device, dtype=kind)
    start = start or ResumePoint(0.0, 0.0, np.empty((3, 0)))
    w = torch.tensor(start.w, dtype=kind, device=device, requires_grad=True)
    b = torch.tensor(start.b, dtype=kind, device=device, requires_grad=True)
    columns = np.empty((3, epochs))
    first = start.columns.shape[1]
    columns[:, :first] = start.columns
    take_step = _gradient_step(inputs, targets, w, b, learning_rate, halving=halving)
    if device.type == "cuda":
        take_step = _captured(take_step, w, b)
    fetch = _fetch_each if device.type == "cpu" else _fetch_at_once
    for epoch in range(first, epochs):
        raw_w, raw_b, last_loss = fetch(w, b, take_step())
        line = scaling.in_data_units(raw_w, raw_b)
        columns[:, epoch] = last_loss, line.w, line.b
        if not (math.isfinite(last_loss) and math.isfinite(line.w) and math.isfinite(line.b)):
            stable = stable_learning_rate(x)
            raise DivergedError(_divergence_reason(epoch, learning_rate, stable, dtype))
        if watch:
            watch(Step(epoch, last_loss, line.w, line.b, raw_w, raw_b, columns))
    return History(*columns)


def _gradient_step(
    inputs: torch.Tensor,
    targets: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor,
    learning_rate: float,
    *,
    halving: bool,
) -> Callable[[], torch.Tensor]:
    """Return a function that moves w and b down the gradient and returns the loss before that."""
    shared, mean = summation.sums_for(inputs, halving=halving)

    def take_step() -> torch.Tensor:
        prediction = inputs * shared(w) + shared(b)
        losses = (prediction - targets) ** 2
        loss = mean(losses)
        loss.backward()  # type: ignore[no-untyped-call]
        assert w.grad is not None
        assert b.grad is not None
        with torch.no_grad():
            w.sub_(learning_rate * w.grad)
            b.sub_(learning_rate * b.grad)
        w.grad = b.grad = None
        return loss

    return take_step


def _captured(
    take_step: Callable[[], torch.Tensor], w: torch.Tensor, b: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """Return the step as one CUDA graph: the same kernels in the same order, launched together.

    If the rows are few, launching a kernel takes longer than running it. w and b do not change.
    Source: https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """
    initial = w.detach().clone(), b.detach().clone()
    stream = torch.cuda.Stream(w.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(w.device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # warm up: the set-up of a first call must not be captured
            take_step()
    torch.cuda.current_stream(w.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = take_step()
    with torch.no_grad():
        w.copy_(initial[0])
        b.copy_(initial[1])

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
