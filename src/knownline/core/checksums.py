"""data/SHA256SUMS: the SHA-256 of every data file, in the format that `sha256sum -c` reads.

Paths in the list are relative to its folder. Knows nothing of what the files contain.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from knownline.core.errors import damaged, missing
from samerun.core import files
from samerun.core.errors import DamagedError

SUMS = "SHA256SUMS"
"""The name of the list of checksums in a folder."""

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write(folder: Path, sums: Mapping[Path, str]) -> None:
    """Write the checksums of files to `folder`/SHA256SUMS.

    Call it after the files are written: after a kill in between, they match no list.
    """
    names = {os.path.relpath(file, folder): sha for file, sha in sums.items()}
    text = "".join(f"{sha}  {name}\n" for name, sha in sorted(names.items()))
    files.write_text(folder / SUMS, text)


def read(folder: Path) -> dict[Path, str]:
    """Return the checksum of each file in a folder's list.

    Raises: MissingError if there is no list, DamagedError if it cannot be read as one.
    """
    path = folder / SUMS
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise missing(path) from None
    except UnicodeDecodeError as error:
        raise damaged(path, f"byte {error.start} is not text") from error
    sums = {}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = _LINE.fullmatch(line.removesuffix("\n"))
        if not match or not line.endswith("\n"):
            raise damaged(path, f"line {number} is not a checksum and a file name")
        sums[Path(os.path.normpath(folder / match[2]))] = match[1]
    return sums


def digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's list, which identifies the content of every listed file.

    Raises: MissingError and DamagedError as `read` does.
    """
    read(folder)
    return files.sha256_of(folder / SUMS)


def below(folder: Path, only: Path) -> dict[Path, str]:
    """Return the checksum of `only`, or of every listed file below it if it is a folder.

    Raises: MissingError and DamagedError as `read` does; DamagedError if no such file is listed.
    """
    sums = {
        file: expected
        for file, expected in read(folder).items()
        if file == only or only in file.parents
    }
    if not sums:
        raise damaged(folder / SUMS, f"it lists no file of {only}")
    return sums


def check_file(file: Path, expected: str) -> None:
    """Compare a file with its checksum.

    Raises: MissingError or DamagedError with the file's name.
    """
    if not file.is_file():
        raise missing(file)
    actual = files.sha256_of(file)
    if actual != expected:
        raise damaged(file, f"its SHA-256 is {actual[:12]}…, not {expected[:12]}…")


def check(folder: Path, only: Path) -> None:
    """Compare every file in `only` with the list in `folder`, which must name all of them.

    Files whose names begin with a dot are ignored.

    Raises: MissingError or DamagedError with the name of the first file that does not match.
    """
    listed = below(folder, only)
    for file in sorted(only.rglob("*")):
        if file.is_file() and file not in listed and not file.name.startswith("."):
            raise DamagedError(f"{file} is not listed in {folder / SUMS}: delete it")
    for file, expected in listed.items():
        check_file(file, expected)
