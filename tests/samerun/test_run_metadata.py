"""What a recorded run shows to its readers."""

import base64
import copy
import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from knownline.core import yaml_text
from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.evaluate.statistics import as_metrics, assess, judge
from knownline.identity.run_name import run_name
from knownline.params import Evaluate, Params
from samerun.execution.receipts import Receipt
from samerun.mlflow import run_metadata
from samerun.working_tree import Commit
from tests.conftest import ROOT

TRUTH = Line(20.0, 5.0)
CLEAN, DIRTY = Commit("c0ffee", b""), Commit("c0ffee", b"diff --git a b\n")
DEFAULTS = yaml.safe_load("""
truth: {w: 20.0, b: 5.0}
generate:
  table: null
  columns: {x: x, y: y}
  rows: 99
  x: {spacing: grid, low: 1.0, high: 99.0}
  noise: {kind: normal, scale: 1.5}
  holdout: 0.2
  seed: 20200910
train:
  epochs: 100
  learning_rate: 0.25
  standardize: true
  compress: true
  dtype: float64
  device: auto
  seed: 0
evaluate:
  z: 4.0
  optimiser_tolerance: 1.0e-9
""")
"""The defaults of params.yaml, which is the reader's to change."""


def params(**changed: Any) -> Params:
    """Return the defaults with some changed: section__key for a key of a section."""
    mapping = copy.deepcopy(DEFAULTS)
    for name, value in changed.items():
        section, _, key = name.partition("__")
        if key:
            mapping[section][key] = value
        else:
            mapping[section] = value
    return Params.model_validate(mapping)


def metrics(
    *, truth: Line | None = TRUTH, holdout: bool = True, off: float = 0.0
) -> dict[str, Any]:
    """Return the metrics.json of least squares on a few points, moved by `off`."""
    x = np.arange(1.0, 80.0)
    y = TRUTH.at(x) + 1.5 * np.random.default_rng(1).standard_normal(79)
    rows = compress([(x, y)])
    ols = rows.least_squares()
    found = assess(
        Line(ols.w, ols.b + off),
        train=rows,
        holdout=compress([(x[:20], y[:20])]) if holdout else None,
        truth=truth,
        last_loss=2.0,
    )
    return as_metrics(found, judge(found, Evaluate(z=4.0, optimiser_tolerance=1e-9)))


# The name


@pytest.mark.parametrize(
    ("changed", "experiment", "name"),
    [
        ({}, None, "99 rows, lr 0.25, 100 epochs"),
        ({}, "", "99 rows, lr 0.25, 100 epochs"),
        ({}, "tidal-orb", "99 rows, lr 0.25, 100 epochs, tidal-orb"),
        ({"train__learning_rate": 1e-4}, None, "lr 0.0001, 99 rows, 100 epochs"),
        ({"train__epochs": 7, "generate__rows": 1000}, None, "1000 rows, 7 epochs, lr 0.25"),
        (
            {"generate__table": "data/own/forbes.csv", "truth": None},
            None,
            "forbes.csv, lr 0.25, 100 epochs",
        ),
        (
            {"generate__table": "data/own/forbes.csv"},
            None,
            "forbes.csv, true w 20, true b 5, lr 0.25, 100 epochs",
        ),
        (
            {"generate__table": "data/own/forbes.csv", "truth__w": 21.0},
            None,
            "forbes.csv, true w 21, true b 5, lr 0.25, 100 epochs",
        ),
    ],
)
def test_a_run_is_named_by_what_tells_it_from_its_neighbours(
    changed: dict[str, Any], experiment: str | None, name: str
) -> None:
    assert run_name(params(**changed), experiment) == name


def test_what_counts_as_changed_is_what_params_yaml_did_not_come_with() -> None:
    came = Params.parse((ROOT / "params.yaml").read_text()).flat()
    columns = {"generate.columns.x": "x", "generate.columns.y": "y"}
    assert came == SHIPPED | columns


CHANGED: dict[str, tuple[Any, str]] = {
    "truth.w": (3.0, "true w 3"),
    "truth.b": (-1.0, "true b -1"),
    "generate.table": ("data/own/t.csv", "t.csv"),
    "generate.rows": (999, "999 rows"),
    "generate.x.spacing": ("uniform", "uniform x"),
    "generate.x.low": (-5.0, "x from -5"),
    "generate.x.high": (50.0, "x to 50"),
    "generate.noise.kind": ("integer", "integer noise"),
    "generate.noise.scale": (15.0, "noise 15"),
    "generate.holdout": (0.0, "holdout 0"),
    "generate.seed": (7, "seed 7"),
    "train.epochs": (20, "20 epochs"),
    "train.learning_rate": (0.9, "lr 0.9"),
    "train.standardize": (False, "raw x"),
    "train.compress": (False, "row by row"),
    "train.dtype": ("float32", "float32"),
    "train.device": ("cpu", "cpu"),
    "train.seed": (3, "train seed 3"),
    "evaluate.z": (3.0, "z 3"),
    "evaluate.optimiser_tolerance": (1e-6, "tolerance 1e-6"),
}


