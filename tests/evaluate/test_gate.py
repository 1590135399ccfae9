"""The gate: what fails it, why, and what it advises."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from knownline.core.history import History
from knownline.evaluate.gate import Convergence, Gate, as_metrics, judge
from knownline.evaluate.statistics import Evaluation, assess
from knownline.params import Evaluate, Params, Train
from samerun.core.flatten import flatten
from tests.conftest import ROOT
from tests.models import at, data_of, line

TRUTH = line(20.0, 5.0)
RULES = Evaluate(z=4.0, optimiser_tolerance=1e-9)

GOOD = Evaluation(
    fitted=line(20.0, 5.5),
    ols=line(20.0, 5.5),
    truth=TRUTH,
    se=line(0.0625, 0.25),
    z=line(0.0, 2.0),
    optimiser_error=1e-15,
    optimiser_rounding=4e-15,
    rows=79,
    train_rmse=1.5,
    train_r2=0.998,
    holdout_rows=20,
    holdout_rmse=1.25,
    holdout_r2=0.999,
    last_loss=2.25,
)
NO_TRUTH = replace(GOOD, truth=None, z=None)

NOT_CONVERGED = "the optimiser has not converged"


def reasons_of_failure(found: Evaluation, rules: Evaluate = RULES) -> list[str]:
    gate = judge(found, rules)
    assert not gate.passed
    assert gate.reasons
    return gate.reasons


def at_z(w: float, b: float) -> Evaluation:
    """Return a fit w and b standard errors away from the truth, in numbers without rounding."""
    se = GOOD.se
    fitted = line(TRUTH["w"] + w * se["w"], TRUTH["b"] + b * se["b"])
    return replace(GOOD, fitted=fitted, ols=fitted, z=line(w, b))


def training(**changed: Any) -> Train:
    """Return the training of the shipped params.yaml with some keys changed."""
    shipped = Params.parse((ROOT / "params.yaml").read_text()).train
    return shipped.model_copy(update=changed)


# Reasons


def test_a_good_fit_passes_with_its_distances() -> None:
    assert judge(GOOD, RULES) == Gate(
        passed=True,
        reasons=[
            "the optimiser converged: the fit is 1e-15 (relative) from least squares"
            " (tolerance 1e-9)",
            "w = 20.000 ± 0.062 is 0 standard errors from the true value 20 (limit 4)",
            "b = 5.50 ± 0.25 is 2.00 standard errors from the true value 5 (limit 4)",
        ],
    )


def test_without_a_truth_the_gate_says_so() -> None:
    gate = judge(NO_TRUTH, RULES)
    assert gate.passed
    assert "truth is null" in gate.reasons[1]
    (reason,) = reasons_of_failure(replace(NO_TRUTH, optimiser_error=1e-3))
    assert NOT_CONVERGED in reason


def test_a_table_far_from_the_truth_is_advised_to_have_none() -> None:
    """The shipped truth stays in params.yaml when a user only names a table."""
    hint = "write `truth: null`"
    table = "data/own/t.csv"
    _, advice = judge(at_z(5.0, 0.0), RULES, table=table).reasons
    assert table in advice
    assert hint in advice
    assert len(judge(at_z(5.0, 0.0), RULES).reasons) == 1
    not_converged = judge(replace(GOOD, optimiser_error=1.0), RULES, table=table)
    assert not any(hint in reason for reason in not_converged.reasons)
    assert judge(GOOD, RULES, table=table) == judge(GOOD, RULES)


@pytest.mark.parametrize(
    "holdout",
    [{"holdout_rows": 0, "holdout_rmse": None, "holdout_r2": None}, {"holdout_r2": None}],
)
def test_a_fit_passes_without_a_holdout_and_without_r2(holdout: dict[str, Any]) -> None:
    assert judge(replace(GOOD, **holdout), RULES).passed


def test_a_refusal_gives_every_reason_and_no_other() -> None:
    found = replace(at_z(5.0, -6.0), optimiser_error=0.002, last_loss=math.nan)
    reasons = reasons_of_failure(found)
    assert len(reasons) == 4
    assert "last loss" in reasons[0]
    assert NOT_CONVERGED in reasons[1]
    assert [reason.split()[0] for reason in reasons[2:]] == ["w", "b"]


def test_a_fit_that_has_not_converged_separates_the_samples_part_of_the_distance() -> None:
    found = replace(at_z(-5.0, 0.0), ols=line(20.0625, 5.0), optimiser_error=0.002)
    _, reason = reasons_of_failure(found)
    assert "5.00 standard errors" in reason
    assert "(of these, 1.00 are sampling error)" in reason


def test_the_truth_has_the_digits_it_was_given() -> None:
    found = replace(GOOD, truth=line(20.1234567, 5.0), z=line(0.0, 0.0))
    assert "from the true value 20.1234567 (" in judge(found, RULES).reasons[1]


# Limits


@pytest.mark.parametrize("limit", [4.0, 0.5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["w", "b"])
def test_a_distance_of_exactly_the_limit_passes_and_the_next_number_does_not(
    name: str, sign: float, limit: float
) -> None:
    def at(z: float) -> Evaluation:
        return replace(GOOD, z=line(sign * z, 0.0) if name == "w" else line(0.0, sign * z))

    rules = Evaluate(z=limit, optimiser_tolerance=1e-9)
    assert judge(at(limit), rules).passed
    (reason,) = reasons_of_failure(at(math.nextafter(limit, 5.0)), rules)
    assert reason.startswith(f"{name} = ")


@pytest.mark.parametrize("limit", [1e-9, 1e-7])
def test_an_optimiser_error_of_exactly_the_tolerance_passes_and_the_next_number_does_not(
    limit: float,
) -> None:
    rules = Evaluate(z=4.0, optimiser_tolerance=limit)
    assert judge(replace(GOOD, optimiser_error=limit), rules).passed
    reasons_of_failure(replace(GOOD, optimiser_error=math.nextafter(limit, 1.0)), rules)


def test_the_rounding_of_float64_is_allowed_beyond_the_tolerance() -> None:
    gate = judge(replace(GOOD, optimiser_error=1e-8, optimiser_rounding=1e-6), RULES)
    assert gate.passed
    assert "float64" in gate.reasons[0]


# Numbers that are not finite


BROKEN: dict[str, tuple[Callable[[float], Evaluation], str]] = {
    "fitted.w": (lambda v: replace(GOOD, fitted=line(v, 5.5)), r"^w is not a finite number"),
    "fitted.b": (lambda v: replace(GOOD, fitted=line(20.0, v)), r"^b is not a finite number"),
    "ols.w": (lambda v: replace(GOOD, ols=line(v, 5.5)), r"^the least-squares w is not a finite"),
    "ols.b": (lambda v: replace(GOOD, ols=line(20.0, v)), r"^the least-squares b is not a finite"),
    "se.w": (
        lambda v: replace(GOOD, se=line(v, 0.25)),
        r"^the standard error of w is not a fin",
    ),
    "se.b": (
        lambda v: replace(GOOD, se=line(0.06, v)),
        r"^the standard error of b is not a fin",
    ),
    "z.w": (
        lambda v: replace(GOOD, z=line(v, 0.0)),
        r"^w = 20.000 .*(nan|inf) standard errors",
    ),
    "z.b": (
        lambda v: replace(GOOD, z=line(0.0, v)),
        r"^b = 5.50 .*(nan|inf) standard errors",
    ),
    "optimiser_error": (lambda v: replace(GOOD, optimiser_error=v), NOT_CONVERGED),
    "train_rmse": (lambda v: replace(GOOD, train_rmse=v), r"^the training RMSE is not a finite"),
    "holdout_rmse": (lambda v: replace(GOOD, holdout_rmse=v), r"^the holdout RMSE is not a fini"),
    "holdout_r2": (lambda v: replace(GOOD, holdout_r2=v), r"R² is not a finite number"),
    "last_loss": (lambda v: replace(GOOD, last_loss=v), r"^the last loss is not a finite number"),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", BROKEN)
def test_a_number_that_is_not_finite_is_refused_by_name_and_is_null_in_metrics(
    field: str, value: float
) -> None:
    broken, reason = BROKEN[field]
    found = broken(value)
    reasons = reasons_of_failure(found)
    assert any(re.search(reason, each) for each in reasons)
    json.dumps(as_metrics(found, Gate(passed=False, reasons=reasons)), allow_nan=False)
    if field[0] != "z":
        reasons_of_failure(replace(found, truth=None, z=None))


def test_a_number_that_is_missing_is_refused() -> None:
    (reason,) = reasons_of_failure(replace(GOOD, holdout_rmse=None))
    assert "holdout RMSE" in reason
    reasons_of_failure(replace(GOOD, z=None))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_line_that_is_not_finite_is_refused_when_it_is_assessed(value: float) -> None:
    x = np.arange(1.0, 30.0)
    rows = data_of(x, at(TRUTH, x) + np.cos(x))
    for fitted in (line(value, 5.0), line(20.0, value), line(value, value)):
        for truth in (TRUTH, None):
            found = assess(fitted, train=rows, holdout=rows, truth=truth, last_loss=2.0)
            gate = judge(found, RULES)
            assert not gate.passed
            json.dumps(as_metrics(found, gate), allow_nan=False)


# Advice


def advice(error: float, train: Train | None = None, convergence: Convergence | None = None) -> str:
    """Return what the gate advises about an optimiser error."""
    gate = judge(replace(GOOD, optimiser_error=error), RULES, train, convergence)
    (words,) = re.findall(rf"{NOT_CONVERGED} \((.*)\)$", gate.reasons[0])
    return str(words)


def test_a_fit_that_diverges_is_advised_to_use_a_smaller_learning_rate() -> None:
    assert advice(1e70) == "a smaller learning rate?"


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (None, "more epochs? a learning rate below 1? standardize? float64?"),
        (training(), "more epochs?"),
        (training(learning_rate=1.0), "a learning rate below 1?"),
        (training(standardize=False, learning_rate=1e-5), "more epochs? standardize?"),
        (training(dtype="float32"), "more epochs? float64?"),
    ],
)
def test_advice_names_only_what_the_training_does_not_do_yet(
    train: Train | None, words: str
) -> None:
    assert advice(0.002, train) == words


FLOAT32 = training(dtype="float32")


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        (FLOAT32, 5e-8, "float64? optimiser_tolerance 1.0e-6?"),
        (FLOAT32, 3e-6, "float64? optimiser_tolerance 1.0e-5?"),
        (FLOAT32, 0.02, "float64? a larger learning rate?"),
        (training(), 0.02, "a larger learning rate?"),
    ],
)
def test_an_optimiser_that_stands_still_is_not_advised_more_epochs(
    train: Train, error: float, words: str
) -> None:
    still = Convergence("stands still")
    assert advice(error, train, still).endswith(words)
    assert "more epochs?" not in advice(error, train, still)


@pytest.mark.parametrize("trend", ["shrinks", "grows"])
def test_an_optimiser_that_moves_is_advised_more_epochs(trend: Any) -> None:
    assert advice(5e-8, FLOAT32, Convergence(trend)) == "more epochs? float64?"


@pytest.mark.parametrize(
    ("trend", "optimizer", "rate", "words"),
    [
        ("shrinks", "gd", 0.25, "train.optimizer lbfgs? more epochs?"),
        ("grows", "adam", 1.0, "train.optimizer lbfgs? more epochs?"),
        ("shrinks", "lbfgs", 1.0, "more epochs? an x nearer to 0? another start in model.py?"),
        ("stands still", "gd", 1.0, "train.optimizer lbfgs?"),
        ("stands still", "lbfgs", 0.25, "it no longer moves: a larger learning rate?"),
        ("stands still", "lbfgs", 1.0, "an x nearer to 0? another start in model.py?"),
    ],
)
def test_a_model_that_is_not_linear_is_advised_lbfgs_and_never_nothing(
    trend: Any, optimizer: str, rate: float, words: str
) -> None:
    train = training(optimizer=optimizer, learning_rate=rate)
    assert advice(1e-6, train, Convergence(trend, linear=False)) == words


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_only_plain_descent_of_a_line_is_advised_a_rate_below_1(optimizer: str) -> None:
    assert advice(1e-6, training(optimizer=optimizer, learning_rate=1.0)) == "more epochs?"


def test_another_loss_is_advised_another_tolerance() -> None:
    assert "optimiser_tolerance?" in advice(0.01, None, Convergence(squared=False))


# Convergence


def converged(w: list[float], b: list[float], loss: float = 0.0) -> Convergence:
    x = np.array([-1.0, 0.0, 1.0])
    data = data_of(x, 2 * x + 1)  # the mean squared error of (0, 0) is 11/3
    return Convergence.of(History(("w", "b"), np.full(len(w), loss), np.array([w, b])), data)


@pytest.mark.parametrize(
    ("w", "trend"),
    [
        ([1.0], "shrinks"),
        ([1.0, 1.5, 1.75], "shrinks"),
        ([1.75, 1.5, 1.0], "grows"),
        ([1.0, 1.5, 1.5], "stands still"),
        ([1.0, 1.5, 1.4, 1.5, 1.4], "stands still"),
        ([1.0 + 1e-12 * n for n in range(100)], "shrinks"),
    ],
)
def test_an_optimiser_stands_still_when_it_comes_back_to_where_it_was(
    w: list[float], trend: str
) -> None:
    assert converged(w, [1.0] * len(w)).trend == trend


def test_an_optimiser_that_still_moves_in_b_does_not_stand_still() -> None:
    assert converged([2.0, 2.0, 2.0], [0.5, 0.6, 0.7]).trend == "shrinks"


@pytest.mark.parametrize(("first", "squared"), [(11 / 3, True), (11 / 6, False), (5 / 3, False)])
def test_the_first_loss_shows_whether_it_is_the_mean_squared_error(
    first: float, squared: bool
) -> None:
    """Half of it is torch's 0.5 r²; 5/3 is the mean absolute error of (0, 0)."""
    assert converged([1.0], [1.0], first).squared is squared


