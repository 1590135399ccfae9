"""What a recorded run shows in MLflow: description, tags, numbers, data sets and times."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.evaluate.gate import as_metrics, judge
from knownline.evaluate.statistics import assess
from knownline.params import Evaluate, Params
from samerun.execution.receipts import Receipt
from samerun.mlflow import run_metadata
from samerun.working_tree import Commit
from tests.conftest import ROOT

TRUTH = Line(20.0, 5.0)
CLEAN, DIRTY = Commit("c0ffee", b""), Commit("c0ffee", b"diff --git a b\n")
PARAMS = Params.parse((ROOT / "params.yaml").read_text())
OWN = PARAMS.model_copy(
    update={
        "truth": None,
        "generate": PARAMS.generate.model_copy(update={"table": "data/own/forbes.csv"}),
    }
)


def metrics(
    *, truth: Line | None = TRUTH, holdout: bool = True, shift: float = 0.0
) -> dict[str, Any]:
    """Return the metrics.json of least squares on a few points, with another intercept."""
    x = np.arange(1.0, 80.0)
    y = TRUTH.at(x) + 1.5 * np.random.default_rng(1).standard_normal(79)
    rows = compress([(x, y)])
    ols = rows.least_squares()
    found = assess(
        Line(ols.w, ols.b + shift),
        train=rows,
        holdout=compress([(x[:20], y[:20])]) if holdout else None,
        truth=truth,
        last_loss=2.0,
    )
    return as_metrics(found, judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-9)))


# Tags


TAGS = {
    "fingerprint": "f" * 64,
    "data_sha256": "d" * 64,
    "git_commit": "c0ffee",
    "git_dirty": "false",
    "device": "cpu",
    "gate": "passed",
}


@pytest.mark.parametrize(
    ("changed", "tags"),
    [
        ({}, {}),
        ({"commit": DIRTY}, {"git_dirty": "true"}),
        ({"commit": Commit(None, b"")}, {"git_commit": "none"}),
        ({"metrics": metrics(shift=9.0)}, {"gate": "failed"}),
        ({"experiment": "tidal-orb"}, {"dvc_exp_name": "tidal-orb"}),
        ({"backfilled": True}, {"backfilled": "true"}),
        ({"by_hand": True}, {"by_hand": "true"}),
        ({"facts": {"cpu": "M1"}}, {"cpu": "M1"}),
        ({"device": "cuda"}, {"device": "cuda"}),
    ],
)
def test_each_input_has_its_tag(changed: dict[str, Any], tags: dict[str, str]) -> None:
    inputs: dict[str, Any] = {
        "fingerprint": "f" * 64,
        "data_sha256": "d" * 64,
        "commit": CLEAN,
        "metrics": metrics(),
        "device": "cpu",
        "experiment": None,
        "backfilled": False,
        "by_hand": False,
        "facts": {},
    }
    assert run_metadata.tags(**(inputs | changed)) == TAGS | tags


def test_the_view_of_the_experiment_has_the_form_that_mlflows_page_reads() -> None:
    tags = run_metadata.experiment_tags()
    view = json.loads(tags["mlflow.sharedViewState.knownline"])
    head, packed = view["state"].split(";")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert head == "deflate"
    assert state["selectedColumns"][0] == "tags.`gate`"


# Numbers


def test_numbers_are_flat_and_anything_else_is_left_out() -> None:
    found = run_metadata.numbers(
        {
            "w": 1.5,
            "rows": 79,
            "none": None,
            "text": "3",
            "yes": True,
            "gate": {"passed": False, "reasons": ["1"]},
            "a": {"b": 2, "c": {"d": -0.5, "e": None}},
        }
    )
    assert found == {"w": 1.5, "rows": 79.0, "a.b": 2.0, "a.c.d": -0.5}
    assert all(type(value) is float for value in found.values())


def test_the_numbers_of_a_run_begin_with_those_that_differ_between_runs() -> None:
    numbers = run_metadata.numbers(metrics())
    ordered = run_metadata.varying_first(numbers)
    assert dict(ordered) == numbers
    names = [name for name, _ in ordered]
    assert names[:2] == ["w", "b"]
    assert names[2:5] == ["z.w", "z.b", "optimiser_error"]
    assert names[-2:] == ["truth.w", "truth.b"]


# Data sets and times


def test_both_data_sets_have_the_hash_of_all_data() -> None:
    train, holdout = run_metadata.datasets(PARAMS, metrics(), "d" * 64)
    assert (train.context, train.source, train.rows) == ("train", "data/train", 79)
    assert (holdout.context, holdout.source, holdout.rows) == ("holdout", "data/holdout", 20)
    assert train.sha256 == holdout.sha256 == "d" * 64
    assert train.name != holdout.name
    assert "seed 20200910" in train.name


def test_a_data_set_from_a_table_has_the_tables_name_and_an_empty_holdout_is_none() -> None:
    found = run_metadata.datasets(OWN, metrics(truth=None), "d" * 64)
    assert [dataset.name for dataset in found] == ["forbes.csv, train", "forbes.csv, holdout"]
    (only,) = run_metadata.datasets(PARAMS, metrics(holdout=False), "d" * 64)
    assert only.context == "train"


def test_a_run_has_the_times_of_its_training() -> None:
    receipt = Receipt("f" * 64, 1_700_000_000.5, 2.25, "cpu", {}, {}, execution="e1")
    assert run_metadata.times_of(receipt, "f" * 64, 9e9) == ("e1", 1700000000500, 1700000002750)


def test_a_backfilled_run_has_the_time_of_now_and_the_name_of_its_fingerprint() -> None:
    execution, start, end = run_metadata.times_of(None, "f" * 64, 12.345)
    assert execution == f"backfill-{'f' * 64}"
    assert (start, end) == (12345, 12345)
    assert run_metadata.times_of(None, "f" * 64, 99.0)[0] == execution