@pytest.mark.parametrize("key", SHIPPED)
def test_whatever_changed_comes_first_in_the_name(key: str) -> None:
    whole = Params.parse((ROOT / "params.yaml").read_text()).model_dump()
    *path, last = key.split(".")
    section = whole
    for step in path:
        section = section[step]
    section[last], words = CHANGED[key]
    if key == "generate.noise.kind":
        section["scale"] = 1.0
    name = run_name(Params.model_validate(whole), None)
    assert name.startswith(f"{words}, ")


def test_the_experiments_view_is_what_mlflows_page_reads() -> None:
    tags = run_metadata.experiment_tags()
    view = json.loads(tags["mlflow.sharedViewState.knownline"])
    head, packed = view["state"].split(";")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert head == "deflate"
    assert state["selectedColumns"][0] == "tags.`gate`"
    assert tags == run_metadata.experiment_tags()


def test_the_number_logged_first_is_one_that_tells_runs_apart() -> None:
    numbers = run_metadata.numbers(metrics())
    told = run_metadata.telling_first(numbers)
    assert dict(told) == numbers
    named = [key for key, _ in told if key not in ("w", "b")]
    assert named[:3] == ["z.w", "z.b", "optimiser_error"]
    assert named[-2:] == ["truth.w", "truth.b"]


# The description


def cells(row: str) -> list[str]:
    assert row.startswith("|")
    assert row.endswith("|")
    return [cell.strip() for cell in row[1:-1].split("|")]


@pytest.mark.parametrize("truth", [TRUTH, None])
@pytest.mark.parametrize("holdout", [True, False])
@pytest.mark.parametrize("off", [0.0, 9.0])
def test_the_description_holds_one_whole_markdown_table(
    truth: Line | None, holdout: bool, off: float
) -> None:
    told = run_metadata.description(metrics(truth=truth, holdout=holdout, off=off), CLEAN).splitlines()
    first = next(i for i, line in enumerate(told) if line.startswith("|"))
    table = [line for line in told if line.startswith("|")]
    # A table is one block after an empty line: GitHub Flavored Markdown, 4.10.
    assert told[first - 1] == ""
    assert table == told[first : first + 4]
    assert told[first + 4] == ""
    heads, rules, *rows = map(cells, table)
    assert heads == ["", "fitted", "±", "true", "standard errors away"]
    assert all(set(rule) <= set("-:") and "---" in rule for rule in rules)
    assert {len(row) for row in (heads, rules, *rows)} == {5}
    assert [row[0] for row in rows] == ["w", "b"]
    assert all(cell for row in rows for cell in row)


def test_the_description_tells_the_numbers_of_the_metrics() -> None:
    found = metrics()
    told = run_metadata.description(found, CLEAN)
    w, b = [cells(line) for line in told.splitlines() if line.startswith(("| w", "| b"))]
    for name, row in (("w", w), ("b", b)):
        numbers = [found[name], found["se"][name], found["truth"][name], found["z"][name]]
        # The fitted number has two digits of its error.
        fitted = 0.05 * found["se"][name] / abs(found[name])
        assert [float(cell) for cell in row[1:]] == [
            pytest.approx(number, rel=rel)
            for number, rel in zip(numbers, (fitted, 0.06, 1e-15, 0.06), strict=True)
        ]
    assert "79 rows fitted, 20 held out" in told
    assert f"holdout RMSE {found['holdout']['rmse']:.4g}, R² = 0.9999" in told


def test_the_verdict_and_its_reasons_come_first() -> None:
    passed, refused = metrics(), metrics(off=9.0)
    assert run_metadata.description(passed, CLEAN).startswith("**Gate passed**\n\n- ")
    told = run_metadata.description(refused, CLEAN)
    assert told.startswith("**Gate refused**\n\n- ")
    assert all(f"\n- {reason}\n" in told for reason in refused["gate"]["reasons"])


def test_what_is_not_known_is_a_dash_in_the_description() -> None:
    told = run_metadata.description(metrics(truth=None, holdout=False), CLEAN)
    w, b = [cells(line) for line in told.splitlines() if line.startswith(("| w", "| b"))]
    assert (w[3:], b[3:]) == (["–", "–"], ["–", "–"])
    assert "79 rows fitted, 0 held out; holdout RMSE –, R² = –." in told
    assert "None" not in told


@pytest.mark.parametrize(
    ("commit", "last"),
    [
        (CLEAN, "Commit `c0ffee`."),
        (DIRTY, "Commit `c0ffee` with uncommitted changes (`changes.patch`)."),
        (Commit(None, b""), "Commit `none`."),
    ],
)
def test_the_description_ends_with_the_commit(commit: Commit, last: str) -> None:
    assert run_metadata.description(metrics(), commit).splitlines()[-1] == last


# Tags


