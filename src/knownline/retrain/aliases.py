"""How one champion follows another, in an order that a kill anywhere cannot spoil.

What a version replaced is written on it before the alias `champion` moves: whoever is champion, it
says who was before. Repeating a step that was cut short ends where the whole would have.
"""

from datetime import UTC, datetime

from knownline.retrain.registry import CHAMPION, PREVIOUS, Model, Registry, Version
from samerun.core.errors import StoreError


def promote(registry: Registry, new: Version, old: Version | None, day: str, reason: str) -> None:
    """Let `new` take the place of `old`, on a day (YYYY-MM-DD, UTC).

    Raises: StoreError where the champion is no longer `old`: somebody else was quicker.
    """
    now = registry.holding(CHAMPION)
    if now and now.number == new.number:  # an earlier try came this far
        registry.point(PREVIOUS, _replaced(registry, now))
        return
    if (now.number if now else None) != (old.number if old else None):
        raise StoreError(
            f"the champion must be the one that was compared, {old.name if old else 'none'}"
            f" (got {now.name if now else 'none'}: somebody was quicker; repeat this)"
        )
    registry.tag(
        new,
        {"replaces": old.number if old else "", "champion_since": day, "champion_why": reason},
    )
    registry.point(CHAMPION, new)
    registry.point(PREVIOUS, old)


def roll_back(registry: Registry, reason: str) -> tuple[Version, Version]:
    """Put back whom the champion replaced; return who left and who serves now.

    Raises: StoreError where there is nobody to put back, DamagedModelError where it cannot serve.
    """
    leaving = registry.holding(CHAMPION)
    if leaving is None:
        raise StoreError("there must be a champion to roll back (got none)")
    if undone := _interrupted_rollback(registry, leaving):
        _finish(registry, leaving)
        return undone, leaving
    back = _replaced(registry, leaving)
    if back is None:
        raise StoreError(
            f"the champion must have replaced another (got {leaving.name}: there is none before it"
            " to go back to)"
        )
    Model(back)  # it must be able to serve
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry.tag(leaving, {"rolled_back": reason, "rolled_back_at": now})
    registry.preface(leaving, f"**Rolled back on {now[:10]}, {back.name} serves: {reason}**")
    registry.tag(
        back,
        {
            "restored": reason,
            "restored_from": leaving.number,
            "champion_since": now[:10],
            "champion_why": f"rolled back from {leaving.name}: {reason}",
            "rollback": "under way",
        },
    )
    registry.point(CHAMPION, back)
    _finish(registry, back)
    return leaving, back


def _interrupted_rollback(registry: Registry, champion: Version) -> Version | None:
    """Return whom an earlier rollback took down, if it moved the champion and then was killed."""
    if champion.tags.get("rollback") != "under way":
        return None
    return registry.numbered(champion.tags.get("restored_from", ""))


def _finish(registry: Registry, back: Version) -> None:
    registry.point(PREVIOUS, _replaced(registry, back))
    registry.tag(back, {"rollback": "done"})


def _replaced(registry: Registry, version: Version) -> Version | None:
    number = version.tags.get("replaces")
    return registry.numbered(number) if number else None
