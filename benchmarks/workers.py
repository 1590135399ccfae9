"""The pass in one process and in two of torchrun, a thread each, on the same files.

`python -m benchmarks.workers [--rows 100000000] [--workers 1 2] [--times 5]`. What is timed is the
pass itself, from a barrier to the answer in rank 0; torchrun's own start takes seconds more, and
is the same for any number of rows. Medians, one side after the other, three rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.passes import ROOT, written

ROUNDS = 3


def main() -> None:
    """Time each number of workers, and print the figures beside the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--times", type=int, default=5, help="passes a round (5)")
    parser.add_argument("--folder", type=Path, help="where the data goes (the system's)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measure(given.measure, given.times)
        return
    took: dict[int, list[float]] = {count: [] for count in given.workers}
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        folder = written(Path(scratch) / "work", given.rows)
        for _ in range(ROUNDS):
            for count in given.workers:
                took[count] += _seconds(folder, count, given.times)
    first = statistics.median(took[given.workers[0]])
    for count, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{count} workers: {median:.3f} s, {first / median:.2f} times as fast")


def _seconds(folder: Path, workers: int, times: int) -> list[float]:
    run = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={workers}"]
    run += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    own = ["-m", "benchmarks.workers", "--measure", str(folder), "--times", str(times)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *run, *own], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE
    )
    return [float(seconds) for seconds in json.loads(done.stdout.splitlines()[-1])]


def _measure(folder: Path, times: int) -> None:
    """Read the folder so many times in this team, and let rank 0 print the seconds."""
    sys.path.insert(0, str(folder.parent.parent / "src"))
    from torch import distributed

    from knownline.scan import dataset, torchrun

    os.chdir(folder.parent.parent)
    took = []
    with torchrun.joined("cpu") as team:
        for _ in range(times + 1):
            distributed.barrier()
            began = time.perf_counter()
            dataset.summarize(Path("data/train"), team, reread=True)
            took.append(time.perf_counter() - began)
    if team.rank == 0:
        print(json.dumps(took[1:]))


if __name__ == "__main__":
    main()
