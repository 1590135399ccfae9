"""A model's folder stays as it was logged, however often it is loaded, and by anyone."""

import shutil
import sys
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest

from samerun.mlflow import models
from samerun.mlflow.model_files import ModelFiles

CODE = """
def load(path):
    slope = float(path.read_text())
    return lambda frame: frame["x"] * slope
"""

HELPED = """
import runpy
from pathlib import Path
import pandas as pd

def input_example(path):
    return pd.DataFrame({path.stem: [1.0, 2.0]})

def load(path):
    here = Path(__file__).parent
    times = runpy.run_path(str(here / "rule.py"))["TIMES"]
    plus = runpy.run_path(str(here / "parts/one.py"))["PLUS"]
    return lambda frame: frame["slope"] * times + plus
"""


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    made = ModelFiles(tmp_path / "slope.txt", tmp_path / "serve.py")
    made.model.write_text("2.5\n")
    made.code.write_text(CODE)
    return made


@pytest.fixture
def helped(tmp_path: Path) -> ModelFiles:
    """A model whose code needs two files, one of them in a folder."""
    code = tmp_path / "code"
    (code / "parts").mkdir(parents=True)
    made = ModelFiles(
        tmp_path / "slope.txt", code / "serve.py", (code / "rule.py", code / "parts/one.py")
    )
    made.model.write_text("2.5\n")
    made.code.write_text(HELPED)
    made.beside[0].write_text("import json\nimport yaml\nTIMES = 2.0\n")
    made.beside[1].write_text("PLUS = 1.0\n")
    (code / "parts/other.py").write_text("nothing = 1\n")
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


def test_files_that_the_code_needs_lie_beside_it_and_its_example_is_that_of_the_model(
    helped: ModelFiles, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    folder = tmp_path / "scratch/model"
    models._save(folder, helped, mlflow.models.Model())
    names = {path.relative_to(folder).as_posix() for path in (folder / "artifacts").rglob("*.*")}
    assert names == {
        f"artifacts/{name}" for name in ("serve.py", "rule.py", "parts/one.py", "slope.txt")
    }
    shutil.rmtree(tmp_path / "code")
    assert models.predictions(folder, pd.DataFrame({"slope": [1.0, 2.0]})) == [3.0, 5.0]
    signature = mlflow.pyfunc.load_model(str(folder)).metadata.get_input_schema()
    assert signature.input_names() == ["slope"]
    assert "PyYAML==" in (folder / "requirements.txt").read_text()


def test_a_change_of_a_file_beside_the_code_is_a_difference(helped: ModelFiles) -> None:
    before = models.expected(helped)
    helped.beside[0].write_text("import json\nimport yaml\nTIMES = 3.0\n")
    after = models.expected(helped)
    assert [name for name in before if before[name] != after[name]] == ["rule.py"]
