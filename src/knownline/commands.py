"""Other programs, called with nothing of the outer DVC, MLflow or git in their environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from knownline.errors import ReplicaError

_ISOLATED = ("DVC_", "MLFLOW_", "GIT_", "PYTHONPATH")


def call(
    folder: Path, *command: str, stdin: bytes | None = None, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a folder and return how it ended; more: of its environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(_ISOLATED)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    env["DVC_NO_ANALYTICS"] = "1"
    return subprocess.run(
        command, cwd=folder, env={**env, **more}, input=stdin, capture_output=True, check=False
    )


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return why a command failed: our own word for it, else DVC's, else the last line."""
    lines = (done.stderr or done.stdout or b"").decode(errors="replace").strip().splitlines()
    for prefix in ("knownline: error: ", "ERROR: "):
        if found := [line for line in lines if line.startswith(prefix)]:
            return found[0].removeprefix(prefix)
    return lines[-1] if lines else f"exit {done.returncode}"


def must(*command: str, at: Path | None = None) -> str:
    """Return what a command prints. Raises: ReplicaError where it fails."""
    done = call(at or Path.cwd(), *command)
    if done.returncode:
        raise ReplicaError(f"{' '.join(command[:4])} … must succeed (got {said(done)})")
    return done.stdout.decode()


def dvc(*arguments: str) -> tuple[str, ...]:
    """Return the command that calls this environment's DVC."""
    return (sys.executable, "-m", "dvc", *arguments)


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
