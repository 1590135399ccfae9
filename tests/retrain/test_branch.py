"""The branch of a retraining, in the environment that a hook of another repository has."""

import os
import subprocess
from pathlib import Path

import pytest

from knownline.retrain.branch import Branch


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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def test_a_retraining_in_a_hook_commits_to_its_own_repository(here: Path) -> None:
    other = here.parent / "other"
    before = of(other, "for-each-ref"), sorted((other / ".git/objects").rglob("*"))
    (here / "a.txt").write_text("retrained\n")
    sha = Branch("2026-01-01").commit(["a.txt"], "Retraining")
    assert of(here, "rev-parse", "refs/heads/retrain/2026-01-01") == sha
    assert before == (of(other, "for-each-ref"), sorted((other / ".git/objects").rglob("*")))
