"""A training that a test can watch, stop and continue, so that it need not last long."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from support.workspace import Run
from tests.conftest import Workspace

EPOCHS = 600

AT_ONCE = {"SAMERUN_LIVE_AFTER": "0"}
"""A training is shown from its first epoch on."""

SCRATCH = ".dvc/tmp/samerun/scratch"
"""Where samerun keeps what a stage needs to resume, and what it reports."""

Found = TypeVar("Found")


def make_long(workspace: Workspace) -> None:
    """Let a training last about two seconds: few epochs of many rows, so few metrics."""
    for old, new in {
        "rows: 99": "rows: 400000",
        "epochs: 100": f"epochs: {EPOCHS}",
        "compress: true": "compress: false",
    }.items():
        workspace.replace("params.yaml", old, new)


def assert_every_epoch_once(run: Run) -> None:
    assert run.steps["loss"] == run.steps["w"] == run.steps["b"] == list(range(EPOCHS))


def wait_for(find: Callable[[], Found | None], what: str, seconds: float = 60) -> Found:
    """Return what `find` finds, as soon as it does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} seconds: {what}")


def trainer(workspace: Workspace) -> int | None:
    """Return the process that trains; not `samerun run`, whose words end in the same way."""
    wanted = [b"src/knownline", b"train"]
    found = workspace.processes(lambda words: words[-3:-1] == wanted and b"run" not in words)
    return found[0] if found else None


class Training:
    """`dvc repro`, each of its processes started anew, with its training stopped at the start."""

    def __init__(self, workspace: Workspace, **env: str) -> None:
        """Start it; return when the first epochs have begun."""
        self.workspace = workspace
        cold = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.dvc = subprocess.Popen(
            ["dvc", "repro"],
            cwd=workspace.path,
            env=workspace.env(PATH=cold, **AT_ONCE, **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: self._scratch("live.jsonl"), "a training that has begun")
        self.trainer = wait_for(lambda: trainer(workspace), "a process that trains")
        os.kill(self.trainer, signal.SIGSTOP)

    def wait_for_run(self) -> Run:
        """Let it train until its run has epochs and a checkpoint is there; return the run."""

        def live() -> Run | None:
            found = [run for run in self.workspace.runs() if run.status == "RUNNING"]
            return found[0] if found and found[0].steps.get("loss") else None

        self.train_until(lambda: bool(live() and self._scratch("files/checkpoint")))
        run = live()
        assert run
        return run

    def train_until(self, enough: Callable[[], bool]) -> None:
        """Let it train, a tenth of a second at a time, until it was enough."""
        deadline = time.monotonic() + 60
        while not enough():
            assert time.monotonic() < deadline, "it does not come to the point"
            os.kill(self.trainer, signal.SIGCONT)
            time.sleep(0.1)
            os.kill(self.trainer, signal.SIGSTOP)
            time.sleep(0.4)

    def send(self, what: signal.Signals) -> None:
        """Send the training process a signal, and let it go on."""
        os.kill(self.trainer, what)
        os.kill(self.trainer, signal.SIGCONT)

    def end(self) -> tuple[int, str]:
        """Let it go on; return the exit status of `dvc repro`, and its standard error."""
        if trainer(self.workspace) == self.trainer:
            os.kill(self.trainer, signal.SIGCONT)
        _, errors = self.dvc.communicate()
        return self.dvc.returncode, errors

    def _scratch(self, name: str) -> list[Path]:
        return list((self.workspace.path / SCRATCH).glob(f"*/{name}"))
