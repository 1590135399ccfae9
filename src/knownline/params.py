"""Reads params.yaml into frozen types with a rule for every key.

params.yaml itself has a comment for each key. Knows nothing of what the stages do with the values.
"""

import math
from fractions import Fraction
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from knownline.core import validation, yaml_text
from knownline.core.errors import ParamsError
from knownline.core.layout import PARAMS
from knownline.core.validation import rule_error
from samerun.core.errors import MissingError
from samerun.core.flatten import flatten

MIN_ROWS = 3
"""The fewest rows for a line and its error: two determine the line, the third the noise."""

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


_LONGEST_NAME = 32
"""The most characters of a column's name in a plot."""


class Columns(Section):
    """The names of the two columns of a user's table."""

    x: Annotated[str, Field(min_length=1)]
    y: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _must_differ(self) -> Self:
        if self.x == self.y:
            raise rule_error("x", "must name another column than generate.columns.y", self.x)
        return self

    @property
    def short(self) -> tuple[str, str]:
        """The names, cut to the length that a plot has room for."""
        x, y = (
            name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
            for name in (self.x, self.y)
        )
        return x, y


class Spacing(Section):
    """The x of drawn points."""

    spacing: Literal["grid", "uniform"]
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _must_be_a_range(self) -> Self:
        if not self.low < self.high:
            raise rule_error("low", f"must be less than generate.x.high, {self.high}", self.low)
        if not math.isfinite(self.high - self.low):
            raise rule_error(
                "low", "must lie within the float64 range of generate.x.high", self.low
            )
        return self


class Noise(Section):
    """The noise that is added to the true line, in the units of y."""

    kind: Literal["normal", "integer", "shared-integer"]
    scale: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _must_be_whole(self) -> Self:
        if self.kind != "normal" and not (self.scale.is_integer() and self.scale < 2**53):
            raise rule_error(
                "scale", f"must be a whole number below 2^53 with {self.kind}", self.scale
            )
        return self


class Generate(Section):
    """How the points are drawn or read, and how many are held out."""

    table: str | None
    columns: Columns
    rows: Annotated[int, Field(ge=MIN_ROWS, lt=2**48)]
    x: Spacing
    noise: Noise
    holdout: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed

    @model_validator(mode="after")
    def _must_be_usable(self) -> Self:
        if self.table is not None:
            path = PurePosixPath(self.table)
            if path.parts[:2] != ("data", "own") or len(path.parts) < 3 or ".." in path.parts:
                raise rule_error("table", "must name a file in data/own/", self.table)
            if path.suffix not in (".csv", ".parquet"):
                raise rule_error("table", "must end in .csv or .parquet", self.table)
        else:
            held_out = holdout_rows(self.rows, self.holdout)
            if self.rows - held_out < MIN_ROWS:
                raise rule_error(
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
    def _must_be_supported(self) -> Self:
        if self.device == "mps" and self.dtype == "float64":
            raise rule_error(
                "dtype", "must be float32 on device mps, which has no float64", self.dtype
            )
        return self


class Evaluate(Section):
    """How the fit is judged."""

    z: Positive
    optimiser_tolerance: Positive


class Retrain(Section):
    """The rules of a scheduled retraining; no stage reads them, so no run's identity has them."""

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
    def _must_have_a_truth(self) -> Self:
        if self.truth is None and self.generate.table is None:
            raise rule_error("truth", "must be given where generate.table is null", None)
        return self

    @classmethod
    def parse(cls, text: str) -> "Params":
        """Read the text of params.yaml.

        Raises: ParamsError naming the first key that breaks a rule, the rule and the value.
        """
        mapping = yaml_text.load(text)
        try:
            return cls.model_validate(mapping)
        except ValidationError as error:
            raise ParamsError(validation.first_error(error, cls)) from error

    @classmethod
    def read(cls) -> "Params":
        """Read params.yaml of the current folder.

        Raises: ParamsError, or MissingError if there is no such file.
        """
        try:
            return cls.parse(PARAMS.read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError):
            raise MissingError(
                f"params.yaml must be in the current folder (got {Path.cwd()}, which has none)"
            ) from None
        except UnicodeDecodeError as error:
            raise ParamsError(f"params.yaml must be UTF-8 (got byte {error.start})") from error

    def flat(self) -> dict[str, Any]:
        """Return the parameters of all stages by dotted name: {"train.epochs": 100, ...}."""
        return flatten(self.model_dump(mode="json", exclude={"retrain"}))


def with_seed(text: str, seed: int) -> str:
    """Return the text of params.yaml with another generate.seed, every other byte as it was.

    Raises: ParamsError if there is no such key, or a YAML alias of another key refers to it.
    """
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in ("generate", "seed"):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value_node for key_node, value_node in pairs if key_node.value == name), None)
    if not isinstance(node, yaml.ScalarNode):
        raise ParamsError("generate.seed must be given (got nothing)")
    changed = f"{text[: node.start_mark.index]}{seed}{text[node.end_mark.index :]}"
    expected = Params.parse(text).model_dump()
    expected["generate"]["seed"] = seed
    try:
        only_seed_changed = Params.parse(changed).model_dump() == expected
    except ParamsError:
        only_seed_changed = False
    if not only_seed_changed:
        raise ParamsError("generate.seed must be a plain number (got one with an anchor or alias)")
    return changed


def holdout_rows(rows: int, fraction: float) -> int:
    """Return how many of the first `rows` rows are held out: rows * fraction, halves rounded up.

    Exact for the decimal in params.yaml, so that 0.29 of 100 is 29.
    """
    numerator, denominator = _ratio(fraction)
    return (2 * rows * numerator + denominator) // (2 * denominator)


@cache
def _ratio(fraction: float) -> tuple[int, int]:
    return Fraction(str(fraction)).as_integer_ratio()
