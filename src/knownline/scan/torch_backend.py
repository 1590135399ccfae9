"""The arithmetic of the pass on a GPU, by torch: the bits that numpy makes of the same chunks.

Forked processes read into memory that they share with this one, pinned where there is a GPU, which
fetches it from there by itself; they never call the GPU. This one asks it for the arithmetic on
many chunks together, in two streams: pieces are fetched while others are worked on. Only
elementwise steps are asked for, a kernel each: no sum of the device's own order, and no product
contracted into a sum. Knows nothing of files.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from knownline.core import moments
from knownline.core.errors import DeviceError
from knownline.core.moments import Pivot, ScratchBuffer
from knownline.scan.numpy_backend import Array, Begin, Chunks, OnCpu
from knownline.scan.pool import AHEAD, FORKS

AT_ONCE = 8
"""Pieces that a device works on together: four million rows, 67 MB. Fewer would take as long."""

MOST = 8
"""Hands that read for a device; each has AHEAD pieces of pinned memory, 8 MB each."""


_NO_MEMORY = 2
"""cudaErrorMemoryAllocation."""


def on(device: str) -> Begin:
    """Return the arithmetic on a device.

    What other devices than CUDA's promise of float64 is not known: for them numpy does it.
    """
    there = torch.device(device)
    return by_torch(there) if there.type == "cuda" else OnCpu


def by_torch(device: torch.device) -> Begin:
    """Return the arithmetic by torch; on the CPU it is the same one, without streams."""
    return lambda pivot, chunks, rows, hands: Accelerator(device, pivot, chunks, rows, hands)


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Say in one line where a device has no memory left for the block. Raises: DeviceError."""
    try:
        yield
    except RuntimeError as error:  # torch has several classes for it, by version
        if "out of memory" not in str(error):
            raise
        raise DeviceError(
            f"train.device must have memory for the fit (got {device}, which has none left)"
        ) from error


class Accelerator:
    """One pass on a device. Its memory there, and its streams, are taken once pieces come."""

    def __init__(
        self, device: torch.device, pivot: Pivot, chunks: int, rows: int, hands: int
    ) -> None:
        # Threads would use a slot again before it is taken.
        self.hands = min(hands, MOST) if FORKS else 1
        self._device, self._pivot = device, pivot
        self._whole = (rows,) * chunks
        self._plain = OnCpu(pivot, chunks, rows, hands)
        slots = self.hands * AHEAD
        shape = slots, 2, chunks, rows
        size = 8 * slots * 2 * chunks * rows
        try:  # not of a file: it is there before a hand is forked, and gone with the last of them
            self._memory = mmap.mmap(-1, max(size, 1))
        except OSError as error:
            raise DeviceError(
                f"train.device must have {size:,} bytes of this machine's memory to fetch rows from"
                f" (got {device}, and {error.strerror})"
            ) from error
        self._slots: Array = np.frombuffer(self._memory, count=slots * 2 * chunks * rows).reshape(
            shape
        )
        self._used: dict[int, int] = {}
        self._there: _Device | None = None

    def read(self, chunks: Chunks, rows: tuple[int, ...], hand: int) -> Array | int:
        """Copy a piece into a slot of the hand's and return the slot.

        A piece of another form, as the last one of a file, is done by numpy: return its moments.
        """
        if rows != self._whole:
            return self._plain.read(chunks, rows, hand)
        turn = self._used.get(hand, 0)
        self._used[hand] = turn + 1
        slot = AHEAD * hand + turn % AHEAD
        for place, (x, y) in enumerate(chunks):
            self._slots[slot, 0, place], self._slots[slot, 1, place] = x, y
        return slot

    def take(self, piece: int, told: Array | int) -> None:
        """Keep a piece's moments, or let the device take them; then its slot is free."""
        if not isinstance(told, int):
            self._plain.take(piece, told)
            return
        self._there = self._there or _Device(self._device, self._pivot, self._slots)
        self._there.take(piece, told)

    def moments(self) -> dict[int, Array]:
        """Return the moments of every piece by its number, once the device is done."""
        return self._plain.moments() | (self._there.moments() if self._there else {})


class _Device:
    """What lies on a device during a pass: two batches of pieces, and the moments of those done."""

    def __init__(self, device: torch.device, pivot: Pivot, slots: Array) -> None:
        self._slots = torch.from_numpy(slots)
        self._pinned = _Pinned(self._slots) if device.type == "cuda" else None
        self._batches = [_Batch(device, pivot, slots.shape[1:]) for _ in range(2)]

    def take(self, piece: int, slot: int) -> None:
        """Fetch a slot; where a batch is full, begin its arithmetic and go on with the other."""
        batch = self._batches[0]
        batch.fetch(piece, self._slots[slot])
        if batch.full:
            batch.work()
            self._batches.reverse()

    def moments(self) -> dict[int, Array]:
        """Return the moments of all pieces."""
        found: dict[int, Array] = {}
        for batch in self._batches:
            batch.work()
            found |= batch.moments()
        return found


class _Batch:
    """Up to AT_ONCE pieces in a device's memory, and the stream in which they come and are done."""

    def __init__(self, device: torch.device, pivot: Pivot, shape: tuple[int, ...]) -> None:
        on_gpu = device.type == "cuda"
        columns, self._chunks, rows = shape
        self._pivot = pivot
        self._stream: Any = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._room = ScratchBuffer(
            lambda count: torch.empty(count, dtype=torch.float64, device=device)
        )
        size = columns, AT_ONCE * self._chunks, rows
        self._columns = torch.empty(size, dtype=torch.float64, device=device)
        self._pieces: list[int] = []
        self._done: list[tuple[list[int], torch.Tensor]] = []

    @property
    def full(self) -> bool:
        """Whether no piece more has room."""
        return len(self._pieces) == AT_ONCE

    def fetch(self, piece: int, slot: torch.Tensor) -> None:
        """Copy a piece to the device, and wait for it."""
        start = len(self._pieces) * self._chunks
        self._pieces.append(piece)
        with self._in_stream():
            self._columns[:, start : start + self._chunks].copy_(slot, non_blocking=True)
        if self._stream:
            self._stream.synchronize()

    def work(self) -> None:
        """Begin the arithmetic on what was fetched."""
        if not self._pieces:
            return
        with self._in_stream():
            x, y = self._columns[:, : len(self._pieces) * self._chunks]
            found = moments.chunk_moments(x, y, self._pivot, self._room, torch)
        self._done.append((self._pieces, found))
        self._pieces = []

    def moments(self) -> dict[int, Array]:
        """Return the moments of every piece, once the stream is done."""
        with self._in_stream():
            return {
                piece: moments.numpy()
                for pieces, found in self._done
                for piece, moments in zip(
                    pieces, torch.split(found.cpu(), self._chunks), strict=True
                )
            }

    def _in_stream(self) -> Any:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()


class _Pinned:
    """Memory that a GPU may fetch by itself. Raises: RuntimeError where the system refuses."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self._place, self._held = tensor, tensor.data_ptr(), False
        self._runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        size = tensor.numel() * tensor.element_size()
        status = int(self._runtime.cudaHostRegister(self._place, size, 0))
        if status:  # it stays the runtime's last error, so nothing goes on from here
            why = "out of memory" if status == _NO_MEMORY else f"error {status}"
            raise RuntimeError(f"CUDA error: {why}: {size:,} bytes could not be pinned")
        self._held = True

    def __del__(self) -> None:
        """Unpin it, as must be done before it is gone: this one holds on to it."""
        if self._held:
            self._runtime.cudaHostUnregister(self._place)
