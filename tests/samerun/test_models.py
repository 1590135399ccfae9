"""A model's folder is what was logged, however often and by whom it is loaded."""

import sys
from pathlib import Path

import pytest
from mlflow.models import Model

from knownline.core.line import Line
from samerun.mlflow import models
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "line.json").write_text(Line(20.0, 5.0).to_json())
    where = tmp_path / "model"
    models._save(where, tmp_path / "line.json", ROOT / models.MODEL_CODE, Model())
    return where


def test_who_judges_a_model_leaves_nothing_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as it is where nobody set it
    before = sorted(folder.rglob("*"))
    assert models.predictions(folder, [1.0, 2.0]) == [25.0, 45.0]
    assert sorted(folder.rglob("*")) == before
    assert not sys.dont_write_bytecode


def test_the_bytecode_of_somebody_elses_python_is_no_part_of_a_model(folder: Path) -> None:
    before = models.contents(folder)
    (folder / "artifacts/__pycache__").mkdir(parents=True)
    (folder / "artifacts/__pycache__/line_model.cpython-311.pyc").write_bytes(b"x")
    assert models.contents(folder) == before
