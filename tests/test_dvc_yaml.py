"""dvc.yaml says of each stage what the stage really reads: DVC does not see imports."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from knownline.__main__ import STAGES
from knownline.params import Params
from tests.conftest import ROOT, Workspace

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PACKAGE = ROOT / "src" / "knownline"

LOADED = """
import atexit, os, runpy, sys
def tell():
    modules = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "knownline"]
    print("LOADED", *modules, file=sys.stderr, sep="\\n")
atexit.register(tell)
end = os._exit
def end_at_once(status):  # as train does, which leaves nothing for an exit handler to do
    tell()
    sys.stderr.flush()
    end(status)
os._exit = end_at_once
sys.argv = ["src/knownline", sys.argv[1]]
runpy.run_path("src/knownline", run_name="__main__")
"""


def listed(stage: str) -> set[str]:
    return {dep for dep in PIPELINE["stages"][stage]["deps"] if dep.endswith(".py")}


def imported_by(module: Path, seen: set[Path]) -> set[Path]:
    """Walk the import statements from one module through all of ours, those in functions too."""
    seen.add(module)
    for node in ast.walk(ast.parse(module.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            file = (ROOT / "src" / name.replace(".", "/")).with_suffix(".py")
            if file.is_file() and file not in seen:
                imported_by(file, seen)
    return seen


def test_the_stages_are_those_of_the_contract_in_order() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_one_word_per_stage(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"python src/knownline {stage}"
    assert (PACKAGE / f"{stage}.py").is_file()
    if stage != "record":
        assert stage in Params.model_fields


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_what_the_stage_imports_by_its_source(stage: str) -> None:
    found = imported_by(PACKAGE / f"{stage}.py", set())
    entry = imported_by(PACKAGE / "__main__.py", set())
    expected = {path.relative_to(ROOT).as_posix() for path in found | entry}
    expected |= {"src/knownline/__init__.py"}
    served = {"src/served/line_model.py"} if stage == "record" else set()
    assert listed(stage) == expected | served


def test_deps_are_what_the_stage_loads_when_it_runs(fresh: Workspace) -> None:
    for stage in STAGES:
        done = fresh.run(sys.executable, "-c", LOADED, stage)
        loaded = done.stderr.partition("LOADED\n")[2].split()
        found = {Path(file).relative_to(fresh.path).as_posix() for file in loaded}
        served = {"src/served/line_model.py"} if stage == "record" else set()
        assert listed(stage) == found | {"src/knownline/__main__.py"} | served, stage


def test_record_follows_every_parameter() -> None:
    assert set(PIPELINE["stages"]["record"]["params"]) == set(Params.model_fields) - {"retrain"}


def test_the_marker_is_kept_out_of_the_cache_and_of_the_run_cache() -> None:
    (out,) = PIPELINE["stages"]["record"]["outs"]
    assert out == {"mlruns/recorded.json": {"cache": False, "persist": True}}


def test_dvc_accepts_the_file(built: Workspace) -> None:
    assert built.dvc("stage", "list", "--names-only").stdout.split() == list(STAGES)


def test_the_entry_needs_no_installed_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "src" / "knownline"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "usage: knownline" in done.stdout


def test_importing_the_entry_does_nothing() -> None:
    assert "main" in runpy.run_path(str(PACKAGE / "__main__.py"), run_name="not_main")
