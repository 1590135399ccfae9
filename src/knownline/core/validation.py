"""Describes a broken rule of params.yaml in one line: the key, the rule and the value.

Knows none of the keys: the pydantic model that has them is an argument.
"""

import difflib
import math
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError


class Description(str):
    """A description of a value, which is shown without quotes; not a text of params.yaml."""

    __slots__ = ()


def rule_error(key: str, rule: str, got: Any) -> PydanticCustomError:
    """Return the error of a rule that involves several keys; the message names `key`."""
    return PydanticCustomError("rule", "{rule}", {"key": key, "rule": rule, "got": got})


def missing_error(key: str) -> PydanticCustomError:
    """Return the error of a key that must be given, by a rule that involves several keys."""
    return PydanticCustomError("missing", "must be given", {"key": key, "got": None})


BRANCH = "branch: "
"""The prefix of a tag that chooses between several types. The tag is no key of params.yaml."""

_RULES = {
    "missing": "must be given",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be one character",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "list_type": "must be text or a list of texts",
    "too_short": "must not be empty",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "rule": "{rule}",
}


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first mistake in a validation of `model`, in one line."""
    try:
        errors = error.errors()
    except UnicodeEncodeError:  # half of a surrogate pair, from an escape in the YAML
        return "params.yaml must be text that UTF-8 can encode"
    # A misspelt key is reported as unknown and as missing; unknown helps more.
    first = min(errors, key=lambda each: each["type"] != "extra_forbidden")
    context: dict[str, Any] = dict(first.get("ctx", {}))
    context |= {
        key: _without_fraction(context[key]) for key in ("gt", "ge", "lt") if key in context
    }
    # An index in a list is no key: the list is named.
    parts = [part for part in first["loc"] if isinstance(part, str)]
    path = [part for part in parts if not part.startswith(BRANCH)]
    value = first["input"]
    if "key" in context:
        path, value = [*path, context["key"]], context["got"]
    name = ".".join(path) or "params.yaml"
    if first["type"] in ("extra_forbidden", "invalid_key"):
        return f"unknown key {name}{_suggestion(name, model)}"
    if "expected" in context:
        context["expected"] = context["expected"].replace("'", "")
    rule = _RULES.get(first["type"], first["msg"]).format(**context)
    return f"{name} {rule}{_got_clause(first, value)}"


def _suggestion(name: str, model: type[BaseModel]) -> str:
    """Return the key of the same section that an unknown one resembles most, as a question."""
    section, dot, key = name.rpartition(".")
    start = section + dot
    known = [each[len(start) :] for each in _key_names("", model) if each.startswith(start)]
    matches = difflib.get_close_matches(key, [each for each in known if "." not in each], n=1)
    return f": did you mean {start}{matches[0]}?" if matches else ""


def _key_names(prefix: str, model: Any) -> list[str]:
    """Return the dotted name of every key of a model, sections included."""
    names: list[str] = []
    for key, field in model.model_fields.items():
        names.append(f"{prefix}{key}")
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += _key_names(f"{prefix}{key}.", kind)
    return names


def _without_fraction(value: Any) -> Any:
    """Return a limit as people write it: 0, not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _got_clause(error: ErrorDetails, value: Any) -> str:
    if error["type"] == "missing":
        return " (got nothing)"
    if value is None:
        return " (got null)"
    if isinstance(value, bool):
        return f" (got {str(value).lower()})"
    if isinstance(value, Description):
        return f" (got {value[:200]})"
    if isinstance(value, str):
        wants_number = error["type"].startswith(("int_", "float_"))
        hint = "; a number has no quotes" if wants_number and _is_number(value) else ""
        return f" (got the text '{value[:80]}'{hint})"
    return f" (got {str(value)[:80]})"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