# metrics.json


def test_metrics_have_these_names_and_the_numbers_of_the_evaluation() -> None:
    found = replace(GOOD, optimiser_error=1.23456e-10)
    metrics = flatten(as_metrics(found, Gate(passed=False, reasons=["because"])))
    assert metrics == {
        "w": 20.0, "b": 5.5, "truth.w": 20.0, "truth.b": 5.0, "ols.w": 20.0, "ols.b": 5.5,
        "se.w": 0.0625, "se.b": 0.25, "z.w": 0.0, "z.b": 2.0,
        "optimiser_error": 1.235e-10,  # four digits: MLflow's table cuts off an exponent after more
        "rows": 79, "train.rmse": 1.5, "holdout.rows": 20, "holdout.rmse": 1.25,
        "holdout.r2": 0.999, "gate.passed": False, "gate.reasons": ["because"],
    }  # fmt: skip


def test_what_is_unknown_is_null_in_metrics() -> None:
    found = replace(NO_TRUTH, holdout_rows=0, holdout_rmse=None, holdout_r2=None)
    metrics = flatten(as_metrics(found, judge(found, RULES)))
    unknown = {name for name, value in metrics.items() if value is None}
    assert unknown == {"truth.w", "truth.b", "z.w", "z.b", "holdout.rmse", "holdout.r2"}
