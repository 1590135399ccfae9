"""Who takes the moments of the chunks that a pass reads: numpy, in the process that reads them.

accelerator.py has another one. Their bits are the same. Knows nothing of files.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from knownline.core import moments
from knownline.core.moments import Pivot, ScratchBuffer

Array = npt.NDArray[np.float64]
Chunks = Iterable[tuple[Array, Array]]
"""x and y of some chunks, (rows,) each."""


class Arithmetic(Protocol):
    """What one pass takes its moments by.

    hands: how many may read for it at once.
    """

    hands: int

    def read(self, chunks: Chunks, rows: tuple[int, ...], hand: int) -> Any:
        """Do with a piece's chunks what can be done where they are read; return it, to be pickled.

        rows: of each chunk. hand: as `spread.over` numbers them.
        """

    def take(self, piece: int, told: Any) -> None:
        """Do the rest, in the process that asked, with what `read` returned of a piece."""

    def moments(self) -> dict[int, Array]:
        """Return the moments of the chunks of every piece, (chunks, 6) each, by its number."""


Begin = Callable[[Pivot, int, int, int], Arithmetic]
"""Begins a pass about a pivot line, of pieces of so many chunks (or others) of so many rows, which
so many hands may read, or fewer."""


class OnCpu:
    """Moments by numpy, all of them where the chunks are read."""

    def __init__(self, pivot: Pivot, chunks: int, rows: int, hands: int) -> None:
        self.hands = hands
        self._pivot = pivot
        self._rooms: dict[int, ScratchBuffer] = {}
        self._found: dict[int, Array] = {}

    def read(self, chunks: Chunks, rows: tuple[int, ...], hand: int) -> Array:
        """Return the moments of chunks, (chunks, 6), each taken while it is in the cache."""
        room = self._rooms.setdefault(hand, ScratchBuffer())
        with moments.ignoring_overflow():
            found = [moments.chunk_moments(x[None], y[None], self._pivot, room) for x, y in chunks]
        return np.concatenate([np.empty((0, 6)), *found])

    def take(self, piece: int, told: Array) -> None:
        """Keep a piece's moments."""
        self._found[piece] = told

    def moments(self) -> dict[int, Array]:
        """Return the moments of every piece by its number."""
        return self._found
