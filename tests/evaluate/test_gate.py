"""The gate: what it refuses, what it says, and how often it refuses by chance."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.evaluate.statistics import (
    Coefficients,
    Evaluation,
    Gate,
    Way,
    as_metrics,
    assess,
    judge,
)
from knownline.generate import draw
from knownline.params import Columns, Evaluate, Generate, Noise, Params, Spacing
from knownline.train import descent
from knownline.train.descent import Scaling
from tests.conftest import ROOT

TRUTH = Line(20.0, 5.0)
RULES = Evaluate(z=4.0, optimiser_tolerance=1e-9)

GOOD = Evaluation(
    line=Line(20.0, 5.5),
    ols=Line(20.0, 5.5),
    truth=TRUTH,
    se=Coefficients(0.0625, 0.25),
    z=Coefficients(0.0, 2.0),
    optimiser_error=1e-15,
    optimiser_rounding=4e-15,
    rows=79,
    train_rmse=1.5,
    holdout_rows=20,
    holdout_rmse=1.25,
    holdout_r2=0.999,
    last_loss=2.25,
)


def refused(found: Evaluation, rules: Evaluate = RULES) -> list[str]:
    gate = judge(found, rules)
    assert not gate.passed
    assert gate.reasons
    return gate.reasons


def at_z(w: float, b: float) -> Evaluation:
    """Return a fit w and b standard errors away from the truth, in numbers without rounding."""
    line = Line(TRUTH.w + w * GOOD.se.w, TRUTH.b + b * GOOD.se.b)
    return replace(GOOD, line=line, ols=line, z=Coefficients(w, b))


# In order


def test_a_good_fit_passes_and_is_told_why() -> None:
    assert judge(GOOD, RULES) == Gate(
        passed=True,
        reasons=[
            "the fit lies 1e-15 (relative) from least squares; 1e-9 is allowed",
            "w = 20.000 lies 0 standard errors (0.062 each) from the true 20; 4 are allowed",
            "b = 5.50 lies 2.00 standard errors (0.25 each) from the true 5; 4 are allowed",
        ],
    )


def test_without_a_truth_the_gate_says_so() -> None:
    gate = judge(replace(GOOD, truth=None, z=None), RULES)
    assert gate.passed
    assert gate.reasons == [
        "the fit lies 1e-15 (relative) from least squares; 1e-9 is allowed",
        "there is no truth to hold the fit against (truth: null)",
    ]


def test_a_table_far_from_the_truth_is_told_that_it_need_not_have_one() -> None:
    """The shipped truth, w = 20 and b = 5, stays where somebody only names a table."""
    hint = "data/own/t.csv is held against the truth in params.yaml: write `truth: null` where"
    gate = judge(at_z(5.0, 0.0), RULES, table="data/own/t.csv")
    assert len(gate.reasons) == 2
    assert gate.reasons[1].startswith(hint)
    assert len(judge(at_z(5.0, 0.0), RULES).reasons) == 1
    far = judge(replace(GOOD, optimiser_error=1.0), RULES, table="data/own/t.csv")
    assert not any(hint in reason for reason in far.reasons)
    assert judge(GOOD, RULES, table="data/own/t.csv") == judge(GOOD, RULES)


def test_without_a_truth_the_optimiser_is_judged_all_the_same() -> None:
    (reason,) = refused(replace(GOOD, truth=None, z=None, optimiser_error=1e-3))
    assert "the optimiser has not arrived" in reason


def test_without_a_holdout_a_good_fit_passes() -> None:
    assert judge(replace(GOOD, holdout_rows=0, holdout_rmse=None, holdout_r2=None), RULES).passed


def test_a_holdout_without_r2_passes() -> None:
    assert judge(replace(GOOD, holdout_rows=1, holdout_r2=None), RULES).passed


# The border


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["w", "b"])
def test_the_border_itself_is_allowed_and_the_next_number_is_not(name: str, sign: float) -> None:
    def away(z: float) -> Evaluation:
        return replace(
            GOOD, z=Coefficients(sign * z, 0.0) if name == "w" else Coefficients(0.0, sign * z)
        )

    assert judge(away(4.0), RULES).passed
    assert judge(away(math.nextafter(4.0, 0.0)), RULES).passed
    (reason,) = refused(away(math.nextafter(4.0, 5.0)))
    assert reason.startswith(f"{name} = ")


def test_the_allowed_optimiser_error_itself_is_allowed_and_the_next_number_is_not() -> None:
    assert judge(replace(GOOD, optimiser_error=1e-9), RULES).passed
    assert not judge(replace(GOOD, optimiser_error=math.nextafter(1e-9, 1.0)), RULES).passed


@pytest.mark.parametrize(("z", "passes"), [(1.9, False), (2.0, True), (5.0, True), (0.5, False)])
def test_the_border_is_the_one_of_the_parameters(z: float, passes: bool) -> None:
    assert judge(GOOD, Evaluate(z=z, optimiser_tolerance=1e-9)).passed == passes


@pytest.mark.parametrize(("error", "passes"), [(1e-7, True), (2e-7, False)])
def test_the_tolerance_is_the_one_of_the_parameters(error: float, passes: bool) -> None:
    found = replace(GOOD, optimiser_error=error)
    assert judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-7)).passed == passes


@pytest.mark.parametrize(("error", "passes"), [(4e-15, True), (5e-15, False)])
def test_what_float64_leaves_is_allowed_whatever_the_tolerance(error: float, passes: bool) -> None:
    found = replace(GOOD, optimiser_error=error)
    assert judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-18)).passed == passes


def test_a_refusal_tells_the_optimisers_part_from_the_samples() -> None:
    found = replace(at_z(6.0, 0.0), ols=Line(20.0625, 5.0), optimiser_error=0.01)
    assert any("(of these, 1.00 are the sample's)" in reason for reason in refused(found))


# Refused, in words


@pytest.mark.parametrize("z", [5.0, -5.0])
def test_gate_refuses_a_slope_five_standard_errors_away(z: float) -> None:
    fitted = {5.0: "20.312", -5.0: "19.688"}[z]
    assert refused(at_z(z, 0.0)) == [
        f"w = {fitted} lies 5.00 standard errors (0.062 each) from the true 20; 4 are allowed"
    ]


@pytest.mark.parametrize("z", [5.0, -5.0])
def test_gate_refuses_an_intercept_five_standard_errors_away(z: float) -> None:
    fitted = {5.0: "6.25", -5.0: "3.75"}[z]
    assert refused(at_z(0.0, z)) == [
        f"b = {fitted} lies 5.00 standard errors (0.25 each) from the true 5; 4 are allowed"
    ]


def test_gate_refuses_an_optimiser_that_has_not_arrived() -> None:
    assert refused(replace(GOOD, optimiser_error=0.002)) == [
        "the fit lies 0.002 (relative) from least squares; 1e-9 is allowed:"
        " the optimiser has not arrived"
        " (more epochs? a learning rate below 1? standardize? float64?)"
    ]


def test_a_fit_that_ran_away_is_told_to_go_slower() -> None:
    (reason,) = refused(replace(GOOD, truth=None, z=None, optimiser_error=1e70))
    assert "(a smaller learning rate?)" in reason


def test_every_reason_of_a_refusal_is_told_and_nothing_else() -> None:
    found = replace(at_z(5.0, -6.0), optimiser_error=0.002, last_loss=math.nan)
    reasons = refused(found)
    assert [r.split()[0] for r in reasons] == ["the", "the", "w", "b"]
    assert len(reasons) == 4
    (w,) = refused(at_z(5.0, 0.0))
    assert w.startswith("w = ")


def test_a_refusal_by_one_real_distance_is_the_one_of_linregress() -> None:
    draws = np.random.default_rng(1)
    x = np.arange(1.0, 100.0)
    y = TRUTH.at(x) + 1.5 * draws.standard_normal(99)
    fit = stats.linregress(x, y)
    rows = compress([(x, y)])
    for times, passes in ((3.9, True), (4.1, False), (-3.9, True), (-4.1, False)):
        truth = Line(fit.slope - times * fit.stderr, fit.intercept)
        found = assess(rows.least_squares(), train=rows, holdout=None, truth=truth, last_loss=2.0)
        assert judge(found, RULES).passed == passes


# Failing closed


BROKEN: dict[str, tuple[Callable[[float], Evaluation], str]] = {
    "line.w": (lambda v: replace(GOOD, line=Line(v, 5.5)), r"^w is not a finite number"),
    "line.b": (lambda v: replace(GOOD, line=Line(20.0, v)), r"^b is not a finite number"),
    "ols.w": (lambda v: replace(GOOD, ols=Line(v, 5.5)), r"^least squares' w is not a finite"),
    "ols.b": (lambda v: replace(GOOD, ols=Line(20.0, v)), r"^least squares' b is not a finite"),
    "se.w": (
        lambda v: replace(GOOD, se=Coefficients(v, 0.25)),
        r"^the standard error of w is not a fin",
    ),
    "se.b": (
        lambda v: replace(GOOD, se=Coefficients(0.06, v)),
        r"^the standard error of b is not a fin",
    ),
    "z.w": (
        lambda v: replace(GOOD, z=Coefficients(v, 0.0)),
        r"^w = 20.000 lies (nan|inf) standard errors",
    ),
    "z.b": (
        lambda v: replace(GOOD, z=Coefficients(0.0, v)),
        r"^b = 5.50 lies (nan|inf) standard errors",
    ),
    "optimiser_error": (
        lambda v: replace(GOOD, optimiser_error=v),
        r"^the fit lies (nan|-?inf) \(relative\) from least squares",
    ),
    "train_rmse": (lambda v: replace(GOOD, train_rmse=v), r"^the training error is not a finite"),
    "holdout_rmse": (lambda v: replace(GOOD, holdout_rmse=v), r"^the holdout error is not a fini"),
    "holdout_r2": (lambda v: replace(GOOD, holdout_r2=v), r"R² is not a finite number"),
    "last_loss": (lambda v: replace(GOOD, last_loss=v), r"^the last loss is not a finite number"),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", BROKEN)
def test_gate_refuses_a_number_that_is_not_finite_and_names_it(field: str, value: float) -> None:
    broken, named = BROKEN[field]
    assert any(re.search(named, reason) for reason in refused(broken(value)))


@pytest.mark.parametrize("field", [name for name in BROKEN if name[0] != "z"])
def test_gate_refuses_a_number_that_is_not_finite_without_a_truth_too(field: str) -> None:
    broken, _ = BROKEN[field]
    refused(replace(broken(math.nan), truth=None, z=None))


def test_gate_refuses_a_holdout_whose_error_is_not_known() -> None:
    assert refused(replace(GOOD, holdout_rmse=None)) == ["the holdout error is not a finite number"]


def test_gate_refuses_a_truth_from_which_the_distance_is_not_known() -> None:
    refused(replace(GOOD, z=None))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gate_refuses_what_was_assessed_of_a_line_that_is_not_finite(value: float) -> None:
    x = np.arange(1.0, 30.0)
    rows = compress([(x, TRUTH.at(x) + np.cos(x))])
    for line in (Line(value, 5.0), Line(20.0, value), Line(value, value)):
        for truth in (TRUTH, None):
            found = assess(line, train=rows, holdout=rows, truth=truth, last_loss=2.0)
            gate = judge(found, RULES)
            assert not gate.passed
            # metrics.json knows neither NaN nor infinity.
            json.dumps(as_metrics(found, gate), allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", BROKEN)
def test_metrics_of_a_number_that_is_not_finite_are_json(field: str, value: float) -> None:
    found = BROKEN[field][0](value)
    json.dumps(as_metrics(found, judge(found, RULES)), allow_nan=False)


# By chance

SEEDS, ROWS, Z = 2_000, 1_000, 2.0
NOT_BY_CHANCE = 1e-3
"""Seeds are fixed, so that a law that holds passes for ever."""


@dataclass(frozen=True)
class Drawn:
    """Distances from the truth, (seeds, 2), who was refused, (seeds,), and the x of all."""

    z: npt.NDArray[np.float64]
    refused: npt.NDArray[np.bool_]
    x: npt.NDArray[np.float64]

    @property
    def correlation(self) -> float:
        """Return that of the estimates of w and b, from the inverse of the normal equations."""
        return -float(np.mean(self.x)) / math.sqrt(float(np.mean(self.x**2)))


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Return what the gate says of least squares on 2,000 draws of the shipped parameters."""
    rules = Evaluate(z=Z, optimiser_tolerance=1e-9)
    z, verdicts, x = [], [], np.empty(0)
    for seed in range(SEEDS):
        wanted = Generate(
            table=None,
            columns=Columns(x="x", y="y"),
            rows=ROWS,
            x=Spacing(spacing="grid", low=1.0, high=99.0),
            noise=Noise(kind="normal", scale=1.5),
            holdout=0.0,
            seed=seed,
        )
        ((x, y),) = draw.points(wanted, TRUTH)
        rows = compress([(x, y)])
        line = rows.least_squares()
        found = assess(line, train=rows, holdout=None, truth=TRUTH, last_loss=2.0)
        assert found.z is not None
        z.append((found.z.w, found.z.b))
        verdicts.append(not judge(found, rules).passed)
    return Drawn(np.array(z), np.array(verdicts), x)


