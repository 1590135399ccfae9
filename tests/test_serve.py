"""The served model predicts by model.py, and needs nothing but numpy and pandas."""

import hashlib
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from knownline import model, serve
from knownline.core import network
from knownline.core.kinds import Linear, Nonlinear
from knownline.core.model_file import Fitted
from tests.conftest import ROOT

FILES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["record"]["meta"]["samerun"][
    "model"
]
"""What MLflow stores of the code."""

LINE = Fitted("line", ("x",), {"w": 20.002189859856244, "b": -4.802664651983491})
CASES: list[tuple[Fitted, Linear | Nonlinear]] = [
    (Fitted("exponential", ("x",), {"a": 2.5, "k": 0.01, "c": -0.3}), model.EXPONENTIAL),
    (LINE, model.LINE),
    (Fitted("quadratic", ("x",), {"c": 0.1, "w": 20.002189859856244, "b": -4.8}), model.QUADRATIC),
    (
        Fitted("plane", ("area", "of rooms"), {"w_area": 1 / 3, "w_of_rooms": -2 / 7, "b": 0.1}),
        model.PLANE(("area", "of rooms")),
    ),
]


@pytest.fixture(params=CASES, ids=lambda case: case[0].model)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Linear | Nonlinear, Fitted]:
    fitted, kind = request.param
    fitted.write(tmp_path / "model.json")
    return tmp_path, kind, fitted


def inputs(kind: Linear | Nonlinear, rows: int = 200) -> list[Any]:
    return list(np.random.default_rng(7).normal(0, 100, (len(kind.inputs), rows)))


def test_it_predicts_what_the_model_says_to_the_last_bit(
    case: tuple[Path, Linear | Nonlinear, Fitted],
) -> None:
    path, kind, fitted = case
    columns = inputs(kind)
    frame = pd.DataFrame(dict(zip(kind.inputs, columns, strict=True)))
    predicted = serve.load(path)(frame)
    assert predicted.tolist() == kind.at(fitted.parameters, columns).tolist()
    assert predicted.dtype == np.float64


def test_the_line_keeps_the_bits_of_its_formula(tmp_path: Path) -> None:
    LINE.write(tmp_path / "model.json")
    (x,) = inputs(model.LINE, 10_000)
    predicted = serve.load(tmp_path)(pd.DataFrame({"x": x}))
    assert predicted.tolist() == (x * LINE.parameters["w"] + LINE.parameters["b"]).tolist()


def test_an_input_is_found_by_its_name(case: tuple[Path, Linear | Nonlinear, Fitted]) -> None:
    path, kind, _ = case
    predict = serve.load(path)
    frame = pd.DataFrame(dict(zip(kind.inputs, inputs(kind), strict=True)))
    others = frame[[*reversed(frame.columns)]].assign(unused=1.0)
    assert predict(others).tolist() == predict(frame).tolist()
    with pytest.raises(KeyError, match=re.escape(kind.inputs[-1])):
        predict(frame.drop(columns=kind.inputs[-1]))


def test_whole_numbers_are_an_input_too(case: tuple[Path, Linear | Nonlinear, Fitted]) -> None:
    path, kind, _ = case
    frame = serve.input_example(path)
    assert tuple(frame.columns) == kind.inputs
    assert serve.load(path)(frame.astype("int64")).tolist() == serve.load(path)(frame).tolist()


def test_a_constant_term_alone_is_predicted_for_every_row(tmp_path: Path) -> None:
    copy_code(tmp_path)
    with (tmp_path / "model.py").open("a") as stream:
        stream.write('\nLEVEL = Linear(inputs=("x",), terms={"b": lambda x: 1.0})\n')
    Fitted("level", ("x",), {"b": 3.5}).write(tmp_path / "model.json")
    assert served(tmp_path, "[3.5, 3.5]") == ""


def copy_code(folder: Path) -> None:
    """Lay the files that MLflow stores into a folder, as MLflow does."""
    for name in FILES:
        target = folder / Path(name).relative_to("src/knownline")
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, target)


NOT_NEEDED = ("knownline", "samerun", "mlflow", "torch", "scipy", "pydantic")


def served(folder: Path, expected: str, blocked: tuple[str, ...] = NOT_NEEDED) -> str:
    """Serve the model of a folder where neither this checkout nor knownline can be imported.

    blocked: packages that cannot be imported either. Return what is wrong, with the predictions
    for its example against a list in Python.
    """
    code = (
        "import runpy, sys, pathlib\n"
        "class Blocked:\n"
        "    def find_spec(self, name, *rest):\n"
        "        top = name.partition('.')[0]\n"
        f"        if top in {blocked}:\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "serve = runpy.run_path(str(folder / 'serve.py'))\n"
        "predicted = serve['load'](folder)(serve['input_example'](folder)).tolist()\n"
        f"assert predicted == {expected}, predicted\n"
    )
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=empty, capture_output=True, text=True, check=False
    )
    return done.stderr


def test_it_needs_nothing_of_knownline(
    case: tuple[Path, Linear | Nonlinear, Fitted], tmp_path: Path
) -> None:
    _, kind, fitted = case
    copy_code(tmp_path)
    example = [np.array([1.0, 2.0])] * len(kind.inputs)
    assert served(tmp_path, str(kind.at(fitted.parameters, example).tolist())) == ""


def test_a_network_needs_torch_and_nothing_of_knownline(tmp_path: Path) -> None:
    copy_code(tmp_path)
    torch.manual_seed(1)
    kind = model.MLP(("area", "of rooms"))
    module = kind.build().double()
    numbers = ([3.0, 4.0], [2.0, 8.0], 10.0, 0.5)
    tensors = [torch.tensor(each, dtype=torch.float64) for each in numbers]
    weights = network.as_bytes(module, dict(zip(network.SCALING, tensors, strict=True)))
    Fitted("mlp", kind.inputs, {}, hashlib.sha256(weights).hexdigest()).write(
        tmp_path / "model.json", weights
    )
    example = (torch.tensor([[1.0, 1.0], [2.0, 2.0]]).double() - tensors[0]) / tensors[1]
    expected = (module(example).reshape(-1) * 0.5 + 10.0).tolist()
    assert serve.packages(tmp_path) is None
    assert "torch is blocked" in served(tmp_path, str(expected))
    assert served(tmp_path, str(expected), blocked=("knownline", "samerun", "mlflow")) == ""


def test_two_versions_of_model_py_are_served_side_by_side(tmp_path: Path) -> None:
    predictions = []
    for name, term in (("old", "x"), ("new", "x * x * x")):
        folder = tmp_path / name
        folder.mkdir()
        copy_code(folder)
        text = (folder / "model.py").read_text()
        (folder / "model.py").write_text(
            text.replace('"w": lambda x: x,', f'"w": lambda x: {term},')
        )
        LINE.write(folder / "model.json")
        code = runpy.run_path(str(folder / "serve.py"))
        predictions.append(code["load"](folder))
    frame = pd.DataFrame({"x": [1.0, 3.0]})
    w, b = LINE.parameters.values()
    assert [predict(frame).tolist() for predict in predictions] == [
        [w + b, 3 * w + b],
        [w + b, 27 * w + b],
    ]
