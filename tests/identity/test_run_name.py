"""The name of a run begins with what differs from the shipped params.yaml."""

from typing import Any

import pytest

from knownline.identity.run_name import SHIPPED, run_name
from knownline.params import Params
from tests.conftest import ROOT

PARAMS = Params.parse((ROOT / "params.yaml").read_text())


def named(changed: dict[str, Any], experiment: str | None = None) -> str:
    """Return the name of a run with some parameters changed, by dotted name."""
    whole: dict[str, Any] = PARAMS.model_dump()
    for name, value in changed.items():
        *sections, key = name.split(".")
        section = whole
        for each in sections:
            section = section[each]
        section[key] = value
    return run_name(Params.model_validate(whole), experiment)


def test_the_shipped_values_are_those_of_params_yaml() -> None:
    columns = {"generate.columns.x": "x", "generate.columns.y": "y"}
    assert PARAMS.flat() == SHIPPED | columns


CHANGED: dict[str, tuple[Any, str]] = {
    "truth.w": (3.0, "true w 3"),
    "truth.b": (-1.0, "true b -1"),
    "generate.table": ("data/own/t.csv", "t.csv"),
    "generate.rows": (999, "999 rows"),
    "generate.x.spacing": ("uniform", "uniform x"),
    "generate.x.low": (-5.0, "x from -5"),
    "generate.x.high": (50.0, "x to 50"),
    "generate.noise.kind": ("integer", "integer noise"),
    "generate.noise.scale": (15.0, "noise 15"),
    "generate.holdout": (0.0, "holdout 0"),
    "generate.seed": (7, "seed 7"),
    "train.epochs": (20, "20 epochs"),
    "train.learning_rate": (0.9, "lr 0.9"),
    "train.standardize": (False, "raw x"),
    "train.compress": (False, "row by row"),
    "train.dtype": ("float32", "float32"),
    "train.device": ("cpu", "cpu"),
    "train.seed": (3, "train seed 3"),
    "evaluate.z": (3.0, "z 3"),
    "evaluate.optimiser_tolerance": (1e-6, "tolerance 1e-6"),
}


@pytest.mark.parametrize("key", SHIPPED)
def test_a_changed_parameter_comes_first(key: str) -> None:
    value, words = CHANGED[key]
    whole_scale = {"generate.noise.scale": 1.0} if key == "generate.noise.kind" else {}
    assert named({key: value, **whole_scale}).startswith(f"{words}, ")


OWN = {"generate.table": "data/own/forbes.csv"}


@pytest.mark.parametrize(
    ("changed", "experiment", "name"),
    [
        ({}, None, "99 rows, lr 0.25, 100 epochs"),
        ({}, "", "99 rows, lr 0.25, 100 epochs"),
        ({}, "tidal-orb", "99 rows, lr 0.25, 100 epochs, tidal-orb"),
        ({"train.learning_rate": 1e-4}, None, "lr 0.0001, 99 rows, 100 epochs"),
        ({"train.epochs": 7, "generate.rows": 1000}, None, "1000 rows, 7 epochs, lr 0.25"),
        ({**OWN, "truth": None}, None, "forbes.csv, lr 0.25, 100 epochs"),
        (OWN, None, "forbes.csv, true w 20, true b 5, lr 0.25, 100 epochs"),
        ({**OWN, "truth.w": 21.0}, None, "forbes.csv, true w 21, true b 5, lr 0.25, 100 epochs"),
    ],
)
def test_the_whole_name(changed: dict[str, Any], experiment: str | None, name: str) -> None:
    assert named(changed, experiment) == name