def by_chance(times: int, share: float) -> float:
    return float(stats.binomtest(times, SEEDS, share).pvalue)


@pytest.mark.parametrize("column", [0, 1], ids=["w", "b"])
def test_distances_beyond_two_are_as_frequent_as_the_normal_law_says(
    drawn: Drawn, column: int
) -> None:
    beyond = int(np.sum(np.abs(drawn.z[:, column]) > Z))
    assert by_chance(beyond, 2 * float(stats.norm.sf(Z))) > NOT_BY_CHANCE


@pytest.mark.parametrize("column", [0, 1], ids=["w", "b"])
def test_distances_follow_students_law(drawn: Drawn, column: int) -> None:
    law = stats.t(ROWS - 2)
    assert stats.kstest(drawn.z[:, column], law.cdf).pvalue > NOT_BY_CHANCE


def test_the_gate_refuses_as_often_as_the_bivariate_normal_law_says(drawn: Drawn) -> None:
    rho = drawn.correlation
    law = stats.multivariate_normal([0.0, 0.0], [[1.0, rho], [rho, 1.0]])
    within = float(law.cdf([Z, Z], lower_limit=[-Z, -Z]))
    refusals = int(drawn.refused.sum())
    assert by_chance(refusals, 1 - within) > NOT_BY_CHANCE


