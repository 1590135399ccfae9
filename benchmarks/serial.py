"""The serial steps of drawing 10¹² rows, which more machines do not shorten.

Nothing is drawn: the shards are listed, and their moments and checksums are made up.
"""

import argparse
import hashlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from knownline.core import checksums, moments
from knownline.generate import shards
from knownline.generate.draw import CHUNK_ROWS
from knownline.generate.source import Source
from knownline.params import Params

PIVOT = moments.Pivot((0.0,), 0.0, (0.0,))


def main() -> None:
    """Print the seconds of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**12, help="rows (10¹²)")
    parser.add_argument("--times", type=int, default=5, help="repetitions (5)")
    given = parser.parse_args()

    def show(step: str, call: Callable[[], object], more: str = "") -> None:
        took = [_seconds(call) for _ in range(given.times)]
        print(f"{step}: {statistics.median(took):.3g} s{more}", flush=True)

    params = Params.read()
    settings = params.generate.model_copy(update={"rows": given.rows})
    source = Source("line", settings, params.true_parameters, None, given.rows)
    job = shards.Job(source, 0.0, settings.seed, Path("train"), Path("holdout"))
    count = len(shards.tasks(job))
    show(f"{count:,} shards listed", lambda: shards.tasks(job))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sums = {folder / f"train/part-{number:05d}.parquet": "0" * 64 for number in range(count)}
        show("their sums written", lambda: checksums.write(folder, sums))
        size = (folder / checksums.SUMS).stat().st_size
        show("their sums read and hashed", lambda: checksums.digest(folder), f", {size:,} bytes")
    parts = _parts(-(-given.rows // CHUNK_ROWS))
    chunks = sum(len(part) for _, part in parts)
    show(f"{chunks:,} chunks joined", lambda: moments.join(parts), f", {chunks * 48:,} bytes")
    data = bytes(10**8)
    show("MD5 of 10⁸ bytes", lambda: hashlib.md5(data, usedforsecurity=False))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MB at most")


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _parts(count: int) -> list[tuple[moments.Pivot, moments.Array]]:
    """Return made-up moments of some chunks, in the form in which shards return them."""
    random, size = np.random.default_rng(7), shards.SHARD_ROWS // CHUNK_ROWS
    chunks = np.empty((count, 6))
    chunks[:, 0] = CHUNK_ROWS
    chunks[:, 1:3] = random.normal(0.0, 1e-3, (count, 2))
    chunks[:, 3:] = CHUNK_ROWS * random.uniform(0.9, 1.1, (count, 3))
    return [(PIVOT, chunks[start : start + size]) for start in range(0, count, size)]


if __name__ == "__main__":
    main()
