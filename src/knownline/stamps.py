"""Files that were found equal to their sums, and how they looked then: such are not read again.

A file looks the same when device, number, size and times are the same; git's index and DVC decide
by the same. What DVC hashes holds none of it. Knows nothing of what the files mean.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from knownline import files

YOUNG = 2.0
"""Seconds after a change in which another one could leave the same times."""

Look = tuple[int, int, int, int, int]


def look(file: Path) -> Look | None:
    """Return how a file looks, or None where there is none or its times say nothing yet."""
    try:
        found = os.stat(file)  # noqa: PTH116 — as short as Path's, and follows links
    except OSError:
        return None
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if not 0 <= changed < time.time_ns() - int(YOUNG * 1e9):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Stamps:
    """The files of one set that were checked, by their sums; kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = json.loads(path.read_text())
            self._looks = {str(sha): tuple(numbers) for sha, numbers in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._looks = {}

    def check(self, file: Path, expected: str) -> Look | None:
        """Hold a file against its sum unless it looks as it did; return how it looks.

        Raises: MissingError or DamagedError with the file's name.
        """
        now = look(file)
        if now is None or self._looks.get(expected) != now:
            files.check_file(file, expected)
        return now

    def keep(self, looks: Mapping[str, Look | None]) -> None:
        """Keep how checked files looked before they were read, by their sums."""
        found = {sha: seen for sha, seen in looks.items() if seen}
        if not found.items() <= self._looks.items():
            self._looks |= found
            files.write_text(self._path, json.dumps(self._looks))
