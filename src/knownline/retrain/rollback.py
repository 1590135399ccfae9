"""`knownline rollback`: makes the previous champion the champion again."""

from knownline.params import Params
from knownline.retrain import aliases
from knownline.retrain.problem import Problem
from knownline.retrain.registry import Registry
from knownline.retrain.served import DamagedModelError
from samerun import config
from samerun.core.errors import StoreError, UsageError
from samerun.execution.lock import exclusive
from samerun.mlflow import store_sync, tracking


def main(*, reason: str, push: bool = False) -> int:
    """Restore the previous champion of this problem and write the reason to both versions."""
    reason = " ".join(reason.split())
    if not reason:
        raise UsageError("--reason must not be empty (got an empty text)")
    problem = Problem.of(Params.read())
    with exclusive():
        if push:
            print(f"rollback: {store_sync.pull()}")
        registry = Registry(tracking.Store(config.here(), create=False), problem)
        try:
            removed, restored = aliases.roll_back(registry, reason)
        except DamagedModelError as error:
            raise StoreError(f"the previous champion cannot be restored: {error}") from error
        print(
            f"rollback: {restored.name} is the champion again, in place of {removed.name}: {reason}"
        )
        if push:
            print(f"rollback: {store_sync.push()}")
    return 0
