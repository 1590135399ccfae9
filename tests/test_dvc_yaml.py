"""dvc.yaml says of each stage which code it runs: DVC does not see imports."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from knownline.params import Params
from tests.conftest import ROOT, Workspace

STAGES = ("generate", "train", "evaluate", "report")
PRESENTING = ("report",)
"""What shows a run's numbers and decides none of them."""

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())

ENTRY = ("knownline/__init__.py", "knownline/__main__.py", "knownline/cli.py")
"""What starts a stage and ends it, and changes none of its outputs."""

ALL = {*STAGES, "record"}
DEPENDENT = {
    "src/knownline/core/summary.py": ALL,
    "src/knownline/model.py": ALL,
    "src/knownline/params/data.py": ALL,
    "src/knownline/generate/shards.py": {"generate", "record"},
    "src/knownline/train/descent.py": {"train", "record"},
    "src/knownline/evaluate/gate.py": {"evaluate", "report", "record"},
    "src/knownline/report/page.css": {"report"},
    "src/knownline/serve.py": {"record"},
    "src/knownline/retrain/policy.py": set[str](),
    "src/knownline/cli.py": set[str](),
}
"""A file of each folder of knownline, and the stages that must run again when it changes."""

LOADED = """
import atexit, os, runpy, sys
def tell():
    modules = [m.__file__ for n, m in sys.modules.items()
               if n.split(".")[0] == "knownline" and m.__file__]
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


@pytest.fixture
def copy(built: Workspace, tmp_path: Path) -> Workspace:
    """A copy of a checkout in which `dvc repro` ran; its store is not looked at."""
    return Workspace(Path(shutil.copytree(built.path, tmp_path / "work", symlinks=True)))


def changed_code(workspace: Workspace) -> set[str]:
    """Return the stages of which `dvc status` says that their code changed."""
    status = json.loads(workspace.dvc("status", "--json").stdout)
    return {
        stage
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict)
        for path in change.get("changed deps", {})
        if path.startswith("src/")
    }


@pytest.mark.parametrize("stage", STAGES)
def test_one_word_for_each_stage(stage: str) -> None:
    assert tuple(PIPELINE["stages"]) == (*STAGES, "record")
    assert PIPELINE["stages"][stage]["cmd"] == f"samerun run -- python src/knownline {stage}"
    assert (ROOT / "src/knownline" / stage / "stage.py").is_file()
    if stage not in PRESENTING:
        assert stage in Params.model_fields


def test_no_stage_lists_modules() -> None:
    files = {dep for stage in PIPELINE["stages"].values() for dep in stage["deps"]}
    modules = {dep for dep in files if dep.endswith(".py")}
    assert modules == {"src/knownline/model.py", "src/knownline/serve.py"}


def test_a_stage_depends_on_the_folders_whose_code_it_loads(fresh: Workspace) -> None:
    for stage in STAGES:
        done = fresh.run(sys.executable, "-c", LOADED, stage)
        files = done.stderr.partition("LOADED\n")[2].split()
        loaded = {Path(file).relative_to(fresh.path / "src").as_posix() for file in files}
        deps = {
            dep.removeprefix("src/")
            for dep in PIPELINE["stages"][stage]["deps"]
            if dep.startswith("src/")
        }
        for name in loaded - {*ENTRY}:
            assert name in deps or any(name.startswith(f"{dep}/") for dep in deps), (stage, name)
        for dep in deps:
            assert any(name == dep or name.startswith(f"{dep}/") for name in loaded), (stage, dep)


def test_a_change_in_a_folder_runs_exactly_the_stages_that_depend_on_it(copy: Workspace) -> None:
    for file, stages in DEPENDENT.items():
        path = copy.path / file
        before = path.read_bytes()
        path.write_bytes(before + (b"/* */\n" if path.suffix == ".css" else b"# A comment.\n"))
        assert changed_code(copy) == stages, file
        path.write_bytes(before)
    listed = {Path(file).parent.as_posix() for file in DEPENDENT}
    folders = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src/knownline").glob("*/")
        if list(path.glob("*.py"))
    }
    assert folders <= listed


def test_bytecode_and_editors_files_run_nothing(copy: Workspace) -> None:
    names = (".moments.py.swp", ".moments.py.swpx", "moments.py~", ".#moments.py", "#moments.py#",
             "moments.py.orig", "moments.py.bak", "4913", ".DS_Store",
             "__pycache__/moments.cpython-311.pyc")  # fmt: skip
    for folder in ("src/knownline/core", "src/knownline/train"):
        for name in names:
            path = copy.path / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"0")
    assert "up to date" in copy.dvc("status").stdout


def outputs(stage: str) -> set[str]:
    """Return the outputs of a stage, its metrics included."""
    content = PIPELINE["stages"][stage]
    return {*content.get("outs", []), *content.get("metrics", [])}


def test_only_generate_depends_on_rows_and_the_other_stages_on_their_summary() -> None:
    """data/SHA256SUMS replaces the rows: DVC need not hash them for a stage that reads none."""
    for name in STAGES:
        deps = set(PIPELINE["stages"][name]["deps"])
        data = {dep for dep in deps if dep.startswith("data/")}
        expected = {"data/own"} if name == "generate" else {"data/SHA256SUMS", "data/summary.json"}
        assert data == expected, name
    assert outputs("generate") == {
        "data/train", "data/holdout", "data/SHA256SUMS", "data/summary.json",
    }  # fmt: skip


def test_record_follows_whatever_decides_a_run() -> None:
    """Else a change of code that changes no output would leave it out."""
    record = PIPELINE["stages"]["record"]
    deciding = [PIPELINE["stages"][name] for name in STAGES if name not in PRESENTING]
    made = {path for stage in STAGES for path in outputs(stage)}
    shown = {path for stage in PRESENTING for path in outputs(stage)}
    outside = {dep for stage in deciding for dep in stage["deps"]} - made
    config = record["meta"]["samerun"]
    results = outputs("train") | outputs("evaluate")
    serving, *imported = config["model"]
    assert {*record["deps"]} == outside | results | shown | {serving}
    for file in imported:
        assert any(file == dep or file.startswith(f"{dep}/") for dep in record["deps"]), file
    params = {name.partition(".")[0] for stage in deciding for name in stage["params"]}
    assert {*record["params"]} == {*params, "experiment"} == set(Params.model_fields) - {"retrain"}
    assert tuple(config["not_identity"]) == PRESENTING


def test_what_samerun_is_told_exists() -> None:
    config = PIPELINE["stages"]["record"]["meta"]["samerun"]
    made = {path for stage in STAGES for path in outputs(stage)}
    assert {*config["datasets"].values(), config["description"]} <= made
    assert all((ROOT / file).is_file() for file in config["model"])
    flat = Params.parse((ROOT / "params.yaml").read_text()).flat()
    named = {name for phrase in config["name"] for name in re.findall(r"{([\w.]+)}", phrase)}
    assert named | {*config["reads"].values()} <= flat.keys()
    (model,) = (each for each in PIPELINE["artifacts"].values() if each["type"] == "model")
    assert model["path"] in outputs("train")


def test_the_marker_is_kept_out_of_the_cache_and_of_the_run_cache() -> None:
    (out,) = PIPELINE["stages"]["record"]["outs"]
    assert out == {"mlruns/recorded.json": {"cache": False, "persist": True}}


def test_dvc_accepts_the_file(built: Workspace) -> None:
    assert built.dvc("stage", "list", "--names-only").stdout.split() == [*STAGES, "record"]


def test_the_entry_need_not_be_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "src" / "knownline"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: knownline" in done.stdout


def test_importing_the_entry_does_nothing() -> None:
    path = ROOT / "src/knownline/__main__.py"
    assert "main" in runpy.run_path(str(path), run_name="not_main")
