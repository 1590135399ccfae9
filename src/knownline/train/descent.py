"""The article's loop: gradient descent on the mean squared error, by autograd.

Runs on rows or on the three points that stand for them; it is the same loop. Knows nothing of
files, of MLflow or of the truth.
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

    loss, w, b: as in History. raw_w, raw_b: the parameters as the loop holds them, which is all
    it needs to go on. columns: loss, w and b by epoch, (3, epochs), filled so far.
    """

    epoch: int
    loss: float
    w: float
    b: float
    raw_w: float
    raw_b: float
    columns: Array


class ResumePoint(NamedTuple):
    """Where a training goes on: the last Step's raw_w, raw_b and the columns up to there."""

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
        """Return the line of the data's x, given the one of the scaled x."""
        return Line(w / self.sd, b - (w / self.sd) * self.mean)


@dataclass(frozen=True, slots=True)
class History:
    """What happened at each epoch, from 0 on: (epochs,) each, w and b in the data's units.

    loss is the mean squared error the epoch began with, as the article prints it; w and b are
    what its step left.
    """

    loss: Array
    w: Array
    b: Array

    @property
    def line(self) -> Line:
        """The line after the last step."""
        return Line(float(self.w[-1]), float(self.b[-1]))


def choose_device(name: str, dtype: str) -> torch.device:
    """Return the device that train.device names; auto takes an accelerator that has the dtype.

    Raises: DeviceError where the named device is not available here.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        # mps has no float64: https://pytorch.org/docs/stable/notes/mps.html
        lacks = found is None or (found.type == "mps" and dtype == "float64")
        return torch.device("cpu") if lacks or found is None else found
    if name != "cpu" and (found is None or found.type != name):
        here = f"cpu and {found.type}" if found else "only cpu"
        raise DeviceError(f"train.device must be available here: {here} (got {name})")
    return torch.device(name)


def stable_learning_rate(x: Array) -> float:
    """Return the learning rate below which descent on x, (rows,), cannot diverge: 2 / λmax.

    λmax is the largest eigenvalue of the Hessian of the mean squared error in (w, b),
    2 [[mean x², mean x], [mean x, 1]].
    """
    # Divided by the size of x, so that x² cannot overflow.
    size = max(1.0, float(np.max(np.abs(x))))
    scaled = x / size
    square, mean, one = float(np.mean(scaled**2)), float(np.mean(scaled)) / size, 1 / size / size
    largest = (square + one) + math.hypot(square - one, 2 * mean)
    return 2 / largest / size / size


def _diverged(epoch: int, rate: float, stable: float, dtype: str) -> str:
    left = f"the loss left the finite numbers at epoch {epoch}"
    if rate < stable:
        return f"train.dtype must hold the squares of this data: rescale it (got {dtype}): {left}"
    return (
        f"train.learning_rate must be less than {stable:.6g} for this data (got {rate:g}): {left}"
    )


def row_bytes(dtype: str, device: torch.device) -> dict[torch.device, int]:
    """Return how much memory a row takes in `fit`, by the device that must have it.

    x and y lie on the CPU as float64. What autograd makes of them was measured: on a CPU 15 to 19
    numbers a row, on a GPU 9 to 10.5.
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

    x: (rows,) as the fit is to see it, scaled already where it is to be scaled.
    y: (rows,) in the data's units.
    scaling: how x relates to the data's x, for the w and b that are returned.
    halving: sum over rows by halving, for many rows: else their order is torch's, which depends on
    threads and SIMD from some rows on.
    start: where an earlier part of the same training stood; the result is that of one piece.
    watch: told of every epoch as it ends; what it does cannot change the fit.

    Raises: DivergedError at the first loss that is not finite.
    """
    kind = {"float64": torch.float64, "float32": torch.float32}[dtype]
    inputs = torch.as_tensor(x).to(device=device, dtype=kind)
    targets = torch.as_tensor(y).to(device=device, dtype=kind)
    done = start or ResumePoint(0.0, 0.0, np.empty((3, 0)))
    w = torch.tensor(done.w, dtype=kind, device=device, requires_grad=True)
    b = torch.tensor(done.b, dtype=kind, device=device, requires_grad=True)
    columns = np.empty((3, epochs))
    first = done.columns.shape[1]
    columns[:, :first] = done.columns
    shared, mean = summation.of(inputs, halving=halving)

    def take_step() -> torch.Tensor:
        """Move w and b down the gradient; return the loss from which they went."""
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

    if device.type == "cuda":
        take_step = _captured(take_step, w, b)
    fetched = _one_by_one if device.type == "cpu" else _together
    for epoch in range(first, epochs):
        raw_w, raw_b, last = fetched(w, b, take_step())
        line = scaling.in_data_units(raw_w, raw_b)
        columns[:, epoch] = last, line.w, line.b
        if not (math.isfinite(last) and math.isfinite(line.w) and math.isfinite(line.b)):
            raise DivergedError(_diverged(epoch, learning_rate, stable_learning_rate(x), dtype))
        if watch:
            watch(Step(epoch, last, line.w, line.b, raw_w, raw_b, columns))
    return History(*columns)


def _captured(
    take_step: Callable[[], torch.Tensor], w: torch.Tensor, b: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """Return a step as one CUDA graph: the same kernels in the same order, asked for all at once.

    To ask for each takes a GPU longer than to run it, where rows are few. w and b stay as they are.
    Source: https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """
    before = w.detach().clone(), b.detach().clone()
    stream = torch.cuda.Stream(w.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(w.device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # what is set up at a first call must not be captured
            take_step()
    torch.cuda.current_stream(w.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = take_step()
    with torch.no_grad():
        w.copy_(before[0])
        b.copy_(before[1])

    def replay() -> torch.Tensor:
        graph.replay()
        return loss

    return replay


def _one_by_one(*numbers: torch.Tensor) -> list[float]:
    return [number.item() for number in numbers]


def _together(*numbers: torch.Tensor) -> list[float]:
    """Return numbers from a device by one copy: each makes this process wait for it."""
    found: list[float] = torch.stack([number.detach() for number in numbers]).tolist()
    return found
