"""A bar on a terminal for what takes more than two seconds; nothing anywhere else."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
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
def bar(what: str, unit: str, *, total: int | None, done: int = 0) -> Iterator[Bar]:
    """Yield a bar for `total` pieces of work, or a number nobody knows, `done` of them already."""
    if not sys.stderr.isatty():
        yield _Nothing()  # nor is tqdm imported
        return
    with _tqdm(desc=what, unit=unit, unit_scale=True, total=total, initial=done) as found:
        yield found


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Yield what is told the name of each of `total` steps as it begins.

    A step may take minutes without a word, so the seconds go on by themselves.
    """
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    form = "{desc} [{elapsed}]"
    with _tqdm(desc=what, total=total, bar_format=form, miniters=0) as found, _ticking(found):
        begun = 0

        def begin(name: str) -> None:
            nonlocal begun
            begun += 1
            found.set_description_str(f"{what}: {name}, {begun} of {total}", refresh=False)

        yield begin


@contextmanager
def _ticking(shown: Bar) -> Iterator[None]:
    """Draw a bar twice a second while the block runs."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(0.5):
            shown.update(0)

    thread = threading.Thread(target=tick, name="bar", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def over(items: Iterable[Item], what: str) -> Iterable[Item]:
    """Return the items, one step of a bar each."""
    found: Iterable[Item] = _tqdm(items, desc=what) if sys.stderr.isatty() else items
    return found


def _tqdm(*items: Any, **how: Any) -> Any:
    import tqdm

    made: Any = tqdm.tqdm
    return made(*items, **how, delay=DELAY, leave=False)
