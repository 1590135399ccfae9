"""Scores champion and challenger on the same fresh rows, and tests those rows for drift.

Knows nothing of how the scores decide.
"""

from collections.abc import Iterator
from datetime import date

import numpy as np
import numpy.typing as npt

from knownline.core import parquet
from knownline.core.layout import HOLDOUT, SUMMARY
from knownline.core.summary import Summary
from knownline.params import Retrain
from knownline.retrain import drift, policy
from knownline.retrain.drift import Drift, Sample
from knownline.retrain.policy import Champion
from knownline.retrain.registry import DamagedModelError, Model, Version
from samerun.core.errors import StoreError

Array = npt.NDArray[np.float64]


def training_sample() -> Sample:
    """Return the sample of the current training rows."""
    return Sample.of(Summary.read(SUMMARY).train)


def challenger_model(challenger: Version) -> Model:
    """Return the challenger's model.

    Raises: StoreError if it is not the line that was registered: such a model cannot be promoted.
    """
    try:
        return Model(challenger)
    except DamagedModelError as error:
        raise StoreError(f"{challenger.name} must be what was recorded (got: {error})") from error


def champion_standing(
    champion: Version, challenger: Version, today: date, rules: Retrain
) -> Champion:
    """Return the champion's performance on the data that the challenger was trained with.

    Raises: StoreError if the challenger's model is damaged.
    """
    days = _days(champion, today)
    try:
        champion_model = Model(champion)
    except DamagedModelError as error:
        return Champion(champion.name, days, damaged=str(error))
    new_model = challenger_model(challenger)
    scores = policy.compare_errors(_errors(champion_model, new_model))
    return Champion(champion.name, days, drift=_drift(champion, rules.drift_level), scores=scores)


def _drift(champion: Version, level: float) -> Drift | None:
    """Return the drift tests; None for a champion that knownline did not register."""
    try:
        sample = Sample.from_json(champion.tags["sample"])
    except (KeyError, ValueError):
        return None
    return drift.compare(sample, Sample.of(Summary.read(SUMMARY).all_rows), level=level)


def _days(champion: Version, today: date) -> int:
    """Return the days since it became champion; 0 if that is unknown."""
    try:
        return (today - date.fromisoformat(champion.tags["champion_since"])).days
    except (KeyError, ValueError):
        return 0


def _errors(champion: Model, challenger: Model) -> Iterator[tuple[Array, Array]]:
    for x, y in parquet.read(HOLDOUT):
        if len(x):
            yield champion.predict(x) - y, challenger.predict(x) - y
