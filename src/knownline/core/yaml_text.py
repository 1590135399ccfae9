"""YAML as params.yaml uses it: each key once, numbers as it takes them."""

from collections.abc import Mapping
from typing import Any

import yaml

from knownline.core.errors import ParamsError


def load(text: str) -> Any:
    """Return what a YAML text holds. Raises: ParamsError where it is none, or a key is twice."""
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"params.yaml must be valid YAML ({str(error)[:200]})") from error


def in_yaml(value: Any) -> str:
    """Return a value as params.yaml takes it: 1.0e-09 and not 1e-09, which YAML reads as text."""
    return str(yaml.safe_dump(value)).splitlines()[0]


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters, by dotted name, as MLflow keeps them: text."""
    return {key: v if isinstance(v, str) else in_yaml(v) for key, v in params.items()}


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys in silence; a typing slip should not."""

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
