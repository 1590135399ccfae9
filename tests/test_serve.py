"""The served model predicts by the line, and needs nothing but numpy and pandas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from knownline import serve
from knownline.core.line import Line
from tests.conftest import ROOT

LINE = Line(20.002189859856244, -4.802664651983491)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "line.json").write_text(LINE.to_json())
    return tmp_path / "line.json"


def test_it_predicts_what_the_line_says_to_the_last_bit(path: Path) -> None:
    frame = serve.INPUT_EXAMPLE
    predicted = serve.load(path)(frame)
    assert predicted.tolist() == [LINE.at(x) for x in frame["x"]]
    assert predicted.dtype == np.float64


def test_whole_numbers_are_an_input_too(path: Path) -> None:
    frame = serve.INPUT_EXAMPLE.astype({"x": "int64"})
    assert serve.load(path)(frame).tolist() == serve.load(path)(serve.INPUT_EXAMPLE).tolist()


def test_it_needs_nothing_of_knownline(path: Path) -> None:
    code = (
        "import runpy, sys, pathlib\n"
        f"serve = runpy.run_path({str(ROOT / 'src/knownline/serve.py')!r})\n"
        f"print(*serve['load'](pathlib.Path({str(path)!r}))(serve['INPUT_EXAMPLE']))\n"
        "others = {'knownline', 'samerun', 'mlflow', 'torch'} & {*sys.modules}\n"
        "assert not others, others\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [float(word) for word in done.stdout.split()] == [LINE.at(0.0), LINE.at(1.0)]
