"""Moves the aliases when one champion replaces another, in an order that survives a kill anywhere.

Each version has a tag with the number of the version it replaced, which is written before the alias
`champion` moves; so the champion always names its predecessor. Repeating an interrupted step
completes it. Knows nothing of why a champion is replaced.
"""

from datetime import UTC, datetime

from knownline.retrain.registry import CHAMPION, PREVIOUS, Registry, Version
from knownline.retrain.served import Model
from samerun.core.errors import StoreError


def promote(registry: Registry, new: Version, old: Version | None, day: str, reason: str) -> None:
    """Make `new` the champion instead of `old`, on a day (YYYY-MM-DD, UTC).

    Raises: StoreError if the champion is no longer `old`, because somebody else replaced it.
    """
    current = registry.by_alias(CHAMPION)
    if current and current.number == new.number:  # an earlier, interrupted try came this far
        registry.set_alias(PREVIOUS, _replaced_by(registry, current))
        return
    if (current.number if current else None) != (old.number if old else None):
        raise StoreError(
            f"the champion must be the one that was compared, {old.name if old else 'none'}"
            f" (got {current.name if current else 'none'}: somebody was quicker; repeat this)"
        )
    registry.tag(
        new,
        {"replaces": old.number if old else "", "champion_since": day, "champion_why": reason},
    )
    registry.set_alias(CHAMPION, new)
    registry.set_alias(PREVIOUS, old)


def roll_back(registry: Registry, reason: str) -> tuple[Version, Version]:
    """Restore the version that the champion replaced; return the old champion and the new one.

    Raises: StoreError if there is no version to restore, DamagedModelError if it cannot serve.
    """
    champion = registry.by_alias(CHAMPION)
    if champion is None:
        raise StoreError("there must be a champion to roll back (got none)")
    if removed := _interrupted_rollback(registry, champion):
        _finish_rollback(registry, champion)
        return removed, champion
    restored = _replaced_by(registry, champion)
    if restored is None:
        raise StoreError(
            f"the champion must have replaced another (got {champion.name}: there is none before it"
            " to go back to)"
        )
    Model(restored)  # raises if it cannot serve
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry.tag(champion, {"rolled_back": reason, "rolled_back_at": now})
    registry.preface(champion, f"**Rolled back on {now[:10]}, {restored.name} serves: {reason}**")
    registry.tag(
        restored,
        {
            "restored": reason,
            "restored_from": champion.number,
            "champion_since": now[:10],
            "champion_why": f"rolled back from {champion.name}: {reason}",
            "rollback": "under way",
        },
    )
    registry.set_alias(CHAMPION, restored)
    _finish_rollback(registry, restored)
    return champion, restored


def _interrupted_rollback(registry: Registry, champion: Version) -> Version | None:
    """Return the champion that an unfinished rollback removed, or None if none is unfinished."""
    if champion.tags.get("rollback") != "under way":
        return None
    return registry.by_number(champion.tags.get("restored_from", ""))


def _finish_rollback(registry: Registry, restored: Version) -> None:
    registry.set_alias(PREVIOUS, _replaced_by(registry, restored))
    registry.tag(restored, {"rollback": "done"})


def _replaced_by(registry: Registry, version: Version) -> Version | None:
    """Return the version that `version` replaced as champion, or None."""
    number = version.tags.get("replaces")
    return registry.by_number(number) if number else None
