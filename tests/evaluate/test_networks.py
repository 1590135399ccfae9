"""A network is held against the linear model of its inputs, on rows that neither has seen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from scipy import stats

from knownline.__main__ import main
from knownline.core import fits
from knownline.core.kinds import Network
from knownline.core.layout import METRICS, MODEL, SUMMARY, VERDICT
from knownline.core.model_file import Fitted
from knownline.core.summary import Summary
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.train import checkpoints, live
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]

Judge = Callable[..., dict[str, Any]]

WAVE: Callable[..., Array] = lambda u, v: 3 * np.sin(u) + 0.2 * v  # noqa: E731
PLANE: Callable[..., Array] = lambda u, v: 3 * u + 0.2 * v  # noqa: E731


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Return what trains a network on a table of a function, and returns its metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(checkpoints.VARIABLE, raising=False)
    monkeypatch.delenv(live.VARIABLE, raising=False)
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("data/own").mkdir(parents=True)

    def run(
        function: Callable[..., Array], *, names: tuple[str, ...] = ("u", "v"), noise: float = 0.3,
        holdout: float = 0.3, **rules: Any,
    ) -> dict[str, Any]:  # fmt: skip
        random = np.random.default_rng(8)
        inputs = random.uniform(-3, 3, (len(names), 300))
        y = function(*inputs) + noise * random.standard_normal(300)
        np.savetxt("data/own/a.csv", np.vstack([inputs, y]).T, delimiter=",", fmt="%.17g",
                   header=",".join([*names, "y"]), comments="")  # fmt: skip
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        content |= {"model": "mlp", "truth": None}
        columns = {"x": list(names), "y": "y"}
        own = {"table": "data/own/a.csv", "columns": columns, "holdout": holdout}
        content["generate"] |= own
        content["train"] |= {"device": "cpu", "optimizer": "adam", "learning_rate": 0.01}
        content["train"] |= {"epochs": 60, "batch_size": 64}
        content["evaluate"] |= rules
        Path("params.yaml").write_text(yaml.safe_dump(content))
        assert main(["generate"]) == main(["train"]) == main(["evaluate"]) == 0
        found: dict[str, Any] = json.loads(METRICS.read_text())
        return found

    return run


def errors() -> tuple[Array, Array]:
    """Return the errors on held-out rows of the linear model, by numpy, and of the network."""
    params = Params.read()
    kind = params.kind
    assert isinstance(kind, Network)
    summary = Summary.of(kind, SUMMARY)
    fitted = Fitted.read(MODEL)
    train = fits.of_training_rows(kind, summary, fitted)
    held = fits.of_held_out_rows(kind, summary, fitted)
    assert isinstance(train, fits.NetworkFit)
    assert isinstance(held, fits.NetworkFit)

    def design(fit: fits.NetworkFit) -> Array:
        return np.column_stack([*fit._inputs, np.ones_like(fit._y)])

    linear = np.linalg.lstsq(design(train), train._y, rcond=None)[0]
    return design(held) @ linear - held._y, held.errors


@pytest.mark.parametrize("names", [("u", "v"), ("u",)])
def test_it_passes_where_it_is_better_than_the_linear_model(
    names: tuple[str, ...], judge: Judge
) -> None:
    function = WAVE if len(names) == 2 else lambda u: 3 * np.sin(u)
    found = judge(function, names=names)
    linear, own = errors()
    expected = stats.ttest_rel(linear**2, own**2, alternative="greater")
    assert found["linear"]["p"] == pytest.approx(float(expected.pvalue), rel=1e-6)
    assert found["linear"]["rmse"] == pytest.approx(float(np.sqrt(np.mean(linear**2))))
    assert found["holdout"]["rmse"] == pytest.approx(float(np.sqrt(np.mean(own**2))))
    assert expected.pvalue < 1e-6
    assert found["gate"]["passed"]
    assert "quality" not in found["gate"]
    (reason,) = found["gate"]["reasons"]
    assert reason.startswith("the network beats the linear model of its inputs beyond noise: RMSE")
    assert found["optimiser_error"] is None
    assert found["se"] == found["ols"] == found["z"] == found["truth"] == {}
    assert VERDICT.read_text().startswith("**Gate passed**")


def test_it_is_refused_where_a_linear_model_is_as_good(judge: Judge) -> None:
    found = judge(PLANE)
    linear, own = errors()
    expected = stats.ttest_rel(linear**2, own**2, alternative="greater")
    assert found["linear"]["p"] == pytest.approx(float(expected.pvalue), rel=1e-6)
    assert expected.pvalue > 0.01
    assert not found["gate"]["passed"]
    (reason,) = found["gate"]["reasons"]
    assert reason.startswith("the network does not beat the linear model of its inputs")


@pytest.mark.parametrize("holdout", [0.0, 0.003])
def test_without_held_out_rows_it_is_refused_as_nobody_knows(holdout: float, judge: Judge) -> None:
    found = judge(WAVE, holdout=holdout)
    assert found["holdout"]["rows"] == (1 if holdout else 0)
    assert not found["gate"]["passed"]
    (reason,) = found["gate"]["reasons"]
    assert "the network cannot be compared with the linear model" in reason
    assert "set generate.holdout, or beats_linear: null" in reason


@pytest.mark.parametrize("holdout", [0.0, 0.3])
def test_without_the_rule_quality_is_not_judged(holdout: float, judge: Judge) -> None:
    found = judge(WAVE, holdout=holdout, beats_linear=None)
    assert found["gate"]["passed"]
    assert found["gate"]["quality"] == "not judged"
    assert "**Gate passed (quality not judged)**" in VERDICT.read_text()


def test_the_users_own_rules_are_held_against_a_network_too(judge: Judge) -> None:
    found = judge(WAVE, min_r2=0.999, max_rmse=5.0, beats_mean=True, bend=0.01, normality=0.01)
    reasons = found["gate"]["reasons"]
    assert not found["gate"]["passed"]
    assert len([each for each in reasons if each.startswith("R² = ")]) == 1
    residuals = Results.read(Params.read())
    assert not residuals.gate.passed


def test_y_that_is_the_same_in_every_row_is_no_reason_for_a_network(judge: Judge) -> None:
    found = judge(lambda u, v: 0 * u + 4.5, noise=0.0)
    assert not found["gate"]["passed"]
    assert found["holdout"]["r2"] is None
    assert found["linear"]["rmse"] < 1e-12


def test_columns_that_follow_from_each_other_are_refused_by_name(
    judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(WAVE)
    capsys.readouterr()
    table = np.loadtxt("data/own/a.csv", delimiter=",", skiprows=1)
    table[:, 1] = 2 * table[:, 0] - 5
    np.savetxt("data/own/a.csv", table, delimiter=",", header="u,v,y", comments="", fmt="%.17g")
    assert main(["generate"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("knownline: error: generate.columns.x must name columns that are not")
    assert told.endswith("(got v, which is collinear with those before it)\n")
    assert told.count("\n") == 1
