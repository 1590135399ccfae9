"""Nested mappings flattened to dotted names, the way DVC and MLflow show them."""

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(nested: Mapping[Any, Any]) -> dict[str, Any]:
    """Return every leaf under its dotted name: {"train.epochs": 100, ...}, in the order given.

    An empty mapping is a leaf. If two leaves have the same name but different values, as in
    {"a.b": 1, "a": {"b": 2}}, the more deeply nested one keeps the name, in either order, and the
    other becomes "a.b_".
    """
    leaves = list(_leaves(nested, ()))
    names = [".".join(path) for path, _ in leaves]
    if len(set(names)) < len(names):
        names = _distinct(leaves, names)
    return {name: value for name, (_, value) in zip(names, leaves, strict=True)}


def _leaves(nested: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    for key, value in nested.items():
        inner = (*path, str(key))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, inner)
        else:
            yield inner, value


def _distinct(leaves: list[tuple[Any, Any]], names: list[str]) -> list[str]:
    """Return the names, with enough _ appended to tell different values apart."""
    distinct, plain, values = list(names), set(names), dict[str, str]()
    for i in sorted(range(len(leaves)), key=lambda i: (-len(leaves[i][0]), leaves[i][0])):
        text = repr(leaves[i][1])
        while values.get(distinct[i], text) != text or (
            distinct[i] != names[i] and distinct[i] in plain
        ):
            distinct[i] += "_"
        values[distinct[i]] = text
    return distinct
