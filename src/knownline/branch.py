"""Commits of a retraining, on a branch of its own: nobody's checkout, index or HEAD is touched.

A commit depends on its content, its parents and the day alone: two machines that retrain the same
day from the same commit make the same one. Knows nothing of DVC or MLflow.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knownline.errors import WorkspaceError

_NAME, _EMAIL = "knownline retrain", "retrain@knownline.invalid"


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch of one day's retrainings. day: YYYY-MM-DD, UTC."""

    day: str

    @property
    def name(self) -> str:
        """retrain/YYYY-MM-DD."""
        return f"retrain/{self.day}"

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.name}"

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Return the commit that is HEAD with `paths` as they are in the folder now.

        It is HEAD where that has them so already, else the branch's where one was made before,
        else it is made, and the branch moved to it.

        Raises: WorkspaceError where git cannot.
        """
        tip = self._tip()
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            _git("read-tree", "HEAD", env=env)
            _git("add", "--all", "--", *(p for p in paths if Path(p).exists()), env=env)
            tree = _git("write-tree", env=env)
        known = [_git("log", "-1", "--format=%H %T", "HEAD")]
        known += _git("log", "--format=%H %T", f"HEAD..{tip}").splitlines() if tip else []
        for sha, its_tree in map(str.split, known):
            if its_tree == tree:
                return sha
        sha = self._make(tree, tip, message)
        _git("update-ref", self._ref, sha, tip or "")
        return sha

    def _make(self, tree: str, tip: str | None, message: str) -> str:
        head = _git("rev-parse", "HEAD")
        parents = [head]
        if tip:
            parents = [tip] if _is_ancestor(head, tip) else [tip, head]
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (
                ("NAME", _NAME),
                ("EMAIL", _EMAIL),
                ("DATE", f"{self.day}T00:00:00+00:00"),
            )
        }
        given = [argument for parent in parents for argument in ("-p", parent)]
        return _git("commit-tree", tree, *given, "-m", message, env=who)

    def catch_up(self) -> None:
        """Take over what another machine's retraining pushed to this branch.

        What somebody else committed there is left alone; the push will then be rejected.

        Raises: WorkspaceError where the git remote does not answer.
        """
        remote = _remote()
        listed = _git("ls-remote", "--heads", remote, self._ref)
        if not listed:
            return
        theirs, tip = listed.split()[0], self._tip()
        _git("fetch", "--quiet", "--no-tags", remote, self._ref)
        others = set(_git("log", "--format=%ce", f"HEAD..{theirs}").split()) - {_EMAIL}
        if not others and theirs != tip and (tip is None or _is_ancestor(tip, theirs)):
            _git("update-ref", self._ref, theirs, tip or "")

    def push(self) -> bool:
        """Push the branch to the git remote; return whether there was anything on it to push.

        Raises: WorkspaceError where it is rejected or the remote does not answer.
        """
        if self._tip() is None:
            return False
        remote = _remote()
        try:
            _git("push", "--quiet", remote, f"{self._ref}:{self._ref}")
        except WorkspaceError as error:
            raise WorkspaceError(
                f"{remote} must take {self.name} (somebody else's commits there? fetch it, delete"
                f" it or rename it, then repeat; {error})"
            ) from error
        return True

    def _tip(self) -> str | None:
        found = _call("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}")
        return found.stdout.strip() or None


def head() -> str:
    """Return the commit checked out. Raises: WorkspaceError where there is none."""
    return _git("rev-parse", "--verify", "HEAD")


def _remote() -> str:
    remotes = _git("remote").split()
    if not remotes:
        raise WorkspaceError("--push needs a git remote (got none: git remote add origin URL)")
    return "origin" if "origin" in remotes else remotes[0]


def _is_ancestor(old: str, new: str) -> bool:
    return _call("merge-base", "--is-ancestor", old, new).returncode == 0


def _git(*arguments: str, env: dict[str, str] | None = None) -> str:
    done = _call(*arguments, env=env)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line and not line.startswith("hint:")]
        told = next((line for line in lines if "rejected" in line), (lines or ["nothing said"])[-1])
        raise WorkspaceError(f"git {arguments[0]} must succeed (got {told.strip()})")
    return done.stdout.strip()


def _call(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    # Nobody is there to be asked for a password; git's words are read in English.
    own = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})}
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, env=own
        )
    except FileNotFoundError:
        raise WorkspaceError("git must be installed (got no such command)") from None
