"""Which rows are held out from training.

Knows nothing of where the rows come from, nor of files.
"""

import numpy as np
import numpy.typing as npt

from knownline.generate.draw import CHUNK_ROWS, Stream, generator
from knownline.params import holdout_rows


def held_out(
    start: int, stop: int, *, rows: int, fraction: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which of rows start..stop-1 of `rows` are held out: (stop-start,) bool.

    The holdout is stratified: a simple random sample of every block of `CHUNK_ROWS` rows, of the
    size that makes the count over all blocks so far exact. Whether a row is held out depends on
    its position in the table, not on the pieces in which the table is read.
    """
    mask = np.zeros(stop - start, dtype=bool)
    if fraction == 0:
        return mask
    for block in range(start // CHUNK_ROWS, -(-stop // CHUNK_ROWS)):
        first, last = block * CHUNK_ROWS, min((block + 1) * CHUNK_ROWS, rows)
        count = holdout_rows(last, fraction) - holdout_rows(first, fraction)
        random = generator(seed=seed, stream=Stream.HOLDOUT, chunk=block)
        chosen = first + random.choice(last - first, size=count, replace=False, shuffle=False)
        mask[chosen[(chosen >= start) & (chosen < stop)] - start] = True
    return mask
