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


def held_out(
    block: int, rows: int, *, fraction: float, seed: int, grows: bool
) -> npt.NDArray[np.bool_]:
    """Return which of the `rows` rows of a block of `CHUNK_ROWS` rows are held out: (rows,) bool.

    rows: CHUNK_ROWS, or fewer in the last block of the data. grows: whether rows may be appended to
    the data later, as to a table.

    The holdout is stratified by block, with a count that is exact over all complete blocks. In data
    that does not grow, it is a simple random sample of each block, and the count is exact in the
    last block too. In data that grows, a row that was trained on must never be held out later:
    a model that was fitted to it would look better than it is. So there the strata are a few rows
    each, and whether a row is held out does not depend on the rows after it.
    """
    mask = np.zeros(CHUNK_ROWS if grows else rows, dtype=bool)
    if fraction > 0:
        first = block * CHUNK_ROWS
        count = holdout_rows(first + len(mask), fraction) - holdout_rows(first, fraction)
        random = generator(seed=seed, stream=Stream.HOLDOUT, chunk=block)
        if grows:
            mask = _one_of_each_stratum(count, random)
        else:
            mask[random.choice(rows, size=count, replace=False, shuffle=False)] = True
    return mask[:rows]


def _one_of_each_stratum(count: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose `count` rows of a complete block, one of every stratum of consecutive rows.

    Where most rows are to be chosen, one of every stratum is not: two in a row must be possible.
    """
    fewer = min(count, CHUNK_ROWS - count)
    ends = np.arange(fewer + 1) * CHUNK_ROWS // max(fewer, 1)
    mask = np.zeros(CHUNK_ROWS, dtype=bool)
    mask[random.integers(ends[:-1], ends[1:])] = True
    return mask if count == fewer else ~mask


def training_rows(block: int, fraction: float) -> int:
    """Return how many of the rows before a block are trained on."""
    rows = block * CHUNK_ROWS
    return rows - holdout_rows(rows, fraction)


def block_of(training_row: int, fraction: float) -> int:
    """Return the block in which the training row with that number, counted from 0, lies."""
    after = bisect_right(_BLOCKS, training_row, key=lambda block: training_rows(block, fraction))
    return after - 1
