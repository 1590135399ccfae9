"""What the sections of params.yaml have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Level = Annotated[float, Field(gt=0, lt=0.5)]
SimulatedLevel = Annotated[float, Field(ge=0.001, lt=0.5)]
"""A level of a test that simulates a thousand samples: the smallest p-value is 0.001."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A mapping in params.yaml: strict types, no unknown keys, read-only."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
