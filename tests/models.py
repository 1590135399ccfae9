"""Rows of the models of model.py, and least squares by numpy: an oracle for any linear model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from knownline.core.factor import Factor
from knownline.core.kinds import Linear, Parameters
from knownline.core.least_squares import LeastSquares, Scaling
from knownline.core.moments import compress
from knownline.model import LINE, PLANE, QUADRATIC
from knownline.params import Params
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]

SECTIONS = ("generate", "train", "evaluate")

THROUGH_ZERO = Linear(("x", "v"), {"p": lambda x, v: x, "q": lambda x, v: v})
"""A model without a constant term."""

OF_TWO = Linear(("x",), {"w": lambda x: x, "b": lambda x: 2.0})
"""A line whose constant term is 2."""

KINDS: dict[str, tuple[Linear, Parameters]] = {
    "line": (LINE, {"w": 20.0, "b": 5.0}),
    "quadratic": (QUADRATIC, {"c": 0.25, "w": -3.0, "b": 5.0}),
    "plane": (
        PLANE(("area", "age", "rooms")),
        {"w_area": 2.0, "w_age": -0.5, "w_rooms": 11.0, "b": -4.0},
    ),
    "through zero": (THROUGH_ZERO, {"p": 2.0, "q": -7.0}),
    "of two": (OF_TWO, {"w": 20.0, "b": 2.5}),
}
"""Models, each with parameters to draw data around."""


def line(w: float, b: float) -> Parameters:
    """Return the parameters of a line."""
    return {"w": w, "b": b}


def at(parameters: Mapping[str, float], x: Array) -> Array:
    """Return y of a line, (rows,)."""
    return parameters["w"] * x + parameters["b"]


def data_of(x: Array, y: Array) -> LeastSquares:
    """Return a line and the rows it is fitted to."""
    return LeastSquares(LINE, compress([([x], y)]))


def scaling_of(mean: float, sd: float) -> Scaling:
    """Return the scaling of a line's x by numbers that are not those of the data."""
    return Scaling(LINE, [mean], Factor([[1.0, 0.0], [0.0, 1.0]]), [sd])


def drawn(
    name: str, seed: int, *, rows: int = 60, noise: float = 1.5
) -> tuple[Linear, list[Array], Array]:
    """Return a model of KINDS, its inputs, (rows,) each, and y with normal noise, (rows,)."""
    kind, truth = KINDS[name]
    random = np.random.default_rng(seed)
    inputs = [random.uniform(1.0, 9.0, rows) for _ in kind.inputs]
    y = design(name, inputs) @ list(truth.values()) + noise * random.standard_normal(rows)
    return kind, inputs, y


def design(name: str, inputs: Sequence[Array]) -> Array:
    """Return the design matrix of a model of KINDS, (rows, parameters), written out."""
    ones = np.ones_like(inputs[0])
    columns = {
        "line": [inputs[0], ones],
        "quadratic": [inputs[0] ** 2, inputs[0], ones],
        "plane": [*inputs, ones],
        "through zero": [*inputs],
        "of two": [inputs[0], 2.0 * ones],
    }
    return np.column_stack(columns[name])


def least_squares(matrix: Array, y: Array) -> Array:
    """Return the parameters of least squares by numpy, (parameters,)."""
    return np.asarray(np.linalg.lstsq(matrix, y, rcond=None)[0])


def write_params(model: str, **sections: Any) -> Params:
    """Write a params.yaml for a model of KINDS with other values; return what it says.

    sections: keys to replace, of a section or at the top. The data are drawn around the model's
    parameters in KINDS, 500 rows with x between 1 and 9, on the CPU.
    """
    kind, truth = KINDS[model]
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    own = {
        "model": model,
        "truth": truth,
        "generate": {
            "columns": {"x": list(kind.inputs), "y": "y"},
            "rows": 500,
            "x": {"spacing": "uniform", "low": 1.0, "high": 9.0},
        },
        "train": {"device": "cpu"},
    }
    for changes in (own, sections):
        for key, value in changes.items():
            content[key] = content[key] | value if key in SECTIONS else value
    Path("params.yaml").write_text(yaml.safe_dump(content))
    return Params.read()
