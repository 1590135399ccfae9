"""Other people's machines: what is not as on ours works all the same, or says what to do."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, Workspace, checkout
from tests.pipeline.test_readme import MAKE, with_environment

NOBODY: dict[str, Any] = {
    f"GIT_{who}_{what}": "" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}

OLD_STORE = """\
artifact_location: file:///old/0
experiment_id: '0'
lifecycle_stage: active
name: Default
"""


def test_spaces_umlauts_no_identity_no_home_and_an_old_store(tmp_path: Path) -> None:
    workspace = with_environment(checkout(tmp_path / "Übung mit Leerzeichen"))
    old = workspace.path / "mlruns/0"
    old.mkdir()
    (old / "meta.yaml").write_text(OLD_STORE)
    done = workspace.run(*MAKE, "repro", HOME="/proc/nowhere", **NOBODY)
    assert "gate passed" in done.stdout
    assert "run recorded: 99 rows" in done.stdout
    assert done.stderr == ""
    assert [run.status for run in workspace.runs()] == ["FINISHED"]
    assert (old / "meta.yaml").read_text() == OLD_STORE
    assert workspace.git("status", "--short") in ("", " M dvc.lock\n")
    shown = workspace.knownline("doctor", ok=False, HOME="/proc/nowhere")
    assert shown.returncode in (0, 1)
    assert "Traceback" not in shown.stdout + shown.stderr


def test_a_zip_without_git_is_told_what_to_do(fresh: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(fresh.path / ".git")
    (fresh.path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    outside = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    done = fresh.run(*MAKE, "repro", ok=False, **outside)
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first == "make: this folder must be in git, which a ZIP is not: git init"
    assert all(re.match(r"make(\[\d+\])?: \*\*\*", line) for line in rest), rest
    assert not (fresh.path / "mlruns/mlflow.db").exists()
    fresh.run("git", "init", "--quiet")
    assert "gate passed" in fresh.run(*MAKE, "repro").stdout
    assert [run.tags["git_commit"] for run in fresh.runs()] == ["none"]


def test_what_to_type_without_make_is_what_make_types() -> None:
    recipes = (ROOT / "Makefile").read_text().replace("--quiet ", "")
    guide = (ROOT / "docs/guide.md").read_text().partition("Without make, that is")[2]
    lines = guide.split("```")[1].removeprefix("sh\n").splitlines()
    for line in lines:
        if "activate" not in line:
            words = line.removeprefix("knownline ").removeprefix("python3 -m ")
            assert words.partition(" ")[2] in recipes or words in recipes, line
