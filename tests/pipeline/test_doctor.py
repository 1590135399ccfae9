"""`samerun doctor` on this project; tests/samerun/projects/test_doctor.py has all of its checks."""

from pathlib import Path

import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def doctor(workspace: Workspace, *arguments: str, code: int = 1) -> list[str]:
    """Return the findings, without the verdict that follows them."""
    done = workspace.samerun("doctor", *arguments, ok=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *findings, verdict = done.stdout.splitlines()
    assert verdict.startswith("doctor: ")
    return findings


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_workspace_that_ran_is_healthy(workspace: Workspace) -> None:
    (workspace.path / "notes.txt").write_text("a note\n")
    assert doctor(workspace, code=0) == []
    workspace.replace("src/knownline/core/kinds.py", '"""', '"""A comment. ')
    text = "git: the pipeline reads files with uncommitted changes (src/knownline/core/kinds.py)"
    assert doctor(workspace)[0].startswith(text)


def test_flipped_bytes_of_outputs(workspace: Workspace) -> None:
    outputs = ["data/train/part-00000.parquet", "models/model.json", "reports/report.html"]
    for name in outputs:
        flip(workspace.path / name)
    found = doctor(workspace)
    for name in outputs:
        assert any(f"{name} differs from its hash in dvc.lock" in line for line in found), found


def test_changed_artifacts_of_a_run(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    flip(run.artifacts / "reports/metrics.json")
    (line,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/models/model.json")
    line.write_text(line.read_text().replace("20.0", "21.0"))
    name = f"run {run.name} ({run.run_id}): "
    advice = ": restore the run or delete it"
    assert doctor(workspace) == [
        f"{name}reports/metrics.json differs from its hash in the run's dvc.lock{advice}",
        f"{name}model/models differs from models, from which it was made{advice}",
    ]
