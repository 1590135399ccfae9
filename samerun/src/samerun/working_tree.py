"""The state of a run's code in git: the commit, and the uncommitted changes."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from samerun import changes, git
from samerun.changes import Tree
from samerun.core.errors import WorkspaceError

COMMIT_VARIABLE = "SAMERUN_COMMIT"
"""The environment variable that names the commit to compare the working tree with.

A retraining sets it to a commit of HEAD plus the files that the retraining wrote.
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """The state of a run's code in git.

    sha: the commit checked out; None outside git or before the first commit.
    patch: the uncommitted changes, untracked files included; empty if there are none. Its names are
    relative to the top folder of the repository.
    left_out: nested git repositories without a commit, whose files git cannot add.
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


def commit(
    base: str | None = None,
    paths: Sequence[str] | None = None,
    ignored: Callable[[str], bool] = lambda path: False,
) -> Commit:
    """Return the commit and the patch of the current folder's checkout, compared with `base`.

    base: by default HEAD. paths: the files and folders that count, relative to the current folder;
    they may be absent. None: the current folder. ignored: whether an untracked file, by its full
    path, does not count.

    dvc.lock is left out: it is written by a run, not an input. The patch is made with a separate
    index and object store, so the user's repository is not touched.

    Raises: WorkspaceError if git fails, since an unknown tree is not a clean one; or if the changes
    are too large to be stored, which is checked before any of them is read.
    """
    with _tree(base, paths, ignored) as tree:
        if tree is None:
            return Commit(None, b"")
        return Commit(*tree.patch())


def check_size(
    paths: Sequence[str] | None = None, ignored: Callable[[str], bool] = lambda path: False
) -> None:
    """Raise WorkspaceError if the uncommitted changes of these paths are too large to be stored."""
    with _tree(None, paths, ignored) as tree:
        if tree is not None:
            tree.changes()


@contextmanager
def _tree(
    base: str | None, paths: Sequence[str] | None, ignored: Callable[[str], bool]
) -> Iterator[Tree | None]:
    """Yield the checkout of the current folder; None outside git and before the first commit.

    Our index starts as a copy of the user's, so that git reads only files whose times differ.
    """
    if not _in_checkout() or git.call("rev-parse", "--verify", "--quiet", "HEAD").returncode:
        yield None
        return
    base = base or os.environ.get(COMMIT_VARIABLE) or "HEAD"
    sha = changes.line("rev-parse", "--verify", f"{base}^{{commit}}")
    top = Path(changes.line("rev-parse", "--show-toplevel"))
    objects, index = (
        changes.line("rev-parse", "--path-format=absolute", "--git-path", name)
        for name in ("objects", "index")
    )
    with tempfile.TemporaryDirectory() as scratch:
        quoted = objects.replace("\\", "\\\\").replace('"', '\\"')
        env = {
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"',  # a colon would end it
        }
        tree = Tree(sha, top, changes.pathspecs(top, paths), env, ignored=ignored)
        if tree.specs:
            if Path(index).exists():
                shutil.copy2(index, env["GIT_INDEX_FILE"])  # with its time, which git compares
                tree = tree.with_added()
            tree.start()
        yield tree


def _in_checkout() -> bool:
    """Return whether the folder is in a git checkout. Raises: WorkspaceError if git fails."""
    if not git.is_installed():
        return False
    process = git.call("rev-parse", "--is-inside-work-tree")
    if process.returncode == 0:
        return process.stdout.strip() == b"true"
    if b"not a git repository" in process.stderr:
        return False
    raise WorkspaceError(changes.unreadable(process))
