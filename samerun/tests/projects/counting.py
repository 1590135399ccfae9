"""A project whose stages take as long as a test wants, and that a test can watch and interrupt.

count -> judge -> record: `count` writes a checkpoint after every step, and does not go further than
the number in the file that TOY_GATE names.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from projects.toy import Toy
from support.workspace import Run

STEPS = 8

COUNT = """
import json, os, signal, sys, time

signal.signal(signal.SIGINT, signal.SIG_DFL)

scratch, live = os.environ.get("SAMERUN_SCRATCH", "."), os.environ.get("SAMERUN_LIVE", os.devnull)
log, gate = os.environ["TOY_LOG"], os.environ["TOY_GATE"]
name, start, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
checkpoint, rows = os.path.join(scratch, "rows"), []
if os.path.exists(checkpoint):
    rows = open(checkpoint).read().splitlines()
with open(log, "a") as stream:
    stream.write(f"{name}:{len(rows)} ")


def report(**values):
    with open(live, "a") as stream:
        stream.write(json.dumps(values) + "\\\\n")


report(device="abacus")
os.makedirs("out", exist_ok=True)
with open(f"out/{name}.csv", "w") as table:
    print("step,value", *rows, sep="\\\\n", file=table, flush=True)
    for step in range(len(rows), steps):
        while step >= int(open(gate).read() or 0):
            time.sleep(0.01)
        time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
        rows.append(f"{step},{start + step}")
        print(rows[-1], file=table, flush=True)
        report(step=step, reported=start - step)
        with open(f"{checkpoint}.new", "w") as stream:
            stream.write("\\\\n".join(rows))
        os.replace(f"{checkpoint}.new", checkpoint)
report(mood="done")
with open(f"out/{name}.json", "w") as stream:
    json.dump({"last": start + steps - 1}, stream)
status = int(os.environ.get("TOY_STATUS", "0"))
if status:
    sys.exit(status)
""".replace("\\\\n", "\\n")

PIPELINE = f"""
stages:
  count:
    cmd: samerun run -- python -IS code/count.py count 100 {STEPS}
    params: [count]
    deps: [code/count.py]
    outs: [out/count.json]
    plots: [out/count.csv: {{x: step}}]
  judge:
    cmd: samerun run -- sh -e -c 'cp out/count.json out/judge.json'
    deps: [out/count.json]
    metrics: [out/judge.json]
  record:
    cmd: samerun record
    params: [count]
    deps: [code/count.py, out/count.json, out/count.csv, out/judge.json]
    outs: [mlruns/recorded.json: {{cache: false, persist: true}}]
"""

FILES = {
    "code/count.py": COUNT,
    "params.yaml": "count: 1\n",
    ".gitignore": "/out/\n/mlruns/\n",  # DVC writes it last, so that a kill may leave it out
    "dvc.yaml": PIPELINE,
}

Found = TypeVar("Found")


def wait_for(find: Callable[[], Found | None], what: str, seconds: float = 60) -> Found:
    """Return the result of `find` as soon as it has one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} seconds: {what}")


