"""Where the code of a run stands in git: the commit, and what the working tree has beyond it."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from samerun import git
from samerun.core.errors import WorkspaceError

BASE = "KNOWNLINE_COMMIT"
"""Names the commit a retraining made of HEAD and what it laid; the tree is held against it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Where the code of a run stands in git.

    sha: the commit checked out, None outside git or before the first commit.
    patch: what the working tree has beyond it, untracked files included; empty when clean.
    left_out: git repositories in the tree that have no commit: git can say nothing of them.
    """

    sha: str | None
    patch: bytes
    left_out: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether the commit alone does not give the code that ran."""
        return bool(self.patch)

    @property
    def paths(self) -> list[str]:
        """The files that the patch is about, as git names them."""
        text = self.patch.decode(errors="replace")  # a name with a quote or an escape is quoted
        return re.findall(r'(?m)^diff --git "?a/(.+?)"? "?b/', text)


def commit(base: str | None = None) -> Commit:
    """Return the commit and the patch of the current folder's checkout, against `base` (HEAD).

    dvc.lock is left out: it is what a run writes, not what goes into it. The patch is taken with
    an index and an object store of its own, so nothing of the user's repository is touched.

    Raises: WorkspaceError where git does not answer: an unknown tree is not a clean one.
    """
    if not _in_output():
        return Commit(None, b"")
    if git.call("rev-parse", "--verify", "--quiet", "HEAD").returncode:
        return Commit(None, b"")  # before the first commit
    base = base or os.environ.get(BASE) or "HEAD"
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
        # Not `git diff`: how that looks is the user's own (diff.noprefix, diff.context, …).
        patch = _output(
            "-c", "core.quotePath=false", "diff-index", "--cached", "--patch", "--binary",
            "--full-index", "--unified=3",
            "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", base, "--",
            ".", ":(exclude)dvc.lock", env=env,
        )  # fmt: skip
    return Commit(sha.decode().strip(), patch, left_out)


def _add_all(env: dict[str, str]) -> tuple[str, ...]:
    """Add the tree to the index of `env`; return the repositories in it that git cannot add.

    Of a repository in the tree git adds the commit it is at. One that has none yet, as a
    `git init` leaves it, would make git refuse the whole tree.

    Raises: WorkspaceError where git cannot for another reason.
    """
    try:
        _output("add", "--all", "--", ".", env=env)
        return ()
    except WorkspaceError:
        listed = os.fsdecode(_output("ls-files", "--others", "--exclude-standard", "-z"))
        nested = [name for name in listed.split("\0") if name.endswith("/")]
        empty = [
            n for n in nested if git.call("-C", n, "rev-parse", "-q", "--verify", "HEAD").returncode
        ]
        if not empty:
            raise
        _output(
            "add", "--all", "--", ".", *(f":(exclude,literal){name}" for name in empty), env=env
        )
        return tuple(empty)


def _in_output() -> bool:
    """Return whether the current folder is in a git checkout; one that git will not read raises."""
    if not git.is_here():
        return False
    done = git.call("rev-parse", "--is-inside-work-tree")
    if done.returncode == 0:
        return done.stdout.strip() == b"true"
    if b"not a git repository" in done.stderr:
        return False
    raise WorkspaceError(_unreadable(done))


def _output(*arguments: str, env: dict[str, str] | None = None) -> bytes:
    """Return what git prints. Raises: WorkspaceError where it fails."""
    done = git.call(*arguments, env=env)
    if done.returncode:
        raise WorkspaceError(_unreadable(done))
    return done.stdout


def _unreadable(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").splitlines()
    said = next((x for x in lines if x.startswith(("error:", "fatal:"))), f"exit {done.returncode}")
    return f"git must be able to read {Path.cwd()}, to say which code ran (got {said})"
