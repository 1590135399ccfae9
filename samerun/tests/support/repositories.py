"""Git repositories, and the environment that a hook of another one hands down."""

import os
import subprocess
from pathlib import Path

import pytest


def run_git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments],
        cwd=folder, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def repository(folder: Path) -> Path:
    folder.mkdir()
    run_git(folder, "init", "--quiet")
    (folder / "a.txt").write_text(f"{folder.name}\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "--quiet", "-m", folder.name)
    return folder


def in_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository that we work in, in the environment of a hook of another one."""
    folder, other = repository(tmp_path / "here"), repository(tmp_path / "other")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    monkeypatch.setenv("GIT_PREFIX", "")
    monkeypatch.setenv("GIT_EXEC_PATH", str(tmp_path / "no such folder"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.worktree=/nowhere'")
    return folder


def of(folder: Path, *arguments: str) -> str:
    """Return what git says of a folder, without the hook's environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()
