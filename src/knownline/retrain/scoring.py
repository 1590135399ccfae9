"""Champion and challenger on the same fresh rows: their scores, and the champion's drift."""

from collections.abc import Iterator
from datetime import date
from itertools import chain

import numpy as np
import numpy.typing as npt

from knownline.core import moments, parquet
from knownline.core.layout import HOLDOUT, TRAIN
from knownline.params import Retrain
from knownline.retrain import drift, policy
from knownline.retrain.drift import Drift, Sample
from knownline.retrain.policy import Champion
from knownline.retrain.registry import DamagedModelError, Model, Version
from samerun.core.errors import StoreError

Array = npt.NDArray[np.float64]


def training_sample() -> Sample:
    """Return the sample of the rows that are trained on now."""
    return Sample.of(moments.compress(parquet.read(TRAIN)))


def challenger_model(challenger: Version) -> Model:
    """Return the challenger's own model, which must answer as what was registered.

    Raises: StoreError where it does not: nobody is promoted whose model cannot serve.
    """
    try:
        return Model(challenger)
    except DamagedModelError as error:
        raise StoreError(f"{challenger.name} must be what was recorded (got: {error})") from error


def champion_standing(
    champion: Version, challenger: Version, today: date, rules: Retrain
) -> Champion:
    """Return how the champion stands on the data that the challenger was made with.

    Raises: StoreError where the challenger's own model does not answer.
    """
    days = _days(champion, today)
    try:
        sits = Model(champion)
    except DamagedModelError as error:
        return Champion(champion.name, days, damaged=str(error))
    new = challenger_model(challenger)
    scores = policy.compare_errors(_errors(sits, new))
    return Champion(champion.name, days, drift=_drift(champion, rules.drift_level), scores=scores)


def _drift(champion: Version, level: float) -> Drift | None:
    """Return what the tests find; None for a champion that somebody else registered."""
    try:
        then = Sample.from_json(champion.tags["sample"])
    except (KeyError, ValueError):
        return None
    fresh = moments.compress(chain(parquet.read(TRAIN), parquet.read(HOLDOUT)))
    return drift.between(then, Sample.of(fresh), level=level)


def _days(champion: Version, today: date) -> int:
    """Return how long it has been champion; 0 where that is not known."""
    try:
        return (today - date.fromisoformat(champion.tags["champion_since"])).days
    except (KeyError, ValueError):
        return 0


def _errors(champion: Model, challenger: Model) -> Iterator[tuple[Array, Array]]:
    for x, y in parquet.read(HOLDOUT):
        if len(x):
            yield champion.predict(x) - y, challenger.predict(x) - y
