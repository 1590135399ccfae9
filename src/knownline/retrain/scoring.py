"""Scores champion and challenger on the same fresh rows, and tests those rows for drift.

Knows nothing of how the scores decide.
"""

from collections.abc import Callable, Iterator
from datetime import date
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from knownline.core import fits, paired, parquet
from knownline.core.curve_fit import CurveFit
from knownline.core.fits import Fit
from knownline.core.kinds import Model as Kind
from knownline.core.kinds import Network
from knownline.core.layout import HOLDOUT, MODEL, SUMMARY
from knownline.core.least_squares import LeastSquares
from knownline.core.model_file import Fitted
from knownline.core.summary import Summary
from knownline.params import Params
from knownline.retrain import drift
from knownline.retrain.drift import Drift, Sample
from knownline.retrain.policy import Champion
from knownline.retrain.registry import Version
from knownline.retrain.served import DamagedModelError, Model, answers, are_alike
from samerun.core.errors import StoreError

Array = npt.NDArray[np.float64]


def training_sample(params: Params) -> Sample:
    """Return the sample of the current training rows."""
    return _sample(params, fits.of_training_rows)


def _sample(params: Params, of_rows: Callable[[Kind, Summary, Fitted], Fit]) -> Sample:
    """Return the sample of current rows. A network's is that of the linear model of its inputs."""
    kind, summary = params.kind, Summary.of(params.kind, SUMMARY)
    name, fitted = params.model, Fitted.read(MODEL)
    if isinstance(kind, Network):
        kind, name = kind.summarised, f"linear model beside the {name}"
    data = of_rows(kind, summary, fitted)
    assert isinstance(data, LeastSquares | CurveFit)
    return Sample.of(name, data)


def challenger_model(challenger: Version, kind: Kind) -> Model:
    """Return the challenger's model.

    Raises: StoreError if it is not what was registered: such a model cannot be promoted.
    """
    try:
        return Model(challenger, kind.inputs)
    except DamagedModelError as error:
        raise StoreError(f"the model of {challenger.name} is damaged: {error}") from error


def champion_performance(
    champion: Version, challenger: Version, today: date, params: Params
) -> Champion:
    """Return the champion's performance on the data that the challenger was trained with.

    Raises: StoreError if the challenger's model is damaged.
    """
    days = _days(champion, today)
    try:
        champion_model = Model(champion, params.kind.inputs)
    except DamagedModelError as error:
        return Champion(champion.name, days, damaged=str(error))
    new_model = challenger_model(challenger, params.kind)
    errors = _errors(params.kind, champion_model, new_model)
    return Champion(
        champion.name,
        days,
        drift=_drift(champion, params),
        scores=paired.compare_errors(errors),
        trained_on_holdout=_may_be_trained_on_holdout(champion, params),
    )


def holdout_digest(params: Params, rows: int | None = None) -> str:
    """Return the number of held-out rows, and a hash of them; or of the first `rows` of them."""
    hashes, count = [sha256() for _ in range(len(params.kind.inputs) + 1)], 0
    for columns in parquet.read(HOLDOUT, params.kind.inputs):
        wanted = None if rows is None else max(rows - count, 0)
        count += len(columns[0][:wanted])
        for column, each in zip(columns, hashes, strict=True):
            each.update(column[:wanted].tobytes())
    return f"{count} {sha256(b''.join(each.digest() for each in hashes)).hexdigest()}"


def _may_be_trained_on_holdout(champion: Version, params: Params) -> bool:
    """Return whether rows that a champion was fitted to may be held out now.

    Rows are drawn anew for each retraining. In a table that only grew, no row changes sides, so the
    rows that were held out when the champion was fitted are the first of those held out now.
    """
    if params.generate.table is None:
        return False
    recorded = champion.tags.get("holdout", "")
    rows = recorded.partition(" ")[0]
    return rows in ("", "0") or holdout_digest(params, int(rows)) != recorded


def _drift(champion: Version, params: Params) -> Drift | None:
    """Return the drift tests.

    None for a champion that knownline did not register, or whose terms are no longer in
    model.py: the parameters of other terms cannot be compared.
    """
    kind, rules, fitted = params.kind, params.retrain, champion.fitted
    if fitted is None or set(fitted.parameters) != set(kind.names):
        return None
    if not isinstance(kind, Network) and not are_alike(
        answers(kind, fitted), champion.tags.get("answers", "")
    ):
        return None
    fresh = _sample(params, fits.of_all_rows)
    try:
        sample = Sample.from_json(champion.text("sample"))
        return drift.compare(
            sample, fresh, level=rules.drift_level, minimum_effect=rules.minimum_effect
        )
    except ValueError:
        return None


def _days(champion: Version, today: date) -> int:
    """Return the days since it became champion; 0 if that is unknown."""
    try:
        return (today - date.fromisoformat(champion.tags["champion_since"])).days
    except (KeyError, ValueError):
        return 0


def _errors(kind: Kind, champion: Model, challenger: Model) -> Iterator[tuple[Array, Array]]:
    for *inputs, y in parquet.read(HOLDOUT, kind.inputs):
        if len(y):
            yield champion.predict(inputs) - y, challenger.predict(inputs) - y
