"""Functions that the tests of the cluster map: workers import them by name."""

import errno
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline.core.errors import TableError
from knownline.generate import cluster
from samerun import exits


@dataclass(frozen=True)
class Task:
    """A number and the folder for signs of life."""

    number: int
    folder: Path


@dataclass(frozen=True)
class Result:
    """A number, its powers and the process that computed them."""

    number: int
    powers: npt.NDArray[np.float64]
    pid: int


def powers(task: Task) -> Result:
    """Return powers of the number; later numbers are ready sooner."""
    time.sleep(0.02 * (10 - task.number % 10))
    return Result(task.number, np.power(float(task.number), np.arange(3)), os.getpid())


def wait_for_go(task: Task) -> int:
    """Leave a file that names this process, wait for the file `go`, return the number."""
    (task.folder / f"started-{task.number}-{os.getpid()}").touch()
    while not (task.folder / "go").exists():
        time.sleep(0.02)
    return task.number


def refuse(task: Task) -> int:
    """Refuse numbers from 3 on; the latest first."""
    if task.number < 3:
        return task.number
    time.sleep(0.1 * (6 - task.number))
    raise TableError(f"data/own/t.csv must have no line {task.number}")


class OddError(Exception):
    """An error that does not survive pickling."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def fail_oddly(task: Task) -> None:
    """Raise what cannot be unpickled."""
    raise OddError("one", "two")


def fill_disk(task: Task) -> None:
    """Fail as on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(task.folder / "part"))


def kill_itself(task: Task) -> int:
    """Die, as by the kernel when memory is short, but for task 0."""
    if task.number:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def main() -> None:
    """Map wait_for_go as a command would, on the cluster and in the folder that are named."""
    cluster.ANSWER_S, cluster.POLL_S = 2.0, 0.2
    folder = Path(sys.argv[2])

    def work() -> int:
        with cluster.connected(sys.argv[1], folder) as mapper:
            list(mapper(wait_for_go, [Task(number, folder) for number in range(4)]))
        return 0

    sys.exit(exits.status_of(work, "knownline"))
