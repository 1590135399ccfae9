"""params.yaml, read into frozen types with a rule for every key.

Source of the keys and their defaults: params.yaml itself, where each is explained.
"""

import difflib
import math
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from knownline.errors import ParamsError

MIN_ROWS = 3
"""Fewest rows a line can be judged from: two fix it, the third tells the noise."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Level = Annotated[float, Field(gt=0, lt=0.5)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A mapping in params.yaml: strict types, no unknown key, never changed after reading."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Truth(Section):
    """The line the points are drawn from."""

    w: Finite
    b: Finite


_ROOM = 32
"""Letters of a column's name in a picture."""


class Columns(Section):
    """The names of the two columns of a user's table."""

    x: Annotated[str, Field(min_length=1)]
    y: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.x == self.y:
            raise _broken("x", "must name another column than generate.columns.y", self.x)
        return self

    @property
    def short(self) -> tuple[str, str]:
        """The names as there is room for them beside a picture."""
        x, y = (n if len(n) <= _ROOM else f"{n[: _ROOM - 1]}…" for n in (self.x, self.y))
        return x, y


class Spacing(Section):
    """Where the x of drawn points lie."""

    spacing: Literal["grid", "uniform"]
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise _broken("low", f"must be less than generate.x.high, {self.high}", self.low)
        if not math.isfinite(self.high - self.low):
            raise _broken("low", "must lie within the float64 range of generate.x.high", self.low)
        return self


class Noise(Section):
    """What is added to the true line, in the units of y."""

    kind: Literal["normal", "integer", "shared-integer"]
    scale: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind != "normal" and not (self.scale.is_integer() and self.scale < 2**53):
            raise _broken(
                "scale", f"must be a whole number below 2^53 with {self.kind}", self.scale
            )
        return self


class Generate(Section):
    """Where the points come from and which of them are held out."""

    table: str | None
    columns: Columns
    rows: Annotated[int, Field(ge=MIN_ROWS, lt=2**48)]
    x: Spacing
    noise: Noise
    holdout: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.table is not None:
            path = PurePosixPath(self.table)
            if path.parts[:2] != ("data", "own") or len(path.parts) < 3 or ".." in path.parts:
                raise _broken("table", "must name a file in data/own/", self.table)
            if path.suffix not in (".csv", ".parquet"):
                raise _broken("table", "must end in .csv or .parquet", self.table)
        else:
            held_out = holdout_rows(self.rows, self.holdout)
            if self.rows - held_out < MIN_ROWS:
                raise _broken(
                    "holdout",
                    f"must leave {MIN_ROWS} rows of {self.rows} to train on",
                    self.holdout,
                )
        return self


class Train(Section):
    """How the line is fitted."""

    epochs: Annotated[int, Field(gt=0, lt=10**9)]
    learning_rate: Positive
    standardize: bool
    compress: bool
    dtype: Literal["float64", "float32"]
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"]
    seed: Seed

    @model_validator(mode="after")
    def _representable(self) -> Self:
        if self.device == "mps" and self.dtype == "float64":
            raise _broken(
                "dtype", "must be float32 on device mps, which has no float64", self.dtype
            )
        return self


class Evaluate(Section):
    """How the fit is judged."""

    z: Positive
    optimiser_tolerance: Positive


class Retrain(Section):
    """How a scheduled retraining decides; no stage reads it, so no run's identity holds it."""

    drift_level: Level = 0.001
    comparison_level: Level = 0.01
    stale_after_days: Annotated[int, Field(ge=0, lt=10**6)] = 7


class Params(Section):
    """All of params.yaml."""

    truth: Truth | None
    generate: Generate
    train: Train
    evaluate: Evaluate
    retrain: Retrain = Retrain()

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        if self.truth is None and self.generate.table is None:
            raise _broken("truth", "must be given where generate.table is null", None)
        return self

    @classmethod
    def parse(cls, text: str) -> "Params":
        """Read the text of params.yaml.

        Raises: ParamsError naming the first key that breaks a rule, the rule and the value.
        """
        try:
            mapping = yaml.load(text, Loader=_UniqueKeys)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ParamsError(f"params.yaml must be valid YAML ({str(error)[:200]})") from error
        try:
            return cls.model_validate(mapping)
        except ValidationError as error:
            raise ParamsError(_one_line(error)) from error

    def used_by(self, stage: str) -> dict[str, Any]:
        """Return the sections that decide what a stage writes."""
        sections = {"generate": ("truth", "generate"), "evaluate": ("truth", "evaluate")}
        whole = self.model_dump(mode="json")
        return {name: whole[name] for name in sections.get(stage, (stage,))}

    def flat(self) -> dict[str, Any]:
        """Return every leaf a stage reads under its dotted name: {"train.epochs": 100, ...}."""
        return dict(_leaves("", self.model_dump(mode="json", exclude={"retrain"})))


