"""The files of a checkout that differ from a commit: their sizes, and their patch.

No file is read before all changes are known to be small enough. The caller says which commit and
which files count.
"""

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from samerun import git
from samerun.core.errors import WorkspaceError

MAX_SIZE_MB = 50
"""Largest size of uncommitted changes, which are stored with every run; 1 MB is 10^6 bytes."""

_NAMED = 3
"""How many of the largest files an error message names."""

_LOCK = ":(exclude,top,glob)**/dvc.lock"
"""The pathspec that leaves out dvc.lock, which is written by a run and is no input of it."""

_OPTIONS = (
    "-c", "core.quotePath=false", "-c", "core.splitIndex=false", "-c", "core.fsmonitor=false",
)  # fmt: skip
"""Unquoted file names, and an index of our own without files in the user's repository."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs from the commit, or may differ.

    name: relative to the top folder. size: in bytes, the larger one of before and after.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout that is compared with a commit, with an index and an object store of our own.

    sha: the commit. top: the top folder. specs: the pathspecs that count; none if nothing counts.
    env: variables that name the index and the object store. added: files in the user's index that
    are not in the commit. ignored: whether an untracked file is left out.
    """

    sha: str
    top: Path
    specs: tuple[str, ...]
    env: dict[str, str]
    added: tuple[str, ...] = ()
    ignored: Callable[[str], bool] = lambda path: False

    def patch(self) -> tuple[str, bytes, tuple[str, ...]]:
        """Return the commit, the patch, and the nested repositories that are left out."""
        changes = self.changes()
        empty = [c.name for c in changes if c.name.endswith("/") and self._is_empty(c.name)]
        names = [change.name.rstrip("/") for change in changes if change.name not in empty]
        left_out = tuple(f"{os.path.relpath(self.top / name)}/" for name in empty)
        if not names:
            return self.sha, b"", left_out
        # --remove: deleted files too. --replace: a file that became a folder, or the reverse.
        self._update("--add", "--remove", "--replace", names=names)
        # Not `git diff`: the user's configuration changes its format (diff.noprefix, …).
        patch = self._call(
            "diff-index", "--cached", "--patch", "--binary", "--full-index", "--unified=3",
            "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", self.sha, "--",
        )  # fmt: skip
        return self.sha, patch, left_out

    def changes(self) -> list[Change]:
        """Return the files that may differ from the commit, by their times and sizes.

        Raises: WorkspaceError if they are larger than MAX_SIZE_MB.
        """
        if not self.specs:
            return []
        untracked = [Change(name, _size(self.top / name)) for name in self._untracked()]
        tracked = self._tracked()
        if _megabytes([*untracked, *tracked]) > MAX_SIZE_MB:
            _refuse_above_limit(untracked)
            # A file that was only touched or copied looks changed. The refresh makes git read the
            # files whose size is the same; a file of another size has changed and is not read.
            self._call("update-index", "-q", "--refresh")
            tracked = self._tracked()
            _refuse_above_limit([*untracked, *tracked])
        return [*tracked, *untracked]

    def _untracked(self) -> list[str]:
        """Return the files that are neither committed nor ignored; NAME/ is a nested repository."""
        names = self._names("ls-files", "--others", "--exclude-standard", "-z", "--", *self.specs)
        added = [name for name in self.added if os.path.lexists(self.top / name)]
        return sorted(name for name in {*names, *added} if not self.ignored(str(self.top / name)))

    def _tracked(self) -> list[Change]:
        """Return the committed files whose times or sizes differ from git's index."""
        fields = self._names(
            "diff-files", "--raw", "--no-abbrev", "--ignore-submodules=dirty", "-z", "--",
            *self.specs,
        )  # fmt: skip
        entries = [
            (*meta.split(), name) for meta, name in zip(fields[::2], fields[1::2], strict=True)
        ]
        blobs = [old for mode, _, old, *_ in entries if mode != ":160000"]  # a submodule has none
        sizes = self._blob_sizes(blobs)
        return [
            Change(name, max(sizes.get(old, 0), _size(self.top / name)))
            for _, _, old, _, _, name in entries
        ]

    def _is_empty(self, nested: str) -> bool:
        """Return whether a nested repository has no commit, as `git init` leaves it."""
        folder = str(self.top / nested)
        return git.call("-C", folder, "rev-parse", "-q", "--verify", "HEAD").returncode != 0

    def _blob_sizes(self, blobs: Iterable[str]) -> dict[str, int]:
        """Return the sizes of blobs in bytes."""
        wanted = "".join(f"{blob}\n" for blob in blobs)
        if not wanted:
            return {}
        answer = self._call("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=wanted)
        pairs = (line.split() for line in answer.decode().splitlines())
        return {blob: int(size) for blob, size in pairs if size.isdigit()}

    def with_added(self) -> "Tree":
        """Return the tree with `added`; our index must be a copy of the user's."""
        added = self._names(
            "diff-index", "--cached", "--name-only", "--diff-filter=A", "-z", self.sha, "--",
            *self.specs,
        )  # fmt: skip
        return replace(self, added=tuple(added))

    def start(self) -> None:
        """Set our index to the commit, and clear the flags by which git skips files."""
        self._call("read-tree", "--reset", self.sha)
        self._clear_flags()

    def _clear_flags(self) -> None:
        """Clear the flags assume-unchanged and skip-worktree, which hide changes.

        A file that a sparse checkout leaves out keeps its flag: it is absent, but not deleted.
        """
        tags = [(e[0], e[2:]) for e in self._names("ls-files", "-v", "-z", "--", *self.specs)]
        assumed = [name for tag, name in tags if tag.islower()]
        skipped = [name for tag, name in tags if tag in "Ss" and os.path.lexists(self.top / name)]
        self._update("--no-assume-unchanged", names=assumed)
        self._update("--no-skip-worktree", names=skipped)

    def _update(self, *options: str, names: Sequence[str]) -> None:
        """Call `git update-index` for files, if there are any."""
        if names:
            stdin = "".join(f"{name}\0" for name in names)
            self._call("update-index", *options, "-z", "--stdin", stdin=stdin)

    def _names(self, *arguments: str) -> list[str]:
        """Return the names that git prints with a zero byte after each."""
        return os.fsdecode(self._call(*arguments)).split("\0")[:-1]

    def _call(self, *arguments: str, stdin: str | None = None) -> bytes:
        return output("-C", str(self.top), *_OPTIONS, *arguments, env=self.env, stdin=stdin)


def pathspecs(top: Path, paths: Sequence[str] | None) -> tuple[str, ...]:
    """Return the pathspecs of paths, relative to the top folder.

    For a symlink they include its target. A file in a nested repository becomes that repository.
    """
    here, top = Path.cwd().resolve(), top.resolve()
    absolute: set[str] = set()
    for path in ["."] if paths is None else paths:
        lexical = os.path.normpath(here / path)
        for each in (lexical, os.path.realpath(lexical)):
            above = [one for one in reversed(Path(each).parents) if top in one.parents]
            nested = [str(one) for one in above if (one / ".git").exists()]
            absolute |= {nested[0] if nested else each}
            absolute |= {str(one) for one in above if one.is_symlink()}
    relative = {os.path.relpath(each, top) for each in absolute}
    inside = sorted(each for each in relative if each != ".." and not each.startswith("../"))
    specs = [":(top)" if each == "." else f":(top,literal){each}" for each in inside]
    return (*specs, _LOCK) if specs else ()


def _size(path: Path) -> int:
    """Return the size of a file in bytes, without following a symlink; 0 if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return 0 if path.is_dir() and not path.is_symlink() else status.st_size


def _megabytes(changes: Iterable[Change]) -> float:
    return sum(change.size for change in changes) / 1e6


def _refuse_above_limit(changes: Sequence[Change]) -> None:
    """Raise WorkspaceError if changes are larger than MAX_SIZE_MB."""
    total = _megabytes(changes)
    if total <= MAX_SIZE_MB:
        return
    largest = sorted(changes, key=lambda change: -change.size)
    names = [f"{change.name} {change.size / 1e6:,.0f} MB" for change in largest[:_NAMED]]
    names += ["…"] if len(changes) > _NAMED else []
    raise WorkspaceError(
        f"uncommitted changes must be at most {MAX_SIZE_MB} MB, since they are stored with the run:"
        " commit the files, `dvc add` them, or list them in .gitignore"
        f" (got {total:,.0f} MB: {', '.join(names)})"
    )


def line(*arguments: str) -> str:
    """Return the one line that git prints: a path, with any characters."""
    return os.fsdecode(output(*arguments)).removesuffix("\n")


def output(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> bytes:
    """Return what git prints. Raises: WorkspaceError if it fails."""
    process = git.call(*arguments, env=env, stdin=stdin)
    if process.returncode:
        raise WorkspaceError(unreadable(process))
    return process.stdout


def unreadable(process: subprocess.CompletedProcess[bytes]) -> str:
    """Return the error message for a git that failed, with git's own reason."""
    lines = process.stderr.decode(errors="replace").splitlines()
    reasons = [line for line in lines if line.startswith(("error:", "fatal:"))]
    reason = reasons[0] if reasons else f"exit {process.returncode}"
    return f"git cannot read {Path.cwd()}, so it is unknown which code ran: {reason}"
