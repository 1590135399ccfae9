"""A lock for commands that must not run twice at once in a workspace."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from samerun.core.errors import WorkspaceError
from samerun.execution import receipts


@contextmanager
def only_one() -> Iterator[None]:
    """Hold what two commands that move the champion must not hold at once; a kill lets it go."""
    receipts.make_folder()
    lock = receipts.STORE / ".retrain.lock"
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise WorkspaceError(
            f"no other retraining or rollback must be under way here (got one that holds {lock})"
        ) from None
