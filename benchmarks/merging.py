"""The merge at the end of a pass over 10¹² rows: ten million chunks' moments into one, in memory.

Simulated: the moments are made up, 48 bytes each, as workers would send them; what is timed is what
rank 0 does with them.
"""

import argparse
import resource
import statistics
import time

import numpy as np

from knownline.core import moments


def main() -> None:
    """Print how long it takes, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10**7, help="chunks (10⁷)")
    parser.add_argument("--times", type=int, default=5, help="repetitions (5)")
    given = parser.parse_args()
    draws = np.random.default_rng(7)
    rows = np.full(given.chunks, 65_536.0)
    means = draws.normal(0.0, 1e-3, (2, given.chunks))
    squares = rows * draws.uniform(0.9, 1.1, (3, given.chunks))
    chunks = np.stack([rows, *means, *squares], axis=1)
    took = []
    for _ in range(given.times):
        began = time.perf_counter()
        merged = moments.merge(chunks)
        took.append(time.perf_counter() - began)
    assert merged.rows == given.chunks * 65_536
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"{given.chunks:,} chunks, {chunks.nbytes / 1e6:,.0f} MB of moments:"
        f" {statistics.median(took):.2f} s, {peak:,.0f} MB at most"
    )


if __name__ == "__main__":
    main()
