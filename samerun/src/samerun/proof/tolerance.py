"""Whether differences are within the declared tolerance, `meta.samerun.tolerance`."""

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
"""The largest number of files whose keys are searched for a declared name."""

UNUSED = "tolerance must name files, keys or columns that a stage makes (got {})"


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest difference within a limit, as a share of what the limit allows."""

    change: Change
    limit: Limit

    @property
    def share(self) -> float:
        """The difference divided by the allowed one, from 0 to 1."""
        allowed = self.limit.allowed(self.change.size)
        if self.limit.is_any:
            return 1.0
        return (self.change.distance or 0.0) / allowed if allowed else 0.0

    def __str__(self) -> str:
        if self.limit.is_any:
            return " (any difference is allowed)"
        distance, size = self.change.distance or 0.0, self.change.size
        key = f" {self.change.key}" if self.change.key else ""
        counts = self.limit.relative * size > self.limit.absolute
        relative = f", {distance / size:.3g} of the value" if counts else ""
        return f"{key} by {distance:.3g} at most{relative} (allowed {self.limit})"


class Tolerance:
    """The largest differences that are allowed, by file, key or column.

    largest: the largest difference that was within each of them, by file and declared name.
    """

    def __init__(self, declared: Mapping[str, Limit]) -> None:
        self._declared = declared
        self.largest: dict[tuple[str, str], Largest] = {}

    def __str__(self) -> str:
        """The differences that were within the tolerance, as text; empty if there were none."""
        texts = [f"{file}{largest}" for (file, _), largest in self.largest.items()]
        more = len(texts) - _SHOWN
        return ", ".join(texts[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

    def unused(self, files: Iterable[tuple[str, Path]]) -> list[str]:
        """Return the declared names that no file, key or column has; empty if that is unknown.

        files: name and path of each.
        """
        unused = list(self._declared)
        read = 0
        for name, path in files:
            names = keys(path)
            read += bool(names)
            if not unused or names is None or read > _LISTED:
                return []
            for key in {"", *names}:
                unused = [one for one in unused if rule([one], name, key) is None]
        return unused

    def allows_any(self, file: str) -> bool:
        """Return whether any difference of a file is allowed, also of its bytes."""
        name = rule(self._declared, file, "")
        return name is not None and self._declared[name].is_any

    def first_exceeding(self, file: str, changes: Iterable[Change]) -> Change | None:
        """Return the first change of a file that exceeds its limit; None if none does.

        A value that is no number has no distance, so any change of it is too large.
        """
        largest: dict[tuple[str, str], Largest] = {}
        of_key = cache(lambda key: rule(self._declared, file, key))  # a table repeats its columns
        for change in changes:
            name = of_key(change.key)
            if name is None:
                return change
            limit = self._declared[name]
            distance = math.nan if change.distance is None else change.distance
            if not distance <= limit.allowed(change.size) and not limit.is_any:
                if math.isnan(distance) and not change.key:
                    text = f"{change.text}; the tolerance {limit} is for numbers, `any` for all"
                    return replace(change, text=text)
                text = f"{change.text}, more than the allowed {limit}"
                return change if math.isnan(distance) else replace(change, text=text)
            new, before = Largest(change, limit), largest.get((file, name))
            if before is None or new.share > before.share:
                largest[file, name] = new
        self.largest |= largest
        return None
