"""What a run is called: what tells it from its neighbours comes first."""

from pathlib import Path
from typing import Any

from knownline.core.formatting import plain
from knownline.params import Params
from samerun.core.errors import one_line

SHIPPED: dict[str, Any] = {
    "truth.w": 20.0,
    "truth.b": 5.0,
    "generate.table": None,
    "generate.rows": 99,
    "generate.x.spacing": "grid",
    "generate.x.low": 1.0,
    "generate.x.high": 99.0,
    "generate.noise.kind": "normal",
    "generate.noise.scale": 1.5,
    "generate.holdout": 0.2,
    "generate.seed": 20200910,
    "train.epochs": 100,
    "train.learning_rate": 0.25,
    "train.standardize": True,
    "train.compress": True,
    "train.dtype": "float64",
    "train.device": "auto",
    "train.seed": 0,
    "evaluate.z": 4.0,
    "evaluate.optimiser_tolerance": 1e-9,
}
"""params.yaml as it came: what a run has beyond it comes first in its name."""

_WORDS = {
    "truth.w": "true w {}",
    "truth.b": "true b {}",
    "generate.rows": "{} rows",
    "generate.x.spacing": "{} x",
    "generate.x.low": "x from {}",
    "generate.x.high": "x to {}",
    "generate.noise.kind": "{} noise",
    "generate.noise.scale": "noise {}",
    "generate.holdout": "holdout {}",
    "generate.seed": "seed {}",
    "train.epochs": "{} epochs",
    "train.learning_rate": "lr {}",
    "train.dtype": "{}",
    "train.device": "{}",
    "train.seed": "train seed {}",
    "evaluate.z": "z {}",
    "evaluate.optimiser_tolerance": "tolerance {}",
}
_DRAWN = ("truth.", "generate.rows", "generate.x.", "generate.noise.")
_TRUTH = ("truth.w", "truth.b")
_ALWAYS = ("generate.rows", "train.learning_rate", "train.epochs")


def run_name(params: Params, experiment: str | None) -> str:
    """Return what tells a run from its neighbours.

    MLflow's tables and legends show some twenty letters: a table of the user's own and what differs
    from the shipped params.yaml come first, what every run has after it, an experiment's name last.
    """
    values, table = params.flat(), params.generate.table
    changed = [
        key for key, value in SHIPPED.items()
        if key in values and values[key] != value and key != "generate.table"
    ]  # fmt: skip
    keys = dict.fromkeys([*changed, *_ALWAYS])
    # A table has its own rows, x and noise, whatever stands beside it. A truth that it is held
    # against is said whole, also the shipped one: most tables have none.
    words = [_in_words(key, values[key]) for key in keys if not (table and key.startswith(_DRAWN))]
    held = [_in_words(key, values[key]) for key in _TRUTH if table and key in values]
    own = [one_line(Path(table).name)] if table else []
    return ", ".join([*own, *held, *words, *([experiment] if experiment else [])])


def _in_words(key: str, value: Any) -> str:
    if key in ("train.standardize", "train.compress"):  # as they are where they were changed
        return "raw x" if key == "train.standardize" else "row by row"
    return _WORDS[key].format(plain(value) if isinstance(value, float) else value)
