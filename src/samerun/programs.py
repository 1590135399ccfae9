"""Other programs, started in one way, and DVC among them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from samerun.core.errors import ReplicaError

_ISOLATED = ("DVC_", "MLFLOW_", "GIT_", "PYTHONPATH")


def call(
    *command: str,
    at: Path | None = None,
    isolated: bool = True,
    show: bool = False,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return how it ended.

    at: the folder, else the current one. isolated: without the outer DVC, MLflow and git in its
    environment. show: what it prints goes to the terminal. env: more of its environment.
    """
    sys.stdout.flush()
    own = {k: v for k, v in os.environ.items() if not (isolated and k.startswith(_ISOLATED))}
    # `python` in dvc.yaml must be the one that runs this
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"
    own["DVC_NO_ANALYTICS"] = "1"
    return subprocess.run(
        command,
        cwd=at,
        env={**own, **(env or {})},
        input=stdin,
        stdout=None if show else subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )


def dvc(*arguments: str) -> tuple[str, ...]:
    """Return the command that calls this environment's DVC."""
    return (sys.executable, "-m", "dvc", *arguments)


def must(*command: str, at: Path | None = None) -> str:
    """Return what a command prints. Raises: ReplicaError where it fails."""
    done = call(*command, at=at)
    if done.returncode:
        raise ReplicaError(f"{' '.join(command[:4])} … must succeed (got {reason(done)})")
    return done.stdout.decode()


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return why a command failed: our own word for it, else DVC's, else the last line."""
    lines = (done.stderr or done.stdout or b"").decode(errors="replace").strip().splitlines()
    for prefix in ("knownline: error: ", "ERROR: "):
        if found := [line for line in lines if line.startswith(prefix)]:
            return found[0].removeprefix(prefix)
    return lines[-1] if lines else f"exit {done.returncode}"


def give_remotes(folder: Path) -> None:
    """Point another folder's DVC at this workspace's remotes; a relative path would not do."""
    config = Path(".dvc/config.local")
    if config.exists():
        shutil.copy(config, folder / ".dvc" / "config.local")
    for line in must(*dvc("config", "--list")).splitlines():  # `remote list` wraps long paths
        found = re.fullmatch(r"remote\.(.+)\.url=(.+)", line)
        if found and "://" not in found[2]:
            target = str((Path(".dvc") / Path(found[2]).expanduser()).resolve())
            must(*dvc("remote", "modify", "--local", found[1], "url", target), at=folder)
