"""`knownline champion`: prints which model version is in production, since when, and why."""

from knownline.retrain.registry import CHAMPION, PREVIOUS, Registry
from samerun import config
from samerun.core.errors import StoreError
from samerun.mlflow import tracking


def main() -> int:
    """Print the champion. Raises: StoreError if there is none."""
    store = tracking.Store(config.here(), create=False)
    registry = Registry(store)
    version = registry.by_alias(CHAMPION)
    if version is None:
        raise StoreError(f"knownline must have a champion in {store.shown_uri} (got none)")
    previous = registry.by_alias(PREVIOUS)
    tags = version.tags
    facts = {
        "champion": f"{version.name} of knownline",
        "since": tags.get("champion_since", "unknown"),
        "why": tags.get("champion_why", "unknown"),
        "run": version.run_id,
        "data": tags.get("data_sha256", "unknown"),
        "commit": tags.get("git_commit", "unknown"),
        "previous": previous.name if previous else "none",
    }
    print("\n".join(f"{name:<9}{value}" for name, value in facts.items()))
    return 0
