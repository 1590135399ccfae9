"""The article's loop: descent on the mean squared error by autograd, for named parameters.

The same loop runs on all rows or on a few points with the same loss. Knows nothing of files, of
MLflow or of the truth.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from knownline.core.errors import DeviceError, DivergedError
from knownline.core.history import History
from knownline.core.kinds import Linear, Parametric
from knownline.core.least_squares import Scaling
from knownline.train import optimizers, predictions, summation
from knownline.train.optimizers import State
from knownline.train.predictions import Start

Array = npt.NDArray[np.float64]
Device = torch.device


class Step(NamedTuple):
    """An epoch that has just ended.

    loss, values: as in History. state: returns what the loop needs to resume. history: loss and
    parameters by epoch, (1 + parameters, epochs), filled up to here.
    """

    epoch: int
    loss: float
    values: list[float]
    state: Callable[[], State]
    history: Array

    @property
    def resume_point(self) -> "ResumePoint":
        """The point at which a training can resume from here."""
        return ResumePoint(self.state(), self.history[:, : self.epoch + 1].copy())


class ResumePoint(NamedTuple):
    """A point at which a training resumes: its state, and its history so far."""

    state: State
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


def divergence_reason(epoch: int, rate: float) -> str:
    """Return the message for a loss that is not finite, if no stable learning rate is known."""
    return f"train.learning_rate must be smaller for this data (got {rate:g}): {_event(epoch)}"


def _event(epoch: int) -> str:
    return f"the loss is not finite at epoch {epoch}"


def _descent_reason(epoch: int, rate: float, stable: float, dtype: str) -> str:
    """Return the same for gradient descent on a linear model. stable: a learning rate."""
    event = _event(epoch)
    if rate < stable:
        return f"train.dtype must hold the squares of this data: rescale it (got {dtype}): {event}"
    return (
        f"train.learning_rate must be less than {stable:.6g} for this data (got {rate:g}): {event}"
    )


def row_bytes(count: int, dtype: str, device: torch.device) -> dict[torch.device, int]:
    """Return the bytes of memory that `fit` needs per row, by device. count: of columns.

    The columns and y are float64 on the CPU. Autograd's own memory was measured for one column: 15
    to 19 numbers per row on a CPU, 9 to 10.5 on a GPU; each more takes six at the most.
    """
    cpu, size = torch.device("cpu"), {"float64": 8, "float32": 4}[dtype]
    columns = (count + 1) * 8
    own = (20 if device == cpu else 12) + 6 * (count - 1)
    return {cpu: columns + own * size} if device == cpu else {cpu: columns, device: own * size}


def run_epochs(
    run: Callable[[int], tuple[float, list[float]]],
    *,
    names: tuple[str, ...],
    epochs: int,
    state: Callable[[], State],
    start: Array | None,
    watch: Watcher | None,
    diverged: Callable[[int], str],
) -> History:
    """Run the epochs of a training, and return its history.

    run: runs one epoch; returns its loss and the parameters after it. start: the history so far.
    diverged: returns the message for a loss that is not finite.

    Raises: DivergedError at the first such loss.
    """
    history = np.empty((1 + len(names), epochs))
    first = 0 if start is None else start.shape[1]
    if start is not None:
        history[:, :first] = start
    for epoch in range(first, epochs):
        loss, values = run(epoch)
        history[:, epoch] = loss, *values
        if not (math.isfinite(loss) and all(map(math.isfinite, values))):
            raise DivergedError(diverged(epoch))
        if watch:
            watch(Step(epoch, loss, values, state, history))
    return History(names, history[0], history[1:])


def fit(
    columns: Sequence[Array],
    y: Array,
    *,
    kind: Parametric,
    epochs: int,
    learning_rate: float,
    dtype: str,
    device: torch.device,
    scaling: Scaling | Start | None = None,
    optimizer: str = "gd",
    halving: bool = False,
    start: ResumePoint | None = None,
    watch: Watcher | None = None,
) -> History:
    """Fit a model with named parameters; each epoch is a step on all rows.

    columns: for a linear model, its varying terms, scaled if `scaling` says so; for another model,
    its inputs; (rows,) each. y: (rows,), in the data's units.
    scaling: how the parameters of the loop, which start at 0, become the model's.
    halving: sum over rows by halving, for many rows; torch's own order of summation depends on
    threads and SIMD unless the rows are few.
    start: where to resume; the result is the same as without a break.
    watch: called after every epoch; it cannot change the fit.

    Raises: DivergedError at the first loss that is not finite.
    """
    number = {"float64": torch.float64, "float32": torch.float32}[dtype]
    inputs = [torch.as_tensor(column).to(device=device, dtype=number) for column in columns]
    targets = torch.as_tensor(y).to(device=device, dtype=number)
    raw = [torch.zeros((), dtype=number, device=device, requires_grad=True) for _ in kind.names]
    sums = summation.sums_for(targets, halving=halving)
    if isinstance(kind, Linear):
        scaling = scaling if isinstance(scaling, Scaling) else Scaling(kind)
        predict = predictions.linear(kind, scaling.level, inputs, sums[0])
        # Gradient descent takes the same steps in any unit; the others take them in this one.
        unit = 1.0 if optimizer == "gd" else float(np.std(y)) or 1.0
    else:
        assert isinstance(scaling, Start)
        predict, unit = predictions.nonlinear(kind, scaling, inputs, sums[0]), scaling.unit
    chosen = optimizers.named(optimizer, raw, learning_rate)
    if start:
        _restore(start.state, raw, chosen)
    take_step = _step(chosen, raw, unit, predict, targets, sums[1])
    if device.type == "cuda" and optimizer == "gd":
        take_step = _captured(take_step, raw)
    fetch = _fetch_each if device.type == "cpu" else _fetch_at_once

    def run(_: int) -> tuple[float, list[float]]:
        *numbers, loss = fetch(*raw, take_step())
        if unit == 1.0:
            return loss, scaling.in_data_units(numbers)
        return loss * unit * unit, scaling.in_data_units([each * unit for each in numbers])

    def diverged(epoch: int) -> str:
        if not isinstance(scaling, Scaling) or optimizer != "gd":
            return divergence_reason(epoch, learning_rate)
        stable = stable_learning_rate(columns, scaling.level)
        return _descent_reason(epoch, learning_rate, stable, dtype)

    return run_epochs(
        run,
        names=kind.names,
        epochs=epochs,
        state=lambda: {"raw": _numbers(raw), **optimizers.state_of(chosen)},
        start=start.history if start else None,
        watch=watch,
        diverged=diverged,
    )


def _numbers(raw: Sequence[torch.Tensor]) -> Any:
    return torch.stack([each.detach() for each in raw]).cpu().numpy()


def _restore(state: State, raw: Sequence[torch.Tensor], optimizer: optimizers.Optimizer) -> None:
    with torch.no_grad():
        for parameter, value in zip(raw, state["raw"].tolist(), strict=True):
            parameter.fill_(value)
    optimizers.restore(optimizer, state)


def _step(
    optimizer: optimizers.Optimizer,
    raw: Sequence[torch.Tensor],
    unit: float,
    predict: predictions.Prediction,
    targets: torch.Tensor,
    mean: summation.Sum,
) -> Callable[[], torch.Tensor]:
    """Return a function that takes a step and returns the loss before it, in units of unit².

    unit: of the parameters of the loop and of y, in the data's units.
    """

    def closure() -> torch.Tensor:
        for parameter in raw:
            parameter.grad = None
        prediction = predict(raw if unit == 1.0 else [each * unit for each in raw])
        losses = (prediction - targets) ** 2
        loss = mean(losses) if unit == 1.0 else mean(losses) / unit**2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def take_step() -> torch.Tensor:
        loss: torch.Tensor = optimizer.step(closure)
        return loss

    return take_step


def _captured(
    take_step: Callable[[], torch.Tensor], raw: Sequence[torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """Return the step as one CUDA graph: the same kernels in the same order, launched together.

    With few rows, launching a kernel takes longer than running it. `raw` does not change.
    Source: https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """
    initial = [parameter.detach().clone() for parameter in raw]
    device = raw[0].device
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # warm up: the set-up of the first calls must not be captured
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
    """Return numbers from a device in one copy, because this process waits for each copy."""
    values: list[float] = torch.stack([number.detach() for number in numbers]).tolist()
    return values
