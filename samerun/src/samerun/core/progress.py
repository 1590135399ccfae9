"""Progress bars, shown on a terminal for work that takes more than two seconds."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")

DELAY = 2.0
"""Seconds of work before a bar appears."""


class Bar(Protocol):
    """A display of progress."""

    def update(self, n: int = 1) -> object:
        """Advance by `n` units of work."""


class _NoBar:
    """The bar if stderr is no terminal: it draws nothing."""

    def update(self, n: int = 1) -> None:
        pass


@contextmanager
def bar(what: str, unit: str, *, total: int | None, done: int = 0) -> Iterator[Bar]:
    """Yield a bar for `total` units of work (None: unknown), of which `done` are done already."""
    if not sys.stderr.isatty():
        yield _NoBar()  # without importing tqdm
        return
    with _tqdm(desc=what, unit=unit, unit_scale=True, total=total, initial=done) as shown:
        yield shown


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with the name of each of `total` steps as it begins.

    A step may take minutes without output, so the elapsed time is redrawn meanwhile.
    """
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    bar_format = "{desc} [{elapsed}]"
    with _tqdm(desc=what, total=total, bar_format=bar_format, miniters=0) as shown, _ticking(shown):
        begun = 0

        def begin(name: str) -> None:
            nonlocal begun
            begun += 1
            shown.set_description_str(f"{what}: {name}, {begun} of {total}", refresh=False)

        yield begin


@contextmanager
def _ticking(shown: Bar) -> Iterator[None]:
    """Redraw a bar twice a second while the block runs."""
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


def track(items: Iterable[Item], what: str) -> Iterable[Item]:
    """Return the items with a bar that advances by one for each."""
    watched: Iterable[Item] = _tqdm(items, desc=what) if sys.stderr.isatty() else items
    return watched


def _tqdm(*items: Any, **options: Any) -> Any:
    import tqdm

    bar_class: Any = tqdm.tqdm
    return bar_class(*items, **options, delay=DELAY, leave=False)