@dataclass(frozen=True)
class Counting(Toy):
    """A checkout of the project."""

    @property
    def gate(self) -> Path:
        """The file with the number of steps that may be done."""
        return self.path.parent / f"{self.path.name}.gate"

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of a user, in which a run is visible at once."""
        return super().env(**{"TOY_GATE": str(self.gate), "SAMERUN_LIVE_AFTER": "0", **more})

    def allow(self, steps: int) -> None:
        """Let the program do this number of steps."""
        self.gate.write_text(str(steps))

    def starts(self) -> list[str]:
        """Return the stages that executed so far, each with the step that it began at."""
        return self.executions()

    def receipts(self) -> list[dict[str, Any]]:
        """Return all receipts, oldest first."""
        found = (self.path / ".dvc/tmp/samerun/receipts").glob("*.json")
        return sorted((json.loads(f.read_text()) for f in found), key=lambda r: r["started"])

    def scratch(self) -> list[Path]:
        """Return the scratch folders of killed executions."""
        return sorted((self.path / ".dvc/tmp/samerun/scratch").glob("*"))

    def children(self) -> list[int]:
        """Return the processes of the counting program here."""
        return self.processes(lambda words: words[1:3] == [b"-IS", b"code/count.py"])

    def wrappers(self) -> list[int]:
        """Return the processes of `samerun run` here."""
        return self.processes(
            lambda words: words[2:3] == [b"run"] and words[1].endswith(b"/samerun")
        )

    def assert_sound(self, *, finished: int) -> Run:
        """Assert the number of complete runs and that none is RUNNING; return the last one."""
        states = [run.status for run in self.runs()]
        assert "RUNNING" not in states, states
        complete = [run for run in self.runs() if run.status == "FINISHED"]
        assert len(complete) == finished, states
        for run in complete:
            for name in ("value", "reported"):
                steps = run.steps.get(name, [])
                assert len(steps) == len(set(steps)), (name, steps)
            assert run.steps["value"] == list(range(STEPS))
            assert run.last["last"] == 99 + STEPS
        return complete[-1]


@contextmanager
def repro(project: Counting, *arguments: str, **env: str) -> Iterator["Running"]:
    """Run `dvc repro` as a terminal would, with a process group of its own, for a block."""
    running = Running(project, arguments, env)
    try:
        yield running
    finally:
        for pid in [*project.wrappers(), *project.children()]:
            _kill(pid, signal.SIGKILL)
        _kill(running.dvc.pid, signal.SIGKILL)
        running.dvc.wait()


class Running:
    """A running `dvc repro`."""

    def __init__(self, project: Counting, arguments: tuple[str, ...], env: dict[str, str]) -> None:
        self.project = project
        self._shown = project.path.parent / f"{project.path.name}.shown-{time.monotonic_ns()}"
        with self._shown.open("wb") as stream:  # a pipe would stay open as long as an orphan runs
            self.dvc = subprocess.Popen(
                ["dvc", *(arguments or ("repro",))],
                cwd=project.path,
                env=project.env(**env),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def wait_for_step(self, step: int) -> None:
        """Wait until the program has done a step, and has its checkpoint."""

        def done() -> bool:
            assert self.dvc.poll() is None, self.shown()
            checkpoints = (self.project.path / ".dvc/tmp/samerun/scratch").glob("*/files/rows")
            return any(f"{step}," in path.read_text() for path in checkpoints)

        wait_for(lambda: done() or None, f"step {step}")

    def wait_for_run(self, *, steps: int = 1, tags: Collection[str] = ()) -> Run:
        """Wait until the run is visible in MLflow, with so many steps and some tags; return it."""

        def visible() -> Run | None:
            assert self.dvc.poll() is None, self.shown()
            found = [run for run in self.project.runs() if run.status == "RUNNING"]
            found = [run for run in found if run.tags.keys() >= set(tags)]
            return next((run for run in found if len(run.steps.get("value", [])) >= steps), None)

        return wait_for(visible, "a run under way")

    def send(self, target: str, what: signal.Signals) -> None:
        """Send a signal to "group", "dvc", "wrapper" or "child"."""
        if target == "group":
            os.killpg(self.dvc.pid, what)
            return
        processes = {"dvc": [self.dvc.pid], "wrapper": self.project.wrappers()}
        (pid,) = processes.get(target) or self.project.children()
        os.kill(pid, what)

    def end(self) -> tuple[int, str]:
        """Wait for dvc; return its exit status and what was shown."""
        status = self.dvc.wait(120)
        assert "Traceback" not in self.shown(), self.shown()
        return status, self.shown()

    def shown(self) -> str:
        """Return what dvc and the stages have printed so far."""
        return self._shown.read_text()


def _kill(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, what)
