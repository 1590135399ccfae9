"""Reads params.yaml into frozen types with a rule for every key.

The comments of params.yaml say what each key means. Knows nothing of what stages do with values.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml.nodes import MappingNode, ScalarNode

from knownline.core import validation, yaml_text
from knownline.core.errors import ParamsError
from knownline.core.kinds import Model, Network, Parameters
from knownline.core.layout import PARAMS
from knownline.core.validation import missing_error, rule_error
from knownline.params import models
from knownline.params.data import Generate, fewest_rows, holdout_rows
from knownline.params.section import Finite, Level, Positive, Section, Seed, SimulatedLevel
from samerun.core.errors import MissingError
from samerun.core.flatten import flatten


class Train(Section):
    """How the model is fitted."""

    epochs: Annotated[int, Field(gt=0, lt=10**9)]
    optimizer: Literal["gd", "adam", "lbfgs"] = "gd"
    learning_rate: Positive
    batch_size: Annotated[int, Field(gt=0, lt=2**48)] | None = None
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
    """How the fit is judged: by the gate, and by `knownline retrain` if beats_champion is set."""

    z: Positive
    optimiser_tolerance: Positive
    min_r2: Annotated[float, Field(lt=1, allow_inf_nan=False)] | None = None
    max_rmse: Positive | None = None
    beats_mean: bool = False
    beats_linear: Level | None = 0.01
    beats_champion: bool = False
    bend: SimulatedLevel | None = None
    scatter: SimulatedLevel | None = None
    normality: SimulatedLevel | None = None

    @property
    def residual_levels(self) -> dict[str, float]:
        """The levels of the tests of the residuals that are set, by name."""
        levels = {"bend": self.bend, "scatter": self.scatter, "normality": self.normality}
        return {name: level for name, level in levels.items() if level is not None}

    @property
    def has_quality(self) -> bool:
        """Whether a rule of quality is set that the gate judges: not beats_champion."""
        limits = (self.min_r2, self.max_rmse)
        return self.beats_mean or bool(self.residual_levels) or limits != (None, None)


class Retrain(Section):
    """The rules of a scheduled retraining. No stage reads them, so they are not part of any run."""

    drift_level: Level = 0.001
    comparison_level: Level = 0.01
    minimum_effect: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    stale_after_days: Annotated[int, Field(ge=0, lt=10**6)] = 7


class Params(Section):
    """All of params.yaml."""

    model: str = "line"
    truth: dict[str, Finite] | None
    generate: Generate
    train: Train
    evaluate: Evaluate
    experiment: str = "knownline"
    retrain: Retrain = Retrain()

    @model_validator(mode="after")
    def _must_name_an_experiment(self) -> Self:
        name = self.experiment
        usual = name.isprintable() and name == name.strip() and not set(name) & set("/:'\"\\`")
        if not usual or not 1 <= len(name) <= 100:
            rule = "must be a name in MLflow: 1 to 100 characters, without quotes, / and :"
            raise rule_error("experiment", rule, name)
        return self

    @model_validator(mode="after")
    def _must_fit_together(self) -> Self:
        """Check the model's name, its inputs and the parameters of the truth."""
        try:
            kind = models.named(self.model, tuple(self.generate.columns.x))
        except models.ModelError as error:
            raise rule_error(error.key, error.rule, error.got) from None
        if isinstance(kind, Network):
            if self.truth is not None:
                rule = f"must be null for the model {self.model}, whose parameters have no names"
                raise rule_error("truth", rule, dict(self.truth))
            if self.generate.table is None:
                rule = f"must name a table: no points can be drawn around the model {self.model}"
                raise rule_error("generate.table", rule, None)
        if self.truth is None and self.generate.table is None:
            raise rule_error("truth", "must be given if generate.table is null", None)
        for name in self.truth or ():
            if name not in kind.names:
                rule = f"must be a parameter of the model {self.model}: {', '.join(kind.names)}"
                raise rule_error(f"truth.{name}", rule, name)
        if self.truth is not None and (missing := set(kind.names) - set(self.truth)):
            raise missing_error(f"truth.{min(missing)}")
        return self

    @model_validator(mode="after")
    def _must_have_rows(self) -> Self:
        settings, fewest = self.generate, fewest_rows(self.kind)
        if settings.table is None:
            if settings.rows < fewest:
                raise rule_error("generate.rows", f"must be {fewest} or more", settings.rows)
            if settings.rows - holdout_rows(settings.rows, settings.holdout) < fewest:
                rule = f"must leave {fewest} rows of {settings.rows} to train on"
                raise rule_error("generate.holdout", rule, settings.holdout)
        return self

    @property
    def kind(self) -> Model:
        """The model that `model` names, for the columns of `generate.columns`."""
        return models.named(self.model, tuple(self.generate.columns.x))

    @property
    def true_parameters(self) -> Parameters | None:
        """The parameters of the truth in the model's order, None if it is not known."""
        return {name: self.truth[name] for name in self.kind.names} if self.truth else None

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
        return flatten(self.model_dump(mode="json", exclude={"experiment", "retrain"}))


def with_seed(text: str, seed: int) -> str:
    """Return the text of params.yaml with another generate.seed, and every other byte unchanged.

    Raises: ParamsError if there is no such key, or a YAML alias of another key refers to it.
    """
    node = yaml_text.compose(text)
    for name in ("generate", "seed"):
        pairs = node.value if isinstance(node, MappingNode) else []
        node = next((value_node for key_node, value_node in pairs if key_node.value == name), None)
    if not isinstance(node, ScalarNode):
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
