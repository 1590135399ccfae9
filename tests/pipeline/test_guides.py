"""The guides are true: their commands run and give the results they print."""

import json
import re

import numpy as np
import pytest
import yaml
from scipy import optimize

from tests.conftest import ROOT, Workspace, commit
from tests.pipeline.test_readme import with_environment

pytestmark = pytest.mark.usefixtures("warm")

FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)


@pytest.mark.slow
def test_the_guide_from_top_to_bottom(workspace: Workspace) -> None:
    with_environment(workspace)
    commit(workspace, "results")
    text = (ROOT / "docs/guide.md").read_text()
    # The block for those without make makes an environment: tests/pipeline/test_other_machines.py.
    blocks = [b for kind, b in FENCED.findall(text) if kind == "sh" and "pip install" not in b]
    shown = workspace.run("bash", "-euc", "\n".join(blocks[:4]), ok=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "train.learning_rate" in shown.stdout
    assert "exact: " in shown.stdout
    assert (workspace.path / "dvc_plots/index.html").exists()
    rest = workspace.run("bash", "-euc", "\n".join([blocks[0], *blocks[4:]]), ok=False)
    assert rest.returncode in (0, 1), rest.stdout + rest.stderr  # doctor: 1 with findings
    assert list((workspace.path.parent / "kept").rglob("*"))


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


@pytest.mark.slow
def test_another_model_in_a_column_gives_what_it_says(workspace: Workspace) -> None:
    text = (ROOT / "docs/make-it-yours.md").read_text()
    workspace.run("python", "-c", dict(FENCED.findall(text))["python"])
    t, squared, s = np.loadtxt(workspace.path / "data/own/fall.csv", delimiter=",", skiprows=1).T
    rows = re.findall(r"^\| `\{x: (\w+), y: s\}` \| (.+) ± .+ \| (.+) ± .+ \| (.+) \|$", text, re.M)
    assert [row[0] for row in rows] == ["t", "t_squared"]
    for (column, w, b, bend), x in zip(rows, (t, squared), strict=True):
        params = yaml.safe_load((workspace.path / "params.yaml").read_text())
        params["truth"] = None
        params["generate"] |= {"table": "data/own/fall.csv", "holdout": 0.0}
        params["generate"]["columns"] = {"x": column, "y": "s"}
        (workspace.path / "params.yaml").write_text(yaml.safe_dump(params))
        workspace.dvc("repro")
        assert [float(w), float(b)] == pytest.approx(np.polyfit(x, s, 1).tolist(), rel=3e-3)
        shown = workspace.knownline("summary").stdout
        for name in ("w", "b"):
            (value,) = re.findall(rf"  {name} = (.+)", shown)
            assert f"| {value} |" in text
        assert "gate passed" in shown
        sign, often = bend.split(": ")
        report = (workspace.path / "reports/report.html").read_text()
        word = {"clear": "A clear sign", "none": "No sign"}[sign]
        assert (
            f"{word} of a bend that no straight line follows: {often.split()[0]} of 1,000" in report
        )
