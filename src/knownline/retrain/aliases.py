"""Moves the aliases when a champion is replaced, in an order that survives a kill at any point.

A version has a tag with the number of the version that it replaced. The tag is written before the
alias `champion` moves, so the champion always names its predecessor. Repeating an interrupted step
completes it. Knows nothing of why a champion is replaced.
"""

from datetime import UTC, datetime

from knownline.retrain.registry import CHAMPION, PREVIOUS, Registry, Version
from knownline.retrain.served import Model
from samerun.core.errors import StoreError


def promote(registry: Registry, new: Version, old: Version | None, day: str, reason: str) -> None:
    """Make `new` the champion instead of `old`, on a day (YYYY-MM-DD, UTC).

    Raises: StoreError if the champion is no longer `old`.
    """
    current = registry.by_alias(CHAMPION)
    if current and current.number == new.number:  # an interrupted try came this far
        registry.set_alias(PREVIOUS, _replaced_by(registry, current))
        return
    if (current.number if current else None) != (old.number if old else None):
        raise StoreError(
            f"the champion changed meanwhile from {old.name if old else 'none'} to"
            f" {current.name if current else 'none'}: repeat the command"
        )
    registry.tag(
        new,
        {"replaces": old.number if old else "", "champion_since": day, "champion_why": reason},
    )
    registry.set_alias(CHAMPION, new)
    registry.set_alias(PREVIOUS, old)


def roll_back(registry: Registry, reason: str) -> tuple[Version, Version]:
    """Restore the version that the champion replaced; return the removed champion and that version.

    Raises: StoreError if there is no version to restore, DamagedModelError if it cannot be served.
    """
    champion = registry.by_alias(CHAMPION)
    if champion is None:
        raise StoreError(f"{registry.name} has no champion yet: run `knownline retrain` first")
    if removed := _interrupted_rollback(registry, champion):
        _finish_rollback(registry, champion)
        return removed, champion
    restored = _replaced_by(registry, champion)
    if restored is None:
        raise StoreError(
            f"{champion.name} is the first champion of {registry.name}, so there is none to restore"
        )
    Model(restored)  # raises if it cannot be served
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry.tag(champion, {"rolled_back": reason, "rolled_back_at": now})
    registry.preface(champion, f"**Rolled back to {restored.name} on {now[:10]}: {reason}**")
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
