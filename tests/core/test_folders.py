"""Folders that are replaced whole or not at all, and folders that keep their newest files."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from knownline.core import folders
from samerun.core import files
from support.files import tree


@pytest.mark.parametrize("before", [None, {}, {"old": "1", "a": "2"}])
def test_a_folder_replaces_everything_that_was_there(
    tmp_path: Path, before: dict[str, str] | None
) -> None:
    folder = tmp_path / "data" / "train"
    if before is not None:
        folder.mkdir(parents=True)
        for name, text in before.items():
            (folder / name).write_text(text)
    with folders.replaced(folder) as new:
        assert list(new.iterdir()) == []
        (new / "a").write_text("new")
    assert tree(tmp_path / "data") == {"train": None, "train/a": b"new"}


@pytest.mark.parametrize("error", [None, RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [True, False])
def test_a_folder_stays_as_it_was_if_the_block_or_the_renaming_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, existed: bool
) -> None:
    folder = tmp_path / "train"
    if existed:
        folder.mkdir()
        (folder / "a").write_text("old")
    before = tree(tmp_path)
    rename = os.rename
    failed: list[Path] = []

    def fail_once(old: Path, new: Path) -> None:
        if Path(new) == folder and not failed:
            failed.append(old)
            raise OSError(5, "Input/output error")
        rename(old, new)

    def replace() -> None:
        with folders.replaced(folder) as new:
            (new / "a").write_text("new")
            if error:
                raise error

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(type(error) if error else OSError):
        replace()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_to_a_folder_is_replaced_and_its_target_is_kept(
    tmp_path: Path, dangling: bool
) -> None:
    target, link = tmp_path / "cache", tmp_path / "train"
    if not dangling:
        files.write_text(target / "a", "old")
    link.symlink_to(target, target_is_directory=True)
    with folders.replaced(link) as new:
        (new / "a").write_text("new")
    assert not link.is_symlink()
    assert (link / "a").read_text() == "new"
    assert dangling or (target / "a").read_text() == "old"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_folder_has_the_permissions_that_the_umask_allows(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with folders.replaced(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


KILLED = """
import sys, time
from pathlib import Path
from knownline.core import folders

with folders.replaced(Path(sys.argv[1])) as new:
    (new / "a").write_text("new")
    print("in the middle", flush=True)
    time.sleep(600)
"""


def test_sigkill_in_the_middle_leaves_the_old_folder_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "a").write_text("old")
    (path / "b").write_text("old too")
    before = tree(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in the middle\n"
        child.send_signal(signal.SIGKILL)
    after = tree(tmp_path)
    # .gitignore knows the pattern of what is left.
    assert {n: after[n] for n in after if not n.startswith(".out.tmp-")} == before


def test_temporary_files_of_another_process_do_not_stay(tmp_path: Path) -> None:
    with folders.replaced(tmp_path / "new") as folder:
        (folder / "a").write_text("1")
        (folder / ".a.tmp-00").write_text("2")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_nothing_is_left_when_another_process_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    remove = os.rmdir

    def write_then_remove(path: Path, **options: Any) -> None:
        """Remove an emptied folder just after the other process made one more file."""
        with suppress(FileNotFoundError):
            (written[0].parent / "more").touch()
        remove(path, **options)

    with pytest.raises(KeyError), folders.replaced(tmp_path / "new") as folder:  # noqa: PT012
        written.append(folder / "a")
        written[0].touch()
        monkeypatch.setattr(os, "rmdir", write_then_remove)
        raise KeyError
    assert list(tmp_path.iterdir()) == []
