"""Calls of git that never prompt. Knows nothing of what is committed or why."""

import shutil
import subprocess

from samerun import programs
from samerun.core.errors import WorkspaceError


def run(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Return what git prints, stripped. Raises: WorkspaceError with git's reason if it fails."""
    process = call(*arguments, env=env, stdin=stdin)
    if process.returncode:
        lines = [line for line in process.stderr.decode(errors="replace").splitlines() if line]
        lines = [line for line in lines if not line.startswith("hint:")] or [
            f"exit {process.returncode}"
        ]
        reason = next((line for line in lines if "rejected" in line), lines[-1])
        raise WorkspaceError(f"git {arguments[0]} failed: {reason.strip()}")
    return process.stdout.decode(errors="surrogateescape").strip()


def call(
    *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git and return the ended process. Raises: WorkspaceError if git is not installed."""
    # Git must not prompt for a password. Its output is parsed, so it must be in English and without
    # the signatures that a user's configuration may add.
    settings = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})}
    try:
        return programs.call(
            "git",
            "-c",
            "log.showSignature=false",
            *arguments,
            isolated=False,
            stdin=stdin.encode(errors="surrogateescape") if stdin is not None else None,
            env=settings,
        )
    except FileNotFoundError:
        raise WorkspaceError("git is not installed: install it") from None


def is_installed() -> bool:
    """Return whether git is installed."""
    return shutil.which("git") is not None


def remote_name() -> str:
    """Return the name of the remote to push to. Raises: WorkspaceError if there is none."""
    remotes = run("remote").split()
    if not remotes:
        raise WorkspaceError("there is no git remote: add one by `git remote add origin URL`")
    return "origin" if "origin" in remotes else remotes[0]


def fetch_branch(name: str) -> str | None:
    """Fetch a branch of the remote and return its commit; None if the remote has no such branch.

    Raises: WorkspaceError if the remote does not answer.
    """
    remote = remote_name()
    heads = run("ls-remote", "--heads", remote, f"refs/heads/{name}")
    if not heads:
        return None
    run("fetch", "--quiet", "--no-tags", remote, f"refs/heads/{name}")
    return heads.split()[0]


def is_ancestor(old: str, new: str) -> bool:
    """Return whether commit `old` is `new` or an ancestor of it."""
    return call("merge-base", "--is-ancestor", old, new).returncode == 0


def commit_identity(name: str, email: str, when: str) -> dict[str, str]:
    """Return the environment variables that set author, committer and time of a commit."""
    return {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", name), ("EMAIL", email), ("DATE", when))
    }