def test_the_distances_of_w_and_b_are_correlated_as_their_estimates_are(drawn: Drawn) -> None:
    found = float(stats.pearsonr(drawn.z[:, 0], drawn.z[:, 1]).statistic)
    # Fisher's transformation: normal with variance 1 / (n - 3).
    apart = (math.atanh(found) - math.atanh(drawn.correlation)) * math.sqrt(SEEDS - 3)
    assert 2 * float(stats.norm.sf(abs(apart))) > NOT_BY_CHANCE


def test_points_of_one_height_are_held_against_their_size() -> None:
    """The standard deviation of y is 0 there: nothing is near, and nothing far, in parts of it."""
    rows = compress([(np.arange(9.0), np.full(9, 7.0))])
    half = assess(Line(0.0, 3.5), train=rows, holdout=None, truth=None, last_loss=12.25)
    assert half.optimiser_error == 0.5
    assert "has not arrived" in refused(half)[0]
    there = assess(Line(0.0, 7.0), train=rows, holdout=None, truth=None, last_loss=0.0)
    assert judge(there, RULES).passed
    nothing = compress([(np.arange(9.0), np.zeros(9))])
    assert judge(
        assess(Line(0.0, 0.0), train=nothing, holdout=None, truth=None, last_loss=0.0), RULES
    ).passed
    refused(assess(Line(0.0, 1e-300), train=nothing, holdout=None, truth=None, last_loss=0.0))


