"""A checkout of a recorded run in a temporary folder, and its stages executed there.

The user's repository is only read: the checkout is a clone that shares its objects, with a cache,
an index and a configuration of its own. Knows nothing of MLflow.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from samerun import programs
from samerun.core.errors import ReplicaError
from samerun.execution import streaming
from samerun.programs import copy_remotes, dvc, output, reason
from samerun.working_tree import Commit

_APPLY = ("git", "apply", "--binary", "--whitespace=nowarn", "--no-ignore-whitespace", "-")
"""Byte for byte, whatever the user's git is told to mend (apply.whitespace)."""


@contextmanager
def checkout(commit: Commit, params: bytes, *, keep: bool) -> Iterator[Path]:
    """Yield a folder with the code of `commit`, its patch applied and `params` as params.yaml.

    `keep` leaves it where it is; else it is removed whatever happens.

    Raises: ReplicaError where the commit is not in this repository or the patch does not apply.
    """
    top = _here("git", "rev-parse", "--show-toplevel").strip()
    prefix = _here("git", "rev-parse", "--show-prefix").strip()
    sha = commit.sha or "none"
    if _call(Path.cwd(), "git", "cat-file", "-e", f"{sha}^{{commit}}").returncode:
        raise ReplicaError(f"the run's commit must be in this repository (got {sha}: not here)")
    scratch = Path(tempfile.mkdtemp(prefix="knownline-reproduce-"))
    try:
        clone = scratch / "checkout"
        quiet = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
        output("git", "clone", "--quiet", "--shared", "--no-checkout", top, str(clone))
        output("git", *quiet, "-C", str(clone), "checkout", "--quiet", "--detach", sha)
        folder = clone / prefix
        if commit.patch:
            applied = _call(folder, *_APPLY, stdin=commit.patch)
            if applied.returncode:
                raise ReplicaError(f"the run's patch must apply to {sha} (got {reason(applied)})")
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
    cache = _here(*dvc("cache", "dir")).strip()
    copy_remotes(folder)
    output(*dvc("config", "--local", "cache.dir", str(folder / ".dvc" / "own-cache")), at=folder)
    output(*dvc("remote", "add", "--local", "--force", "workspace-cache", cache), at=folder)
    if _call(folder, *dvc("pull", "--quiet", "--remote", "workspace-cache", *pointers)).returncode:
        pulled = _call(folder, *dvc("pull", *pointers))
        if pulled.returncode:
            raise ReplicaError(
                f"the table of the run must be in DVC's cache or remote (got {reason(pulled)})"
            )


def execute(folder: Path, names: Iterable[str], begin: Callable[[str], object]) -> None:
    """Run some stages as the folder's own dvc.yaml says, one by one.

    begin: told of each as it begins. No cache of DVC is asked, and none is written.

    Raises: ReplicaError with what a stage said where it fails.
    """
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in names:
        begin(name)
        done = _call(folder, "sh", "-c", str(stages[name]["cmd"]))
        if done.returncode:
            raise ReplicaError(f"the stage {name} of the run must run again (got {reason(done)})")


def _here(*command: str) -> str:
    done = _call(Path.cwd(), *command)
    if done.returncode:
        raise ReplicaError(f"{Path.cwd()} must be a git checkout with DVC (got {reason(done)})")
    return done.stdout.decode()


def _call(
    folder: Path, *command: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    # Reproducing a run makes no run.
    return programs.call(
        *command, at=folder, stdin=stdin, env={"KNOWNLINE_LIVE_AFTER": streaming.NEVER}
    )
