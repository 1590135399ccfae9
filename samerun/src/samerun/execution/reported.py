"""What a program reports while it runs, in JSON lines: metrics by step, and texts about itself."""

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
    """Return the metrics by step in the lines that a program has reported."""
    by_step = []
    for entry in _entries(lines):
        step = entry.get("step")
        if isinstance(step, int) and not isinstance(step, bool) and is_step(step):
            by_step.append((step, numbers(entry, "step")))
    return by_step


def is_step(value: float) -> bool:
    """Return whether a number can be a step: a whole number of 64 bits, as databases store it."""
    return -(2**63) <= value < 2**63 and int(value) == value


def texts(lines: bytes) -> dict[str, str]:
    """Return what a program reports about itself: the texts in the lines that have no step.

    A tag that only samerun may write is left out.
    """
    reported: dict[str, str] = {}
    for line in lines.splitlines():
        for entry in _entries(line) if b'"step"' not in line else ():
            reported |= {k: value for k, value in entry.items() if isinstance(value, str)}
    keys = mlflow_keys(reported)
    return {keys[k]: value for k, value in reported.items() if not is_reserved(keys[k])}


def numbers(entry: Mapping[str, Any], axis: str) -> dict[str, float]:
    """Return the numbers of an entry by name, NaN and infinity included. axis: the step's name."""
    values = {key: number(value) for key, value in entry.items() if key != axis}
    valid = {key: x for key, x in values.items() if x is not None}
    keys = mlflow_keys(valid)
    return {keys[key]: x for key, x in valid.items()}


def number(value: Any) -> float | None:
    """Return a number as MLflow stores it; None if it is no number or too large."""
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
