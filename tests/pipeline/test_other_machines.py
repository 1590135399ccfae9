"""Other people's machines, and a workspace that moves: the same bytes, or what to do."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, Workspace
from tests.pipeline.test_readme import MAKE, with_environment
from tests.test_set_up import recipe

NOBODY: dict[str, Any] = {
    f"GIT_{role}_{field}": "" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
}

OTHER_CPU: dict[str, Any] = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX AVX512_ICL AVX512_SPR AVX2 FMA3",
}

OLD_STORE = """\
artifact_location: file:///old/0
experiment_id: '0'
lifecycle_stage: active
name: Default
"""


def test_a_clone_on_another_machine_gives_the_same_bytes_and_leaves_the_lock_alone(
    built: Workspace, tmp_path: Path
) -> None:
    """One thread, no SIMD, blanks and umlauts, no git identity, no home, an old MLflow store."""
    path = tmp_path / "Übung mit Leerzeichen"
    built.git("clone", "--quiet", str(built.path), str(path))
    clone = with_environment(Workspace(path))
    old = clone.path / "mlruns/0"
    old.mkdir()
    (old / "meta.yaml").write_text(OLD_STORE)
    done = clone.run(*MAKE, "repro", HOME="/proc/nowhere", **NOBODY, **OTHER_CPU)
    assert done.stdout.count("Running stage") == 5
    assert "gate passed" in done.stdout
    assert ": 99 rows" in done.stdout
    assert done.stderr == ""
    ours, theirs = built.outputs(), clone.outputs()
    assert {name for name in ours | theirs if ours.get(name) != theirs.get(name)} == set()
    assert clone.git("status", "--short") == ""
    (run,) = clone.runs()
    assert run.status == "FINISHED"
    assert run.steps["loss"] == list(range(100))
    assert "backfilled" not in run.tags
    assert run.tags["fingerprint"] == built.runs()[0].tags["fingerprint"]
    assert (old / "meta.yaml").read_text() == OLD_STORE
    shown = clone.samerun("doctor", ok=False, HOME="/proc/nowhere")
    assert shown.returncode in (0, 1)
    assert "Traceback" not in shown.stdout + shown.stderr


def test_a_zip_without_git_is_refused_with_what_to_do(fresh: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(fresh.path / ".git")
    (fresh.path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    outside = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    done = fresh.run(*MAKE, "repro", ok=False, **outside)
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first == "make: this folder must be in git, which a ZIP is not: git init"
    assert all(re.match(r"make(\[\d+\])?: \*\*\*", line) for line in rest), rest
    assert not (fresh.path / "mlruns/mlflow.db").exists()


def test_make_ends_with_2_for_a_mistake_in_params(fresh: Workspace) -> None:
    """DVC itself ends with 255, which the guides do not know."""
    fresh.replace("params.yaml", "learning_rate: 0.25", "learning_rate: -1")
    (fresh.path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    done = fresh.run(*MAKE, "repro", ok=False)
    assert done.returncode == 2
    assert "train.learning_rate must be greater than 0 (got -1)" in done.stderr
    assert re.search(r"\*\*\* .* Error 2$", done.stderr.rstrip())
    assert "255" not in done.stdout + done.stderr


def test_a_repository_without_a_commit_records_runs(fresh: Workspace, warm: None) -> None:
    shutil.rmtree(fresh.path / ".git")
    fresh.git("init", "--quiet")
    fresh.dvc("repro")
    assert [run.tags["git_commit"] for run in fresh.runs()] == ["none"]


def test_the_guides_commands_without_make_are_those_of_the_makefile() -> None:
    recipes = "\n".join(recipe("repro", "UV=")) + "\n"
    recipes = recipes.replace("--quiet ", "").replace(" || exit 2", "")
    guide = (ROOT / "docs/guide.md").read_text().partition("Without make:")[2]
    lines = guide.split("```")[1].removeprefix("sh\n").splitlines()
    for line in lines:
        if "activate" not in line:
            words = line.removeprefix("knownline ").removeprefix("python3 -m ")
            assert f" {words}\n" in recipes, line


def test_the_committed_lock_is_what_the_code_gives(built: Workspace) -> None:
    assert (ROOT / "dvc.lock").read_bytes() == (built.path / "dvc.lock").read_bytes(), (
        "a stage's code changed: run `make repro` and commit dvc.lock"
    )


def test_a_moved_workspace_keeps_its_runs_and_records_where_it_is(
    trained: Workspace, tmp_path: Path, warm: None
) -> None:
    """Also if the environment names the embedded store, as it must for serving a model."""
    uri = "sqlite:///mlruns/mlflow.db"
    (old,) = trained.runs()
    moved = Workspace(Path(shutil.move(trained.path, tmp_path / "elsewhere")))
    assert "the store has moved" in moved.dvc("repro", MLFLOW_TRACKING_URI=uri).stderr
    assert "the store has moved" not in moved.samerun("record", MLFLOW_TRACKING_URI=uri).stderr
    assert not trained.path.exists()
    assert len(moved.runs()) == 2
    for run in moved.runs():
        assert run.artifacts.is_relative_to(moved.path)
        assert (run.artifacts / "reports/history.csv").is_file()
    assert moved.samerun("reproduce", old.run_id).returncode == 0
