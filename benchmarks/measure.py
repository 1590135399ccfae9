"""Runs each side of a comparison in its own process, in turn, and takes medians.

It imports no large package, because Linux counts the memory of the process that starts a side as
the side's.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LONG = 20.0
"""Seconds after which a side is not repeated, if the caller allows that."""


@dataclass(frozen=True, slots=True)
class Run:
    """Medians: seconds, the peak of memory in bytes, and the number of runs.

    answer: what a side of benchmarks/sides.py printed.
    """

    seconds: float
    peak: int
    times: int = 1
    answer: dict[str, Any] = field(default_factory=dict)


Side = Callable[[], Run]


def stage(name: str, workspace: Path, **env: str) -> Run:
    """Run a stage of knownline as DVC does, and time the whole process."""
    for old in ("train", "holdout") if name == "generate" else ():  # outputs, which DVC removes
        shutil.rmtree(workspace / "data" / old, ignore_errors=True)
    return _run([sys.executable, "src/knownline", name], workspace, env)


def side(name: str, *arguments: object, **env: str) -> Run:
    """Run a side of benchmarks/sides.py; if it has its own clock, that one counts."""
    return _run([sys.executable, "-m", "benchmarks.sides", name, *map(str, arguments)], ROOT, env)


def _run(command: list[str], folder: Path, env: Mapping[str, str]) -> Run:
    os.sync()  # so that no side waits until what the one before it wrote is on disk
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **env},
    )  # fmt: skip
    assert process.stdout
    with process.stdout as stream:
        lines = stream.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    answer = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Run(answer.get("seconds", took), usage.ru_maxrss * 1024, answer=answer)


def in_turn(sides: Mapping[str, Side], times: int, *, long_once: bool = False) -> dict[str, Run]:
    """Run all sides one after the other, several times; return the medians by name.

    long_once: do not repeat a side that takes longer than LONG.
    """
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for repetition in range(times):
        for name, each in sides.items():
            if not (long_once and repetition and runs[name][0].seconds > LONG):
                runs[name].append(each())
                print(f"{name}: {runs[name][-1].seconds:.3f} s", file=sys.stderr, flush=True)
    return {name: _median(several) for name, several in runs.items()}


def _median(runs: list[Run]) -> Run:
    seconds = statistics.median(run.seconds for run in runs)
    peak = int(statistics.median(run.peak for run in runs))
    return Run(seconds, peak, len(runs), runs[-1].answer)


def goal(what: str, value: float, limit: float, *, least: bool = False) -> str:
    """Return a row of a table in Markdown: the value, its limit, and whether the goal is met."""
    met = "met" if (value >= limit if least else value <= limit) else "missed"
    return f"| {what} | {value:.3g} | at {'least' if least else 'most'} {limit:g} | {met} |"


def workspace(root: Path, **settings: object) -> Path:
    """Make a workspace; settings: keys of its params.yaml, at the top or of `generate`."""
    (root / "data" / "own").mkdir(parents=True)
    (root / "src").symlink_to(ROOT / "src")
    (root / "dvc.yaml").symlink_to(ROOT / "dvc.yaml")
    text = (ROOT / "params.yaml").read_text()
    for key, value in settings.items():
        text, count = re.subn(rf"(?m)^(  )?{key}: .*$", rf"\g<1>{key}: {value}", text, count=1)
        assert count, key
    (root / "params.yaml").write_text(text)
    return root
