"""A user's rules of quality: what each refuses, at its limit too, and what is said without any."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from knownline.__main__ import main
from knownline.core.errors import ParamsError
from knownline.core.kinds import Linear
from knownline.core.layout import METRICS, VERDICT
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate import residuals
from knownline.evaluate.gate import as_metrics, judge
from knownline.evaluate.residuals import SAMPLES, Check
from knownline.evaluate.statistics import Evaluation
from knownline.model import LINE, PLANE, QUADRATIC
from knownline.params import Evaluate, Params
from tests.conftest import ROOT
from tests.evaluate.test_gate import GOOD, NO_TRUTH
from tests.models import write_params

Array = npt.NDArray[np.float64]

NONE_HELD_OUT = replace(NO_TRUTH, holdout_rows=0, holdout_rmse=None, holdout_r2=None)

either_set = pytest.mark.parametrize("held_out", [True, False])


def rules(**more: Any) -> Evaluate:
    return Evaluate(z=4.0, optimiser_tolerance=1e-9, **more)


def with_errors(*, held_out: bool, r2: float | None = 0.9, rmse: float | None = 1.5) -> Evaluation:
    """Return a fit with these errors on held-out rows, and good ones on the others; or with none.

    Without held-out rows the training rows have the errors.
    """
    if held_out:
        return replace(NO_TRUTH, holdout_r2=r2, holdout_rmse=rmse, train_r2=0.9999, train_rmse=1e-3)
    return replace(NONE_HELD_OUT, train_r2=r2, train_rmse=rmse or 0.0)


def reason(found: Evaluation, limits: Evaluate, *, passes: bool, checks: Any = ()) -> str:
    """Return the one reason that a rule of quality gives."""
    gate = judge(found, limits, checks=checks)
    assert gate.passed is passes, gate.reasons
    assert gate.quality_judged
    assert len(gate.reasons) == 1 + passes  # a gate that passes says that the fit has converged
    return gate.reasons[-1]


# Errors


@either_set
@pytest.mark.parametrize("limit", [0.9, -0.25, 0.0])
def test_r2_of_exactly_the_limit_passes_and_the_number_below_does_not(
    held_out: bool, limit: float
) -> None:
    where = "held-out rows" if held_out else "the training rows"
    for r2, passes in (
        (limit, True),
        (math.nextafter(limit, 1), True),
        (math.nextafter(limit, -1), False),
        (0.999999, True),
        (-3.0, False),
    ):
        found = with_errors(held_out=held_out, r2=r2)
        assert f" on {where} (min_r2 " in reason(found, rules(min_r2=limit), passes=passes)


@either_set
@pytest.mark.parametrize("limit", [1.5, 1e-9])
def test_an_rmse_of_exactly_the_limit_passes_and_the_number_above_does_not(
    held_out: bool, limit: float
) -> None:
    where = "held-out rows" if held_out else "the training rows"
    for rmse, passes in (
        (limit, True),
        (math.nextafter(limit, 0), True),
        (math.nextafter(limit, 9), False),
        (9.0, False),
    ):
        found = with_errors(held_out=held_out, rmse=rmse)
        assert f" on {where} (max_rmse " in reason(found, rules(max_rmse=limit), passes=passes)


@either_set
@pytest.mark.parametrize(
    ("r2", "passes"), [(1e-300, True), (0.9, True), (0.0, False), (-0.1, False)]
)
def test_the_mean_is_beaten_by_any_smaller_error(held_out: bool, r2: float, passes: bool) -> None:
    found = with_errors(held_out=held_out, r2=r2)
    said = reason(found, rules(beats_mean=True), passes=passes)
    assert ("is smaller than" in said) is passes
    assert ("is not smaller than" in said) is not passes
    assert ("held-out rows" in said) is held_out


@either_set
@pytest.mark.parametrize("rule", [{"min_r2": -9.0}, {"beats_mean": True}])
def test_an_r2_that_is_not_known_meets_no_rule(held_out: bool, rule: dict[str, Any]) -> None:
    """Held-out rows have no R² if there is one only, or their y are equal."""
    reason(with_errors(held_out=held_out, r2=None), rules(**rule), passes=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("held_out", [True, False])
def test_errors_that_are_not_finite_are_refused(held_out: bool, value: float) -> None:
    limits = rules(min_r2=-9.0, max_rmse=9.0, beats_mean=True)
    for errors in ({"r2": value, "rmse": value}, {"r2": -math.inf, "rmse": math.inf}):
        found = with_errors(held_out=held_out, **errors)
        gate = judge(found, limits)
        assert not gate.passed
        json.dumps(as_metrics(found, gate), allow_nan=False)


@pytest.mark.parametrize(
    ("r2", "limit"),
    [(0.946, 0.95), (0.95, 0.946), (0.9475, 0.948), (0.9504, 0.95), (0.5, 0.5 + 1e-12),
     (0.99, 0.9904), (0.995, 0.99501)],
)  # fmt: skip
def test_a_value_in_words_lies_on_the_side_of_its_limit_that_it_does(
    r2: float, limit: float
) -> None:
    found = with_errors(held_out=True, r2=r2, rmse=r2)
    for limits in (rules(min_r2=limit), rules(max_rmse=limit)):
        gate = judge(found, limits)
        value, asked = re.findall(r"(?:= |\(m\w+ )([\d.]+)", gate.reasons[-1])
        assert np.sign(float(value) - float(asked)) == np.sign(r2 - limit)


def test_every_rule_that_is_broken_is_a_reason_and_a_truth_is_judged_beside_them() -> None:
    limits = rules(min_r2=0.9995, max_rmse=1.0, beats_mean=True)
    gate = judge(GOOD, limits)
    assert not gate.passed
    assert [each.partition(" ")[0] for each in gate.reasons] == ["R²", "RMSE"]
    gate = judge(GOOD, rules(min_r2=0.9, max_rmse=2.0, beats_mean=True))
    assert gate.passed
    assert [each.partition(" ")[0] for each in gate.reasons] == [
        *("the", "w", "b"), *("R²", "RMSE", "the"),
    ]  # fmt: skip


# Residuals


def check(key: str, as_much: int) -> Check:
    return Check(key, "a departure", "n·r²", 1.0, as_much)


@pytest.mark.parametrize("key", ["bend", "scatter", "normality"])
@pytest.mark.parametrize("level", [0.001, 0.05, 100 / 1001])
def test_a_p_value_of_the_level_passes_and_one_sample_less_does_not(key: str, level: float) -> None:
    least = math.ceil(level * (SAMPLES + 1)) - 1  # p is (samples as extreme + 1) / (all + 1)
    for as_much, passes in ((SAMPLES, True), (least, True), (least - 1, False)):
        if as_much >= 0:
            found = reason(
                NO_TRUTH, rules(**{key: level}), passes=passes, checks=[check(key, as_much)]
            )
            p, asked = re.findall(r"(?:p = |\(level )([\d.]+)", found)
            assert float(asked) == pytest.approx(level, rel=1e-14)
            assert (float(p) >= level) is passes


def test_a_level_that_no_number_of_samples_reaches_is_refused() -> None:
    text = (ROOT / "params.yaml").read_text()
    for key in ("bend", "scatter", "normality"):
        Params.parse(text.replace(f"  {key}: null", f"  {key}: 0.001"))
        with pytest.raises(ParamsError, match=rf"evaluate\.{key} must be 0\.001 or more"):
            Params.parse(text.replace(f"  {key}: null", f"  {key}: 0.0009"))


@pytest.mark.parametrize("key", ["bend", "scatter", "normality"])
def test_residuals_that_cannot_be_tested_meet_no_rule(key: str) -> None:
    assert f"no test for {key} " in reason(NO_TRUTH, rules(**{key: 0.01}), passes=False)


def test_where_the_model_follows_any_bend_the_rule_is_met() -> None:
    others = [check("scatter", 500), check("normality", 500)]
    reason(NO_TRUTH, rules(bend=0.05), passes=True, checks=others)


def examined(kind: Linear, inputs: list[Array], y: Array) -> list[Check]:
    """Return the checks of the residuals of least squares."""
    data = LeastSquares(kind, compress([(kind.columns(inputs), y)]))
    return residuals.examine(inputs, y, data.solution, data).checks


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (LINE, ("bend", "scatter", "normality")),
        (QUADRATIC, ("scatter", "normality")),
        (PLANE(("u", "v")), ("bend", "scatter", "normality")),
    ],
    ids=["line", "quadratic", "plane"],
)
def test_of_pure_noise_each_rule_refuses_as_often_as_its_level(
    kind: Linear, keys: tuple[str, ...]
) -> None:
    seeds, level = 200, 0.05
    refused = dict.fromkeys(keys, 0)
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        inputs = [random.uniform(1.0, 9.0, 40) for _ in kind.inputs]
        checks = examined(kind, inputs, random.standard_normal(40))
        for key in keys:
            refused[key] += not judge(NO_TRUTH, rules(**{key: level}), checks=checks).passed
    for key, count in refused.items():
        assert stats.binomtest(count, seeds, level).pvalue > 1e-3, (key, count)


Noise = Callable[[np.random.Generator, Array], Array]


def bent(random: np.random.Generator, x: Array) -> Array:
    return 0.5 * (x - 5) ** 2 + random.standard_normal(len(x))


def fan(random: np.random.Generator, x: Array) -> Array:
    return x * random.standard_normal(len(x))


def heavy(random: np.random.Generator, x: Array) -> Array:
    return random.standard_t(2, len(x))


def normal(random: np.random.Generator, x: Array) -> Array:
    return random.standard_normal(len(x))


DEPARTURES: dict[str, Noise] = {"bend": bent, "scatter": fan, "normality": heavy}
"""What each rule is there for."""


@pytest.mark.parametrize("kind", [LINE, PLANE(("u", "v"))], ids=["line", "plane"])
@pytest.mark.parametrize("key", DEPARTURES)
@pytest.mark.parametrize("seed", range(3))
def test_each_rule_refuses_what_it_is_there_for_and_lets_normal_noise_pass(
    kind: Linear, key: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.uniform(1.0, 9.0, 400) for _ in kind.inputs]
    level = 3.0 * sum(inputs)
    limits = rules(**{key: 0.001})
    for what, passes in ((DEPARTURES[key], False), (normal, True)):
        checks = examined(kind, inputs, level + what(random, inputs[0]))
        said = reason(NO_TRUTH, limits, passes=passes, checks=checks)
        assert said.startswith("residuals: ")
        assert "(level 0.001)" in said


# The stages


@pytest.fixture
def evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return what fits a model to a table and judges it; it returns reports/verdict.md."""
    monkeypatch.chdir(tmp_path)
    for name in ("SAMERUN_LIVE", "SAMERUN_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("data/own").mkdir(parents=True)

    def run(
        model: str, noise: Noise = normal, *, holdout: float = 0.2, truth: Any = None, **more: Any
    ) -> str:
        random = np.random.default_rng(4)
        x = np.round(random.uniform(1.0, 9.0, 300), 3)
        frame = pd.DataFrame({"x": x, "y": 2.0 * x + 7.0 + noise(random, x)})
        frame.to_csv("data/own/t.csv", index=False)
        generate = {"table": "data/own/t.csv", "holdout": holdout}
        write_params(model, truth=truth, generate=generate, evaluate=more)
        for stage in ("generate", "train", "evaluate"):
            assert main([stage]) == 0
        capsys.readouterr()
        return VERDICT.read_text()

    return run


def said_of_quality(capsys: pytest.CaptureFixture[str]) -> list[bool]:
    """Return whether each of the places says that the quality was not judged."""
    gate = json.loads(METRICS.read_text())["gate"]
    assert gate.get("quality", "not judged") == "not judged"
    assert main(["summary"]) == 0
    texts = [VERDICT.read_text(), capsys.readouterr().out]
    verdicts = ["passed (converged; quality not judged)" in text for text in texts]
    assert verdicts == ["quality not judged: truth is null" in text for text in texts]
    return ["quality" in gate, *verdicts]


RULES: list[dict[str, Any]] = [
    {"min_r2": 0.5},
    {"min_r2": 0.0},
    {"max_rmse": 5.0},
    {"beats_mean": True},
    {"bend": 0.001},
    {"scatter": 0.001},
    {"normality": 0.001},
]


@pytest.mark.parametrize("holdout", [0.2, 0.0])
@pytest.mark.parametrize("truth", [None, {"w": 2.0, "b": 7.0}])
@pytest.mark.parametrize("rule", [{}, *RULES], ids=str)
def test_quality_is_not_judged_exactly_where_there_is_neither_a_truth_nor_a_rule(
    holdout: float,
    truth: Any,
    rule: dict[str, Any],
    evaluated: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluated("line", holdout=holdout, truth=truth, **rule)
    assert json.loads(METRICS.read_text())["gate"]["passed"]
    unjudged = truth is None and not rule
    assert said_of_quality(capsys) == [unjudged] * 3


@pytest.mark.parametrize(
    "rule", [{"min_r2": 0.999}, {"max_rmse": 0.1}, {"min_r2": 0.999, "max_rmse": 0.1}], ids=str
)
@pytest.mark.parametrize("holdout", [0.2, 0.0])
def test_a_rule_that_is_broken_refuses_in_every_place(
    rule: dict[str, Any],
    holdout: float,
    evaluated: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = evaluated("line", holdout=holdout, **rule)
    gate = json.loads(METRICS.read_text())["gate"]
    assert not gate["passed"]
    assert len(gate["reasons"]) == len(rule)
    assert said_of_quality(capsys) == [False] * 3
    assert "**Gate failed**" in text
    assert all(each in text for each in gate["reasons"])


def test_a_fit_that_has_not_converged_is_refused_though_its_quality_is_not_judged(
    evaluated: Callable[..., str],
) -> None:
    text = evaluated("line", optimiser_tolerance=1e-300)
    assert "Gate passed" in text  # a rounding error is always allowed
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("epochs: 100", "epochs: 3"))
    assert main(["train"]) == 0
    assert main(["evaluate"]) == 0
    gate = json.loads(METRICS.read_text())["gate"]
    assert (gate["passed"], gate["quality"]) == (False, "not judged")


def test_a_bend_refuses_a_line_and_passes_a_quadratic(evaluated: Callable[..., str]) -> None:
    failed = evaluated("line", bent, bend=0.001)
    assert "Gate failed**\n\n- residuals: a bend that the model does not follow, p = " in failed
    assert "Gate passed**" in evaluated("quadratic", bent, bend=0.001)


@pytest.mark.parametrize("key", ["scatter", "normality"])
def test_noise_that_is_not_the_same_everywhere_or_not_normal_is_refused(
    key: str, evaluated: Callable[..., str]
) -> None:
    noise = DEPARTURES[key]
    assert "Gate failed**\n\n- residuals: " in evaluated("line", noise, **{key: 0.001})
    assert "Gate passed" in evaluated("line", noise)
    assert "Gate passed" in evaluated("line", **{key: 0.001})
