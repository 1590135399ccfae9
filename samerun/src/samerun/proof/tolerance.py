"""The differences that a project declares to be small enough: `meta.samerun.tolerance`."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from samerun.core.errors import WorkspaceError
from samerun.proof.comparison import Change


class Tolerance:
    """The largest absolute difference that is allowed in a file, or in a key or column of files.

    It is declared for a file and key ("reports/metrics.json:rmse"), a file, or the name of a key or
    column ("loss"); the first of these that is declared counts.

    reached: file to the largest difference that was within them.
    """

    def __init__(self, declared: Mapping[str, Any]) -> None:
        """Raises: WorkspaceError if a difference is no number."""
        for name, value in declared.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise WorkspaceError(
                    f"meta.samerun.tolerance.{name} must be a number, 0 or more (got {value!r})"
                )
        self._declared = declared
        self.reached: dict[str, float] = {}

    def first_beyond(self, file: str, changes: Iterable[Change]) -> Change | None:
        """Return the first change of a file that is too large; None if they all are small enough.

        What is no number has no distance, so any change of it is too large.
        """
        largest = -1.0
        for change in changes:
            limit = self._limit(file, change.key)
            distance = math.nan if change.distance is None else change.distance
            if limit is None or not distance <= limit:
                return change
            largest = max(largest, distance)
        if largest >= 0:
            self.reached[file] = largest
        return None

    def _limit(self, file: str, key: str) -> float | None:
        for name in (f"{file}:{key}", file, key):
            if name and name in self._declared:
                return float(self._declared[name])
        return None
