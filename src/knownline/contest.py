"""Champion and challenger on the same fresh rows: their scores, and the champion's drift."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline import compression, drift, promotion, shards
from knownline.drift import Sample
from knownline.errors import StoreError
from knownline.line import Line
from knownline.params import Retrain
from knownline.promotion import Champion
from knownline.registry import DamagedModelError, Model, Version

Array = npt.NDArray[np.float64]

TRAIN, HOLDOUT = Path("data/train"), Path("data/holdout")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a version must carry to be held against fresh data later, as tags on it.

    line: the fit. sample: the rows it was fitted to. since: the day it became champion, if it did.
    """

    line: Line | None
    sample: Sample | None
    since: date | None

    @classmethod
    def of(cls, version: Version) -> "Terms":
        """Read a version's tags; what is not there, or is not ours, is None."""
        tags = version.tags
        try:
            line = Line.from_json(tags["line"])
            sample = Sample.from_json(tags["sample"])
        except (KeyError, ValueError):
            line = sample = None
        try:
            since = date.fromisoformat(tags["champion_since"])
        except (KeyError, ValueError):
            since = None
        return cls(line, sample, since)


def training_sample() -> Sample:
    """Return the sample of the rows that are trained on now."""
    return Sample.of(compression.compress(shards.read(TRAIN)))


def standing(
    champion: Version, challenger: Version, challenger_line: Line, today: date, rules: Retrain
) -> Champion:
    """Return how the champion stands on the data that the challenger was made with.

    Raises: StoreError where the challenger's own model does not answer.
    """
    terms = Terms.of(champion)
    days = (today - terms.since).days if terms.since else 0
    try:
        sits = Model(champion, terms.line)
    except DamagedModelError as error:
        return Champion(champion.name, days, damaged=str(error))
    try:
        new = Model(challenger, challenger_line)
    except DamagedModelError as error:
        raise StoreError(f"{challenger.name} must be what was recorded (got: {error})") from error
    found = None
    if terms.sample:
        fresh = compression.compress(chain(shards.read(TRAIN), shards.read(HOLDOUT)))
        found = drift.between(terms.sample, Sample.of(fresh), level=rules.drift_level)
    scores = promotion.paired(_errors(sits, new))
    return Champion(champion.name, days, drift=found, scores=scores)


def _errors(champion: Model, challenger: Model) -> Iterator[tuple[Array, Array]]:
    for x, y in shards.read(HOLDOUT):
        if len(x):
            yield champion.predict(x) - y, challenger.predict(x) - y
