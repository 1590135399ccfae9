"""Git, called without a prompt; knows nothing of what is committed or why."""

import shutil
import subprocess

from samerun import programs
from samerun.core.errors import WorkspaceError


def run(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Return what git prints, stripped. Raises: WorkspaceError with git's reason where it fails."""
    done = call(*arguments, env=env, stdin=stdin)
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line]
        lines = [line for line in lines if not line.startswith("hint:")] or ["nothing said"]
        reason = next((line for line in lines if "rejected" in line), lines[-1])
        raise WorkspaceError(f"git {arguments[0]} must succeed (got {reason.strip()})")
    return done.stdout.decode(errors="surrogateescape").strip()


def call(
    *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git and return how it ended. Raises: WorkspaceError where there is no git."""
    # Nobody is there to be asked for a password; git's words are read in English, and without the
    # signatures that a user may have switched on for himself.
    own = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})}
    try:
        return programs.call(
            "git",
            "-c",
            "log.showSignature=false",
            *arguments,
            isolated=False,
            stdin=stdin.encode() if stdin is not None else None,
            env=own,
        )
    except FileNotFoundError:
        raise WorkspaceError("git must be installed (got no such command)") from None


def is_here() -> bool:
    """Return whether there is a git to call."""
    return shutil.which("git") is not None


def remote() -> str:
    """Return the remote to push to. Raises: WorkspaceError where there is none."""
    remotes = run("remote").split()
    if not remotes:
        raise WorkspaceError(
            "a git remote must be there to push to (got none: git remote add origin URL)"
        )
    return "origin" if "origin" in remotes else remotes[0]


def fetched(name: str) -> str | None:
    """Return the commit that a branch of the remote is at, brought here, or None.

    Raises: WorkspaceError where the remote does not answer.
    """
    there = remote()
    listed = run("ls-remote", "--heads", there, f"refs/heads/{name}")
    if not listed:
        return None
    run("fetch", "--quiet", "--no-tags", there, f"refs/heads/{name}")
    return listed.split()[0]


def is_ancestor(old: str, new: str) -> bool:
    """Return whether a commit is the other or comes before it."""
    return call("merge-base", "--is-ancestor", old, new).returncode == 0


def signed(name: str, email: str, when: str) -> dict[str, str]:
    """Return the environment in which git commits as somebody, at a time."""
    return {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", name), ("EMAIL", email), ("DATE", when))
    }
