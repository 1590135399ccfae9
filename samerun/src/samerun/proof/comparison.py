"""What differs between two files, or two values: where, by how much, in words.

Numbers are equal if their bits are. Knows nothing of pipelines or stores.
"""

import csv
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

_LARGEST = 64 * 2**20
"""Bytes of the largest JSON or YAML file that is compared key by key."""

_BLOCK = 2**20

_DELIMITERS = {".csv": ",", ".tsv": "\t"}

_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. place: where in the file. key: of JSON and YAML, or the column; "" for none.

    text: both values, and their distance. distance: None if they are not both numbers.
    """

    place: str
    key: str
    text: str
    distance: float | None = None

    def __str__(self) -> str:
        return f"{self.place} {self.text}".strip()


def between(old: Path, new: Path) -> Iterator[Change]:
    """Yield what differs between two files, which are read as their suffix says.

    If any byte differs, that is one change at least.
    """
    offset = _first_offset(old, new)
    if offset is None:
        return
    found = 0
    try:
        for change in _structured(old, new):
            found += 1
            yield change
    except (OSError, ValueError, RecursionError, csv.Error, yaml.YAMLError):
        found = 0  # not what its name says
    if not found:
        before, now = old.stat().st_size, new.stat().st_size
        sizes = f"{before:,} bytes" if before == now else f"{before:,} bytes, is {now:,}"
        yield Change("", "", f"has other bytes from byte {offset:,} on (was {sizes})")


def _structured(old: Path, new: Path) -> Iterator[Change]:
    if new.suffix in _DELIMITERS:
        yield from _tables(old, new, _DELIMITERS[new.suffix])
    elif max(old.stat().st_size, new.stat().st_size) <= _LARGEST:
        if new.suffix == ".json":
            yield from values(json.loads(old.read_bytes()), json.loads(new.read_bytes()))
        elif new.suffix in (".yaml", ".yml"):
            yield from values(*(yaml.load(each.read_bytes(), Loader=_YAML) for each in (old, new)))


def values(old: Any, new: Any, key: str = "") -> Iterator[Change]:
    """Yield what differs between two values, mappings and lists entry by entry."""
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
        yield _change(key, key, old, new)


def same(old: Any, new: Any) -> bool:
    """Return whether two values are the same; of floats the bits: 0.0 is not -0.0, nan is nan."""
    if isinstance(old, float) and isinstance(new, float):
        return old.hex() == new.hex()
    return type(old) is type(new) and bool(old == new)


def _tables(old: Path, new: Path, delimiter: str) -> Iterator[Change]:
    with (
        old.open(encoding="utf-8", newline="") as first,
        new.open(encoding="utf-8", newline="") as second,
    ):
        rows = zip_longest(*(csv.reader(each, delimiter=delimiter) for each in (first, second)))
        header, other = next(rows)
        if header is None or other is None:
            return  # one of them is empty
        if header != other:
            yield Change("the header", "", f"was {header}, is {other}")
            return
        for number, (before, now) in enumerate(rows, 1):
            if before == now:
                continue
            if before is None or now is None:
                yield Change(f"row {number:,}", "", "is new" if before is None else "is gone")
                return
            if not len(before) == len(now) == len(header):
                yield Change(f"row {number:,}", "", f"was {before}, is {now}")
                return
            for column, was, is_ in zip(header, before, now, strict=True):
                if was != is_:
                    yield _change(f"row {number:,}, column {column}", column, was, is_)


def _change(place: str, key: str, old: Any, new: Any) -> Change:
    before, now = number(old), number(new)
    if before is None or now is None:
        return Change(place, key, f"was {_short(old)}, is {_short(new)}")
    distance = abs(now - before)
    steps = abs(_ordinal(now) - _ordinal(before))
    words = f"{steps:,} step{'s' if steps != 1 else ''} of float64"
    return Change(
        place, key, f"was {_short(old)}, is {_short(new)} ({distance:.3g} away, {words})", distance
    )


def number(value: Any) -> float | None:
    """Return a number, also one that is written as text; None if it is no number."""
    try:
        if isinstance(value, str):
            return float.fromhex(value) if "0x" in value else float(value)
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _ordinal(value: float) -> int:
    """Return the place of a float64 in the order of all of them."""
    bits = int.from_bytes(struct.pack(">d", value), "big", signed=True)
    return bits if bits >= 0 else -(bits & (2**63 - 1))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _first_offset(old: Path, new: Path) -> int | None:
    """Return the offset of the first byte that differs; None if there is none."""
    offset = 0
    with old.open("rb") as first, new.open("rb") as second:
        while True:
            before, now = first.read(_BLOCK), second.read(_BLOCK)
            if before != now:
                pairs = enumerate(zip(before, now, strict=False))
                return offset + next(
                    (i for i, (a, b) in pairs if a != b), min(len(before), len(now))
                )
            if not before:
                return None
            offset += len(before)
