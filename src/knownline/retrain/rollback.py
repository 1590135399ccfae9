"""`knownline rollback`: makes the previous champion the champion again."""

from knownline.retrain import aliases
from knownline.retrain.registry import DamagedModelError, Registry
from samerun import config
from samerun.core.errors import StoreError, UsageError
from samerun.execution.lock import exclusive
from samerun.mlflow import store_sync, tracking


def main(*, reason: str, push: bool = False) -> int:
    """Restore the previous champion and write the reason to both versions."""
    reason = " ".join(reason.split())
    if not reason:
        raise UsageError("--reason must say why (got an empty text)")
    with exclusive():
        if push:
            print(f"rollback: {store_sync.pull()}")
        registry = Registry(tracking.Store(config.here(), create=False))
        try:
            removed, restored = aliases.roll_back(registry, reason)
        except DamagedModelError as error:
            raise StoreError(f"the previous champion must be whole (got: {error})") from error
        print(f"rollback: {restored.name} is the champion again, {removed.name} is not: {reason}")
        if push:
            print(f"rollback: {store_sync.push()}")
    return 0
