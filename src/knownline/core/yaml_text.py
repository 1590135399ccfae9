"""Reads and writes params.yaml as DVC does: YAML 1.2, by ruamel.yaml.

PyYAML reads YAML 1.1, in which 1e-06 is text, `on` is true and 1:30 is 90. DVC writes numbers as
Python prints them, so PyYAML would misread some values that `dvc exp run --set-param` has set.
"""

import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from knownline.core.errors import ParamsError


def load(text: str) -> Any:
    """Return the value of a YAML text. Raises: ParamsError if it is invalid or repeats a key."""
    return _read(YAML(typ="safe").load, text)


def compose(text: str) -> Any:
    """Return the node of a YAML text, with its marks. Raises: ParamsError if it is invalid."""
    return _read(YAML(typ="safe", pure=True).compose, text)


def in_yaml(value: Any) -> str:
    """Return a value as YAML text, in one line."""
    writer, stream = YAML(typ="safe"), io.StringIO()
    writer.default_flow_style, writer.width = True, 2**31 - 1
    writer.dump(value, stream)
    return stream.getvalue().splitlines()[0]


def _read(reader: Any, text: str) -> Any:
    try:
        return reader(text)
    except DuplicateKeyError as error:
        found = re.match('found duplicate key "(.*?)" with', error.problem, re.DOTALL)
        key = found[1] if found else "one"
        line = error.problem_mark.line + 1
        raise ParamsError(
            f"params.yaml must have each key once (got {key[:40]} again in line {line})"
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"params.yaml must be valid YAML ({str(error)[:200]})") from error
