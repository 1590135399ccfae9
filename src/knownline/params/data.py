"""The section `generate` of params.yaml: where the rows come from, and how many are held out."""

import math
from fractions import Fraction
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_serializer, field_validator, model_validator

from knownline.core import validation
from knownline.core.kinds import Model
from knownline.core.validation import rule_error
from knownline.params.section import Finite, Section, Seed

_LONGEST_NAME = 32
"""The most characters of a column's name in a plot."""


Name = Annotated[str, Field(min_length=1)]


class Csv(Section):
    """How a user's CSV is written."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal: Literal[".", ","] = "."

    @model_validator(mode="after")
    def _must_differ(self) -> Self:
        unusable = (self.decimal, '"', "\n", "\r", " ")
        if self.separator in unusable or not self.separator.isascii():
            rule = "must be an ASCII character other than the decimal sign, a quote or a space"
            raise rule_error("separator", rule, self.separator)
        return self


class Columns(Section):
    """The names of the columns of the inputs and of the target. x: one name, or a list."""

    x: Annotated[list[Name], Field(min_length=1)]
    y: Name

    @field_validator("x", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_serializer("x")
    def _as_given(self, value: list[str]) -> str | list[str]:
        return value[0] if len(value) == 1 else value

    @model_validator(mode="after")
    def _must_differ(self) -> Self:
        if self.y in self.x:
            raise rule_error("x", "must name another column than generate.columns.y", self.y)
        if repeated := next((name for name in self.x if self.x.count(name) > 1), None):
            raise rule_error("x", "must name each column once", repeated)
        return self

    @property
    def short(self) -> tuple[list[str], str]:
        """The names, cut to fit into a plot."""
        *x, y = (
            name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
            for name in (*self.x, self.y)
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
            raise rule_error("low", "must be within the float64 range of generate.x.high", self.low)
        return self


def _is_by_input(value: Any) -> str:
    """Return the tag for the type of `x`: one spacing, or a mapping with one for each input."""
    by_input = False
    if isinstance(value, dict) and value:
        each_has_one = all(isinstance(each, dict | Spacing) for each in value.values())
        by_input = each_has_one or not Spacing.model_fields.keys() & value.keys()
    return validation.BRANCH + ("by input" if by_input else "for all")


class Noise(Section):
    """The noise that is added to the true model, in the units of y."""

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
    csv: Csv = Csv()
    rows: Annotated[int, Field(gt=0, lt=2**48)]
    x: Annotated[
        Annotated[Spacing, Tag(validation.BRANCH + "for all")]
        | Annotated[dict[str, Spacing], Tag(validation.BRANCH + "by input")],
        Discriminator(_is_by_input),
    ]
    noise: Noise
    holdout: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed

    @model_validator(mode="after")
    def _must_have_a_spacing_for_each_input(self) -> Self:
        if isinstance(self.x, dict) and set(self.x) != set(self.columns.x):
            names = ", ".join(self.columns.x)
            raise rule_error("x", f"must have a spacing for each of {names}", ", ".join(self.x))
        return self

    @property
    def spacings(self) -> list[Spacing]:
        """The spacing of each input, in the order of `columns.x`."""
        x = self.x
        return [x[name] if isinstance(x, dict) else x for name in self.columns.x]

    @model_validator(mode="after")
    def _must_be_usable(self) -> Self:
        if self.table is not None:
            path = PurePosixPath(self.table)
            if path.parts[:2] != ("data", "own") or len(path.parts) < 3 or ".." in path.parts:
                raise rule_error("table", "must name a file in data/own/", self.table)
            if path.suffix not in (".csv", ".parquet"):
                raise rule_error("table", "must end in .csv or .parquet", self.table)
        return self


def fewest_rows(kind: Model) -> int:
    """Return the fewest rows that a model needs: one per parameter, and one for the noise.

    A network needs as many as the linear model of its inputs.
    """
    return len(kind.names or kind.summarised.names) + 1


def holdout_rows(rows: int, fraction: float) -> int:
    """Return how many of the first `rows` rows are held out: rows * fraction, halves rounded up.

    Exact for the decimal in params.yaml, so that 0.29 of 100 is 29.
    """
    numerator, denominator = _ratio(fraction)
    return (2 * rows * numerator + denominator) // (2 * denominator)


@cache
def _ratio(fraction: float) -> tuple[int, int]:
    return Fraction(str(fraction)).as_integer_ratio()