def with_seed(text: str, seed: int) -> str:
    """Return the text of params.yaml with another generate.seed, every other byte as it was.

    Raises: ParamsError where there is no such key, or another key hangs on it by an alias.
    """
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for wanted in ("generate", "seed"):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in pairs if key.value == wanted), None)
    if not isinstance(node, yaml.ScalarNode):
        raise ParamsError("generate.seed must be given (got nothing)")
    changed = f"{text[: node.start_mark.index]}{seed}{text[node.end_mark.index :]}"
    meant = Params.parse(text).model_dump()
    meant["generate"]["seed"] = seed
    try:
        whole = Params.parse(changed).model_dump() == meant
    except ParamsError:
        whole = False
    if not whole:
        raise ParamsError("generate.seed must be a plain number (got one with an anchor or alias)")
    return changed


def holdout_rows(rows: int, fraction: float) -> int:
    """Return how many of the first `rows` rows are held out: rows * fraction, halves rounded up.

    Exact for the decimal that is written in params.yaml, so that 0.29 of 100 is 29.
    """
    return math.floor(rows * Fraction(str(fraction)) + Fraction(1, 2))


def _leaves(name: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [
        leaf for key, item in value.items() for leaf in _leaves(f"{name}.{key}".strip("."), item)
    ]


def _broken(key: str, rule: str, got: Any) -> PydanticCustomError:
    """Return the error of a rule that binds several keys; `key` is the one to be named."""
    return PydanticCustomError("rule", "{rule}", {"key": key, "rule": rule, "got": got})


_RULES = {
    "missing": "must be given",
    "extra_forbidden": "is not a key that is known here",
    "invalid_key": "is not a key that is known here",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "model_type": "must be a mapping of keys to values",
    "rule": "{rule}",
}


def _one_line(error: ValidationError) -> str:
    try:
        errors = error.errors()
    except UnicodeEncodeError:  # half of a surrogate pair, written as an escape
        return "params.yaml must hold text that UTF-8 can write"
    # A key that is misspelt is also one that is missing: the first is what to mend.
    first = min(errors, key=lambda found: found["type"] != "extra_forbidden")
    context: dict[str, Any] = dict(first.get("ctx", {}))
    context |= {key: _whole(context[key]) for key in ("gt", "ge", "lt") if key in context}
    path = [str(part) for part in first["loc"]]
    got = first["input"]
    if first["type"] == "rule":
        path, got = [*path, context["key"]], context["got"]
    name = ".".join(path) or "params.yaml"
    rule = _RULES.get(first["type"], first["msg"]).format(**context).replace("'", "")
    return f"{name} {rule}{_near(name, first)}{_got(first, got)}"


def _near(name: str, error: ErrorDetails) -> str:
    """Return the known key that an unknown one is most like, as a question."""
    if error["type"] != "extra_forbidden":
        return ""
    near = difflib.get_close_matches(name, _names("", Params), n=1, cutoff=0.75)
    return f": {near[0]}?" if near else ""


def _names(prefix: str, model: Any) -> list[str]:
    """Return the dotted name of every key of a model, sections included."""
    names: list[str] = []
    for key, field in model.model_fields.items():
        names.append(f"{prefix}{key}")
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += _names(f"{prefix}{key}.", kind)
    return names


def _whole(value: Any) -> Any:
    """Return a limit as people write it: 0, not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _got(error: ErrorDetails, value: Any) -> str:
    if error["type"] == "missing":
        return " (got nothing)"
    if value is None:
        return " (got null)"
    if isinstance(value, bool):
        return f" (got {str(value).lower()})"
    if isinstance(value, str):
        power = "e" in value.lower() and _is_number(value)
        if power and error["type"].startswith("int"):
            hint = "; write it out: 1000000"
        else:
            hint = "; YAML wants a point and a sign: 1.0e-3" if power else ""
        return f" (got the text '{value[:80]}'{hint})"
    return f" (got {str(value)[:80]})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def in_yaml(value: Any) -> str:
    """Return a value as params.yaml takes it: 1.0e-09 and not 1e-09, which YAML reads as text."""
    return str(yaml.safe_dump(value)).splitlines()[0]
