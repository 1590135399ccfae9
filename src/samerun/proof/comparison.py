"""Comparison of a recorded run with its reproduction: the first difference, in words, or None.

Knows nothing of where either comes from.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of a run that is compared.

    params: by dotted name. code: module to SHA-256. data: file to SHA-256.
    history: loss, w and b by epoch, (epochs,) each. logged: the same, as the store has them.
    line: the fit. metrics: by dotted name. model: the model's files, by name.
    predictions: what the model predicts, or why it cannot.
    shown: parameters, metrics and tags on the run's page; the recorded page may show more.
    """

    params: Mapping[str, Any]
    code: Mapping[str, str]
    data: Mapping[str, str]
    history: Mapping[str, Array]
    logged: Mapping[str, Array]
    line: Line
    metrics: Mapping[str, Any]
    model: Mapping[str, bytes]
    predictions: Sequence[float] | str
    shown: Mapping[str, Any]


def planned_difference(
    recorded: Snapshot, params: Mapping[str, Any], code: Mapping[str, str]
) -> str | None:
    """Return the first difference between the inputs of a run and of its reproduction, or None."""
    return _first(
        ("params", _mapping(recorded.params, params, _values)),
        ("code", _mapping(recorded.code, code, _hashes)),
    )


def first_difference(recorded: Snapshot, current: Snapshot) -> str | None:
    """Return the first difference, in the order in which a run produces what is compared."""
    return planned_difference(recorded, current.params, current.code) or _first(
        ("data", _mapping(recorded.data, current.data, _hashes)),
        ("history", _histories(recorded.history, current.history)),
        ("line", _lines(recorded.line, current.line)),
        ("metrics", _mapping(recorded.metrics, current.metrics, _values)),
        ("history in the store", _histories(recorded.logged, current.logged)),
        ("store", _mapping(recorded.shown, current.shown, _values, may_lack=True)),
        ("model", _mapping(recorded.model, current.model, _contents)),
        ("model", _predictions(recorded.predictions, current.predictions)),
    )


def _first(*checks: tuple[str, Iterator[str]]) -> str | None:
    for subject, differences in checks:
        for difference in differences:
            return f"{subject}: {difference}"
    return None


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> str | None:
    """Return the first difference between two environments, in words, or None."""
    return next(_mapping(old, new, _values), None)


def all_changes(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return every difference between two mappings, in words. kind: what their entries are."""
    return [f"{kind} {difference}" for difference in _mapping(old, new, _values)]


def _mapping(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    describe: Callable[[Any, Any], str],
    *,
    may_lack: bool = False,
) -> Iterator[str]:
    """Yield each difference in words; may_lack: whether `new` may lack entries of `old`."""
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            if not may_lack:
                yield f"{name} is gone"
        elif name not in old:
            yield f"{name} is new"
        elif not _same(old[name], new[name]):
            yield f"{name} {describe(old[name], new[name])}"


def _histories(old: Mapping[str, Array], new: Mapping[str, Array]) -> Iterator[str]:
    lengths = {len(column) for column in [*old.values(), *new.values()]}
    for epoch in range(min(lengths)):
        for name in old:
            before, after = float(old[name][epoch]), float(new[name][epoch])
            if not _same(before, after):
                yield f"epoch {epoch}: {name} {_numbers(before, after)}"
    if len(lengths) > 1:
        before, after = (max(map(len, columns.values())) for columns in (old, new))
        yield f"it had {before:,} epochs, it has {after:,}"


def _lines(old: Line, new: Line) -> Iterator[str]:
    for name in ("w", "b"):
        before, after = getattr(old, name), getattr(new, name)
        if not _same(before, after):
            yield f"{name} {_numbers(before, after)}"


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return old.hex() == new.hex()  # the same bits: 0.0 is not -0.0, nan is nan
    if isinstance(old, float) and type(new) is int:
        return old == float(new)  # YAML's 20 for a parameter that is read as a float64
    return bool(old == new)


def _numbers(old: float, new: float) -> str:
    distance = abs(new - old)
    ulp = math.ulp(max(abs(old), abs(new)))
    steps = f", {distance / ulp:.0f} steps of float64" if math.isfinite(distance / ulp) else ""
    return f"was {old!r}, is {new!r} ({distance:.3g} away{steps})"


def _values(old: Any, new: Any) -> str:
    if isinstance(old, float) and isinstance(new, float):
        return _numbers(old, new)
    return f"was {old}, is {new}"


def _contents(old: bytes, new: bytes) -> str:
    pairs = enumerate(zip(old, new, strict=False))
    offset = next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))
    return f"has other bytes from byte {offset} on"


def _predictions(old: Sequence[float] | str, new: Sequence[float] | str) -> Iterator[str]:
    if isinstance(old, str) or isinstance(new, str):
        yield f"it does not answer ({old if isinstance(old, str) else new})"
    elif [float(x).hex() for x in old] != [float(x).hex() for x in new]:
        yield f"it answers {list(old)}, not {list(new)}"


def _hashes(old: str, new: str) -> str:
    return f"has other bytes (SHA-256 was {old[:12]}…, is {new[:12]}…)"
