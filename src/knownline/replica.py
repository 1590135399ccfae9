"""A checkout of a recorded run in a temporary folder, and its stages executed there.

The user's repository is only read: the checkout is a clone that shares its objects, with a cache,
an index and a configuration of its own. Knows nothing of MLflow.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from knownline import streaming
from knownline.errors import ReplicaError
from knownline.provenance import JUDGED

_ISOLATED = ("DVC_", "MLFLOW_", "GIT_", "PYTHONPATH")


@contextmanager
def checkout(commit: str, patch: bytes, params: bytes, *, keep: bool) -> Iterator[Path]:
    """Yield a folder with the code of `commit`, `patch` applied and `params` as params.yaml.

    `keep` leaves it where it is; else it is removed whatever happens.

    Raises: ReplicaError where the commit is not in this repository or the patch does not apply.
    """
    top = _here("git", "rev-parse", "--show-toplevel").strip()
    prefix = _here("git", "rev-parse", "--show-prefix").strip()
    if _call(Path.cwd(), "git", "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise ReplicaError(f"the run's commit must be in this repository (got {commit}: not here)")
    scratch = Path(tempfile.mkdtemp(prefix="knownline-reproduce-"))
    try:
        clone = scratch / "checkout"
        quiet = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
        _must("git", "clone", "--quiet", "--shared", "--no-checkout", top, str(clone))
        _must("git", *quiet, "-C", str(clone), "checkout", "--quiet", "--detach", commit)
        folder = clone / prefix
        if patch:
            applied = _call(folder, "git", "apply", "--binary", "-", stdin=patch)
            if applied.returncode:
                raise ReplicaError(f"the run's patch must apply to {commit} (got {_said(applied)})")
        (folder / "params.yaml").write_bytes(params)
        yield folder
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


def bring_tables(folder: Path) -> None:
    """Fetch the tables of data/own/ that DVC keeps: from this workspace's cache, else a remote.

    The workspace's cache is used as a remote, so it is only read.

    Raises: ReplicaError where one is in neither.
    """
    pointers = [str(path.relative_to(folder)) for path in sorted(folder.glob("data/own/**/*.dvc"))]
    if not pointers:
        return
    cache = _here(*_dvc("cache", "dir")).strip()
    _local_remotes(folder)
    _must(*_dvc("config", "--local", "cache.dir", str(folder / ".dvc" / "own-cache")), cwd=folder)
    _must(*_dvc("remote", "add", "--local", "--force", "workspace-cache", cache), cwd=folder)
    if _call(folder, *_dvc("pull", "--quiet", "--remote", "workspace-cache", *pointers)).returncode:
        pulled = _call(folder, *_dvc("pull", *pointers))
        if pulled.returncode:
            raise ReplicaError(
                f"the table of the run must be in DVC's cache or remote (got {_said(pulled)})"
            )


def execute(folder: Path) -> None:
    """Run the stages that decide the numbers, as the folder's own dvc.yaml says, one by one.

    No cache of DVC is asked, and none is written.

    Raises: ReplicaError with what a stage said where it fails.
    """
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in JUDGED:
        done = _call(folder, "sh", "-c", str(stages[name]["cmd"]))
        if done.returncode:
            raise ReplicaError(f"the stage {name} of the run must run again (got {_said(done)})")


def _local_remotes(folder: Path) -> None:
    """Point the checkout's remotes at where this workspace's lie; a relative path would not."""
    config = Path(".dvc/config.local")
    if config.exists():
        shutil.copy(config, folder / ".dvc" / "config.local")
    for line in _here(*_dvc("config", "--list")).splitlines():  # `remote list` wraps long paths
        found = re.fullmatch(r"remote\.(.+)\.url=(.+)", line)
        if found and "://" not in found[2]:
            target = str((Path(".dvc") / Path(found[2]).expanduser()).resolve())
            _must(*_dvc("remote", "modify", "--local", found[1], "url", target), cwd=folder)


def _dvc(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "dvc", *arguments)


def _here(*command: str) -> str:
    done = _call(Path.cwd(), *command)
    if done.returncode:
        raise ReplicaError(f"{Path.cwd()} must be a git checkout with DVC (got {_said(done)})")
    return done.stdout.decode()


def _must(*command: str, cwd: Path | None = None) -> None:
    done = _call(cwd or Path.cwd(), *command)
    if done.returncode:
        raise ReplicaError(f"{' '.join(command[:4])} … must succeed (got {_said(done)})")


def _call(
    folder: Path, *command: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with nothing of the outer DVC, MLflow or git in its environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(_ISOLATED)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    env["DVC_NO_ANALYTICS"] = "1"
    env["KNOWNLINE_LIVE_AFTER"] = streaming.NEVER  # a replica is no run
    return subprocess.run(
        command, cwd=folder, env=env, input=stdin, capture_output=True, check=False
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("knownline: error: ") if lines else f"exit {done.returncode}"
