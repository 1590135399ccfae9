"""The state of a run's code in git: the commit, and the uncommitted changes."""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samerun import git
from samerun.core.errors import WorkspaceError

COMMIT_VARIABLE = "KNOWNLINE_COMMIT"
"""The environment variable that names the commit to compare the working tree with.

A retraining sets it: the commit is HEAD with the files that the retraining wrote.
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """The state of a run's code in git.

    sha: the commit checked out; None outside git or before the first commit.
    patch: the uncommitted changes, untracked files included; empty if there are none.
    left_out: nested git repositories without a commit, of which git can add nothing.
    """

    sha: str | None
    patch: bytes
    left_out: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether the code that ran has uncommitted changes."""
        return bool(self.patch)

    @property
    def paths(self) -> list[str]:
        """The files that the patch changes, as git names them."""
        text = self.patch.decode(errors="replace")  # git quotes unusual names
        return re.findall(r'(?m)^diff --git "?a/(.+?)"? "?b/', text)


def commit(base: str | None = None, *, paths: Sequence[str] = (".",)) -> Commit:
    """Return the commit and the patch of the current folder's checkout, against `base` (HEAD).

    dvc.lock is left out: a run writes it, it is not an input. The patch is taken with a separate
    index and object store, so the user's repository is not touched.

    Raises: WorkspaceError if git does not answer: an unknown tree is not a clean one.
    """
    if not _in_checkout():
        return Commit(None, b"")
    if git.call("rev-parse", "--verify", "--quiet", "HEAD").returncode:
        return Commit(None, b"")  # before the first commit
    base = base or os.environ.get(COMMIT_VARIABLE) or "HEAD"
    sha = _output("rev-parse", "--verify", f"{base}^{{commit}}")
    with tempfile.TemporaryDirectory() as scratch:
        objects = _output("rev-parse", "--path-format=absolute", "--git-path", "objects")
        env = {
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(objects.strip()),
        }
        _output("read-tree", base, env=env)
        left_out = _add_all(env)
        # Not `git diff`: the user's configuration changes its format (diff.noprefix, …).
        patch = _output(
            "-c", "core.quotePath=false", "diff-index", "--cached", "--patch", "--binary",
            "--full-index", "--unified=3",
            "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", base, "--",
            *paths, ":(exclude)dvc.lock", env=env,
        )  # fmt: skip
    return Commit(sha.decode().strip(), patch, left_out)


def _add_all(env: dict[str, str]) -> tuple[str, ...]:
    """Add the tree to the index of `env`; return the nested repositories that git cannot add.

    Git adds the current commit of a nested repository. A repository without a commit, as
    `git init` leaves it, would make git refuse the whole tree.

    Raises: WorkspaceError if git fails for another reason.
    """
    try:
        _output("add", "--all", "--", ".", env=env)
        return ()
    except WorkspaceError:
        untracked = os.fsdecode(_output("ls-files", "--others", "--exclude-standard", "-z"))
        nested = [name for name in untracked.split("\0") if name.endswith("/")]
        empty = [
            n for n in nested if git.call("-C", n, "rev-parse", "-q", "--verify", "HEAD").returncode
        ]
        if not empty:
            raise
        _output(
            "add", "--all", "--", ".", *(f":(exclude,literal){name}" for name in empty), env=env
        )
        return tuple(empty)


def _in_checkout() -> bool:
    """Return whether the folder is in a git checkout. Raises: WorkspaceError if git cannot say."""
    if not git.is_installed():
        return False
    process = git.call("rev-parse", "--is-inside-work-tree")
    if process.returncode == 0:
        return process.stdout.strip() == b"true"
    if b"not a git repository" in process.stderr:
        return False
    raise WorkspaceError(_unreadable(process))


def _output(*arguments: str, env: dict[str, str] | None = None) -> bytes:
    """Return what git prints. Raises: WorkspaceError if it fails."""
    process = git.call(*arguments, env=env)
    if process.returncode:
        raise WorkspaceError(_unreadable(process))
    return process.stdout


def _unreadable(process: subprocess.CompletedProcess[bytes]) -> str:
    """Return the error message for a git that failed, with git's own reason."""
    lines = process.stderr.decode(errors="replace").splitlines()
    reasons = [line for line in lines if line.startswith(("error:", "fatal:"))]
    reason = reasons[0] if reasons else f"exit {process.returncode}"
    return f"git must be able to read {Path.cwd()}, to say which code ran (got {reason})"
