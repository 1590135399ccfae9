"""Ctrl-C and SIGTERM: both end a command the same way, and neither interrupts an import."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Handle SIGTERM as Ctrl-C is handled, so that the command can clean up."""
    raise KeyboardInterrupt


@contextmanager
def importing() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block, which imports modules.

    An exception in the middle of an import may be lost, as in torch's own import of numpy, or it
    may leave half a module behind.
    """
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only the main thread gets signals
        yield
        return
    received: list[int] = []
    current = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in current.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda signum, frame: received.append(signum))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum in received:
            signal.raise_signal(signum)
