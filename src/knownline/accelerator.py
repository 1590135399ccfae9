"""The arithmetic of the pass on a GPU, by torch: the bits that numpy makes of the same chunks.

Chunks go through pinned memory, which the GPU fetches by itself; copies and arithmetic of one
thread wait in a stream of its own, so the threads that read and the GPU work at the same time. Only
elementwise steps are asked for, one kernel each: no sum of the device's own order, and no product
contracted into a sum. Knows nothing of files.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from knownline import compression
from knownline.compression import Arithmetic, Array, Pivot, Room

AT_ONCE = 16
"""Chunks that go to a device together: a million rows, 17 MB. A step on fewer takes as long."""


def on(device: str) -> Arithmetic:
    """Return the arithmetic on a device.

    What other devices than CUDA's promise of float64 is not known: for them numpy does it.
    """
    there = torch.device(device)
    return by_torch(there) if there.type == "cuda" else compression.ON_CPU


def by_torch(device: torch.device) -> Arithmetic:
    """Return the arithmetic by torch, each thread with memory and a stream of its own."""
    return Arithmetic(lambda: Accelerator(device).moments, AT_ONCE, forks=False)


class Accelerator:
    """One thread's memory on a device, and its stream; on the CPU the same arithmetic without."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._stream: Any = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]

        def here(count: int) -> torch.Tensor:
            return torch.empty(count, dtype=torch.float64, pin_memory=on_gpu)

        def there(count: int) -> torch.Tensor:
            return torch.empty(count, dtype=torch.float64, device=device)

        self._pinned, self._columns, self._room = Room(here), Room(there), Room(there)

    def moments(self, chunks: Sequence[tuple[Array, Array]], pivot: Pivot) -> Array:
        """Return the moments of some chunks of one length about a pivot line: (chunks, 6)."""
        shape = 2, len(chunks), len(chunks[0][0])
        with self._in_stream():
            pinned = self._pinned.take(*shape)
            here = pinned.numpy()
            for place, (x, y) in enumerate(chunks):
                here[0, place], here[1, place] = x, y
            xs, ys = self._columns.take(*shape).copy_(pinned, non_blocking=True)
            pairs = list(zip(xs, ys, strict=True))
            found = compression.chunk_moments(pairs, pivot, self._room, torch)
            out: Array = found.cpu().numpy()  # waits for the stream: `pinned` is free again
        return out

    def _in_stream(self) -> Any:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()
