"""Sums over rows in a fixed order, with gradients: the same bits on every device.

The order of torch.sum depends on threads, on SIMD width and on the device. Knows nothing of the
fit.
"""

from collections.abc import Callable
from typing import Any

import torch

Sum = Callable[[torch.Tensor], torch.Tensor]


def sums_for(inputs: torch.Tensor, *, halving: bool) -> tuple[Sum, Sum]:
    """Return two functions: one repeats a number for every row, the other averages over rows.

    inputs: x, (rows,). halving: whether to sum by halving, for many rows; otherwise rows are added
    in order, on a CPU by torch's own sums.
    """
    if not halving and inputs.device.type == "cpu":
        return lambda number: number, torch.mean
    sums = Halving(inputs) if halving else InOrder(inputs)
    return sums.shared, sums.mean


class Sums:
    """Sums over rows: in a mean, and in the gradient of a number that all rows share."""

    def __init__(self, like: torch.Tensor) -> None:
        """like: a tensor with the length, dtype and device of those to be summed, (rows,)."""
        self.rows = len(like)
        # A tensor, because on a GPU torch replaces division by a number with a reciprocal.
        self.count = torch.full((), self.rows, dtype=like.dtype, device=like.device)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of values, (rows,), as a scalar tensor with its own memory."""
        raise NotImplementedError

    def shared(self, number: torch.Tensor) -> torch.Tensor:
        """Return the number for every row, (rows,); its gradient is the sum over the rows."""
        out: torch.Tensor = _Shared.apply(number, self)  # type: ignore[no-untyped-call]
        return out

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of values, (rows,)."""
        out: torch.Tensor = _Mean.apply(values, self)  # type: ignore[no-untyped-call]
        return out


class Halving(Sums):
    """Adds the upper half to the lower half until one number is left, like core.moments.merge."""

    def __init__(self, like: torch.Tensor) -> None:
        super().__init__(like)
        self._halves = torch.empty_like(like[: 1 << max(self.rows - 1, 1).bit_length() - 1])

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of values, (rows,), as a scalar tensor with its own memory."""
        if self.rows < 2:
            return values.sum()
        sums = self._halves
        half = len(sums)
        paired = self.rows - half
        torch.add(values[:paired], values[half:], out=sums[:paired])
        sums[paired:] = values[paired:half]
        while half > 1:
            half //= 2
            torch.add(sums[:half], sums[half : 2 * half], out=sums[:half])
        return sums[0].clone()


class InOrder(Sums):
    """Adds one number after the other, as torch adds three numbers on the CPU."""

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of values, (rows,), as a scalar tensor with its own memory."""
        if self.rows < 2:
            return values.sum()
        total = values[0] + values[1]
        for value in values[2:]:
            total = total + value
        return total


class _Shared(torch.autograd.Function):
    """Repeats a number for every row; its gradient is summed in the order of `sums`."""

    @staticmethod
    def forward(ctx: Any, number: torch.Tensor, sums: Sums) -> torch.Tensor:
        ctx.sums = sums
        return number.expand(sums.rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.sums.total(gradient), None


class _Mean(torch.autograd.Function):
    """The mean over rows, summed in the order of `sums`."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, sums: Sums) -> torch.Tensor:
        ctx.sums = sums
        return sums.total(values) / sums.count

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (gradient / ctx.sums.count).expand(ctx.sums.rows), None
