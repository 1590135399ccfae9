"""What counts as the code of a stage, and what a change of it during the stage does."""

import shutil
from pathlib import Path

import pytest

from knownline.identity import provenance
from knownline.params import Params
from samerun.core.errors import WorkspaceError
from tests.conftest import ROOT

THEN = "run `dvc repro` again"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The shipped parameters, in a folder with the shipped code."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return Params.read()


def test_only_python_and_style_sheets_are_code(params: Params) -> None:
    before = provenance.code_hashes(Path(), ("report",))
    assert "src/knownline/report/page.css" in before
    assert not any(name.startswith("src/knownline/train/") for name in before)
    core = Path("src/knownline/core")
    for name in (".moments.py.swp", "moments.py~", "moments.py.orig", ".hidden.py", "4913"):
        (core / name).write_text("x")
    for name in (".ipynb_checkpoints", "__pycache__"):
        (core / name).mkdir()
    (core / ".ipynb_checkpoints/moments.py").write_text("x")
    (core / "__pycache__/moments.cpython-311.pyc").write_text("x")
    assert provenance.code_hashes(Path(), ("report",)) == before


@pytest.mark.parametrize("change", ["changed", "added", "deleted"])
def test_code_that_changes_while_a_stage_runs_is_refused_by_name(
    params: Params, change: str
) -> None:
    path = Path("src/knownline/core/extra.py")
    if change != "added":
        path.write_text("# one\n")
    inputs = provenance.stage_inputs("generate", params)
    provenance.check_unchanged("generate", inputs, params, then=THEN)
    path.unlink() if change == "deleted" else path.write_text("# two\n")
    with pytest.raises(WorkspaceError, match=r"^src/knownline/core/extra\.py must not change"):
        provenance.check_unchanged("generate", inputs, params, then=THEN)
