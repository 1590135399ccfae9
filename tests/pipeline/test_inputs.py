"""What users give the pipeline: tables of their own, and mistakes, which cost one line each."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def use(workspace: Workspace, table: str, x: str, y: str) -> None:
    """Let the pipeline read a table, with all of its rows for training."""
    workspace.replace("params.yaml", "table: null", f"table: {table}")
    workspace.replace("params.yaml", "columns: {x: x, y: y}", f"columns: {{x: {x}, y: {y}}}")
    workspace.replace("params.yaml", "truth: {w: 20.0, b: 5.0}", "truth: null")
    workspace.replace("params.yaml", "holdout: 0.2", "holdout: 0")


def test_forbes_table_gives_the_published_line(workspace: Workspace) -> None:
    use(workspace, "data/own/forbes.csv", "boiling_point_f", "pressure_inhg")
    workspace.dvc("repro")
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    assert metrics["w"] == pytest.approx(0.522892, abs=5e-7)
    assert metrics["b"] == pytest.approx(-81.063727, abs=5e-7)
    with (workspace.path / "data/own/forbes.csv").open() as stream:
        rows = [(float(a), float(b)) for a, b in list(csv.reader(stream))[1:]]
    oracle = stats.linregress(*zip(*rows, strict=True))
    assert metrics["se"]["w"] == pytest.approx(oracle.stderr, rel=1e-9)
    assert metrics["se"]["b"] == pytest.approx(oracle.intercept_stderr, rel=1e-9)
    assert metrics["rows"] == 17
    assert metrics["holdout"]["rmse"] is None
    assert metrics["gate"]["passed"] is True
    assert "truth is null" in " ".join(metrics["gate"]["reasons"])
    run = workspace.runs()[-1]
    assert run.status == "FINISHED"
    assert run.name.startswith("forbes.csv")
    assert "truth.w" not in run.last
    assert "gate passed" in workspace.knownline("summary").stdout
    report = (workspace.path / "reports/report.html").read_text()
    assert "A line fitted to data/own/forbes.csv" in report
    assert "the farthest lies 3.0 times their root mean square" in report  # his case 12


def test_a_changed_table_reruns_the_pipeline(workspace: Workspace) -> None:
    table = workspace.path / "data/own/mine.parquet"

    def write(slope: float) -> None:
        x = [float(i) for i in range(40)]
        y = [slope * v + 1 + (0.1 if i % 2 else -0.1) for i, v in enumerate(x)]
        pq.write_table(pa.table({"hours": x, "price": y}), table)

    write(3.0)
    use(workspace, "data/own/mine.parquet", "hours", "price")
    workspace.dvc("repro")
    write(4.0)
    workspace.dvc("repro")
    _, first, second = workspace.runs()
    assert first.last["w"] == pytest.approx(3.0, abs=0.01)
    assert second.last["w"] == pytest.approx(4.0, abs=0.01)
    assert "Running stage" not in workspace.dvc("repro").stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate: 0.25": "learning_rate: -0.1"}, "must be greater than 0 (got -0.1)"),
        ({"epochs: 100": "epochs: many"}, "train.epochs must be a whole number"),
        ({"device: auto": "device: cuda"}, "train.device must be available here"),
        ({"z: 4.0": "z: true"}, "evaluate.z must be a number (got true)"),
        (  # the training diverges
            {"learning_rate: 0.25": "learning_rate: 1.5", "epochs: 100": "epochs: 5000"},
            "train.learning_rate must be less than 1 for this data (got 1.5)",
        ),
        (
            {"table: null": "table: data/own/mine.csv", "{x: x, y: y}": "{x: a, y: b}"},
            "(got six in row 3, line 4)",
        ),
    ],
)
def test_a_mistake_costs_one_line_and_no_output(
    workspace: Workspace, changes: dict[str, str], message: str
) -> None:
    for old, new in changes.items():
        workspace.replace("params.yaml", old, new)
    if "table: null" in changes:
        (workspace.path / "data/own/mine.csv").write_text("a,b\n1,2\n2,4\n3,six\n4,8\n")
    before = workspace.outputs()
    done = workspace.dvc("repro", ok=False)
    assert done.returncode != 0
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("knownline:")]
    assert line.startswith("knownline: error: ")
    assert message in line
    assert "Traceback" not in done.stderr
    assert workspace.outputs() == before
    assert len(workspace.runs()) == 1


def test_a_refused_gate_is_a_result_and_no_error(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "epochs: 100", "epochs: 5")
    workspace.dvc("repro")
    run = workspace.runs()[-1]
    assert run.tags["gate"] == "failed"
    assert run.status == "FINISHED"
    shown = workspace.knownline("summary").stdout
    assert "gate failed" in shown
    assert "the optimiser has not converged" in shown