def test_the_truth_is_said_with_the_digits_it_was_given() -> None:
    found = replace(GOOD, truth=Line(20.1234567, 5.0), z=Coefficients(0.0, 0.0))
    assert "from the true 20.1234567;" in judge(found, RULES).reasons[1]


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({}, "(more epochs?)"),
        ({"learning_rate": 1.0}, "(a learning rate below 1?)"),
        ({"standardize": False, "learning_rate": 1e-5}, "(more epochs? standardize?)"),
        ({"dtype": "float32"}, "(more epochs? float64?)"),
    ],
)
def test_what_is_advised_is_not_so_already(changed: dict[str, Any], advice: str) -> None:
    params = Params.parse((ROOT / "params.yaml").read_text()).train.model_copy(update=changed)
    gate = judge(replace(GOOD, optimiser_error=0.002), RULES, params)
    assert gate.reasons[0].endswith(f"the optimiser has not arrived {advice}")


def test_what_float64_leaves_is_said_to_be_its_own() -> None:
    gate = judge(replace(GOOD, optimiser_error=1e-8, optimiser_rounding=1e-6), RULES)
    assert gate.passed
    assert "1e-6 is allowed (float64 leaves so much here)" in gate.reasons[0]


FLOAT32 = {"dtype": "float32"}


