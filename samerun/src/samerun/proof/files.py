"""How two files differ. They are read by their suffix, else as text, else as bytes.

Nothing is executed or unpickled.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from samerun.proof.comparison import Change, change, shortened, values

_LARGEST = 64 * 2**20
"""Bytes of the largest file that is read as a whole: JSON, YAML, text."""

_SMALL = 2**18
"""Bytes of the largest JSON or YAML file whose keys are listed."""

_BLOCK = 2**20

_TABLES = {".csv": ",;\t|", ".tsv": "\t"}
"""The delimiters that a table may have, by suffix; the most likely one comes first."""

_YAML = YAML(typ="safe")
"""As DVC reads YAML: 1.2, in which 1e-06, as DVC itself writes it, is a number."""

_NUMBER = re.compile(
    rb"[-+]?(?:0x[0-9a-f.]+p[-+]?\d+|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\.?(?:nan|inf(?:inity)?))",
    re.IGNORECASE,
)

_PICKLES = (".pkl", ".pickle", ".joblib")


def between(old: Path, new: Path) -> Iterator[Change]:
    """Yield the differences between two files: at least one if any byte differs."""
    offset = _first_offset(old, new)
    if offset is None:
        return
    for read in (_structured, _texts):
        count = 0
        try:
            for one in read(old, new):
                count += 1
                yield one
        except (OSError, ValueError, RecursionError, csv.Error, YAMLError):
            count = 0  # its content is not what its suffix says
        if count:
            return
    before, now = old.stat().st_size, new.stat().st_size
    sizes = _bytes(before) if before == now else f"{_bytes(before)}, is {now:,}"
    pickled = "; a pickle of equal objects may have other bytes" if new.suffix in _PICKLES else ""
    yield Change("", "", f"differs from byte {offset:,} on (was {sizes}){pickled}")


def same_form(old: Path, new: Path) -> bool:
    """Return whether two text files are equal apart from the numbers in them."""
    with old.open("rb") as first, new.open("rb") as second:
        return all(
            _NUMBER.sub(b"#", before) == _NUMBER.sub(b"#", now)
            for before, now in zip_longest(first, second, fillvalue=b"")
        )


def keys(path: Path) -> set[str] | None:
    """Return the keys or columns of a file; None if it is too large to list them."""
    suffix, names = path.suffix.lower(), set[str]()
    try:
        if suffix in _TABLES:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                header = stream.readline()
            return set(next(csv.reader([header], delimiter=_delimiter(header, _TABLES[suffix]))))
        if suffix not in (".json", ".jsonl", ".ndjson", ".yaml", ".yml") or not path.is_file():
            return names
        if path.stat().st_size > _SMALL:
            return None
        text = path.read_bytes()
        lines = text.splitlines() if suffix in (".jsonl", ".ndjson") else [text]
        for line in lines:  # YAML has all of JSON
            names |= set(_leaves(_YAML.load(line)))
    except (OSError, ValueError, RecursionError, StopIteration, csv.Error, YAMLError):
        pass
    return names


def _leaves(content: Any, key: str = "") -> Iterator[str]:
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, Mapping):
        entries = content.items()
    elif isinstance(content, list):
        entries = enumerate(content)
    yield key
    for name, value in entries:
        yield from _leaves(value, f"{key}.{name}" if key else str(name))


def _bytes(count: int) -> str:
    return f"{count:,} byte{'' if count == 1 else 's'}"


def _structured(old: Path, new: Path) -> Iterator[Change]:
    suffix = new.suffix.lower()
    if suffix in _TABLES:
        yield from _tables(old, new, _TABLES[suffix])
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(old, new)
    elif _is_small(old, new):
        if suffix == ".json":
            yield from values(json.loads(old.read_bytes()), json.loads(new.read_bytes()))
        elif suffix in (".yaml", ".yml"):
            yield from values(*(_YAML.load(each.read_bytes()) for each in (old, new)))


def _is_small(old: Path, new: Path) -> bool:
    return max(old.stat().st_size, new.stat().st_size) <= _LARGEST


def _json_lines(old: Path, new: Path) -> Iterator[Change]:
    with old.open("rb") as first, new.open("rb") as second:
        for number, (before, now) in enumerate(zip_longest(first, second), 1):
            if before is None or now is None:
                yield Change(f"line {number:,}", "", "is new" if before is None else "is gone")
                return
            for one in values(json.loads(before), json.loads(now)) if before != now else ():
                place = f"line {number:,}, key {one.key}" if one.key else f"line {number:,}"
                yield replace(one, place=place)


def _texts(old: Path, new: Path) -> Iterator[Change]:
    """Yield the first line that differs, if both files are UTF-8 text."""
    if not _is_small(old, new):
        return
    texts = [each.read_bytes().decode("utf-8") for each in (old, new)]
    if any("\0" in text for text in texts):
        return
    pairs = zip_longest(*(StringIO(text, newline="") for text in texts))  # lines keep their ends
    for number, (before, now) in enumerate(pairs, 1):
        place = f"line {number:,}"
        if before is None or now is None:
            line, words = (now, "is new") if before is None else (before, "is gone")
            yield Change(place, "", f"{words}: {shortened(line.rstrip(), '')[0]}".rstrip(": "))
            return
        if before != now:
            yield Change(place, "", "was {}, is {}".format(*_lines(before, now)))
            return


def _lines(before: str, now: str) -> tuple[str, str]:
    """Return two lines without their line ends, unless only these differ."""
    bare = before.rstrip("\r\n"), now.rstrip("\r\n")
    return shortened(*bare) if bare[0] != bare[1] else shortened(before, now)


def _tables(old: Path, new: Path, delimiters: str) -> Iterator[Change]:
    with (
        old.open(encoding="utf-8-sig", newline="") as first,
        new.open(encoding="utf-8-sig", newline="") as second,
    ):
        delimiter = _delimiter(first.readline(), delimiters)
        first.seek(0)
        rows = zip_longest(*(csv.reader(each, delimiter=delimiter) for each in (first, second)))
        header, other = next(rows)
        if header is None or other is None:
            return  # one of them is empty
        if header != other:
            yield Change("the header", "", _header(header, other))
            return
        for number, (before, now) in enumerate(rows, 1):
            place = f"row {number:,}"
            if before is None or now is None:
                yield Change(place, "", "is new" if before is None else "is gone")
                return
            if len(before) != len(now):
                yield Change(place, "", "was {}, is {}".format(*shortened(before, now)))
                return
            if before != now:
                yield from _row(place, header, before, now)


def _delimiter(header: str, delimiters: str) -> str:
    """Return the delimiter that splits a header into the most columns."""
    return max(delimiters, key=lambda one: len(next(csv.reader([header], delimiter=one), [])))


def _header(old: Sequence[str], new: Sequence[str]) -> str:
    """Return how two headers differ."""
    lost, gained = Counter(old) - Counter(new), Counter(new) - Counter(old)
    words = [f"lost the column {shortened(name, '')[0]}" for name in lost]
    words += [f"gained the column {shortened(name, '')[0]}" for name in gained]
    if words:
        return ", ".join(words[:4]) + (f" and {len(words) - 4:,} more" if len(words) > 4 else "")
    number = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    was, is_ = shortened(old[number], new[number])
    return f"has the columns in another order: column {number + 1:,} was {was}, is {is_}"


def _row(
    place: str, header: Sequence[str], old: Sequence[str], new: Sequence[str]
) -> Iterator[Change]:
    """Yield the cells of a row that differ. A column without a unique name gets its number."""
    for index, (was, is_) in enumerate(zip(old, new, strict=True)):
        if was != is_:
            name = header[index] if len(header) == len(old) else ""
            column = name if name and header.count(name) == 1 else f"{index + 1:,} {name}".strip()
            yield change(f"{place}, column {column}", name, was, is_)


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
