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


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def overwrite(path: Path, content: bytes) -> None:
    # In place: ext4 flushes a file that was emptied first, and these are thousands.
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()


def sha256sum(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


# One file


@pytest.mark.parametrize("before", [None, "old\n", "a longer text than the new one"])
def test_a_text_takes_the_place_of_what_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "line.json"
    if before is not None:
        path.write_text(before)
    files.write_text(path, "größe\r\n\n")
    assert tree(tmp_path) == {"line.json": "größe\r\n\n".encode()}


def test_the_folders_above_a_file_are_made(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a" / "b" / "c", b"\0\xff")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
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
def test_an_error_in_the_middle_leaves_the_old_text_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: str
) -> None:
    files.write_text(tmp_path / "a", "old")

    def fail(*_: object) -> None:
        raise error

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
if sys.argv[2] == "file":
    os.fsync = stop
    files.write_text(path, "new " * 300_000)
else:
    with files.replaced_folder(path) as new:
        (new / "a").write_text("new")
        stop()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_9_in_the_middle_leaves_the_old_content_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    if kind == "file":
        path.write_text("old")
    else:
        path.mkdir()
        (path / "a").write_text("old")
        (path / "b").write_text("old too")
    before = tree(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), kind], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in the middle\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    after = tree(tmp_path)
    left = {name for name in after if name.split("/")[0] not in before}
    assert {name: content for name, content in after.items() if name not in left} == before
    assert all(name.startswith(".out.tmp-") for name in left)  # .gitignore knows the pattern


def test_a_reader_sees_the_old_text_or_the_new_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = {letter: letter * 200_000 for letter in "ab"}
    files.write_text(path, whole["a"])
    done = threading.Event()

    def write() -> None:
        for turn in range(40):
            files.write_text(path, whole["ab"[turn % 2]])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_text()}
    while not done.is_set():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(whole.values())


def test_another_name_of_the_old_file_keeps_the_old_bytes(tmp_path: Path) -> None:
    files.write_text(tmp_path / "out", "old")
    os.link(tmp_path / "out", tmp_path / "cache")  # as DVC's cache may hold it
    files.write_text(tmp_path / "out", "new")
    assert tree(tmp_path) == {"out": b"new", "cache": b"old"}


# One folder


@pytest.mark.parametrize("before", [None, {}, {"old": "1", "a": "2"}])
def test_a_folder_takes_the_place_of_all_that_was_there(
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


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [True, False])
def test_a_folder_stays_as_it_was_if_the_block_raises(
    tmp_path: Path, error: BaseException, existed: bool
) -> None:
    folder = tmp_path / "train"
    if existed:
        folder.mkdir()
        (folder / "a").write_text("old")
    before = tree(tmp_path)

    def fail() -> None:
        with files.replaced_folder(folder) as new:
            (new / "a").write_text("new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert tree(tmp_path) == before


def test_a_folder_stays_as_it_was_if_it_cannot_be_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "a").write_text("old")
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

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(OSError, match="Input/output error"):
        replace()
    assert tree(tmp_path) == {"train": None, "train/a": b"old"}


def test_a_link_to_a_folder_is_replaced_and_what_it_led_to_is_kept(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "a").write_text("old")
    (tmp_path / "train").symlink_to(cache, target_is_directory=True)
    with files.replaced_folder(tmp_path / "train") as new:
        (new / "a").write_text("new")
    assert not (tmp_path / "train").is_symlink()
    assert (tmp_path / "train" / "a").read_text() == "new"
    assert (cache / "a").read_text() == "old"


# Sums


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 5_000_000])
def test_the_sum_of_a_file_is_the_one_that_sha256sum_prints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert files.sha256_of(tmp_path / "a") == sha256sum(tmp_path, "a").stdout.split()[0]


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    contents = {"train/a.parquet": b"PAR1\n", "train/b.parquet": b"", "holdout/a.parquet": b"x\r\n"}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files.seal(folder, [folder / name for name in contents])
    return folder


def test_sha256sum_itself_finds_a_seal_in_order(sealed: Path) -> None:
    done = sha256sum(sealed, "--check", "--strict", files.SUMS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "holdout/a.parquet: OK",
        "train/a.parquet: OK",
        "train/b.parquet: OK",
    ]


def test_sha256sum_itself_finds_a_seal_over_files_elsewhere_in_order(tmp_path: Path) -> None:
    for name in ("models/line.json", "reports/a history.csv"):
        files.write_text(tmp_path / name, name)
    files.seal(
        tmp_path / "models", [tmp_path / "models/line.json", tmp_path / "reports/a history.csv"]
    )
    assert sha256sum(tmp_path / "models", "--check", "--strict", files.SUMS).returncode == 0
    files.check_seal(tmp_path / "models")
    (tmp_path / "reports/a history.csv").write_text("other")
    with pytest.raises(DamagedError, match=r"reports/a history\.csv must be"):
        files.check_seal(tmp_path / "models")


