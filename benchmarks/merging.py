"""Joining the moments of 10¹² rows, ten million chunks: the last serial step of `generate`.

The moments are made up, 48 bytes a chunk, 64 chunks a shard, as threads or workers return them.
"""

import argparse
import resource
import statistics
import time

import numpy as np

from knownline.core import moments

PIVOT = moments.Pivot(0.0, 0.0, 0.0)


def main() -> None:
    """Print how long it takes, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10**7, help="chunks (10⁷)")
    parser.add_argument("--times", type=int, default=5, help="repetitions (5)")
    given = parser.parse_args()
    random = np.random.default_rng(7)
    chunks = np.empty((given.chunks, 6))
    chunks[:, 0] = 65_536
    chunks[:, 1:3] = random.normal(0.0, 1e-3, (given.chunks, 2))
    chunks[:, 3:] = 65_536 * random.uniform(0.9, 1.1, (given.chunks, 3))
    parts = [(PIVOT, chunks[start : start + 64]) for start in range(0, given.chunks, 64)]
    took = []
    for _ in range(given.times):
        began = time.perf_counter()
        assert moments.join(parts).rows == given.chunks * 65_536
        took.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"{given.chunks:,} chunks in {len(parts):,} shards, {chunks.nbytes / 1e6:,.0f} MB:"
        f" {statistics.median(took):.2f} s, {peak:,.0f} MB at most"
    )


if __name__ == "__main__":
    main()
