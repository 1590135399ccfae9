"""The temporary folder of a reproduction, which is removed however the reproduction ends."""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "samerun-reproduce-"

_OWNER = "owner.lock"
"""The file that a reproduction locks while it runs; after a kill, the kernel unlocks it."""


@contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """Yield an empty folder, and remove it afterwards unless `keep` is true.

    Before that, remove the folders of reproductions that were killed.
    """
    _remove_abandoned()
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
    owner = os.open(scratch / _OWNER, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield scratch
    finally:
        with uninterrupted():
            if keep:
                (scratch / _OWNER).unlink(missing_ok=True)  # so that it does not count as abandoned
            else:
                shutil.rmtree(scratch, ignore_errors=True)
        os.close(owner)


def _remove_abandoned() -> None:
    for owner in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError), owner.open("r+b") as stream:  # of another user, or just removed
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owner.parent, ignore_errors=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM while the block cleans up, which takes seconds at most."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
