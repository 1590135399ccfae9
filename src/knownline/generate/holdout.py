"""Which rows are held out from training, and so where each part of the training rows begins.

Knows nothing of where the rows come from, nor of files.
"""

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from knownline.generate.draw import CHUNK_ROWS, Stream, generator
from knownline.params.data import holdout_rows

_BLOCKS = range(1 << 48)
"""More blocks than there are rows in any data."""


def held_out(block: int, rows: int, *, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which of the `rows` rows of a block of `CHUNK_ROWS` rows are held out: (rows,) bool.

    rows: CHUNK_ROWS, or fewer in the last block of the data.

    The holdout is stratified: a simple random sample of every block, of the size that makes the
    count over all blocks so far exact. So whether a row is held out depends on its position in the
    data alone.
    """
    mask = np.zeros(rows, dtype=bool)
    if fraction > 0:
        first = block * CHUNK_ROWS
        count = holdout_rows(first + rows, fraction) - holdout_rows(first, fraction)
        random = generator(seed=seed, stream=Stream.HOLDOUT, chunk=block)
        mask[random.choice(rows, size=count, replace=False, shuffle=False)] = True
    return mask


def training_rows(block: int, fraction: float) -> int:
    """Return how many of the rows before a block are trained on."""
    rows = block * CHUNK_ROWS
    return rows - holdout_rows(rows, fraction)


def block_of(training_row: int, fraction: float) -> int:
    """Return the block in which the training row with that number, counted from 0, lies."""
    after = bisect_right(_BLOCKS, training_row, key=lambda block: training_rows(block, fraction))
    return after - 1
