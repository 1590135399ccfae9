"""Something that is wrong, as `knownline doctor` tells it."""

from collections.abc import Callable
from dataclasses import dataclass

from samerun.core.errors import one_line


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and what to do about it.

    mend: does it, where that loses nothing of the user's; `--repair` calls it.
    """

    where: str
    what: str
    todo: str
    mend: Callable[[], None] | None = None

    def __str__(self) -> str:
        return one_line(f"{self.where}: {self.what}: {self.todo}")
