"""Files that are replaced whole or not at all, and seals that notice every changed byte."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samerun.core import files
from samerun.core.errors import DamagedError, MissingError
from tests.file_contents import changed_bytes, cut_short, overwritten, tree

# One file


@pytest.mark.parametrize("before", [None, "old\n", "a longer text than the new one"])
def test_a_text_replaces_the_one_that_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "line.json"
    if before is not None:
        path.write_text(before)
    files.write_text(path, "größe\r\n\n")
    assert tree(tmp_path) == {"line.json": "größe\r\n\n".encode()}


def test_the_folders_above_a_file_are_made(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a" / "b" / "c", b"\0\xff")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_file_and_a_folder_have_the_permissions_that_the_umask_allows(
    tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a", "a")
        with files.replaced_folder(tmp_path / "folder"):
            pass
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_in_the_middle_leaves_the_old_text_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    files.write_text(tmp_path / "a", "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(type(error)):
            files.write_text(tmp_path / "a", "new")
    assert tree(tmp_path) == {"a": b"old"}


def test_a_text_that_has_no_utf8_leaves_the_old_one(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        files.write_text(tmp_path / "a", "\ud800")
    assert tree(tmp_path) == {"a": b"old"}


KILLED = """
import os, sys, time
from pathlib import Path
from samerun.core import files

def stop(*_):
    print("in the middle", flush=True)
    time.sleep(600)

path = Path(sys.argv[1])
if path.is_file():
    os.fsync = stop
    files.write_text(path, "new " * 300_000)
else:
    with files.replaced_folder(path) as new:
        (new / "a").write_text("new")
        stop()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_sigkill_in_the_middle_leaves_the_old_content_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    if kind == "file":
        path.write_text("old")
    else:
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


def test_a_reader_sees_the_old_text_or_the_new_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    texts = ["a" * 200_000, "b" * 200_000]
    files.write_text(path, texts[0])

    def write() -> None:
        for turn in range(40):
            files.write_text(path, texts[turn % 2])

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert path.read_text() in texts
    writer.join()


def test_a_hard_link_to_the_old_file_keeps_the_old_bytes(tmp_path: Path) -> None:
    files.write_text(tmp_path / "out", "old")
    os.link(tmp_path / "out", tmp_path / "cache")  # as DVC's cache may hold it
    files.write_text(tmp_path / "out", "new")
    assert tree(tmp_path) == {"out": b"new", "cache": b"old"}


# One folder


@pytest.mark.parametrize("before", [None, {}, {"old": "1", "a": "2"}])
def test_a_folder_replaces_everything_that_was_there(
    tmp_path: Path, before: dict[str, str] | None
) -> None:
    folder = tmp_path / "data" / "train"
    if before is not None:
        folder.mkdir(parents=True)
        for name, text in before.items():
            (folder / name).write_text(text)
    with files.replaced_folder(folder) as new:
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
        with files.replaced_folder(folder) as new:
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
    with files.replaced_folder(link) as new:
        (new / "a").write_text("new")
    assert not link.is_symlink()
    assert (link / "a").read_text() == "new"
    assert dangling or (target / "a").read_text() == "old"


# Seals


