"""Commits of a retraining, on a branch of its own: nobody's checkout, index or HEAD is touched.

A commit depends on its content, its parents and the day alone: two machines that retrain the same
day from the same commit make the same one. Knows nothing of DVC or MLflow.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samerun import git
from samerun.core.errors import WorkspaceError

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

    def must_be_free(self) -> None:
        """Raise WorkspaceError where the branch is checked out: moving it would move HEAD."""
        for folder in git.run("worktree", "list", "--porcelain").split("\n\n"):
            where, *said = folder.splitlines()
            if f"branch {self._ref}" in said:
                raise WorkspaceError(
                    f"{self.name} must not be checked out while its day is retrained (got it in"
                    f" {where.removeprefix('worktree ')}: git switch main)"
                )

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Return the commit that is HEAD with `paths` as they are in the folder now.

        It is HEAD where that has them so already, else the branch's where one was made before,
        else it is made, and the branch moved to it.

        Raises: WorkspaceError where git cannot.
        """
        tip = self._tip()
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            git.run("read-tree", "HEAD", env=env)
            there = [Path(p) for p in paths if Path(p).exists()]
            # Of a folder what git knows: an untracked file may be nobody's business.
            for how, found in (
                (["--update"], [p for p in there if p.is_dir()]),
                ([], [p for p in there if p.is_file()]),
            ):
                if found:  # without a path it would be all there is
                    git.run("add", *how, "--", *map(str, found), env=env)
            tree = git.run("write-tree", env=env)
        known = [git.run("log", "-1", "--format=%H %T", "HEAD")]
        known += git.run("log", "--format=%H %T", f"HEAD..{tip}").splitlines() if tip else []
        for sha, its_tree in map(str.split, known):
            if its_tree == tree:
                return sha
        sha = self._make(tree, tip, message)
        git.run("update-ref", self._ref, sha, tip or "")
        return sha

    def _make(self, tree: str, tip: str | None, message: str) -> str:
        head = git.run("rev-parse", "HEAD")
        parents = [head]
        if tip:
            parents = [tip] if git.is_ancestor(head, tip) else [tip, head]
        who = git.signed(_NAME, _EMAIL, f"{self.day}T00:00:00+00:00")
        given = [argument for parent in parents for argument in ("-p", parent)]
        return git.run("commit-tree", tree, *given, "-m", message, env=who)

    def catch_up(self) -> None:
        """Take over what another machine's retraining pushed to this branch.

        What somebody else committed there is left alone; the push will then be rejected.

        Raises: WorkspaceError where the git remote does not answer.
        """
        theirs, tip = git.fetched(self.name), self._tip()
        if theirs is None:
            return
        others = set(git.run("log", "--format=%ce", f"HEAD..{theirs}").split()) - {_EMAIL}
        if not others and theirs != tip and (tip is None or git.is_ancestor(tip, theirs)):
            git.run("update-ref", self._ref, theirs, tip or "")

    def push(self) -> bool:
        """Push the branch to the git remote; return whether there was anything on it to push.

        Raises: WorkspaceError where it is rejected or the remote does not answer.
        """
        if self._tip() is None:
            return False
        remote = git.remote()
        try:
            git.run("push", "--quiet", remote, f"{self._ref}:{self._ref}")
        except WorkspaceError as error:
            raise WorkspaceError(
                f"{remote} must take {self.name} (somebody else's commits there? fetch it, delete"
                f" it or rename it, then repeat; {error})"
            ) from error
        return True

    def _tip(self) -> str | None:
        found = git.call("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}")
        return found.stdout.decode().strip() or None
