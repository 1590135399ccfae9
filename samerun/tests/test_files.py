"""Files that are replaced whole or not at all, and their hashes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samerun.core import files
from support.files import tree


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
def test_a_file_has_the_permissions_that_the_umask_allows(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a", "a")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


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

os.fsync = stop
files.write_text(Path(sys.argv[1]), "new " * 300_000)
"""


def test_sigkill_in_the_middle_leaves_the_old_content_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
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


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 5_000_000])
def test_the_hash_of_a_file_is_that_of_sha256sum(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert files.sha256_of(path) == done.stdout.split()[0]
