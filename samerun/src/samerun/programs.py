"""Starts other programs, DVC among them, with a controlled environment."""

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
"""An error message of `samerun` or a program that uses it; the group is its text."""


def call(
    *command: str,
    at: Path | None = None,
    isolated: bool = True,
    show: bool = False,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return the ended process.

    at: the folder to run it in; by default the current one. isolated: without variables of DVC and
    MLflow, so that it uses neither this workspace nor its store. show: print its output to the
    terminal. env: further variables, of any name.
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
    """Return the environment in which a program is started. isolated: as in `call`."""
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
        raise ReproductionError(f"`{' '.join(command[:4])} …` failed: {reason(process)}")
    return process.stdout.decode()


def reason(process: subprocess.CompletedProcess[bytes]) -> str:
    """Return why a command failed: our own error message, else DVC's, else its last line."""
    lines = (process.stderr or process.stdout or b"").decode(errors="replace").strip().splitlines()
    for pattern in (_OUR_ERROR, re.compile("ERROR: (.+)")):
        if errors := [match[1] for match in map(pattern.fullmatch, lines) if match]:
            return errors[0]
    return lines[-1] if lines else f"exit {process.returncode}"


def copy_remotes(root: Path, folder: Path) -> None:
    """Copy a project's DVC remotes to another folder's project, relative paths made absolute."""
    config = root / ".dvc" / "config.local"
    if config.exists():
        shutil.copy(config, folder / ".dvc" / "config.local")
    for line in output(*dvc("config", "--list")).splitlines():  # `remote list` wraps long paths
        match = re.fullmatch(r"remote\.(.+)\.url=(.+)", line)
        if match and "://" not in match[2]:
            url = str((root / ".dvc" / Path(match[2]).expanduser()).resolve())
            output(*dvc("remote", "modify", "--local", match[1], "url", url), at=folder)
