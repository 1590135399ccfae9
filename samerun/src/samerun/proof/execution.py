"""Executes the stages of a reproduction with DVC.

DVC and the stages form a process group, so that all of them end when the reproduction is
interrupted.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from samerun import programs
from samerun.core.errors import ReproductionError
from samerun.proof.scratch import uninterrupted

_STAGE = re.compile(r"Running stage '(.+)':")

_FAILED = re.compile(r"^ERROR: failed to reproduce '(.+?)'", re.MULTILINE)

_PATIENCE = 5.0
"""Seconds in which interrupted stages may end before they are killed."""


def execute(
    folder: Path,
    stages: Sequence[str],
    env: Mapping[str, str | None],
    begin: Callable[[str], object],
) -> None:
    """Execute exactly these stages, in this order, whether or not anything changed.

    folder: stages are named relative to it. env: environment variables; None unsets one. begin:
    called with the name of each stage as it begins.

    Raises: ReproductionError with the reason of a stage that fails.
    """
    command = programs.dvc("repro", "--single-item", "--force", "--no-commit", *stages)
    environment = programs.environment(isolated=True) | dict(env)
    running = stages[0]
    with TemporaryFile() as errors, subprocess.Popen(
        command,
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        process_group=0,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            for line in process.stdout:
                if match := _STAGE.match(line.decode(errors="replace")):
                    running = match[1]
                    begin(running.rpartition(":")[2])
            process.wait()
        except BaseException:
            with uninterrupted():
                _end(process)
            raise
        if process.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace")
            failed = _FAILED.search(text)
            name = failed[1] if failed else running
            raise ReproductionError(
                f"stage {name.rpartition(':')[2]} of the run failed: {_reason(text)}"
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process group; kill it if it does not end in time."""
    deadline = time.monotonic() + _PATIENCE
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)  # raises if the group is empty
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)


def _reason(errors: str) -> str:
    """Return why a stage failed: the last line of its own stderr, without DVC's lines."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(("ERROR: ", "WARNING: "))]
    done = subprocess.CompletedProcess((), 1, b"", "\n".join(own or lines).encode())
    return programs.reason(done)
