"""Files that are whole or absent, and sums that say whether they are still what was written.

Knows nothing of what the files mean.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samerun.core.errors import DamagedError, MissingError

MADE_WITH = "made-with.json"
"""What a folder's files were made with: parameters and code."""

SUMS = "SHA256SUMS"
"""A folder's list of sums, in the format that `sha256sum -c` reads."""

_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8; a reader sees the old bytes or the new ones, whole."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; a reader sees the old bytes or the new ones, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.tmp-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def keep_newest(folder: Path, kept: int) -> None:
    """Remove the files of a folder but for so many, the latest written."""

    def written(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # another process was quicker
            return 0.0

    for path in sorted(filter(Path.is_file, folder.glob("*")), key=written)[:-kept]:
        path.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` if the block ends well.

    The files in it must be synced by whoever writes them. Otherwise `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
    new.chmod(0o777 & ~_umask())
    try:
        yield new
        sync(new)
        _put_in_place(new, path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _put_in_place(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`, and put what was there back if that fails."""
    if not (path.is_symlink() or path.exists()):
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
    try:
        path.rename(old / path.name)
        try:
            new.rename(path)
        except BaseException:
            (old / path.name).rename(path)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def write_made_with(folder: Path, used: dict[str, Any]) -> None:
    """Write beside a stage's outputs what they were made with."""
    write_text(folder / MADE_WITH, json.dumps(used, indent=1, sort_keys=True) + "\n")


def check_made_with(folder: Path, used: dict[str, Any]) -> None:
    """Hold what a folder's files were made with against what is there now.

    Raises: DamagedError, where a stage is run by hand and the one before it was not.
    """
    path = folder / MADE_WITH
    try:
        then = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        then = None
    if then != json.loads(json.dumps(used)):
        raise DamagedError(
            f"{folder} must be made with the parameters and the code of now: run `dvc repro`"
            f" (got others in {path})"
        )


def check_made_with_params(folder: Path, sections: dict[str, Any]) -> None:
    """Hold the parameters that a folder's files were made with against those of now.

    Where nothing says what they were, nothing is held.

    Raises: DamagedError, where a stage is run by hand and the one before it was not.
    """
    path = folder / MADE_WITH
    try:
        then = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return
    for key, now in json.loads(json.dumps(sections)).items():
        if then.get(key) != now:
            raise DamagedError(
                f"{folder} must be made with the parameters of now: run `dvc repro`"
                f" (got another {key} in {path})"
            )


def size(folder: Path) -> int:
    """Return the bytes of the files that lie in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(folder: Path, files: Iterable[Path]) -> str:
    """Write the sums of `files` to `folder`/SHA256SUMS and return its own sum."""
    return write_known_sums(folder, {file: sha256_of(file) for file in files})


def write_known_sums(folder: Path, sums: Mapping[Path, str]) -> str:
    """Write the sums of files to `folder`/SHA256SUMS, paths relative to it; return its own sum.

    The seal is written after the files, so that a kill in between leaves files that no seal fits.
    """
    names = {os.path.relpath(file, folder): sha for file, sha in sums.items()}
    text = "".join(f"{sha}  {name}\n" for name, sha in sorted(names.items()))
    write_text(folder / SUMS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_sums(folder: Path) -> dict[Path, str]:
    """Return what a folder's seal lists: each file and its sum.

    Raises: MissingError where there is no seal; DamagedError where it is not one.
    """
    seal_file = folder / SUMS
    try:
        text = seal_file.read_bytes().decode()
    except FileNotFoundError:
        raise MissingError(f"{seal_file} must be there: run `dvc repro` (got no file)") from None
    except UnicodeDecodeError as error:
        raise DamagedError(_damaged(seal_file, f"byte {error.start} is not text")) from error
    sums = {}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = _SUM_LINE.fullmatch(line.removesuffix("\n"))
        if not match or not line.endswith("\n"):
            raise DamagedError(_damaged(seal_file, f"line {number} is no sum and name"))
        sums[Path(os.path.normpath(folder / match[2]))] = match[1]
    return sums


def check_sums(folder: Path, *, only: Path | None = None) -> None:
    """Hold the files that a folder's seal lists against their sums; `only` those below a path.

    Raises: MissingError or DamagedError with the file's name; also for a file beside the sealed
    ones in `only`, which a reader of that folder would take in.
    """
    wanted = sums_below(folder, only) if only is not None else read_sums(folder)
    for file, expected in wanted.items():
        check_file(file, expected)
    if only is not None:
        check_nothing_unlisted(wanted, only, folder)


def sums_below(folder: Path, only: Path) -> dict[Path, str]:
    """Return what a folder's seal lists of `only`, a file or a folder: each file and its sum.

    Raises: MissingError and DamagedError, as `sealed`; DamagedError where it lists nothing of it.
    """
    wanted = {
        file: expected
        for file, expected in read_sums(folder).items()
        if file == only or only in file.parents
    }
    if not wanted:
        raise DamagedError(_damaged(folder / SUMS, f"it lists nothing of {only}"))
    return wanted


def check_file(file: Path, expected: str) -> None:
    """Hold a file against its sum.

    Raises: MissingError or DamagedError with the file's name.
    """
    if not file.is_file():
        raise MissingError(f"{file} must be there: run `dvc repro` (got no file)")
    got = sha256_of(file)
    if got != expected:
        raise DamagedError(_damaged(file, f"its SHA-256 is {got[:12]}…, not {expected[:12]}…"))


def check_nothing_unlisted(wanted: Iterable[Path], only: Path, folder: Path) -> None:
    """Refuse a file in `only` that `folder`'s seal does not list. Raises: DamagedError."""
    listed = set(wanted)
    if only.is_dir():
        for file in sorted(only.rglob("*")):
            if file.is_file() and file not in listed and not file.name.startswith("."):
                raise DamagedError(f"{file} must not be there: {folder / SUMS} does not list it")


def _damaged(file: Path, why: str) -> str:
    return (
        f"{file} must be what the stage before wrote: delete it and run `dvc repro --force`"
        f" (got other bytes: {why})"
    )


def sync(path: Path) -> None:
    """Make a file's bytes, or a rename in a folder, outlast a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
