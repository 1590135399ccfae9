"""Ctrl-C and SIGTERM: one way to end a command, and none in the middle of an import."""

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Make SIGTERM end a command as Ctrl-C does, so that it can put things in order."""
    raise KeyboardInterrupt


@contextmanager
def importing() -> Iterator[None]:
    """Import modules in the block, without garbage collection and without interruption.

    Imported objects are frozen afterwards, so that the garbage collector skips them: scanning them
    costs a quarter of the time that importing torch and exiting takes. Ctrl-C and SIGTERM wait for
    the end of the block: an exception in the middle of an import may be lost, as in torch's own
    import of numpy, or leave half a module.
    """
    gc.disable()
    try:
        with _undisturbed():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what would interrupt the block, and let it do so at its end."""
    if threading.current_thread() is not threading.main_thread():  # none comes to another
        yield
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {n: handler for n, handler in before.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda received_number, frame: received.append(received_number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for each in received:
            signal.raise_signal(each)
