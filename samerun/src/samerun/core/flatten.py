"""Nested mappings flattened to dotted names, the way DVC and MLflow show them."""

from collections.abc import Mapping
from typing import Any


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every leaf under its dotted name: {"train.epochs": 100, ...}, in the order given.

    An empty mapping is a leaf.
    """
    leaves: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        inner = flatten(value, f"{name}.") if isinstance(value, Mapping) else {}
        leaves |= inner or {name: value}
    return leaves
