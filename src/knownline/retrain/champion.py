"""`knownline champion`: prints which model version is in production, since when, and why."""

from knownline.params import Params
from knownline.retrain.problem import Problem
from knownline.retrain.registry import CHAMPION, PREVIOUS, Registry
from samerun import config
from samerun.core.errors import StoreError
from samerun.mlflow import tracking


def main() -> int:
    """Print the champion of the problem in params.yaml. Raises: StoreError if there is none."""
    problem = Problem.of(Params.read())
    store = tracking.Store(config.here(), create=False)
    registry = Registry(store, problem)
    version = registry.by_alias(CHAMPION)
    if version is None:
        raise StoreError(
            f"{registry.name} has no champion in {store.shown_uri}: run `knownline retrain` first"
        )
    previous = registry.by_alias(PREVIOUS)
    tags = version.tags
    facts = {
        "champion": f"{version.name} of {registry.name}",
        "serve": f"models:/{registry.name}@{CHAMPION}",
        "problem": problem.words,
        "since": tags.get("champion_since", "unknown"),
        "why": tags.get("champion_why", "unknown"),
        "run": version.run_id,
        "data": tags.get("data_sha256", "unknown"),
        "commit": tags.get("git_commit", "unknown"),
        "previous": previous.name if previous else "none",
    }
    print("\n".join(f"{name:<9}{value}" for name, value in facts.items()))
    return 0
