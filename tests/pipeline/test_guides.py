"""The guides are true: their commands run and give the results they print."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import optimize

from support.workspace import commit
from tests.conftest import ROOT, Workspace

pytestmark = pytest.mark.usefixtures("warm")

STORE = "sqlite:///mlruns/mlflow.db"

PREDICT = """\
import json, sys
import mlflow.pyfunc, pandas
frame = pandas.read_parquet("data/holdout").drop(columns="y")
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(frame).tolist()))
"""

FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)


def test_another_loss_is_the_one_line_it_says(workspace: Workspace) -> None:
    text = (ROOT / "docs/make-it-yours.md").read_text()
    blocks = dict(FENCED.findall(text))
    old, new = (line[1:] for line in blocks["diff"].splitlines())
    workspace.replace("src/knownline/train/descent.py", old, new)
    params = yaml.safe_load((workspace.path / "params.yaml").read_text())
    params["truth"] = None
    params["generate"] |= {"table": "data/own/forbes.csv", "holdout": 0.0}
    params["generate"]["columns"] = {"x": "boiling_point_f", "y": "pressure_inhg"}
    for section, keys in yaml.safe_load(blocks["yaml"]).items():
        params[section] |= keys
    (workspace.path / "params.yaml").write_text(yaml.safe_dump(params))
    workspace.dvc("repro")
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    assert metrics["gate"]["passed"] is True
    printed = re.search(
        r"w = ([\d.-]+), b = ([\d.-]+) \(least squares: ([\d.-]+), ([\d.-]+)\)", text
    )
    assert printed
    fitted = [metrics["w"], metrics["b"], metrics["ols"]["w"], metrics["ols"]["b"]]
    assert [f"{value:.6f}" for value in fitted] == list(printed.groups())

    x, y = np.loadtxt(workspace.path / "data/own/forbes.csv", delimiter=",", skiprows=1).T
    scaled = (x - x.mean()) / x.std()

    def huber(at: np.ndarray) -> float:
        e = np.abs(y - (at[0] * scaled + at[1]))
        return float(np.where(e < 0.2, 0.5 * e * e, 0.2 * (e - 0.1)).mean())

    best = optimize.minimize(huber, [4.0, 25.0], method="BFGS", options={"gtol": 1e-12}).x
    w = best[0] / x.std()
    assert metrics["w"] == pytest.approx(w, rel=1e-7)
    assert metrics["b"] == pytest.approx(best[1] - w * x.mean(), rel=1e-7)


def apply(workspace: Workspace, heading: str) -> None:
    """Make the changes that a section of docs/make-it-yours.md shows as diffs."""
    text = (ROOT / "docs/make-it-yours.md").read_text()
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    for command in (content for kind, content in FENCED.findall(section) if kind == "sh"):
        workspace.run("bash", "-euc", command)
    for diff in (content for kind, content in FENCED.findall(section) if kind == "diff"):
        lines: dict[str, list[str]] = {"-": [], "+": [], " ": []}
        for line in diff.splitlines():
            lines[line[0]].append(line[1:])
        for old, new in zip(lines["-"], lines["+"], strict=False):
            workspace.replace("params.yaml", f"{old}\n", f"{new}\n")
        if not lines["-"]:  # new lines before the one that is there
            (next_line,) = lines[" "]
            added = "\n".join([*lines["+"], next_line])
            workspace.replace("src/knownline/model.py", next_line, added)


def assert_stat(workspace: Workspace, heading: str) -> None:
    """Assert that the edits are as large as a section of docs/make-it-yours.md says."""
    text = (ROOT / "docs/make-it-yours.md").read_text()
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    (shown,) = (content for kind, content in FENCED.findall(section) if kind == "text")
    edited = ("params.yaml", "src/knownline/model.py")
    lines = workspace.git("diff", "--stat=72", "--", *edited).splitlines()[:-1]
    assert [line.strip() for line in lines] == [line.strip() for line in shown.splitlines()]


def changed(workspace: Workspace) -> list[str]:
    """Return the files that differ from the commit, without what the pipeline writes."""
    return [name for name in workspace.git("diff", "--name-only").split() if name != "dvc.lock"]


def test_three_columns_of_a_real_table_take_params_alone(workspace: Workspace) -> None:
    apply(workspace, "Several columns of a table")
    assert_stat(workspace, "Several columns of a table")
    workspace.dvc("repro")
    assert changed(workspace) == ["params.yaml"]
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    *x, y = np.loadtxt(workspace.path / "data/own/stackloss.csv", delimiter=",", skiprows=1).T
    ols = np.linalg.lstsq(np.stack([*x, np.ones_like(y)], axis=1), y, rcond=None)[0]
    names = ["w_air_flow", "w_water_temp", "w_acid_conc", "b"]
    assert [metrics[name] for name in names] == pytest.approx(ols.tolist(), rel=1e-9)
    text = (ROOT / "docs/make-it-yours.md").read_text()
    for name in names:
        assert f"{name} = {metrics[name]:.4f}" in text
    assert metrics["gate"] == {"passed": True, "reasons": metrics["gate"]["reasons"]}
    assert f"R² is {1 - metrics['train']['rmse'] ** 2 / y.var():.2f}" in text
    run = workspace.runs()[-1]
    assert run.steps["w_acid_conc"] == list(range(100))


def test_a_model_of_ones_own_is_one_object(workspace: Workspace) -> None:
    apply(workspace, "A model of your own")
    assert_stat(workspace, "A model of your own")
    workspace.dvc("repro")
    assert changed(workspace) == ["params.yaml", "src/knownline/model.py"]
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    rows = pd.read_parquet(workspace.path / "data/train")
    best = np.polyfit(rows["x"], rows["y"], 3)
    assert [metrics[name] for name in "dcwb"] == pytest.approx(best.tolist(), rel=1e-6)
    assert metrics["gate"]["passed"] is True
    assert workspace.samerun("reproduce", workspace.runs()[-1].run_id).returncode == 0


def test_a_model_that_is_not_linear_is_one_object(workspace: Workspace) -> None:
    apply(workspace, "A model that is not linear")
    assert_stat(workspace, "A model that is not linear")
    workspace.dvc("repro")
    assert changed(workspace) == ["params.yaml", "src/knownline/model.py"]
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    rows = pd.read_parquet(workspace.path / "data/train")

    def logistic(x: np.ndarray, top: float, rate: float, half: float) -> np.ndarray:
        return top / (1 + np.exp(-rate * (x - half)))

    start = [80.0, 0.2, 40.0]
    best, covariance = optimize.curve_fit(logistic, rows["x"], rows["y"], start, xtol=1e-14)
    names = ["top", "rate", "half"]
    assert [metrics[name] for name in names] == pytest.approx(best.tolist(), rel=1e-7)
    errors = np.sqrt(np.diag(covariance)).tolist()
    assert [metrics["se"][name] for name in names] == pytest.approx(errors, rel=1e-5)
    assert metrics["gate"]["passed"] is True
    run = workspace.runs()[-1]
    assert run.steps["half"] == list(range(20))
    assert workspace.samerun("reproduce", run.run_id).returncode == 0


def test_a_network_is_one_object(workspace: Workspace) -> None:
    apply(workspace, "A network")
    assert_stat(workspace, "A network")
    commit(workspace, "a network")
    workspace.dvc("repro")
    stat = workspace.git("diff", "--stat", "HEAD~1").splitlines()
    names = [line.split("|")[0].strip() for line in stat[:-1]]
    own = ["data/own/friedman.csv", "params.yaml", "src/knownline/model.py"]
    assert [name for name in names if name != "dvc.lock"] == own
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    assert metrics["gate"]["passed"] is True
    train, holdout = (pd.read_parquet(workspace.path / f"data/{name}") for name in
                      ("train", "holdout"))  # fmt: skip
    matrix, left = ([frame[c] for c in "abcde"] + [np.ones(len(frame))] for frame in
                    (train, holdout))  # fmt: skip
    linear = np.linalg.lstsq(np.stack(matrix, axis=1), train["y"], rcond=None)[0]
    rmse = float(np.sqrt(np.mean((np.stack(left, axis=1) @ linear - holdout["y"]) ** 2)))
    assert metrics["linear"]["rmse"] == pytest.approx(rmse, rel=1e-9)
    assert 1.0 < metrics["holdout"]["rmse"] < 1.3  # 1 is the noise
    text = (ROOT / "docs/make-it-yours.md").read_text()
    assert f"an RMSE of {metrics['holdout']['rmse']:.2f} on held-out rows" in text
    assert f"has {metrics['linear']['rmse']:.2f}." in " ".join(text.split())
    run = workspace.runs()[-1]
    assert run.steps["loss"] == list(range(100))
    predicted = workspace.run(
        "python", "-c", PREDICT, f"runs:/{run.run_id}/model", MLFLOW_TRACKING_URI=STORE
    )
    errors = np.array(json.loads(predicted.stdout)) - holdout["y"]
    rmse = float(np.sqrt(np.mean(errors**2)))
    assert metrics["holdout"]["rmse"] == pytest.approx(rmse, rel=1e-12)
    assert workspace.samerun("reproduce", run.run_id).returncode == 0
