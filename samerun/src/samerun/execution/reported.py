"""What a program reports while it runs: JSON lines, metrics by step and what it says of itself."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samerun.core.keys import is_reserved, mlflow_keys

Row = tuple[int, dict[str, float]]
"""A step and the metrics at it."""


def read(path: str | Path, position: int = 0) -> bytes:
    """Return the bytes of a file from a position on; empty if it cannot be read.

    Nor is anything but a file read: a pipe that a program put there would never end.
    """
    if not Path(path).is_file():
        return b""
    try:
        with Path(path).open("rb") as stream:
            stream.seek(position)
            return stream.read()
    except OSError:
        return b""


def rows(lines: bytes) -> list[Row]:
    """Return the metrics among the lines that a program has reported."""
    found = []
    for entry in _entries(lines):
        step = entry.get("step")
        if isinstance(step, int) and not isinstance(step, bool) and is_step(step):
            found.append((step, numbers(entry, "step")))
    return found


def is_step(value: float) -> bool:
    """Return whether a number can be a step: databases hold whole numbers of 64 bits."""
    return -(2**63) <= value < 2**63 and int(value) == value


def texts(lines: bytes) -> dict[str, str]:
    """Return what a program says of itself: the texts in the lines that have no step.

    A tag that samerun itself writes is not the program's to set, so it is left out.
    """
    found: dict[str, str] = {}
    for line in lines.splitlines():
        for entry in _entries(line) if b'"step"' not in line else ():
            found |= {k: value for k, value in entry.items() if isinstance(value, str)}
    keys = mlflow_keys(found)
    return {keys[k]: value for k, value in found.items() if not is_reserved(keys[k])}


def numbers(entry: Mapping[str, Any], axis: str) -> dict[str, float]:
    """Return the numbers of an entry by name, without the step: NaN and infinity are numbers."""
    found = {key: number(value) for key, value in entry.items() if key != axis}
    kept = {key: x for key, x in found.items() if x is not None}
    keys = mlflow_keys(kept)
    return {keys[key]: x for key, x in kept.items()}


def number(value: Any) -> float | None:
    """Return a number as MLflow keeps it; None for anything else, and if it is too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None


def _entries(lines: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects among some lines; a line of anything else is skipped."""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry
