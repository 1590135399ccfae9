"""data/SHA256SUMS: `sha256sum` reads it, and every changed byte is noticed."""

import subprocess
from pathlib import Path

import pytest

from knownline.core import checksums
from samerun.core import files
from samerun.core.errors import DamagedError, MissingError
from tests.file_contents import changed_bytes, cut_short, overwritten, write_sums


def sha256sum(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A folder of three files and their sums, one of them empty."""
    folder = tmp_path / "data"
    contents = {"train/a.parquet": b"PAR1\n", "train/b.parquet": b"", "holdout/a.parquet": b"x\r\n"}
    for name, content in contents.items():
        files.write_bytes(folder / name, content)
    write_sums(folder, [folder / name for name in contents])
    return folder


def check(folder: Path) -> None:
    for name in ("train", "holdout"):
        checksums.check(folder, only=folder / name)


def test_sha256sum_can_check_a_list(listed: Path) -> None:
    names = ["holdout/a.parquet", "train/a.parquet", "train/b.parquet"]
    done = sha256sum(listed, "--check", "--strict", checksums.SUMS)
    assert done.stdout.splitlines() == [f"{name}: OK" for name in names]
    assert checksums.read(listed) == {
        listed / name: sha256sum(listed, name).stdout.split()[0] for name in names
    }


def test_a_list_can_be_checked_from_any_folder(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(listed)
    monkeypatch.chdir(listed.parent)
    checksums.check(Path("data"), only=Path("data/train"))
    monkeypatch.chdir(listed)
    check(Path())


def test_the_digest_of_a_list_is_that_of_sha256sum(listed: Path) -> None:
    assert checksums.digest(listed) == sha256sum(listed, checksums.SUMS).stdout.split()[0]
    (listed / checksums.SUMS).write_bytes(b"x")
    with pytest.raises(DamagedError, match="SHA256SUMS is damaged"):
        checksums.digest(listed)


def test_a_list_does_not_depend_on_the_order_of_the_files(listed: Path) -> None:
    before = (listed / checksums.SUMS).read_bytes()
    names = ["train/b.parquet", "holdout/a.parquet", "train/a.parquet"]
    write_sums(listed, [listed / name for name in names])
    assert (listed / checksums.SUMS).read_bytes() == before


@pytest.mark.parametrize("name", ["train/a.parquet", "train/b.parquet", "holdout/a.parquet"])
def test_a_changed_byte_or_one_more_is_refused_with_the_files_name(listed: Path, name: str) -> None:
    content = (listed / name).read_bytes()
    changed = changed_bytes(content, lambda byte: {byte ^ (1 << bit) for bit in range(8)})
    for _ in overwritten(listed / name, [*changed, content + b"\0", content + b"\n"]):
        with pytest.raises(DamagedError, match=rf"{name} is damaged .*dvc repro"):
            check(listed)
    check(listed)


def test_two_files_that_changed_places_are_refused(listed: Path) -> None:
    (listed / "train/a.parquet").rename(listed / "other")
    (listed / "train/b.parquet").rename(listed / "train/a.parquet")
    (listed / "other").rename(listed / "train/b.parquet")
    with pytest.raises(DamagedError, match=r"train/a\.parquet"):
        check(listed)


SPECIAL = b"\0\t\n\x0b\x0c\r\x1c\x85 */.\\#A0"
"""Bytes that a reader of lines, of paths or of hex may take for something else."""


def test_every_changed_byte_of_the_list_is_refused_with_a_files_name(listed: Path) -> None:
    def others(byte: int) -> set[int]:
        return {byte ^ (1 << bit) for bit in range(8)} | {byte ^ 0xFF} | set(SPECIAL) - {byte}

    sums = listed / checksums.SUMS
    for _ in overwritten(sums, changed_bytes(sums.read_bytes(), others)):
        with pytest.raises(
            (DamagedError, MissingError), match=r"^/.* is (damaged|missing|not listed)"
        ):
            check(listed)


def test_a_list_cut_short_anywhere_is_refused(listed: Path) -> None:
    sums = listed / checksums.SUMS
    for _ in overwritten(sums, cut_short(sums.read_bytes())):
        with pytest.raises((DamagedError, MissingError), match=str(listed)):
            checksums.check(listed, only=listed / "train")


@pytest.mark.parametrize("name", ["train/a.parquet", "train/b.parquet", "holdout/a.parquet"])
def test_a_missing_file_is_refused_by_name(listed: Path, name: str) -> None:
    (listed / name).unlink()
    with pytest.raises(MissingError, match=rf"{name} is missing: run `dvc repro`"):
        check(listed)
    (listed / name).mkdir()
    with pytest.raises(MissingError, match=rf"{name} is missing: run `dvc repro`"):
        check(listed)


def test_a_missing_list_is_refused_by_name(listed: Path) -> None:
    (listed / checksums.SUMS).unlink()
    with pytest.raises(MissingError, match=r"data/SHA256SUMS is missing: run `dvc repro`"):
        check(listed)


@pytest.mark.parametrize("name", ["c.parquet", "notes.txt", "deep/er.parquet"])
def test_an_unlisted_file_in_the_checked_folder_is_refused_by_name(listed: Path, name: str) -> None:
    files.write_text(listed / "train" / name, "more")
    with pytest.raises(DamagedError, match=rf"train/{name} is not listed in .*: delete it"):
        checksums.check(listed, only=listed / "train")


def test_files_outside_the_checked_folder_do_not_matter(listed: Path) -> None:
    files.write_text(listed / "own" / "a.csv", "x,y\n")
    files.write_text(listed / "holdout" / "more", "more")
    files.write_text(listed / "holdout" / "a.parquet", "other")
    checksums.check(listed, only=listed / "train")
    with pytest.raises(DamagedError, match="holdout/more is not listed"):
        checksums.check(listed, only=listed / "holdout")


def test_a_folder_of_which_the_list_names_nothing_is_refused(listed: Path) -> None:
    with pytest.raises(DamagedError, match=r"SHA256SUMS .*lists no file of .*own"):
        checksums.check(listed, only=listed / "own")
