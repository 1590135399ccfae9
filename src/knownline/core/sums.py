"""Sums in a fixed order of addition, so that their bits do not depend on the machine.

Also holds the scratch memory for arithmetic on chunks.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RADIX = 16
"""The number of rows that `sums` adds up in each step."""

SHORT = 128
"""Up to this many numbers are added by halving, which then takes no more steps."""


class ScratchBuffer:
    """Memory for the arithmetic on one chunk, reused for the next; not for several threads.

    Allocating it for every step costs more than the step: the system clears each page first.
    """

    def __init__(self) -> None:
        self._memory: Array = np.empty(0)

    def take(self, columns: int, rows: int) -> Array:
        """Return an uninitialised array of shape (columns, rows)."""
        size = columns * rows
        if size > len(self._memory):
            self._memory = np.empty(size)
        return self._memory[:size].reshape(columns, rows)


def sums(values: Array) -> Array:
    """Return the sums over the last axis of `values`, (k, n): (k,).

    The n numbers are laid out in RADIX rows, which are added one after the other, column by column.
    The column sums are added in the same way, until SHORT or fewer are left; these are added by
    halving. Every step is an elementwise addition, so the order does not depend on SIMD width or
    threads, unlike that of `numpy.sum`. The error grows with log(n), as in pairwise summation.
    """
    while (count := values.shape[1]) > SHORT:
        width = -(-count // RADIX)
        aligned = count - count % width
        # Adds one row after the other, as a test checks.
        totals = np.add.reduce(values[:, :aligned].reshape(len(values), -1, width), axis=1)
        if aligned < count:
            first = totals[:, : count - aligned]
            np.add(first, values[:, aligned:], out=first)
        values = totals
    while (count := values.shape[1]) > 1:
        half = 1 << (count - 1).bit_length() - 1
        lower, upper = values[:, :half], values[:, half:]
        if count < 2 * half:
            first = np.add(lower[:, : count - half], upper)
            values = np.concatenate([first, lower[:, count - half :]], axis=1)
        else:
            values = np.add(lower, upper)
    # Adding 0.0 turns -0.0 into 0.0, as a sum that begins with 0.0 would.
    return values[:, 0] + 0.0 if count else np.zeros(len(values))
