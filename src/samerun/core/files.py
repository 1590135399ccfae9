"""Files that are written completely or not at all, and checksums that detect later changes.

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
"""The file that records what a folder's files were made with: parameters and code."""

SUMS = "SHA256SUMS"
"""A folder's list of SHA-256 sums, in the format that `sha256sum -c` reads: its seal."""

_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8; a reader sees all the old bytes or all the new ones."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; a reader sees all the old bytes or all the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.tmp-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def keep_newest(folder: Path, count: int) -> None:
    """Remove the files of a folder except the newest `count`."""

    def modified(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # another process has removed it
            return 0.0

    for path in sorted(filter(Path.is_file, folder.glob("*")), key=modified)[:-count]:
        path.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` if the block succeeds.

    If it raises, `path` stays as it was. Whoever writes the files in the folder must sync them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
    new.chmod(0o777 & ~_umask())
    try:
        yield new
        sync(new)
        _replace_folder(new, path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _replace_folder(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`; if that fails, restore what was there."""
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
    """Write what a stage's outputs were made with beside them."""
    write_text(folder / MADE_WITH, json.dumps(used, indent=1, sort_keys=True) + "\n")


def check_made_with(folder: Path, used: dict[str, Any]) -> None:
    """Compare what a folder's files were made with with what is `used` now.

    Raises: DamagedError if they differ: a stage was run by hand, and the previous one was not.
    """
    path = folder / MADE_WITH
    try:
        recorded = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        recorded = None
    if recorded != json.loads(json.dumps(used)):
        raise DamagedError(
            f"{folder} must be made with the parameters and the code of now: run `dvc repro`"
            f" (got others in {path})"
        )


def check_made_with_params(folder: Path, sections: dict[str, Any]) -> None:
    """Compare the parameters that a folder's files were made with with the current ones.

    sections: name to parameters. If the folder does not record them, nothing is compared.

    Raises: DamagedError if they differ: a stage was run by hand, and the previous one was not.
    """
    path = folder / MADE_WITH
    try:
        recorded = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return
    for key, current in json.loads(json.dumps(sections)).items():
        if recorded.get(key) != current:
            raise DamagedError(
                f"{folder} must be made with the parameters of now: run `dvc repro`"
                f" (got another {key} in {path})"
            )


def folder_size(folder: Path) -> int:
    """Return the total size in bytes of the files directly in a folder."""
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

    The seal is written after the files, so a kill in between leaves files that match no seal.
    """
    names = {os.path.relpath(file, folder): sha for file, sha in sums.items()}
    text = "".join(f"{sha}  {name}\n" for name, sha in sorted(names.items()))
    write_text(folder / SUMS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_sums(folder: Path) -> dict[Path, str]:
    """Return what a folder's seal lists: each file and its sum.

    Raises: MissingError if there is no seal, DamagedError if it cannot be read as one.
    """
    seal = folder / SUMS
    try:
        text = seal.read_bytes().decode()
    except FileNotFoundError:
        raise MissingError(f"{seal} must be there: run `dvc repro` (got no file)") from None
    except UnicodeDecodeError as error:
        raise DamagedError(_damaged(seal, f"byte {error.start} is not text")) from error
    sums = {}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = _SUM_LINE.fullmatch(line.removesuffix("\n"))
        if not match or not line.endswith("\n"):
            raise DamagedError(_damaged(seal, f"line {number} is no sum and name"))
        sums[Path(os.path.normpath(folder / match[2]))] = match[1]
    return sums


def check_sums(folder: Path, *, only: Path | None = None) -> None:
    """Compare the files that a folder's seal lists with their sums; `only` those below a path.

    Raises: MissingError or DamagedError with the file's name; also for a file in `only` that the
    seal does not list, since whoever reads that folder would read the file too.
    """
    sums = sums_below(folder, only) if only is not None else read_sums(folder)
    for file, expected in sums.items():
        check_file(file, expected)
    if only is not None:
        check_nothing_unlisted(sums, only, folder)


def sums_below(folder: Path, only: Path) -> dict[Path, str]:
    """Return what a folder's seal lists of `only`, a file or a folder: each file and its sum.

    Raises: MissingError and DamagedError as `read_sums` does; DamagedError if it lists nothing of
    `only`.
    """
    sums = {
        file: expected
        for file, expected in read_sums(folder).items()
        if file == only or only in file.parents
    }
    if not sums:
        raise DamagedError(_damaged(folder / SUMS, f"it lists nothing of {only}"))
    return sums


def check_file(file: Path, expected: str) -> None:
    """Compare a file with its sum.

    Raises: MissingError or DamagedError with the file's name.
    """
    if not file.is_file():
        raise MissingError(f"{file} must be there: run `dvc repro` (got no file)")
    actual = sha256_of(file)
    if actual != expected:
        raise DamagedError(_damaged(file, f"its SHA-256 is {actual[:12]}…, not {expected[:12]}…"))


def check_nothing_unlisted(listed: Iterable[Path], only: Path, folder: Path) -> None:
    """Refuse a file in `only` that `folder`'s seal does not list. Raises: DamagedError.

    listed: the files that the seal lists. Files whose names begin with a dot are ignored.
    """
    listed = set(listed)
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
    """Make a file's bytes, or a rename in a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
