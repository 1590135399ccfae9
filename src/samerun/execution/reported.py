"""What a program reports while it runs: JSON lines, metrics by step and what it says of itself."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samerun.core.keys import mlflow_key

Row = tuple[int, dict[str, float]]
"""A step and the metrics at it."""


def read(path: str | Path, position: int = 0) -> bytes:
    """Return the bytes of a file from a position on; empty if it cannot be read."""
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
        if isinstance(step, int) and not isinstance(step, bool):
            found.append((step, numbers(entry, "step")))
    return found


def texts(lines: bytes) -> dict[str, str]:
    """Return what a program says of itself: the texts in the lines that have no step."""
    found: dict[str, str] = {}
    for line in lines.splitlines():
        for entry in _entries(line) if b'"step"' not in line else ():
            found |= {mlflow_key(k): value for k, value in entry.items() if isinstance(value, str)}
    return found


def numbers(entry: Mapping[str, Any], axis: str) -> dict[str, float]:
    """Return the finite numbers of an entry by name, without the step."""
    return {
        mlflow_key(key): float(value)
        for key, value in entry.items()
        if key != axis and isinstance(value, int | float) and not isinstance(value, bool)
        and math.isfinite(value)
    }  # fmt: skip


def _entries(lines: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects among some lines; a line of anything else is skipped."""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry
