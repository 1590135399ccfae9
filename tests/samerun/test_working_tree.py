"""The commit and the changes of a run: an unreadable tree is never recorded as a clean one."""

import os
import subprocess
from pathlib import Path

import pytest

from samerun import working_tree
from samerun.core.errors import WorkspaceError


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments],
        cwd=folder, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.txt").write_text("a\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "a")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    found = working_tree.commit()
    assert found.sha == git(repository, "rev-parse", "HEAD").strip()
    assert not found.dirty


def test_a_changed_dvc_lock_is_no_change_of_code(repository: Path) -> None:
    (repository / "dvc.lock").write_text("what a run writes\n")
    assert not working_tree.commit().dirty


def test_there_is_no_commit_outside_git_and_before_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert working_tree.commit() == working_tree.Commit(None, b"")
    git(tmp_path, "init", "--quiet")
    assert working_tree.commit() == working_tree.Commit(None, b"")


def test_there_is_no_commit_if_git_is_not_installed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert working_tree.commit() == working_tree.Commit(None, b"")


def test_a_tree_that_git_cannot_read_is_refused(repository: Path) -> None:
    (repository / "b.txt").write_text("b\n")
    git(repository, "add", "b.txt")
    tree = git(repository, "rev-parse", "HEAD^{tree}").strip()
    (repository / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(WorkspaceError, match=r"git must be able to read .* \(got fatal: "):
        working_tree.commit()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_repository_that_belongs_to_another_user_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    for name in ("SUDO_UID", "GIT_CONFIG_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    with pytest.raises(WorkspaceError, match="dubious ownership"):
        working_tree.commit()


def test_a_nested_repository_without_a_commit_is_left_out_and_named(repository: Path) -> None:
    for name in ("new", "new [x]", "deep/er"):
        (repository / name).mkdir(parents=True)
        git(repository / name, "init", "--quiet")
        (repository / name / "file").write_text("x\n")
    assert sorted(working_tree.commit().left_out) == ["deep/er/", "new [x]/", "new/"]
    assert not working_tree.commit().dirty
    (repository / "b.txt").write_text("b\n")
    assert working_tree.commit().paths == ["b.txt"]
    git(repository / "new", "add", ".")
    git(repository / "new", "commit", "--quiet", "-m", "x")
    assert working_tree.commit().paths == ["b.txt", "new"]
    (repository / ".gitignore").write_text("new*\ndeep\n")
    assert working_tree.commit().left_out == ()


@pytest.mark.parametrize("name", ["ü.txt", "a b.txt", "x\ty.txt", 'q"q', "\x1b[31m.txt"])
def test_files_of_any_name_are_listed_in_printable_letters(repository: Path, name: str) -> None:
    (repository / name).write_text("x\n")
    found = working_tree.commit()
    assert len(found.paths) == 1
    assert name.isprintable() is (found.paths == [name.replace('"', '\\"')])
    assert found.paths[0].isprintable()
    git(repository, "stash", "--include-untracked", "--quiet")
    subprocess.run(["git", "apply"], cwd=repository, input=found.patch, check=True)
    assert (repository / name).read_text() == "x\n"
