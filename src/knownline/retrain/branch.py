"""Commits a retraining to its own branch, without touching the working tree, the index or HEAD.

A commit depends on its content, its parents and the day alone. So two machines that retrain on the
same day from the same commit make the same commit. Knows nothing of DVC or MLflow.
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
        """Raise WorkspaceError if the branch is checked out: moving it would move HEAD."""
        for worktree in git.run("worktree", "list", "--porcelain").split("\n\n"):
            first_line, *attributes = worktree.splitlines()
            if f"branch {self._ref}" in attributes:
                raise WorkspaceError(
                    f"branch {self.name} is checked out in"
                    f" {first_line.removeprefix('worktree ')}: switch to another one first, such as"
                    " git switch main"
                )

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Return a commit of HEAD's tree, with the files `paths` as they are now.

        That is HEAD if its tree is the same, else an earlier commit of the branch with that tree,
        else a new commit, to which the branch moves.

        Raises: WorkspaceError if git fails.
        """
        tip = self._tip()
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            git.run("read-tree", "HEAD", env=env)
            if existing := [path for path in paths if Path(path).is_file()]:
                git.run("add", "--", *existing, env=env)
            tree = git.run("write-tree", env=env)
        commits = [git.run("log", "-1", "--format=%H %T", "HEAD")]
        commits += git.run("log", "--format=%H %T", f"HEAD..{tip}").splitlines() if tip else []
        for sha, commit_tree in map(str.split, commits):
            if commit_tree == tree:
                return sha
        sha = self._commit_tree(tree, tip, message)
        git.run("update-ref", self._ref, sha, tip or "")
        return sha

    def _commit_tree(self, tree: str, tip: str | None, message: str) -> str:
        head = git.run("rev-parse", "HEAD")
        parents = [head]
        if tip:
            parents = [tip] if git.is_ancestor(head, tip) else [tip, head]
        identity = git.commit_identity(_NAME, _EMAIL, f"{self.day}T00:00:00+00:00")
        options = [argument for parent in parents for argument in ("-p", parent)]
        return git.run("commit-tree", tree, *options, "-m", message, env=identity)

    def catch_up(self) -> None:
        """Fast-forward the branch to what another machine's retraining pushed to it.

        Nothing is done if it has anyone else's commits; then the push will be rejected.

        Raises: WorkspaceError if the git remote does not answer.
        """
        remote_tip, tip = git.fetch_branch(self.name), self._tip()
        if remote_tip is None:
            return
        foreign_emails = set(git.run("log", "--format=%ce", f"HEAD..{remote_tip}").split()) - {
            _EMAIL
        }
        if (
            not foreign_emails
            and remote_tip != tip
            and (tip is None or git.is_ancestor(tip, remote_tip))
        ):
            git.run("update-ref", self._ref, remote_tip, tip or "")

    def push(self) -> bool:
        """Push the branch to the git remote; return whether the branch exists.

        Raises: WorkspaceError if the push is rejected or the remote does not answer.
        """
        if self._tip() is None:
            return False
        remote = git.remote_name()
        try:
            git.run("push", "--quiet", remote, f"{self._ref}:{self._ref}")
        except WorkspaceError as error:
            raise WorkspaceError(
                f"cannot push {self.name} to {remote}: {error}; if it has somebody else's commits"
                " there, delete or rename it, and repeat the command"
            ) from error
        return True

    def _tip(self) -> str | None:
        output = git.call("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}")
        return output.stdout.decode().strip() or None
