"""Names a run by its parameters: those that distinguish it from other runs come first."""

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
"""params.yaml as shipped: values that differ from it come first in a run's name."""

_PHRASES = {
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
_OF_DRAWN_DATA = ("truth.", "generate.rows", "generate.x.", "generate.noise.")
_TRUTH = ("truth.w", "truth.b")
_ALWAYS = ("generate.rows", "train.learning_rate", "train.epochs")


def run_name(params: Params, experiment: str | None) -> str:
    """Return the name of a run with these parameters in a DVC experiment, or in none.

    MLflow's tables and legends show about twenty characters. So the user's table and the values
    that differ from the shipped params.yaml come first, and the experiment's name comes last.
    """
    values, table = params.flat(), params.generate.table
    changed = [
        key for key, value in SHIPPED.items()
        if key in values and values[key] != value and key != "generate.table"
    ]  # fmt: skip
    keys = dict.fromkeys([*changed, *_ALWAYS])
    # With a table, the parameters of drawn data have no effect. Its truth is named even if it is
    # the shipped one, since most tables have none.
    phrases = [
        _phrase(key, values[key]) for key in keys if not (table and key.startswith(_OF_DRAWN_DATA))
    ]
    truth = [_phrase(key, values[key]) for key in _TRUTH if table and key in values]
    table_name = [one_line(Path(table).name)] if table else []
    return ", ".join([*table_name, *truth, *phrases, *([experiment] if experiment else [])])


def _phrase(key: str, value: Any) -> str:
    if key in ("train.standardize", "train.compress"):  # the shipped value is true for both
        return "raw x" if key == "train.standardize" else "row by row"
    return _PHRASES[key].format(plain(value) if isinstance(value, float) else value)