def test_a_seal_is_found_in_order_from_any_folder(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.check_seal(sealed)
    monkeypatch.chdir(sealed.parent)
    files.check_seal(Path("data"), only=Path("data/train"))
    monkeypatch.chdir(sealed)
    files.check_seal(Path())


def test_the_seal_does_not_depend_on_the_order_of_the_files(sealed: Path) -> None:
    before = (sealed / files.SUMS).read_bytes()
    listed = [sealed / "train/b.parquet", sealed / "holdout/a.parquet", sealed / "train/a.parquet"]
    returned = files.seal(sealed, listed)
    assert (sealed / files.SUMS).read_bytes() == before
    assert returned == hashlib.sha256(before).hexdigest()


@pytest.mark.parametrize("name", ["train/a.parquet", "holdout/a.parquet"])
def test_every_changed_byte_of_a_sealed_file_is_refused_with_its_name(
    sealed: Path, name: str
) -> None:
    whole = (sealed / name).read_bytes()
    for place, old in enumerate(whole):
        for new in set(range(256)) - {old}:
            overwrite(sealed / name, whole[:place] + bytes([new]) + whole[place + 1 :])
            with pytest.raises(DamagedError, match=rf"{name} must be .*dvc repro"):
                files.check_seal(sealed)
    (sealed / name).write_bytes(whole)
    files.check_seal(sealed)


@pytest.mark.parametrize("name", ["train/a.parquet", "train/b.parquet", "holdout/a.parquet"])
@pytest.mark.parametrize("extra", [b"\0", b"\n"])
def test_a_byte_more_is_refused_with_the_name(sealed: Path, name: str, extra: bytes) -> None:
    (sealed / name).write_bytes((sealed / name).read_bytes() + extra)
    with pytest.raises(DamagedError, match=name):
        files.check_seal(sealed)


def test_two_files_that_changed_places_are_refused(sealed: Path) -> None:
    (sealed / "train/a.parquet").rename(sealed / "other")
    (sealed / "train/b.parquet").rename(sealed / "train/a.parquet")
    (sealed / "other").rename(sealed / "train/b.parquet")
    with pytest.raises(DamagedError, match=r"train/a\.parquet"):
        files.check_seal(sealed)


SPECIAL = b"\0\t\n\x0b\x0c\r\x1c\x85 */.\\#A0"
"""Bytes that a reader of lines, of paths or of hex may take for something else."""


def test_every_changed_byte_of_the_seal_is_refused_with_a_files_name(sealed: Path) -> None:
    seal = sealed / files.SUMS
    whole = seal.read_bytes()
    for place, old in enumerate(whole):
        values = {old ^ (1 << bit) for bit in range(8)} | {old ^ 0xFF} | set(SPECIAL)
        for new in values - {old} - ({ord("\r")} if old == ord("\n") else set()):
            overwrite(seal, whole[:place] + bytes([new]) + whole[place + 1 :])
            with pytest.raises((DamagedError, MissingError), match=r"^/.* must "):
                files.check_seal(sealed)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_line_end_of_the_seal_that_became_a_carriage_return_is_refused(
    sealed: Path, line: int
) -> None:
    lines = (sealed / files.SUMS).read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].removesuffix(b"\n") + b"\r"
    (sealed / files.SUMS).write_bytes(b"".join(lines))
    with pytest.raises((DamagedError, MissingError), match=str(sealed)):
        files.check_seal(sealed)


def test_a_seal_cut_short_anywhere_does_not_pass_for_the_folder_it_lists(sealed: Path) -> None:
    seal = sealed / files.SUMS
    whole = seal.read_bytes()
    for length in reversed(range(len(whole))):
        overwrite(seal, whole[:length])
        with pytest.raises((DamagedError, MissingError), match=str(sealed)):
            files.check_seal(sealed, only=sealed / "train")


@pytest.mark.parametrize("name", ["train/a.parquet", "train/b.parquet", "holdout/a.parquet"])
def test_a_missing_file_is_named(sealed: Path, name: str) -> None:
    (sealed / name).unlink()
    with pytest.raises(MissingError, match=rf"{name} must be there.*\(got no file\)"):
        files.check_seal(sealed)


def test_a_folder_in_the_place_of_a_file_is_named(sealed: Path) -> None:
    (sealed / "train/a.parquet").unlink()
    (sealed / "train/a.parquet").mkdir()
    with pytest.raises((MissingError, DamagedError), match=r"train/a\.parquet"):
        files.check_seal(sealed)


def test_a_missing_seal_is_named(sealed: Path) -> None:
    (sealed / files.SUMS).unlink()
    with pytest.raises(MissingError, match=r"data/SHA256SUMS must be there: run `dvc repro`"):
        files.check_seal(sealed)


@pytest.mark.parametrize("name", ["c.parquet", "notes.txt", "deep/er.parquet"])
def test_a_file_more_in_a_sealed_folder_is_refused_with_its_name(sealed: Path, name: str) -> None:
    extra = sealed / "train" / name
    extra.parent.mkdir(exist_ok=True)
    extra.write_text("more")
    with pytest.raises(DamagedError, match=rf"train/{name} must not be there"):
        files.check_seal(sealed, only=sealed / "train")


def test_a_file_more_beside_the_folder_that_is_read_is_nobodys_business(sealed: Path) -> None:
    (sealed / "own").mkdir()
    (sealed / "own" / "a.csv").write_text("x,y\n")
    (sealed / "holdout" / "more").write_text("more")
    files.check_seal(sealed, only=sealed / "train")


def test_damage_beside_the_folder_that_is_read_is_nobodys_business(sealed: Path) -> None:
    (sealed / "holdout" / "a.parquet").write_text("other")
    files.check_seal(sealed, only=sealed / "train")
    with pytest.raises(DamagedError, match=r"holdout/a\.parquet"):
        files.check_seal(sealed, only=sealed / "holdout")


def test_a_folder_the_seal_lists_nothing_of_is_refused(sealed: Path) -> None:
    with pytest.raises(DamagedError, match=r"SHA256SUMS .*lists nothing of .*own"):
        files.check_seal(sealed, only=sealed / "own")


def test_what_a_seal_lists_is_given_by_path(sealed: Path) -> None:
    assert files.sealed(sealed) == {
        sealed / name: sha256sum(sealed, name).stdout.split()[0]
        for name in ("holdout/a.parquet", "train/a.parquet", "train/b.parquet")
    }
