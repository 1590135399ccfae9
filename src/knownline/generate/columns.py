"""Words for a column that a table lacks: what it has instead, and what may be meant.

Knows nothing of files.
"""

import re
from collections.abc import Sequence

_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*")

_SHOWN = 12
"""The most names in a message."""


def listed(names: Sequence[str]) -> str:
    """Return the names that a table has, in words."""
    shown = ", ".join(map(quoted, names[:_SHOWN]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > _SHOWN else shown or "none"


def quoted(name: str) -> str:
    """Return a name as it is, or quoted if it begins or ends with white space."""
    return name[:40] if name == name.strip() else repr(name[:40])


def dialect_hint(header: Sequence[str], row: Sequence[str] = ()) -> str:
    """Return what to set if the only column looks like several with another separator.

    header, row: the first two rows, read with the separator that is set.
    """
    found = next((each for each in ";\t|," if each in "".join(header)), None)
    if len(header) != 1 or found is None:
        return ""
    shown = {"\t": "\\t"}.get(found, found)
    cells = ",".join(row).split(found)
    if found != "," and any(map(_DECIMAL_COMMA.fullmatch, cells)):
        return f' (set generate.csv to {{separator: "{shown}", decimal: ","}}?)'
    return f' (set generate.csv.separator to "{shown}"?)'
