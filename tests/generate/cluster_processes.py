"""Real schedulers and workers on this machine, as processes that tests start, stop and kill."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.workspace import inherited
from tests.conftest import ROOT


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; half a minute is for a machine that does other work too."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass
class Cluster:
    """A scheduler and workers, each a process; their logs are in the folder."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, paths: tuple[Path, ...] = (), **env: str) -> int:
        """Start a process whose modules are found in `paths` first; return its id."""
        path = os.pathsep.join(str(p) for p in (*paths, ROOT / "src", ROOT))
        log = self.folder / f"log-{len(self.processes)}"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**inherited(), "PYTHONPATH": path, **env},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self.processes.append(process)
        return process.pid

    def start_scheduler(self, *paths: Path, **env: str) -> int:
        """Start a scheduler on a free port."""
        file = self.folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        pid = self.start(
            *(sys.executable, "-m", "dask", "scheduler", *options),
            *("--scheduler-file", str(file)),
            paths=paths,
            **env,
        )
        until(lambda: file.exists() and '"address"' in file.read_text())
        self.address = file.read_text().split('"address": "')[1].split('"')[0]
        return pid

    def start_worker(self, *paths: Path, before: tuple[str, ...] = ()) -> int:
        """Start a worker of one thread and wait until the scheduler has it; return its id."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            count = len(client.scheduler_info()["workers"])
            pid = self.start(
                *(*before, sys.executable, "-m", "dask", "worker", self.address),
                *("--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1"),
                paths=paths,
            )
            until(lambda: len(client.scheduler_info()["workers"]) > count)
        return pid

    def stop_last(self) -> None:
        """Kill the process that was started last."""
        process = self.processes.pop()
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill all processes that were started here."""
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def meanwhile(action: Callable[[], object], cluster: Cluster) -> Iterator[None]:
    """Do something while the block runs; if it fails, the cluster ends, so that the block does."""

    def act() -> None:
        try:
            action()
        except BaseException:
            cluster.stop()
            raise

    with ThreadPoolExecutor() as pool:
        acting = pool.submit(act)
        yield
        acting.result()


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster without processes yet; all that are started end with the block."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.stop()
