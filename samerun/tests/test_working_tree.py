"""The commit and the changes of a run: an unreadable tree is never recorded as a clean one."""

import os
import resource
import shutil
import subprocess
import time
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
    with pytest.raises(
        WorkspaceError, match=r"git cannot read .*, so it is unknown which code ran: error: "
    ):
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
    assert working_tree.commit(paths=["new/file", "deep/er/file"]).paths == ["new"]
    assert working_tree.commit(paths=["new/file", "deep/er/file"]).left_out == ("deep/er/",)
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


# Only the paths that count


def applied(repository: Path, found: working_tree.Commit, clone: Path) -> Path:
    """Return a clone of the repository's commit with the patch applied, as a reproduction does."""
    git(repository, "clone", "--quiet", "--no-local", str(repository), str(clone))
    git(clone, "checkout", "--quiet", str(found.sha))
    if found.patch:
        subprocess.run(["git", "apply", "--binary", "-"], cwd=clone, input=found.patch, check=True)
    return clone


def test_the_patch_has_the_changes_of_these_paths_alone(repository: Path, tmp_path: Path) -> None:
    for name in ("code/a.py", "code/b.py", "code/gone.py", "notes.md", "params.yaml"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("before\n")
    (repository / ".gitignore").write_text("*.log\nclone\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "b")
    for name in ("code/a.py", "code/new.py", "code/deep/er.py", "notes.md", "other.md"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("after\n")
    (repository / "code/ignored.log").write_text("x\n")
    (repository / "code/gone.py").unlink()
    (repository / "code/deep/dvc.lock").write_text("x\n")
    git(repository, "add", "other.md")
    paths = ["code", "params.yaml", "absent.py", "absent folder/", "code/deep"]
    found = working_tree.commit(paths=paths)
    assert sorted(found.paths) == ["code/a.py", "code/deep/er.py", "code/gone.py", "code/new.py"]
    clone = applied(repository, found, repository / "clone")
    assert (clone / "code/new.py").read_text() == "after\n"
    assert not (clone / "code/gone.py").exists()
    assert (clone / "notes.md").read_text() == "before\n"
    assert not working_tree.commit(paths=["params.yaml", "absent.py"]).dirty
    assert not working_tree.commit(paths=[]).dirty
    assert sorted(working_tree.commit().paths) == sorted([*found.paths, "notes.md", "other.md"])


@pytest.mark.parametrize(
    "name",
    ["*.py", "[ab].txt", ":(top)x", "!x", ":x", "a\\b", "-x", "ü ö", "\n", '"q"', "a/../b", " "],
)
def test_a_path_is_taken_literally(repository: Path, name: str) -> None:
    (repository / "a").mkdir()
    (repository / "b.py").write_text("not this one\n")
    (repository / "a.txt").write_text("nor this one\n")
    (repository / name).write_text("this one\n")
    found = working_tree.commit(paths=[name])
    assert found.patch.count(b"diff --git") == 1
    assert b"this one" in found.patch
    (repository / name).unlink()
    assert not working_tree.commit(paths=[name]).dirty


def test_a_subfolder_of_a_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the current folder, names in the patch to the repository."""
    for name in ("part/src/a.py", "part/b.txt", "shared/c.py", "other/d.py"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("new\n")
    monkeypatch.chdir(repository / "part")
    assert working_tree.commit().paths == ["part/b.txt", "part/src/a.py"]
    assert working_tree.commit(paths=["src"]).paths == ["part/src/a.py"]
    both = working_tree.commit(paths=["src", "../shared/c.py", "../../outside", "/etc/passwd"])
    assert both.paths == ["part/src/a.py", "shared/c.py"]
    assert working_tree.commit(paths=[str(repository / "other")]).paths == ["other/d.py"]
    assert len(working_tree.commit(paths=[".."]).paths) == 4
    git(repository / "part", "init", "--quiet", "new")
    assert working_tree.commit().left_out == ("new/",)


def test_a_path_through_a_symlink(repository: Path) -> None:
    (repository / "real").mkdir()
    (repository / "real/a.py").write_text("new\n")
    (repository / "link").symlink_to("real")
    assert working_tree.commit(paths=["link/a.py"]).paths == ["link", "real/a.py"]


@pytest.mark.parametrize("name", ["a:b", 'q"\\q', "my%20folder", "#", "ü [x]", "-x"])
def test_a_repository_in_a_folder_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "a.txt").write_text("a\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a")
    (folder / "a.txt").write_text("b\n")
    monkeypatch.chdir(folder)
    assert b"\n-a\n+b\n" in working_tree.commit().patch
    assert working_tree.commit(paths=["a.txt"]).paths == ["a.txt"]


def test_a_file_that_became_a_folder_and_the_reverse(repository: Path, tmp_path: Path) -> None:
    (repository / "b").mkdir()
    (repository / "b/c.txt").write_text("c\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "b")
    (repository / "a.txt").unlink()
    (repository / "a.txt").mkdir()
    (repository / "a.txt/inner").write_text("i\n")
    (repository / "b/c.txt").unlink()
    (repository / "b").rmdir()
    (repository / "b").write_text("b\n")
    found = working_tree.commit(paths=["a.txt", "b"])
    assert sorted(found.paths) == ["a.txt", "a.txt/inner", "b", "b/c.txt"]


def test_a_file_that_git_was_told_not_to_look_at_is_seen(repository: Path) -> None:
    """A patch without it would call code clean that was changed."""
    for name in ("b.txt", "c.txt"):
        (repository / name).write_text("before\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "b")
    git(repository, "update-index", "--assume-unchanged", "a.txt")
    git(repository, "update-index", "--skip-worktree", "b.txt", "c.txt")
    for name in ("a.txt", "b.txt"):
        (repository / name).write_text("changed\n")
    (repository / "c.txt").unlink()  # as in a sparse checkout: absent and not deleted
    assert working_tree.commit().paths == ["a.txt", "b.txt"]
    assert working_tree.commit(paths=["b.txt"]).paths == ["b.txt"]


def test_an_ignored_file_that_was_added_is_a_change(repository: Path) -> None:
    (repository / ".git/info/exclude").write_text("*.cfg\n")
    for name in ("forced.cfg", "ignored.cfg", "intended.txt"):
        (repository / name).write_text("x\n")
    git(repository, "add", "--force", "forced.cfg")
    git(repository, "add", "--intent-to-add", "intended.txt")
    assert working_tree.commit().paths == ["forced.cfg", "intended.txt"]
    (repository / "forced.cfg").unlink()
    assert working_tree.commit().paths == ["intended.txt"]


def test_a_change_in_the_second_of_the_commit_is_seen(repository: Path) -> None:
    """Git's index may have the size and the time of a file that was changed since."""
    for number in range(5):
        (repository / "a.txt").write_text(f"{number}\n")
        git(repository, "commit", "--quiet", "--all", "-m", "c")
        (repository / "a.txt").write_text("x\n")
        assert working_tree.commit().dirty


def test_nothing_of_the_users_repository_is_changed(repository: Path) -> None:
    git(repository, "update-index", "--split-index")
    (repository / "b.txt").write_text("b\n")
    (repository / "a.txt").write_text("changed\n")
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    working_tree.commit()
    assert before == {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}


def test_a_merge_that_is_not_resolved(repository: Path) -> None:
    git(repository, "branch", "other")
    (repository / "a.txt").write_text("ours\n")
    git(repository, "commit", "--quiet", "--all", "-m", "ours")
    git(repository, "checkout", "--quiet", "other")
    (repository / "a.txt").write_text("theirs\n")
    git(repository, "commit", "--quiet", "--all", "-m", "theirs")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "-")
    assert working_tree.commit().paths == ["a.txt"]


@pytest.mark.parametrize("kind", ["blob:none", "tree:0"])
def test_a_partial_clone_fetches_what_the_patch_needs(
    kind: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "deep").mkdir()
    (repository / "deep/b.txt").write_text("b\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "b")
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    clone = repository / "clone"
    git(
        repository, "clone", "--quiet", "--no-checkout", f"--filter={kind}",
        f"file://{repository}", str(clone),
    )  # fmt: skip
    monkeypatch.chdir(clone)
    git(clone, "sparse-checkout", "set", "--no-cone", "/a.txt")
    git(clone, "checkout", "--quiet")
    (clone / "deep").mkdir()
    (clone / "deep/b.txt").write_text("changed\n")
    found = working_tree.commit(paths=["deep", "a.txt"])
    assert found.paths == ["deep/b.txt"]
    assert b"\n-b\n+changed\n" in found.patch


# Sizes


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)


@pytest.mark.parametrize("state", ["untracked", "added", "modified", "replaced"])
def test_a_large_change_is_refused_before_it_is_read(repository: Path, state: str) -> None:
    name = "a.txt" if state in ("modified", "replaced") else "big [1].bin"
    if state == "replaced":
        (repository / name).unlink()
    if state == "added":
        (repository / name).write_text("")
        git(repository, "add", "--all")
    sparse(repository / name, 3_000_000_000)
    (repository / "small.bin").write_bytes(b"x" * 2_000_000)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of other tests' children
    started = time.monotonic()
    for call in (working_tree.commit, working_tree.check_size):
        with pytest.raises(WorkspaceError) as refused:
            call()
        assert str(refused.value) == (
            "uncommitted changes must be at most 50 MB, since they are stored with the run: commit"
            " the files, `dvc add` them, or list them in .gitignore"
            f" (got 3,002 MB: {name} 3,000 MB, small.bin 2 MB)"
        )
    assert time.monotonic() - started < 2
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(largest, 1_000_000)
    working_tree.check_size(["small.bin"])
    assert working_tree.commit(paths=["small.bin"]).paths == ["small.bin"]


def test_a_large_file_that_is_committed_or_ignored_is_no_change(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.bin\n")
    sparse(repository / "committed.txt", 60_000_000)
    sparse(repository / "ignored.bin", 60_000_000)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "large")
    assert not working_tree.commit().dirty
    os.utime(repository / "committed.txt", (1, 1))  # git must read it to see that it is the same
    assert not working_tree.commit().dirty
    copy = shutil.copytree(repository, repository / "copy", ignore=lambda *_: ["copy"])
    os.chdir(copy)
    working_tree.check_size()
    assert not working_tree.commit().dirty
    os.chdir(repository)
    (repository / "committed.txt").unlink()
    with pytest.raises(WorkspaceError, match=r"\(got 60 MB: committed.txt 60 MB\)"):
        working_tree.commit(paths=["committed.txt"])  # the patch would have all that was deleted


def test_many_small_files_are_summed(repository: Path) -> None:
    for number in range(60):
        sparse(repository / f"{number}.bin", 1_000_000 + number)
    with pytest.raises(WorkspaceError, match=r"got 60 MB: 59.bin 1 MB, 58.bin 1 MB, .*, …\)"):
        working_tree.commit()


def test_there_is_no_size_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    sparse(tmp_path / "big", 60_000_000)
    working_tree.check_size()
