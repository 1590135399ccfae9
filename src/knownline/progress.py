"""A bar on a terminal for what takes more than two seconds; nothing anywhere else."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")

DELAY = 2.0
"""Seconds that nobody watches."""


class Bar(Protocol):
    """What shows how far it is."""

    def update(self, n: int = 1) -> object:
        """Say that `n` more are done."""


class _Nothing:
    def update(self, n: int = 1) -> None:
        pass


@contextmanager
def bar(what: str, unit: str, *, total: int, done: int = 0) -> Iterator[Bar]:
    """Yield a bar for `total` pieces of work, `done` of them already."""
    if not sys.stderr.isatty():
        yield _Nothing()  # nor is tqdm imported
        return
    with _tqdm(desc=what, unit=unit, unit_scale=True, total=total, initial=done) as found:
        yield found


def over(items: Iterable[Item], what: str) -> Iterable[Item]:
    """Return the items, one step of a bar each."""
    found: Iterable[Item] = _tqdm(items, desc=what) if sys.stderr.isatty() else items
    return found


def _tqdm(*items: Any, **how: Any) -> Any:
    import tqdm

    made: Any = tqdm.tqdm
    return made(*items, **how, delay=DELAY, leave=False)
