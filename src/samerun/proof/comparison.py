"""What a run was against what it is when it is done again: the first difference, or none.

Knows nothing of where either came from.
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
    """All of a run that is compared.

    params: by dotted name. code: module to SHA-256. data: file to SHA-256.
    history: loss, w and b by epoch, (epochs,) each. logged: the same, as the store has them.
    line: the fit. metrics: by dotted name. model: the files that make it up, by name.
    predictions: what the model answers, or why it does not.
    shown: parameters, metrics and tags on the run's page; what a page has beyond, it may have.
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


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not the same; `what` is one of the fields of Evidence."""

    what: str
    words: str


def planned_difference(
    then: Snapshot, params: Mapping[str, Any], code: Mapping[str, str]
) -> Difference | None:
    """Return what is about to go in differently, or None."""
    return _first(
        ("params", _mapping(then.params, params, _plain)),
        ("code", _mapping(then.code, code, _hashes)),
    )


def first_difference(then: Snapshot, now: Snapshot) -> Difference | None:
    """Return the first difference in the order in which things come about, or None."""
    return planned_difference(then, now.params, now.code) or _first(
        ("data", _mapping(then.data, now.data, _hashes)),
        ("history", _histories(then.history, now.history)),
        ("line", _lines(then.line, now.line)),
        ("metrics", _mapping(then.metrics, now.metrics, _plain)),
        ("history in the store", _histories(then.logged, now.logged)),
        ("store", _mapping(then.shown, now.shown, _plain, more=True)),
        ("model", _mapping(then.model, now.model, _contents)),
        ("model", _answers(then.predictions, now.predictions)),
    )


def _first(*checks: tuple[str, Iterator[str]]) -> Difference | None:
    for what, differences in checks:
        for words in differences:
            return Difference(what, f"{what}: {words}")
    return None


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return the first entry that differs between two environments, in words."""
    return next(_mapping(then, now, _plain), None)


def all_changes(kind: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return every entry that differs, in words."""
    return [f"{kind} {words}" for words in _mapping(then, now, _plain)]


def _mapping(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    words: Callable[[Any, Any], str],
    *,
    more: bool = False,
) -> Iterator[str]:
    """Yield what differs, in words; `more`: whether `then` may have what `now` does not."""
    for name in [*then, *(name for name in now if name not in then)]:
        if name not in now:
            if not more:
                yield f"{name} is gone"
        elif name not in then:
            yield f"{name} is new"
        elif not _same(then[name], now[name]):
            yield f"{name} {words(then[name], now[name])}"


def _histories(then: Mapping[str, Array], now: Mapping[str, Array]) -> Iterator[str]:
    lengths = {len(column) for column in [*then.values(), *now.values()]}
    for epoch in range(min(lengths)):
        for name in then:
            old, new = float(then[name][epoch]), float(now[name][epoch])
            if not _same(old, new):
                yield f"epoch {epoch}: {name} {_numbers(old, new)}"
    if len(lengths) > 1:
        old, new = (max(map(len, columns.values())) for columns in (then, now))
        yield f"it had {old:,} epochs, it has {new:,}"


def _lines(then: Line, now: Line) -> Iterator[str]:
    for name in ("w", "b"):
        old, new = getattr(then, name), getattr(now, name)
        if not _same(old, new):
            yield f"{name} {_numbers(old, new)}"


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return old.hex() == new.hex()  # by bits: tells 0.0 from -0.0, finds nan equal to nan
    if isinstance(old, float) and type(new) is int:
        return old == float(new)  # YAML's 20 for a number that is taken as float64
    return bool(old == new)


def _numbers(old: float, new: float) -> str:
    distance = abs(new - old)
    step = math.ulp(max(abs(old), abs(new)))
    steps = f", {distance / step:.0f} steps of float64" if math.isfinite(distance / step) else ""
    return f"was {old!r}, is {new!r} ({distance:.3g} away{steps})"


def _plain(old: Any, new: Any) -> str:
    if isinstance(old, float) and isinstance(new, float):
        return _numbers(old, new)
    return f"was {old}, is {new}"


def _contents(old: bytes, new: bytes) -> str:
    pairs = enumerate(zip(old, new, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))
    return f"has other bytes from byte {place} on"


def _answers(old: Sequence[float] | str, new: Sequence[float] | str) -> Iterator[str]:
    if isinstance(old, str) or isinstance(new, str):
        yield f"it does not answer ({old if isinstance(old, str) else new})"
    elif [float(x).hex() for x in old] != [float(x).hex() for x in new]:
        yield f"it answers {list(old)}, not {list(new)}"


def _hashes(old: str, new: str) -> str:
    return f"has other bytes (SHA-256 was {old[:12]}…, is {new[:12]}…)"
