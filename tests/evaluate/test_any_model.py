"""The evaluation and the gate of models with any number of parameters, against numpy and scipy."""

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from knownline.__main__ import main
from knownline.core.kinds import Parameters
from knownline.core.layout import HISTORY, METRICS, VERDICT
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate.gate import as_metrics, judge
from knownline.evaluate.statistics import Evaluation, assess, optimiser_error
from knownline.evaluate.verdict import description
from knownline.params import Evaluate
from samerun.core.flatten import flatten
from tests.conftest import ROOT
from tests.models import KINDS, design, drawn, least_squares, write_params

Array = npt.NDArray[np.float64]

RULES = Evaluate(z=4.0, optimiser_tolerance=1e-9)

every_model = pytest.mark.parametrize("name", KINDS)


def data_of(name: str, inputs: list[Array], y: Array) -> LeastSquares:
    """Return a model and its rows, compressed in three chunks."""
    kind, _ = KINDS[name]
    chunks = [np.array_split(each, 3) for each in (*kind.columns(inputs), y)]
    return LeastSquares(kind, compress([(terms, v) for *terms, v in zip(*chunks, strict=True)]))


def assessed(name: str, seed: int, steps: Array | float = 0.0) -> tuple[Evaluation, Array, Array]:
    """Return least squares moved by steps, assessed; the design matrix, and y."""
    kind, inputs, y = drawn(name, seed)
    _, held_inputs, held_y = drawn(name, seed + 1000, rows=20)
    train, truth = data_of(name, inputs, y), KINDS[name][1]
    values = least_squares(design(name, inputs), y) + steps
    found = assess(
        dict(zip(kind.names, values.tolist(), strict=True)),
        train=train,
        holdout=data_of(name, held_inputs, held_y),
        truth=truth,
        last_loss=2.0,
    )
    return found, design(name, inputs), y


def standard_errors(matrix: Array, y: Array) -> Array:
    """Return those of a regression's coefficients, by the normal equations in numpy."""
    rows, count = matrix.shape
    residual = y - matrix @ least_squares(matrix, y)
    variance = float(residual @ residual) / (rows - count)
    errors: Array = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)) * variance)
    return errors


