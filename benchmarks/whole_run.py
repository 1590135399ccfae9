"""Time a whole run, and one with nothing to do, compared with peers. Part of `make bench`.

Both sides run in turn in one process, each in an empty folder with its own git repository, cache
and store. The figures are ratios of medians.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

EMPTY = """
stages:
  one: {cmd: "echo 1 > one.txt", outs: [one.txt]}
  two: {cmd: "echo 2 > two.txt", deps: [one.txt], outs: [two.txt]}
  three: {cmd: "echo 3 > three.txt", deps: [two.txt], outs: [three.txt]}
"""


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ours, theirs = _in_turn(times, lambda i: _ours(folder / f"o{i}"),
                                lambda i: _tutorial(folder / f"t{i}"))  # fmt: skip
        _print("a first run, empty store", ours, "tutorial pipeline", theirs, "at most 0.5")
        idle, empty = folder / "o0", _empty(folder / "empty")
        ours, theirs = _in_turn(times, lambda _: repro(idle), lambda _: repro(empty))
        _print("nothing to do", ours, "three empty stages", theirs, "at most 1.2")


def _in_turn(
    times: int, left: Callable[[int], float], right: Callable[[int], float]
) -> tuple[list[float], list[float]]:
    pairs = [(left(i), right(i)) for i in range(times)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _ours(folder: Path) -> float:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    _git(folder)
    return repro(folder)


def _tutorial(folder: Path) -> float:
    shutil.copytree(ROOT / "benchmarks" / "tutorial", folder)
    _git(folder)
    call(folder, "dvc", "init", "--quiet")
    return repro(folder)


def _empty(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dvc.yaml").write_text(EMPTY)
    _git(folder)
    call(folder, "dvc", "init", "--quiet")
    repro(folder)
    return folder


def _git(folder: Path) -> None:
    call(folder, "git", "init", "--quiet")


def repro(folder: Path) -> float:
    """Return the seconds of `dvc repro` in a folder."""
    start = time.perf_counter()
    call(folder, "dvc", "repro", "--quiet")
    return time.perf_counter() - start


def call(folder: Path, *command: str) -> None:
    """Run a command in a folder; show its output if it fails."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    env |= {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} in {folder}:\n{done.stdout}\n{done.stderr}")


def _print(what: str, ours: list[float], peer: str, theirs: list[float], goal: str) -> None:
    a, b = statistics.median(ours), statistics.median(theirs)
    ratio = f"ratio {a / b:.2f} ({goal}; medians of {len(ours)})"
    print(f"{what}: {a:.2f} s, {peer}: {b:.2f} s, {ratio}")


if __name__ == "__main__":
    main()
