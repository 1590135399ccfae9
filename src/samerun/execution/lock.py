"""A lock for commands of which only one may run at a time in a workspace."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from samerun.core.errors import WorkspaceError
from samerun.execution import receipts


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock of commands that move the champion, for the block; a kill releases it.

    Raises: WorkspaceError if another command holds it.
    """
    path = receipts.folder() / "champion.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout:
        raise WorkspaceError(
            f"no other retraining or rollback must be under way here (got one that holds {path})"
        ) from None