def sha256sum(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A folder of three sealed files, one of them empty."""
    folder = tmp_path / "data"
    contents = {"train/a.parquet": b"PAR1\n", "train/b.parquet": b"", "holdout/a.parquet": b"x\r\n"}
    for name, content in contents.items():
        files.write_bytes(folder / name, content)
    files.write_sums(folder, [folder / name for name in contents])
    return folder


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 5_000_000])
def test_the_hash_of_a_file_is_that_of_sha256sum(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert files.sha256_of(tmp_path / "a") == sha256sum(tmp_path, "a").stdout.split()[0]


def test_sha256sum_can_check_a_seal(sealed: Path) -> None:
    names = ["holdout/a.parquet", "train/a.parquet", "train/b.parquet"]
    done = sha256sum(sealed, "--check", "--strict", files.SUMS)
    assert done.stdout.splitlines() == [f"{name}: OK" for name in names]
    assert files.read_sums(sealed) == {
        sealed / name: sha256sum(sealed, name).stdout.split()[0] for name in names
    }


def test_a_seal_may_list_files_outside_its_folder(tmp_path: Path) -> None:
    models, history = tmp_path / "models", tmp_path / "reports/a history.csv"
    files.write_text(models / "line.json", "line")
    files.write_text(history, "history")
    files.write_sums(models, [models / "line.json", history])
    sha256sum(models, "--check", "--strict", files.SUMS)
    files.check_sums(models)
    history.write_text("other")
    with pytest.raises(DamagedError, match=rf"^{history} must be"):
        files.check_sums(models)


def test_a_seal_can_be_checked_from_any_folder(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.check_sums(sealed)
    monkeypatch.chdir(sealed.parent)
    files.check_sums(Path("data"), only=Path("data/train"))
    monkeypatch.chdir(sealed)
    files.check_sums(Path())


def test_a_seal_does_not_depend_on_the_order_of_the_files(sealed: Path) -> None:
    before = (sealed / files.SUMS).read_bytes()
    names = ["train/b.parquet", "holdout/a.parquet", "train/a.parquet"]
    assert files.write_sums(sealed, [sealed / name for name in names]) == (
        hashlib.sha256(before).hexdigest()
    )
    assert (sealed / files.SUMS).read_bytes() == before


@pytest.mark.parametrize("name", ["train/a.parquet", "train/b.parquet", "holdout/a.parquet"])
def test_a_changed_byte_or_one_more_is_refused_with_the_files_name(sealed: Path, name: str) -> None:
    content = (sealed / name).read_bytes()
    changed = changed_bytes(content, lambda byte: {byte ^ (1 << bit) for bit in range(8)})
    for _ in overwritten(sealed / name, [*changed, content + b"\0", content + b"\n"]):
        with pytest.raises(DamagedError, match=rf"{name} must be .*dvc repro"):
            files.check_sums(sealed)
    files.check_sums(sealed)


def test_two_files_that_changed_places_are_refused(sealed: Path) -> None:
    (sealed / "train/a.parquet").rename(sealed / "other")
    (sealed / "train/b.parquet").rename(sealed / "train/a.parquet")
    (sealed / "other").rename(sealed / "train/b.parquet")
    with pytest.raises(DamagedError, match=r"train/a\.parquet"):
        files.check_sums(sealed)


SPECIAL = b"\0\t\n\x0b\x0c\r\x1c\x85 */.\\#A0"
"""Bytes that a reader of lines, of paths or of hex may take for something else."""


def test_every_changed_byte_of_the_seal_is_refused_with_a_files_name(sealed: Path) -> None:
    def others(byte: int) -> set[int]:
        return {byte ^ (1 << bit) for bit in range(8)} | {byte ^ 0xFF} | set(SPECIAL) - {byte}

    seal = sealed / files.SUMS
    for _ in overwritten(seal, changed_bytes(seal.read_bytes(), others)):
        with pytest.raises((DamagedError, MissingError), match=r"^/.* must "):
            files.check_sums(sealed)


def test_a_seal_cut_short_anywhere_is_refused(sealed: Path) -> None:
    seal = sealed / files.SUMS
    for _ in overwritten(seal, cut_short(seal.read_bytes())):
        with pytest.raises((DamagedError, MissingError), match=str(sealed)):
            files.check_sums(sealed, only=sealed / "train")


@pytest.mark.parametrize("name", ["train/a.parquet", "train/b.parquet", "holdout/a.parquet"])
def test_a_missing_file_is_refused_by_name(sealed: Path, name: str) -> None:
    (sealed / name).unlink()
    with pytest.raises(MissingError, match=rf"{name} must be there.*\(got no file\)"):
        files.check_sums(sealed)
    (sealed / name).mkdir()
    with pytest.raises(MissingError, match=rf"{name} must be there.*\(got no file\)"):
        files.check_sums(sealed)


def test_a_missing_seal_is_refused_by_name(sealed: Path) -> None:
    (sealed / files.SUMS).unlink()
    with pytest.raises(MissingError, match=r"data/SHA256SUMS must be there: run `dvc repro`"):
        files.check_sums(sealed)


@pytest.mark.parametrize("name", ["c.parquet", "notes.txt", "deep/er.parquet"])
def test_an_unlisted_file_in_the_checked_folder_is_refused_by_name(sealed: Path, name: str) -> None:
    files.write_text(sealed / "train" / name, "more")
    with pytest.raises(DamagedError, match=rf"train/{name} must not be there"):
        files.check_sums(sealed, only=sealed / "train")


def test_files_outside_the_checked_folder_do_not_matter(sealed: Path) -> None:
    files.write_text(sealed / "own" / "a.csv", "x,y\n")
    files.write_text(sealed / "holdout" / "more", "more")
    files.write_text(sealed / "holdout" / "a.parquet", "other")
    files.check_sums(sealed, only=sealed / "train")
    with pytest.raises(DamagedError, match=r"holdout/a\.parquet"):
        files.check_sums(sealed, only=sealed / "holdout")


def test_a_folder_of_which_the_seal_lists_nothing_is_refused(sealed: Path) -> None:
    with pytest.raises(DamagedError, match=r"SHA256SUMS .*lists nothing of .*own"):
        files.check_sums(sealed, only=sealed / "own")
