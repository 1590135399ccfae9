"""What a user's mistake costs under real DVC: one line, and nothing that was there before."""

import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def refused(workspace: Workspace, *, says: str) -> None:
    """Assert that `dvc repro` refuses in one line and leaves every output as it was."""
    before = workspace.outputs()
    done = workspace.dvc("repro", ok=False)
    assert done.returncode != 0
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("knownline:")]
    assert line.startswith("knownline: error: ")
    assert says in line
    assert "Traceback" not in done.stderr
    assert workspace.outputs() == before
    assert len(workspace.runs()) == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("learning_rate: 0.25", "learning_rate: -0.1", "must be greater than 0 (got -0.1)"),
        ("epochs: 100", "epochs: many", "train.epochs must be a whole number"),
        ("device: auto", "device: cuda", "train.device must be available here"),
        ("rows: 99", "rows: 2", "generate.rows must be 3 or more (got 2)"),
        ("z: 4.0", "z: true", "evaluate.z must be a number (got true)"),
    ],
)
def test_a_parameter_that_breaks_a_rule(
    workspace: Workspace, old: str, new: str, says: str
) -> None:
    workspace.replace("params.yaml", old, new)
    refused(workspace, says=says)


def test_divergence_says_when_and_what_would_be_stable(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 1.5")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 5000")
    refused(workspace, says="train.learning_rate must be less than 1 for this data (got 1.5)")


def test_a_table_with_text_in_a_row(workspace: Workspace) -> None:
    table = workspace.path / "data/own/mine.csv"
    table.write_text("a,b\n1,2\n2,4\n3,six\n4,8\n")
    workspace.replace("params.yaml", "table: null", "table: data/own/mine.csv")
    workspace.replace("params.yaml", "columns: {x: x, y: y}", "columns: {x: a, y: b}")
    refused(workspace, says="(got six in row 3, line 4)")


@pytest.mark.parametrize(
    ("damaged", "stage"),
    [
        ("data/train/part-00000.parquet", "train"),
        ("data/holdout/part-00000.parquet", "evaluate"),
        ("models/line.json", "evaluate"),
        ("reports/history.csv", "evaluate"),
        ("reports/metrics.json", "record"),
        ("reports/plots/fit.png", "record"),
    ],
)
def test_a_flipped_byte_is_refused_with_the_files_name(
    workspace: Workspace, damaged: str, stage: str
) -> None:
    path = workspace.path / damaged
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    done = workspace.knownline(stage, ok=False)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"knownline: error: {damaged} must be what the stage before wrote"
    )
    assert done.stderr.count("\n") == 1


def test_a_refused_gate_is_data_and_dvc_succeeds(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "epochs: 100", "epochs: 5")
    workspace.dvc("repro")
    run = workspace.runs()[-1]
    assert run.tags["gate"] == "failed"
    assert run.status == "FINISHED"
    shown = workspace.knownline("summary").stdout
    assert "gate REFUSED" in shown
    assert "the optimiser has not arrived" in shown


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [("seed: 20200910", "seed: 1", "generate"), ("w: 20.0", "w: 21.0", "truth")],
)
def test_data_of_other_parameters_is_not_fitted_under_these(
    workspace: Workspace, old: str, new: str, key: str
) -> None:
    before = workspace.outputs()
    workspace.replace("params.yaml", old, new)
    done = workspace.knownline("train", ok=False)
    assert done.returncode == 2
    assert (
        "data must be made with the parameters of now: run `dvc repro`"
        f" (got another {key} in data/made-with.json)\n" in done.stderr
    )
    assert workspace.outputs() == before


@pytest.mark.parametrize("stage", ["evaluate", "record"])
def test_files_of_other_parameters_are_not_recorded_under_these(
    workspace: Workspace, stage: str
) -> None:
    workspace.replace("params.yaml", "epochs: 100", "epochs: 300")
    done = workspace.knownline(stage, ok=False)
    assert done.returncode == 2
    assert (
        "models must be made with the parameters and the code of now: run `dvc repro`"
        in done.stderr
    )
    assert len(workspace.runs()) == 1
