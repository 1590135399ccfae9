"""A table of the user's own, from the two lines of the README to the run."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def use(workspace: Workspace, table: str, x: str, y: str) -> None:
    workspace.replace("params.yaml", "table: null", f"table: {table}")
    workspace.replace("params.yaml", "columns: {x: x, y: y}", f"columns: {{x: {x}, y: {y}}}")
    workspace.replace("params.yaml", "truth: {w: 20.0, b: 5.0}", "truth: null")
    workspace.replace("params.yaml", "holdout: 0.2", "holdout: 0")


def test_forbes_gives_the_published_line(workspace: Workspace) -> None:
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
    assert "no truth" in " ".join(metrics["gate"]["reasons"])
    run = workspace.runs()[-1]
    assert run.status == "FINISHED"
    assert run.name.startswith("forbes.csv")
    assert "truth.w" not in run.last
    assert "gate passed" in workspace.knownline("summary").stdout
    report = (workspace.path / "reports/report.html").read_text()
    assert "A line through data/own/forbes.csv" in report
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
