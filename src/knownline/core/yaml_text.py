"""Reads YAML, refusing repeated keys, and writes values as params.yaml takes them."""

import math
from typing import Any

import yaml

from knownline.core.errors import ParamsError


def load(text: str) -> Any:
    """Return the value of a YAML text. Raises: ParamsError if it is invalid or repeats a key."""
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"params.yaml must be valid YAML ({str(error)[:200]})") from error


def in_yaml(value: Any) -> str:
    """Return a value as YAML text: 1.0e-09, since YAML would read 1e-09 as a string."""
    text = str(yaml.safe_dump(value, default_flow_style=True, width=math.inf))
    return text.splitlines()[0]


class _UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a repeated key, of which PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool | None):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise ParamsError(
                        f"params.yaml must have each key once ({key} again, line {line})"
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)
