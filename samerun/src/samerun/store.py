"""`samerun store`: sync the local MLflow store between ephemeral runners."""

from samerun.execution.lock import exclusive
from samerun.mlflow import store_sync


def main(*, direction: str) -> int:
    """Pull or push the store, and return 0. Raises: WorkspaceError if two machines wrote to it."""
    with exclusive():
        print(f"store: {store_sync.pull() if direction == 'pull' else store_sync.push()}")
    return 0
