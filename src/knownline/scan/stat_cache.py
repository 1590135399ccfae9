"""Files that were found equal to their sums, and how they looked then: such are not read again.

A file looks the same when device, number, size and times are the same; git's index and DVC decide
by the same. What DVC hashes holds none of it. Knows nothing of what the files mean.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from knownline.core import checksums, folders
from samerun.core import address, files

MARGIN = 2.0
"""Seconds for which a file system's clock may stand still; FAT's does so longest."""

TRUSTED = 86_400.0
"""Seconds for which looks stand for sums: a disk that loses a bit leaves the look as it was."""

SOON = 0.05
"""Seconds in which most file systems' clocks have moved on."""

MAX_CACHED = 200
"""Sets of files whose looks are kept: a training set and its holdout are two."""

FileStat = tuple[int, int, int, int, int]


class Clock(NamedTuple):
    """A file system, by the number of its device, and its time in ns since 1970."""

    device: int
    time: int


def clock(folder: Path) -> Clock:
    """Return the time that a folder's file system would give a change now.

    It stands still between its ticks, some milliseconds or two seconds. So it is asked, by a file
    that is gone again. Where none can be made, there is no such clock.
    """
    try:
        with tempfile.TemporaryFile(prefix=".now.tmp-", dir=folder) as file:
            found = os.fstat(file.fileno())
    except OSError:
        return Clock(-1, 0)
    return Clock(found.st_dev, found.st_mtime_ns)


def stat_of(file: Path, now: Clock) -> FileStat | None:
    """Return how a file looks, or None where there is none or its times say nothing.

    A file that changed at the clock's present tick could be written again and look the same; one
    that changed earlier cannot, but by who has mapped it into memory and goes on writing there. On
    a file system whose clock is another, a tick is taken to last MARGIN.
    """
    try:
        found = os.stat(file)  # noqa: PTH116 — as short as Path's, and follows links
    except OSError:
        return None
    tick = now.time if found.st_dev == now.device else time.time_ns() - int(MARGIN * 1e9)
    if not 0 <= max(found.st_mtime_ns, found.st_ctime_ns) < tick:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settled(file: Path) -> FileStat | None:
    """Return how a file looks that was written just now, once the clock has moved on.

    None where that takes longer than SOON: then it is hashed once more, by whoever reads it.
    """
    until = time.monotonic() + SOON
    while (found := stat_of(file, clock(file.parent))) is None and time.monotonic() < until:
        time.sleep(0.001)
    return found


def folder() -> Path:
    """Return where looks are kept: in the workspace, also for an experiment's own folder."""
    return address.workspace() / "mlruns" / "moments" / "stamps"


def name_of(sums: Mapping[Path, str], *more: str) -> str:
    """Return one SHA-256 in hex for the names and sums of files, and for what else is given."""
    text = [f"{sha}  {path.name}" for path, sha in sorted(sums.items())]
    return hashlib.sha256("\n".join([*text, *more]).encode()).hexdigest()


class Stamps:
    """The looks of the files of one folder, by their sums; kept in a file."""

    def __init__(self, sums: Mapping[Path, str]) -> None:
        """sums: every file of the folder."""
        self._path = folder() / name_of(sums)
        self._clock = clock(next(iter(sums)).parent.parent)
        self._looks = self._load()

    def _load(self) -> dict[str, tuple[int, ...]]:
        """Return the looks that are kept and still trusted, by the files' sums."""
        try:
            if time.time() - self._path.stat().st_mtime > TRUSTED:
                return {}  # too long ago: a disk may have lost a bit since
            found = json.loads(self._path.read_text())
            return {str(sha): tuple(numbers) for sha, numbers in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def known(self, file: Path, expected: str) -> FileStat | None:
        """Return how a file looks, if it looks as when it was held against its sum; else None."""
        now = stat_of(file, self._clock)
        return now if now and self._looks.get(expected) == now else None

    def check(self, file: Path, expected: str) -> FileStat | None:
        """Hold a file against its sum unless it looks as it did; return how it looks.

        Raises: MissingError or DamagedError with the file's name.
        """
        now = stat_of(file, self._clock)
        if now is None or self._looks.get(expected) != now:
            checksums.check_file(file, expected)
        return now

    def check_again(self, file: Path, expected: str, before: FileStat | None) -> None:
        """Hold a file that was read against its sum if it no longer looks as it did before.

        Raises: MissingError or DamagedError with the file's name.
        """
        if before and stat_of(file, self._clock) != before:
            checksums.check_file(file, expected)

    def keep(self, looks: Mapping[str, FileStat | None]) -> None:
        """Keep how checked files looked before they were read, by their sums.

        Where there is no room to, they are hashed once more next time: nothing is lost.
        """
        found = {sha: seen for sha, seen in looks.items() if seen}
        if not found.items() <= self._looks.items():
            self._looks = self._load() | found  # another process may have kept some meanwhile
            with suppress(OSError):
                files.write_text(self._path, json.dumps(self._looks))
                folders.keep_newest(self._path.parent, MAX_CACHED)
