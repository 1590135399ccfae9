"""A model's folder stays as it was logged, however often it is loaded, and by anyone."""

import sys
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest

from samerun.mlflow import models
from samerun.mlflow.models import ModelFiles

CODE = """
def load(path):
    slope = float(path.read_text())
    return lambda frame: frame["x"] * slope
"""


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    made = ModelFiles(tmp_path / "slope.txt", tmp_path / "serve.py")
    made.model.write_text("2.5\n")
    made.code.write_text(CODE)
    return made


@pytest.fixture
def folder(files: ModelFiles, tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    models._save(tmp_path / "scratch/model", files, mlflow.models.Model())
    return tmp_path / "scratch/model"


def test_loading_a_model_leaves_nothing_in_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # Python's default
    before = sorted(folder.rglob("*"))
    assert models.predictions(folder, pd.DataFrame({"x": [1.0, 2.0]})) == [2.5, 5.0]
    assert sorted(folder.rglob("*")) == before
    assert not sys.dont_write_bytecode


def test_bytecode_that_another_python_left_is_no_part_of_a_model(
    folder: Path, files: ModelFiles
) -> None:
    before = models.contents(folder)
    (folder / "artifacts/__pycache__").mkdir(parents=True)
    (folder / "artifacts/__pycache__/serve.cpython-311.pyc").write_bytes(b"x")
    assert models.contents(folder) == before == models.expected(files)
