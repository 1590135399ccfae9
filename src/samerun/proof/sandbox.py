"""A checkout of a recorded run's code in a temporary folder, where its stages are executed.

The user's repository is only read: the checkout is a clone that shares its objects but has its own
cache, index and configuration. Knows nothing of MLflow.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from samerun import programs
from samerun.core.errors import ReproductionError
from samerun.execution import streaming
from samerun.programs import copy_remotes, dvc, output, reason
from samerun.working_tree import Commit

_APPLY = ("git", "apply", "--binary", "--whitespace=nowarn", "--no-ignore-whitespace", "-")
"""Applies a patch byte for byte, whatever the user has configured (apply.whitespace)."""


@contextmanager
def checkout(commit: Commit, params: bytes, *, keep: bool) -> Iterator[Path]:
    """Yield a folder with the code of `commit`, its patch applied and `params` as params.yaml.

    keep: whether the folder remains afterwards; otherwise it is removed, whatever happens.

    Raises: ReproductionError if the commit is not in this repository or the patch does not apply.
    """
    top = _output_here("git", "rev-parse", "--show-toplevel").strip()
    prefix = _output_here("git", "rev-parse", "--show-prefix").strip()
    sha = commit.sha or "none"
    if _call(Path.cwd(), "git", "cat-file", "-e", f"{sha}^{{commit}}").returncode:
        raise ReproductionError(
            f"the run's commit must be in this repository (got {sha}: not here)"
        )
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
                raise ReproductionError(
                    f"the run's patch must apply to {sha} (got {reason(applied)})"
                )
        (folder / "params.yaml").write_bytes(params)
        yield folder
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


def fetch_tables(folder: Path) -> None:
    """Fetch the tables of data/own/ that DVC tracks, from this workspace's cache or else a remote.

    The workspace's cache is used as a remote, so it is only read.

    Raises: ReproductionError if a table is in neither.
    """
    pointers = [str(path.relative_to(folder)) for path in sorted(folder.glob("data/own/**/*.dvc"))]
    if not pointers:
        return
    cache = _output_here(*dvc("cache", "dir")).strip()
    copy_remotes(folder)
    output(*dvc("config", "--local", "cache.dir", str(folder / ".dvc" / "own-cache")), at=folder)
    output(*dvc("remote", "add", "--local", "--force", "workspace-cache", cache), at=folder)
    if _call(folder, *dvc("pull", "--quiet", "--remote", "workspace-cache", *pointers)).returncode:
        pulled = _call(folder, *dvc("pull", *pointers))
        if pulled.returncode:
            raise ReproductionError(
                f"the table of the run must be in DVC's cache or remote (got {reason(pulled)})"
            )


def execute(folder: Path, names: Iterable[str], begin: Callable[[str], object]) -> None:
    """Run stages one by one, by the commands in the folder's own dvc.yaml.

    begin: called with the name of each stage as it begins. DVC's caches are neither read nor
    written, since the commands run without DVC.

    Raises: ReproductionError with a stage's error message if it fails.
    """
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in names:
        begin(name)
        process = _call(folder, "sh", "-c", str(stages[name]["cmd"]))
        if process.returncode:
            raise ReproductionError(
                f"the stage {name} of the run must run again (got {reason(process)})"
            )


def _output_here(*command: str) -> str:
    """Return what a command prints in the current folder. Raises: ReproductionError if it fails."""
    process = _call(Path.cwd(), *command)
    if process.returncode:
        raise ReproductionError(
            f"{Path.cwd()} must be a git checkout with DVC (got {reason(process)})"
        )
    return process.stdout.decode()


def _call(
    folder: Path, *command: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a folder with streaming off: reproducing a run must not record one."""
    return programs.call(
        *command, at=folder, stdin=stdin, env={"KNOWNLINE_LIVE_AFTER": streaming.NEVER}
    )
