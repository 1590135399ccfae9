"""Describes a missing column: the columns that the table has, and which may be meant.

Knows nothing of files.
"""

import json
import re
import unicodedata
from collections.abc import Sequence

_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*")

_SHOWN = 12
"""The most names in a message."""


def listed(names: Sequence[str], wanted: str) -> str:
    """Return the names that a table has, in words."""
    shown = ", ".join(
        _escaped(name) if _looks_like(name, wanted) else quoted(name) for name in names[:_SHOWN]
    )
    return f"{shown}, … ({len(names)} in all)" if len(names) > _SHOWN else shown or "none"


def got(wanted: str, names: Sequence[str]) -> str:
    """Return the name of a missing column, with the column that looks like it if there is one."""
    other = next((name for name in names if _looks_like(name, wanted)), None)
    if other is None:
        return quoted(wanted)
    return f"{_escaped(wanted)}, which looks the same: write {_escaped(other)} in params.yaml"


def quoted(name: str) -> str:
    """Return a name as it is, or quoted if it begins or ends with white space."""
    return name[:40] if name == name.strip() else repr(name[:40])


def _looks_like(name: str, other: str) -> bool:
    """Return whether two names differ only in how characters outside ASCII are written."""
    unequal = name != other and not (name.isascii() and other.isascii())
    return unequal and _letters(name) == _letters(other) != ""


def _letters(name: str) -> str:
    """Return the letters and digits of a name, without accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", name)))


def _escaped(name: str) -> str:
    """Return a name as params.yaml takes it, in ASCII."""
    return json.dumps(name)


def dialect_hint(header: Sequence[str], row: Sequence[str] = ()) -> str:
    """Return which setting to change if the only column looks like several.

    header, row: the first two rows, read with the separator that is set.
    """
    separator = next((each for each in ";\t|," if each in "".join(header)), None)
    if len(header) != 1 or separator is None:
        return ""
    shown = {"\t": "\\t"}.get(separator, separator)
    cells = ",".join(row).split(separator)
    if separator != "," and any(map(_DECIMAL_COMMA.fullmatch, cells)):
        return f' (set generate.csv to {{separator: "{shown}", decimal: ","}}?)'
    return f' (set generate.csv.separator to "{shown}"?)'