@pytest.mark.parametrize(
    ("changed", "error", "way", "advice"),
    [
        (FLOAT32, 5e-8, Way("stands still"), "float64? optimiser_tolerance 1.0e-6?"),
        (FLOAT32, 3e-6, Way("stands still"), "float64? optimiser_tolerance 1.0e-5?"),
        (FLOAT32, 0.02, Way("stands still"), "float64? a larger learning rate?"),
        ({}, 0.02, Way("stands still"), "a larger learning rate?"),
    ],
)
def test_an_optimiser_that_stands_still_is_not_told_to_go_on(
    changed: dict[str, Any], error: float, way: Way, advice: str
) -> None:
    train = Params.parse((ROOT / "params.yaml").read_text()).train.model_copy(update=changed)
    gate = judge(replace(GOOD, optimiser_error=error), RULES, train, way)
    assert gate.reasons[0].endswith(f"has not arrived (it stands still: {advice})")


@pytest.mark.parametrize("trend", ["shrinks", "grows"])
def test_one_that_moves_is_not_said_to_stand_still(trend: Any) -> None:
    train = Params.parse((ROOT / "params.yaml").read_text()).train.model_copy(update=FLOAT32)
    gate = judge(replace(GOOD, optimiser_error=5e-8), RULES, train, Way(trend))
    assert "(more epochs? float64?)" in gate.reasons[0]


def test_a_loss_of_ones_own_is_told_what_arrived_means() -> None:
    gate = judge(replace(GOOD, optimiser_error=0.01), RULES, None, Way(squared=False))
    assert "(its loss is another than least squares': optimiser_tolerance?)" in gate.reasons[0]


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.6])
def test_float32_is_told_what_helps_and_it_does(rate: float) -> None:
    """A training as `train` runs it, to where it stands; then with the tolerance it was told."""
    x = np.linspace(1.0, 99.0, 79)
    y = TRUTH.at(x) + 1.5 * np.random.default_rng(3).standard_normal(79)
    rows = compress([(x, y)])
    walked = descent.fit(
        *rows.three_points(standardize=True), epochs=2000, learning_rate=rate, dtype="float32",
        device=torch.device("cpu"), scaling=Scaling(rows.mean_x, rows.sd_x),
    )  # fmt: skip
    found = assess(walked.line, train=rows, holdout=None, truth=TRUTH, last_loss=2.25)
    train = Params.parse((ROOT / "params.yaml").read_text()).train
    train = train.model_copy(update={**FLOAT32, "learning_rate": rate})
    gate = judge(found, RULES, train, Way.of(walked.loss, walked.w, walked.b, rows=rows))
    (told,) = re.findall(r"optimiser_tolerance (1\.0e-\d)\?", gate.reasons[0])
    assert judge(found, Evaluate(z=4.0, optimiser_tolerance=float(told)), train).passed