def tags(**changed: Any) -> dict[str, str]:
    wanted: dict[str, Any] = {
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
    return run_metadata.tags(**(wanted | changed))


def test_tags_are_those_of_the_contract() -> None:
    assert tags() == {
        "fingerprint": "f" * 64,
        "data_sha256": "d" * 64,
        "git_commit": "c0ffee",
        "git_dirty": "false",
        "device": "cpu",
        "gate": "passed",
    }


@pytest.mark.parametrize(
    ("changed", "tag", "value"),
    [
        ({"commit": DIRTY}, "git_dirty", "true"),
        ({"commit": Commit(None, b"")}, "git_commit", "none"),
        ({"metrics": metrics(off=9.0)}, "gate", "failed"),
        ({"experiment": "tidal-orb"}, "dvc_exp_name", "tidal-orb"),
        ({"backfilled": True}, "backfilled", "true"),
        ({"by_hand": True}, "by_hand", "true"),
        ({"facts": {"cpu": "M1"}}, "cpu", "M1"),
        ({"device": "cuda"}, "device", "cuda"),
    ],
)
def test_a_tag_tells_what_differs(changed: dict[str, Any], tag: str, value: str) -> None:
    found = tags(**changed)
    assert found[tag] == value
    assert all(isinstance(text, str) for text in found.values())
    assert {k: v for k, v in found.items() if k != tag} == {
        k: v for k, v in tags().items() if k != tag
    }


# Parameters as text


def dotted(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, dict):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def test_every_parameter_has_its_text() -> None:
    assert yaml_text.texts(params().flat()).keys() == dotted(DEFAULTS).keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.standardize", "true"),
        ("train.compress", "false"),
        ("generate.table", "null"),
        ("train.epochs", "100"),
        ("train.learning_rate", "0.25"),
        ("truth.w", "20.0"),
        ("generate.x.spacing", "grid"),
        ("generate.noise.kind", "normal"),
        ("generate.columns.x", "x"),
        ("generate.seed", "20200910"),
    ],
)
def test_a_parameter_is_written_as_in_yaml(name: str, text: str) -> None:
    assert yaml_text.texts(params(train__compress=False).flat())[name] == text


@pytest.mark.parametrize(
    "changed", [{}, {"truth": None, "generate__table": "data/own/forbes.csv"}], ids=str
)
def test_a_text_is_read_back_as_the_parameter(changed: dict[str, Any]) -> None:
    wanted = params(**changed)
    flat = wanted.flat()
    for name, text in yaml_text.texts(wanted.flat()).items():
        found = text if isinstance(flat[name], str) else json.loads(text)
        assert found == flat[name]
        assert type(found) is type(flat[name])


# Numbers


def test_numbers_are_flat_and_what_is_no_number_is_left_out() -> None:
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


def test_the_numbers_of_a_run_have_the_names_of_metrics_json() -> None:
    assert set(run_metadata.numbers(metrics())) == {
        "w", "b", "truth.w", "truth.b", "ols.w", "ols.b", "se.w", "se.b", "z.w", "z.b",
        "optimiser_error", "rows", "train.rmse", "holdout.rows", "holdout.rmse", "holdout.r2",
    }  # fmt: skip


def test_what_is_not_known_has_no_number() -> None:
    missing = set(run_metadata.numbers(metrics())) - set(
        run_metadata.numbers(metrics(truth=None, holdout=False))
    )
    assert missing == {"truth.w", "truth.b", "z.w", "z.b", "holdout.rmse", "holdout.r2"}


# Data sets and times


def test_both_halves_of_the_data_have_the_hash_of_the_whole() -> None:
    train, holdout = run_metadata.datasets(params(), metrics(), "d" * 64)
    assert (train.context, train.source, train.rows) == ("train", "data/train", 79)
    assert (holdout.context, holdout.source, holdout.rows) == ("holdout", "data/holdout", 20)
    assert train.sha256 == holdout.sha256 == "d" * 64
    assert train.name != holdout.name
    assert "seed 20200910" in train.name


def test_a_table_gives_the_data_its_name() -> None:
    own = params(truth=None, generate__table="data/own/forbes.csv")
    found = run_metadata.datasets(own, metrics(truth=None), "d" * 64)
    assert [data.name for data in found] == ["forbes.csv, train", "forbes.csv, holdout"]


def test_an_empty_holdout_is_no_data_set() -> None:
    (only,) = run_metadata.datasets(params(), metrics(holdout=False), "d" * 64)
    assert only.context == "train"


RECEIPT = Receipt("f" * 64, 1_700_000_000.5, 2.25, "cpu", {}, {}, execution="e1")


def test_a_run_lasts_as_long_as_its_training_did() -> None:
    assert run_metadata.from_receipt(RECEIPT, "f" * 64, 9e9) == ("e1", 1700000000500, 1700000002750)


def test_a_backfilled_run_is_of_now_and_named_by_its_fingerprint() -> None:
    execution, start, end = run_metadata.from_receipt(None, "f" * 64, 12.345)
    assert execution == f"backfill-{'f' * 64}"
    assert (start, end) == (12345, 12345)
    assert run_metadata.from_receipt(None, "f" * 64, 99.0)[0] == execution


def test_what_is_recorded_cannot_be_changed_by_accident() -> None:
    data = run_metadata.Dataset("n", "train", str(Path("data/train")), 1, "d")
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.rows = 2  # type: ignore[misc]
