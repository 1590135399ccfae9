"""The cost of a bad tracking server: the seconds until `samerun record` reports it and gives up.

Each kind of failure is tried at the first request and in the middle of a recording. The time of a
command that only loads the same modules is subtracted; the goal is at most 10 seconds. Run it on a
machine that does nothing else: `python -m benchmarks.bad_servers`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import tests  # noqa: F401 (makes the helpers of samerun's tests importable)

# isort: split
from support.servers import Proxy, deaf, free_port, over_sqlite

ROOT = Path(__file__).resolve().parent.parent
MIDDLE = 20
"""Requests that a recording in the middle has made."""

LOAD = """
from samerun import record
from samerun.pipeline import Pipeline
Pipeline.here().check()
"""


def main() -> None:
    """Print one line for each kind of failure; exit with 1 if one costs more than 10 s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="repetitions a kind (3)")
    times = parser.parse_args().times
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        work = Path(scratch) / "work"
        _trained(work)
        (Path(scratch) / "server").mkdir()
        server = stack.enter_context(over_sqlite(Path(scratch) / "server"))
        proxy = stack.enter_context(Proxy(server))
        loads = statistics.median(_loading(work) for _ in range(times))
        print(f"loading the modules alone: {loads:.1f} s")
        silent = free_port()
        stack.enter_context(deaf(silent))
        for name, uri in (
            ("nobody listens", f"http://127.0.0.1:{free_port()}"),
            ("accepts, never answers", f"http://127.0.0.1:{silent}"),
            ("no such host", "http://nowhere.invalid:5000"),
        ):
            worst = max(worst, _told(name, [_record(work, uri) for _ in range(times)], loads))
        for how in ("500", "503 later", "hang", "cut", "lost"):
            for after in (0, MIDDLE):
                took = []
                for _ in range(times):
                    proxy.turn(how, after=after)
                    took.append(_record(work, proxy.uri))
                worst = max(worst, _told(f"{how}, after {after} requests", took, loads))
    sys.exit(worst > 10)


def _told(name: str, took: list[float], loads: float) -> float:
    lost = statistics.median(took) - loads
    print(f"{name}: {lost:.1f} s lost (at most 10)", flush=True)
    return lost


def _trained(work: Path) -> None:
    """Check out a workspace with a training that is not recorded."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(work)], check=True)
    _run(work, "dvc", "repro", "--quiet", "report", SAMERUN_LIVE_AFTER="inf").check_returncode()


def _record(work: Path, uri: str) -> float:
    began = time.monotonic()
    done = _run(work, "samerun", "record", MLFLOW_TRACKING_URI=uri)
    took = time.monotonic() - began
    assert done.returncode == 2, done.stderr
    return took


def _loading(work: Path) -> float:
    """Return the seconds of a recording without a server."""
    began = time.monotonic()
    _run(work, sys.executable, "-c", LOAD).check_returncode()
    return time.monotonic() - began


def _run(work: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=work, env={**os.environ, "PATH": programs, **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
