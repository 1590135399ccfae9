"""A model's folder stays as it was logged, however often it is loaded, and by anyone."""

import sys
from pathlib import Path

import mlflow.pyfunc
import pytest

from knownline.core.line import Line
from samerun.mlflow import models
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "line.json").write_text(Line(20.0, 5.0).to_json())
    model = tmp_path / "model"
    mlflow.pyfunc.save_model(
        str(model),
        python_model=str(ROOT / models.MODEL_CODE),
        artifacts={"line": str(tmp_path / "line.json")},
        pip_requirements=[],
    )
    return model


def test_loading_a_model_leaves_nothing_in_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # Python's default
    before = sorted(folder.rglob("*"))
    assert models.predictions(folder, [1.0, 2.0]) == [25.0, 45.0]
    assert sorted(folder.rglob("*")) == before
    assert not sys.dont_write_bytecode


def test_bytecode_that_another_python_left_is_no_part_of_a_model(folder: Path) -> None:
    before = models.contents(folder)
    (folder / "artifacts/__pycache__").mkdir(parents=True)
    (folder / "artifacts/__pycache__/serve.cpython-311.pyc").write_bytes(b"x")
    assert models.contents(folder) == before
