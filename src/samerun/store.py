"""`knownline store`: carry the embedded store between machines that keep nothing."""

from samerun.execution.lock import only_one
from samerun.mlflow import store_sync


def main(*, direction: str) -> int:
    """Pull or push it. Raises: WorkspaceError where two machines wrote."""
    with only_one():
        print(f"store: {store_sync.pull() if direction == 'pull' else store_sync.push()}")
    return 0