@pytest.mark.parametrize("seed", range(3))
@every_model
def test_least_squares_standard_errors_and_distances_are_numpys(name: str, seed: int) -> None:
    found, matrix, y = assessed(name, seed)
    truth = KINDS[name][1]
    ols, se = least_squares(matrix, y), standard_errors(matrix, y)
    assert found.z is not None
    for values in (found.fitted, found.ols, found.se, found.z):
        assert list(values) == list(truth)
    np.testing.assert_allclose(list(found.ols.values()), ols, rtol=1e-9)
    np.testing.assert_allclose(list(found.se.values()), se, rtol=1e-9)
    expected = (ols - list(truth.values())) / se
    np.testing.assert_allclose(list(found.z.values()), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@every_model
def test_errors_on_rows_and_the_optimiser_error_are_numpys(name: str, seed: int) -> None:
    steps = np.random.default_rng(seed).normal(0.0, 0.01, len(KINDS[name][1]))
    found, matrix, y = assessed(name, seed, steps)
    fitted = np.array(list(found.fitted.values()))
    apart = np.sqrt(np.mean((matrix @ steps) ** 2)) / np.std(y)
    assert found.optimiser_error == pytest.approx(apart, rel=1e-8)
    _, held_inputs, held_y = drawn(name, seed + 1000, rows=20)
    held = design(name, held_inputs)
    for matrix_, y_, rmse, r2 in (
        (matrix, y, found.train_rmse, found.train_r2),
        (held, held_y, found.holdout_rmse, found.holdout_r2),
    ):
        mse = np.mean((y_ - matrix_ @ fitted) ** 2)
        assert rmse == pytest.approx(math.sqrt(mse), rel=1e-9)
        assert r2 == pytest.approx(1 - mse / np.var(y_), rel=1e-9)


@every_model
def test_least_squares_of_any_model_has_no_optimiser_error(name: str) -> None:
    _, inputs, y = drawn(name, 1)
    data = data_of(name, inputs, y)
    assert optimiser_error(data.solution, data) == 0.0


# The gate


@every_model
def test_the_gate_gives_a_reason_for_every_parameter_and_refuses_the_far_ones(name: str) -> None:
    found, matrix, y = assessed(name, 2)
    gate = judge(found, RULES)
    assert gate.passed
    names = list(KINDS[name][1])
    assert [reason.split()[0] for reason in gate.reasons[1:]] == names
    se = standard_errors(matrix, y)
    for far, its_name in enumerate(names):
        truth: Parameters = dict(found.ols)
        truth[its_name] -= 4.5 * float(se[far])
        _, inputs, _ = drawn(name, 2)
        moved = assess(
            found.ols, train=data_of(name, inputs, y), holdout=None, truth=truth, last_loss=2.0
        )
        refused = judge(moved, RULES)
        assert not refused.passed
        (reason,) = refused.reasons
        assert reason.startswith(f"{its_name} = ")
        assert "4.50 standard errors" in reason


@every_model
def test_metrics_have_the_numbers_of_every_parameter(name: str) -> None:
    found, *_ = assessed(name, 3)
    names = list(KINDS[name][1])
    metrics = as_metrics(found, judge(found, RULES))
    assert list(metrics)[: len(names)] == names
    assert found.z is not None
    groups = {"": found.fitted, "truth.": KINDS[name][1], "ols.": found.ols, "se.": found.se,
              "z.": found.z}  # fmt: skip
    expected = {f"{group}{key}": v for group, each in groups.items() for key, v in each.items()}
    others = {
        "optimiser_error", "rows", "train.rmse", "holdout.rows", "holdout.rmse", "holdout.r2",
        "gate.passed", "gate.reasons",
    }  # fmt: skip
    flat = flatten(metrics)
    assert {key: value for key, value in flat.items() if key not in others} == expected
    assert flat.keys() == expected.keys() | others


@every_model
def test_the_verdict_lists_every_parameter(name: str) -> None:
    found, *_ = assessed(name, 4)
    metrics = as_metrics(found, judge(found, RULES))
    rows = [line.split(" | ") for line in description(metrics).splitlines() if line[:2] == "| "]
    names = list(KINDS[name][1])
    assert [row[0].strip("| ") for row in rows[1:]] == names
    for row, each in zip(rows[1:], names, strict=True):
        assert float(row[1]) == pytest.approx(found.fitted[each], abs=0.05 * found.se[each])
        assert float(row[3]) == KINDS[name][1][each]


# The stages


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder the current one, in which stages may run."""
    monkeypatch.chdir(folder)
    for name in ("SAMERUN_LIVE", "SAMERUN_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    Path("dvc.yaml").write_text("stages: {}\n")


def test_the_shipped_line_keeps_every_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests are those of the last version that knew lines only, without the reasons."""
    run(tmp_path, monkeypatch)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for stage in ("generate", "train", "evaluate"):
        assert main([stage]) == 0
    metrics = json.loads(METRICS.read_text())
    del metrics["gate"]["reasons"]
    contents = HISTORY.read_bytes(), json.dumps(metrics, indent=2).encode()
    found = [hashlib.sha256(content).hexdigest() for content in contents]
    assert found == [
        "1e9f38feba64513a6d607ffd036b8402db6ccb7d1ac1d1a4fc74963b0deb95c7",
        "57ef49cab80761739731b96fbce1adb3c57bc19fadb62425dee13e03ea2c0930",
    ]


@pytest.mark.parametrize("model", ["quadratic", "plane"])
def test_the_stages_fit_and_judge_another_model(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, monkeypatch)
    params = write_params(model)
    for stage in ("generate", "train", "evaluate"):
        assert main([stage]) == 0
    assert "evaluate: reports/metrics.json and " in capsys.readouterr().out
    metrics: dict[str, Any] = json.loads(METRICS.read_text())
    for name, true in KINDS[model][1].items():
        assert abs(metrics[name] - true) <= 4 * metrics["se"][name]
        assert f"\n| {name} | " in VERDICT.read_text()
    assert metrics["rows"] + metrics["holdout"]["rows"] == params.generate.rows
    assert main(["summary"]) == 0
    shown = capsys.readouterr().out
    assert [f"    - {name} = " in shown for name in params.kind.names] == [True] * len(
        metrics["se"]
    )
    # A model file of another model is refused by name.
    write_params("line")
    assert main(["evaluate"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# By chance

SEEDS, ROWS, Z = 2_000, 1_000, 2.0


def test_the_gate_refuses_a_plane_as_often_as_the_normal_law_of_its_parameters_says() -> None:
    """The seed is fixed, so if the test passes once, it passes always."""
    random = np.random.default_rng(11)
    name = "plane"
    kind, truth = KINDS[name]
    inputs = [random.uniform(1.0, 9.0, ROWS) for _ in kind.inputs]
    matrix = design(name, inputs)
    rules = Evaluate(z=Z, optimiser_tolerance=1e-9)
    clean = matrix @ list(truth.values())
    distances, refusals = [], 0
    for noise in random.standard_normal((SEEDS, ROWS)):
        data = LeastSquares(kind, compress([(inputs, clean + 1.5 * noise)]))
        found = assess(data.solution, train=data, holdout=None, truth=truth, last_loss=2.0)
        assert found.z is not None
        distances.append(list(found.z.values()))
        refusals += not judge(found, rules).passed
    covariance = np.linalg.inv(matrix.T @ matrix)
    sd = np.sqrt(np.diag(covariance))
    law = stats.multivariate_normal(np.zeros(4), covariance / np.outer(sd, sd), seed=1)
    within = float(law.cdf(np.full(4, Z), lower_limit=np.full(4, -Z)))
    assert stats.binomtest(refusals, SEEDS, 1 - within).pvalue > 1e-3
    for column in np.array(distances).T:
        assert stats.kstest(column, stats.t(ROWS - 4).cdf).pvalue > 1e-3
