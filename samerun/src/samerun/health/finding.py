"""A problem that `samerun doctor` reports."""

from collections.abc import Callable
from dataclasses import dataclass

from samerun.core.errors import one_line


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, where, and what to do about it.

    repair: applies the fix, if that cannot lose the user's data; `--repair` calls it.
    """

    place: str
    problem: str
    fix: str
    repair: Callable[[], object] | None = None

    def __str__(self) -> str:
        return one_line(f"{self.place}: {self.problem}: {self.fix}")
