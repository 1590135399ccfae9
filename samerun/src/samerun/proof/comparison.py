"""How two values differ: where, and by how much.

Numbers are equal if their bits are. Knows nothing of files, pipelines or stores.
"""

import math
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

_LONGEST = 60
"""The most characters that are shown of a value."""

_HEX = re.compile(r"-?0x[0-9a-f.]+p[-+]?\d+$", re.IGNORECASE)
"""A float64 to the bit, as float.hex writes it: the only text in JSON or YAML that is a number."""

_FEW = 10_000
"""The most steps of float64 that are counted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. place: where in the file. key: in JSON or YAML, or the column; "" for none.

    text: both values and their distance. distance: None unless both are numbers. size: the
    larger magnitude of the two numbers.
    """

    place: str
    key: str
    text: str
    distance: float | None = None
    size: float = 0.0

    def __str__(self) -> str:
        return f"{self.place} {self.text}".strip()


def values(old: Any, new: Any, key: str = "") -> Iterator[Change]:
    """Yield the differences between two values; mappings and lists are compared entry by entry."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{key}.{name}" if key else str(name)
            if name not in new:
                yield Change(inner, inner, "is gone")
            elif name not in old:
                yield Change(inner, inner, "is new")
            else:
                yield from values(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, now) in enumerate(zip(old, new, strict=False)):
            yield from values(before, now, f"{key}.{index}" if key else str(index))
        if len(old) != len(new):
            yield Change(key, key, f"had {len(old):,} entries, has {len(new):,}")
    elif not same(old, new):
        difference = change(key, key, old, new)
        if isinstance(old, str) and not _HEX.match(old):  # a version or an identifier
            difference = replace(
                difference, text="was {}, is {}".format(*shortened(old, new)), distance=None
            )
        yield difference


def same(old: Any, new: Any) -> bool:
    """Return whether two values are the same, floats by their bits: 0.0 is not -0.0, nan is nan."""
    if isinstance(old, float) and isinstance(new, float):
        return old.hex() == new.hex()
    return type(old) is type(new) and bool(old == new)


def change(place: str, key: str, old: Any, new: Any) -> Change:
    """Return the change from one value to another; a number and a text have no distance."""
    text = "was {}, is {}".format(*shortened(old, new))
    before, now = number(old), number(new)
    if before is None or now is None or isinstance(old, str) != isinstance(new, str):
        return Change(place, key, text)
    distance, size = _distance(old, new, before, now), max(abs(before), abs(now))
    if isinstance(old, str) and distance == 0 and math.isfinite(now) and now:
        return Change(place, key, text)  # 007 and 7: an identifier, or another format
    if math.isfinite(distance) and math.isfinite(size):
        text += f" ({distance:.3g} away, {_in_proportion(distance, size, before, now)})"
    return Change(place, key, text, distance, size)


def _in_proportion(distance: float, size: float, before: float, now: float) -> str:
    """Return a distance in steps of float64 if they are few, else relative to the numbers."""
    steps = abs(_ordinal(now) - _ordinal(before))
    if steps > _FEW:
        return f"relative {distance / size:.2g}"
    return f"{steps:,} step{'s' if steps != 1 else ''} of float64"


def _distance(old: Any, new: Any, before: float, now: float) -> float:
    """Return the distance between two numbers; for whole numbers it is exact beyond 2**53, too."""
    if not isinstance(old, float) and not isinstance(new, float):
        with suppress(ValueError, OverflowError):
            return float(abs(int(new) - int(old)))
    if before == now or (math.isnan(before) and math.isnan(now)):
        return 0.0
    return abs(now - before)


def number(value: Any) -> float | None:
    """Return a number, which may be written as text; None if it is no number."""
    try:
        if isinstance(value, str):
            return float.fromhex(value) if "0x" in value else float(value)
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _ordinal(value: float) -> int:
    """Return the rank of a float64 among all of them, 0 for 0.0."""
    bits = int.from_bytes(struct.pack(">d", value), "big", signed=True)
    return bits if bits >= 0 else -(bits & (2**63 - 1))


def shortened(old: Any, new: Any) -> tuple[str, str]:
    """Return both values as texts, shortened to the part where they differ."""
    before, now = (value if isinstance(value, str) else repr(value) for value in (old, new))
    if before.split() == now.split():  # only types or blanks differ
        before, now = repr(old), repr(new)
    pairs = enumerate(zip(before, now, strict=False))
    offset = next((i for i, (a, b) in pairs if a != b), min(len(before), len(now)))
    return _part(before, offset), _part(now, offset)


def _part(text: str, offset: int) -> str:
    """Return the part of a text around an offset, with … for what is left out."""
    if len(text) <= _LONGEST:
        return text
    first = offset - 20 if offset > _LONGEST - 20 else 0
    part = text[first : first + _LONGEST]
    return f"{'…' if first else ''}{part}{'…' if first + _LONGEST < len(text) else ''}"
