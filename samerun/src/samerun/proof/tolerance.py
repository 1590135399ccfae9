"""Which differences are within the tolerance that a project declares: `meta.samerun.tolerance`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from samerun.core.tolerance import Limit, rule
from samerun.proof.comparison import Change
from samerun.proof.files import keys

_SHOWN = 5

_LISTED = 1_000
"""Files whose keys are looked through for a declared name."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The largest difference within a limit, measured by what is allowed."""

    change: Change
    limit: Limit

    @property
    def share(self) -> float:
        """How much of the allowed difference it is, from 0 to 1."""
        allowed = self.limit.allowed(self.change.size)
        if self.limit.is_any:
            return 1.0
        return (self.change.distance or 0.0) / allowed if allowed else 0.0

    def __str__(self) -> str:
        if self.limit.is_any:
            return ", of which anything is allowed"
        distance, size = self.change.distance or 0.0, self.change.size
        key = f" {self.change.key}" if self.change.key else ""
        counts = self.limit.relative * size > self.limit.absolute
        relative = f", {distance / size:.3g} of the value" if counts else ""
        return f"{key} by {distance:.3g} at most{relative} (allowed {self.limit})"


class Tolerance:
    """The largest differences that are allowed, by file, key or column.

    reached: the largest difference that was within each of them, by file and declared name.
    """

    def __init__(self, declared: Mapping[str, Limit]) -> None:
        self._declared = declared
        self.reached: dict[tuple[str, str], Reached] = {}

    def __str__(self) -> str:
        """What was within it, in words; empty if nothing was."""
        found = [f"{file}{reached}" for (file, _), reached in self.reached.items()]
        more = len(found) - _SHOWN
        return ", ".join(found[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

    def unused(self, files: Iterable[tuple[str, Path]]) -> list[str]:
        """Return the declared names that no file, key or column has; none if that is not certain.

        files: name and place of each.
        """
        waiting = list(self._declared)
        read = 0
        for name, path in files:
            found = keys(path)
            read += bool(found)
            if not waiting or found is None or read > _LISTED:
                return []
            for key in {"", *found}:
                waiting = [one for one in waiting if rule([one], name, key) is None]
        return waiting

    def allows_any(self, file: str) -> bool:
        """Return whether all of a file may differ, bytes too."""
        name = rule(self._declared, file, "")
        return name is not None and self._declared[name].is_any

    def first_beyond(self, file: str, changes: Iterable[Change]) -> Change | None:
        """Return the first change of a file that is too large; None if they all are small enough.

        What is no number has no distance, so any change of it is too large.
        """
        largest: dict[tuple[str, str], Reached] = {}
        of_key = cache(lambda key: rule(self._declared, file, key))  # a table repeats its columns
        for change in changes:
            name = of_key(change.key)
            if name is None:
                return change
            limit = self._declared[name]
            distance = math.nan if change.distance is None else change.distance
            if not distance <= limit.allowed(change.size) and not limit.is_any:
                if math.isnan(distance) and not change.key:
                    said = f"{change.text}; the tolerance {limit} is for numbers, `any` for all"
                    return replace(change, text=said)
                said = f"{change.text}, more than the allowed {limit}"
                return change if math.isnan(distance) else replace(change, text=said)
            reached, before = Reached(change, limit), largest.get((file, name))
            if before is None or reached.share > before.share:
                largest[file, name] = reached
        self.reached |= largest
        return None
