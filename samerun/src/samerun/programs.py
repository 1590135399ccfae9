"""Other programs, DVC among them, all started the same way."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from samerun.core import variables
from samerun.core.errors import ReproductionError

_OUR_ERROR = re.compile(r"[\w-]+: error: (.+)")
"""How `samerun` and the programs that use it print an error; the group is its text."""


def call(
    *command: str,
    at: Path | None = None,
    isolated: bool = True,
    show: bool = False,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return the ended process.

    at: the folder to run it in; by default the current one. isolated: without the variables of the
    surrounding DVC and MLflow, that is neither in this workspace nor with its store. show: print
    its output to the terminal. env: further variables, whatever they are.
    """
    sys.stdout.flush()
    return subprocess.run(
        command,
        cwd=at,
        env={**environment(isolated=isolated), **(env or {})},
        input=stdin,
        stdout=None if show else subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )


def environment(*, isolated: bool) -> dict[str, str]:
    """Return the variables that a program is started with; `isolated` as `call` has it."""
    inherited = variables.inherited(os.environ, isolated=isolated)
    # `python` in dvc.yaml must be the interpreter that runs this.
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
    inherited["DVC_NO_ANALYTICS"] = "1"
    return inherited


def dvc(*arguments: str) -> tuple[str, ...]:
    """Return the command line that calls DVC of this Python environment."""
    return (sys.executable, "-m", "dvc", *arguments)


def output(*command: str, at: Path | None = None) -> str:
    """Return what a command prints. Raises: ReproductionError if it fails."""
    process = call(*command, at=at)
    if process.returncode:
        raise ReproductionError(f"{' '.join(command[:4])} … must succeed (got {reason(process)})")
    return process.stdout.decode()


def reason(process: subprocess.CompletedProcess[bytes]) -> str:
    """Return why a command failed: our own error message, else DVC's, else its last line."""
    lines = (process.stderr or process.stdout or b"").decode(errors="replace").strip().splitlines()
    for pattern in (_OUR_ERROR, re.compile("ERROR: (.+)")):
        if errors := [match[1] for match in map(pattern.fullmatch, lines) if match]:
            return errors[0]
    return lines[-1] if lines else f"exit {process.returncode}"


def copy_remotes(root: Path, folder: Path) -> None:
    """Give another folder's DVC the remotes of a project, their relative paths made absolute."""
    config = root / ".dvc" / "config.local"
    if config.exists():
        shutil.copy(config, folder / ".dvc" / "config.local")
    for line in output(*dvc("config", "--list")).splitlines():  # `remote list` wraps long paths
        match = re.fullmatch(r"remote\.(.+)\.url=(.+)", line)
        if match and "://" not in match[2]:
            url = str((root / ".dvc" / Path(match[2]).expanduser()).resolve())
            output(*dvc("remote", "modify", "--local", match[1], "url", url), at=folder)
