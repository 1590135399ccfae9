"""Chooses what writes the shards: threads on this machine, or Dask's workers on several.

The result does not depend on it.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from knownline.generate import cluster
from knownline.generate.cluster import Mapper

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_THREADS = 32
"""The most threads. Each holds some megabytes, so this limits the memory."""


def mapping(count: int, folder: Path) -> AbstractContextManager[Mapper]:
    """Return the mapper for `count` tasks: Dask's if KNOWNLINE_SCHEDULER is set, else threads.

    folder: where the function writes files; Dask's workers must share it.
    """
    scheduler = cluster.address()
    if scheduler:
        return cluster.connected(scheduler, folder)
    return _threads(min(count, threads()))


def threads() -> int:
    """Return how many threads to use: OMP_NUM_THREADS, else one per core."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    wanted = int(text) if re.fullmatch("[0-9]{1,6}", text) else 0
    return min(wanted or _cores(), MOST_THREADS)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class _Threads:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def __call__(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[Result]:
        return self._pool.map(function, tasks)


@contextmanager
def _threads(count: int) -> Iterator[Mapper]:
    pool = ThreadPoolExecutor(count)
    try:
        yield _Threads(pool)
    finally:
        pool.shutdown(cancel_futures=True)
