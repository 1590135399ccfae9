"""data/SHA256SUMS: the SHA-256 of every data file, in the format that `sha256sum -c` reads.

Files are listed by their paths relative to the list's folder. Knows nothing of what they hold.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from samerun.core import files
from samerun.core.errors import DamagedError, MissingError

SUMS = "SHA256SUMS"
"""The name of a folder's list of sums."""

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write(folder: Path, sums: Mapping[Path, str]) -> None:
    """Write the sums of files to `folder`/SHA256SUMS.

    Call it after the files are written: a kill in between leaves files that match no list.
    """
    names = {os.path.relpath(file, folder): sha for file, sha in sums.items()}
    text = "".join(f"{sha}  {name}\n" for name, sha in sorted(names.items()))
    files.write_text(folder / SUMS, text)


def read(folder: Path) -> dict[Path, str]:
    """Return each file that a folder's list names, and its sum.

    Raises: MissingError if there is no list, DamagedError if it cannot be read as one.
    """
    path = folder / SUMS
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise MissingError(f"{path} must be there: run `dvc repro` (got no file)") from None
    except UnicodeDecodeError as error:
        raise DamagedError(_damaged(path, f"byte {error.start} is not text")) from error
    sums = {}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = _LINE.fullmatch(line.removesuffix("\n"))
        if not match or not line.endswith("\n"):
            raise DamagedError(_damaged(path, f"line {number} is no sum and name"))
        sums[Path(os.path.normpath(folder / match[2]))] = match[1]
    return sums


def digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's list, which stands for every file that it names.

    Raises: MissingError and DamagedError as `read` does.
    """
    read(folder)
    return files.sha256_of(folder / SUMS)


def below(folder: Path, only: Path) -> dict[Path, str]:
    """Return what a folder's list says of `only`, a file or a folder: each file and its sum.

    Raises: MissingError and DamagedError as `read` does; DamagedError if it names nothing of
    `only`.
    """
    sums = {
        file: expected
        for file, expected in read(folder).items()
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
    actual = files.sha256_of(file)
    if actual != expected:
        raise DamagedError(_damaged(file, f"its SHA-256 is {actual[:12]}…, not {expected[:12]}…"))


def check(folder: Path, only: Path) -> None:
    """Compare every file in `only` with the list of `folder`, which must name all of them.

    Files whose names begin with a dot are ignored.

    Raises: MissingError or DamagedError with the name of the first file that does not match.
    """
    listed = below(folder, only)
    for file in sorted(only.rglob("*")):
        if file.is_file() and file not in listed and not file.name.startswith("."):
            raise DamagedError(f"{file} must not be there: {folder / SUMS} does not list it")
    for file, expected in listed.items():
        check_file(file, expected)


def _damaged(file: Path, why: str) -> str:
    return (
        f"{file} must be what the stage before wrote: delete it and run `dvc repro --force`"
        f" (got other bytes: {why})"
    )
