"""A lock for commands that may not run at the same time in a workspace."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from samerun.core.errors import WorkspaceError
from samerun.execution import receipts


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock of commands that change the store as a whole; a kill releases it.

    Raises: WorkspaceError if another command holds it.
    """
    path = receipts.folder() / "exclusive.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout:
        raise WorkspaceError(
            "another command that pulls, pushes or changes the champion is running here: try again"
            f" when it has ended (it holds {path})"
        ) from None
