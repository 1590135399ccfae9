"""A folder in which the stage `generate` runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.__main__ import main
from support.files import tree
from tests.generate.running import write_params

NO_CODE = "stages: {}\n"
"""A dvc.yaml for a folder in which the stage runs without the code beside it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: params.yaml, dvc.yaml and an empty data/own."""
    for name in ("DVC_STAGE", "DVC_ROOT", "KNOWNLINE_SCHEDULER", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(NO_CODE)
    Path("data/own").mkdir(parents=True)
    write_params()
    return tmp_path


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Return what runs the stage, which must refuse with one line and change no file."""

    def check(match: str, *arguments: str, except_for: str = "") -> None:
        before = tree(folder)
        capsys.readouterr()
        assert main(["generate", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(rf"knownline: error: {match}\n", captured.err), captured.err
        after = tree(folder)
        assert {**after, except_for: None} == {**before, except_for: None}

    return check


@pytest.fixture
def own(folder: Path) -> Callable[..., str]:
    """Return what writes data/own/own.csv or .parquet and names it."""

    def write(content: str | dict[str, Any], **options: Any) -> str:
        if isinstance(content, dict):
            table = "data/own/own.parquet"
            pq.write_table(pa.table(content), table, **options)
        else:
            table = "data/own/own.csv"
            (folder / table).write_text(content)
        return table

    return write
