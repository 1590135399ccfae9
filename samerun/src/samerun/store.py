"""`samerun store`: sync the embedded MLflow store between ephemeral machines."""

from samerun.execution.lock import exclusive
from samerun.mlflow import store_sync


def main(*, direction: str) -> int:
    """Pull or push the store. Raises: WorkspaceError if two machines have written to it."""
    with exclusive():
        print(f"store: {store_sync.pull() if direction == 'pull' else store_sync.push()}")
    return 0
