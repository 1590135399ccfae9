"""What a recorded run shows in MLflow: its name, parameters, numbers, steps and datasets."""

import base64
import json
import math
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from projects.toy import Toy, project
from samerun.config import Config, TagRule
from samerun.mlflow import content, experiment_page, phrases, steps
from samerun.mlflow.content import Dataset
from samerun.mlflow.recorded import RecordedRun
from samerun.mlflow.tags import own_tags
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit

FILES = {
    "dvc.yaml": """
stages:
  one:
    cmd: sh one.sh
    params:
      - rate
      - nested
      - other.yaml: [rate, only]
    deps: [raw.csv]
    metrics: [one.json, more.yaml]
    plots:
      - stage.tsv: {x: step, y: loss}
    outs: [made, table.csv, lines.json, words.csv, log]
  record:
    cmd: samerun record
    deps: [one.json, more.yaml, stage.tsv, made, table.csv, lines.json, words.csv, log]
    outs: [mlruns/recorded.json: {cache: false, persist: true}]
    meta:
      samerun:
        datasets: {train: made}
        tags:
          verdict: "one.json:passed ? good : bad"
          count: "one.json:deep.count"
          deep: "one.json:deep"
        description: about.md
        columns: [tags.verdict, metrics.deep.count]
plots:
  - Rates: {x: epoch, y: {table.csv: [rate]}}
  - lines.json: {x: step}
  - words.csv: {x: word, y: count}
  - log
""",
    "one.sh": r"""
mkdir -p made log
cp raw.csv made/rows.csv
echo '{"loss": 0.25, "last": 3, "none": null, "text": "3", "passed": false,
       "deep": {"count": 2, "list": [1]}, "shared": 1}' > one.json
printf 'shared: 2\n' > more.yaml
printf 'step\tloss\tignored\n0\t1\t5\n1\t0.25\t6\n' > stage.tsv
printf 'epoch,rate,ignored\n1,0.5,9\n2,,9\n4,0.125,9\n' > table.csv
echo '[{"step": 0, "last": 1}, {"step": 7, "last": 2}]' > lines.json
printf 'word,count\na,1\nb,2\n' > words.csv
printf 'step,deep\n0,1.5\n1,2.5\n' > log/deep.csv
""",
    "params.yaml": "rate: 0.5\nnested: {list: [1, zwei], none: null, flag: true}\nunused: 1\n",
    "other.yaml": "rate: 2\nonly: text\nunused: 1\n",
    "about.md": "What it *is*.\n",
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    toy = project(tmp_path_factory.mktemp("content") / "work", FILES)
    (toy.path / "raw.csv").write_text("1\n2\n")
    toy.dvc("add", "--quiet", "raw.csv")
    toy.dvc("repro", "--quiet", "one")
    return toy


@pytest.fixture
def pipeline(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.chdir(toy.path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    return Pipeline.here()


def test_parameters_are_flat_and_a_name_that_two_files_have_comes_with_its_file(
    pipeline: Pipeline,
) -> None:
    assert content.params(pipeline) == {
        "params.yaml:rate": "0.5",
        "other.yaml:rate": "2",
        "only": "text",
        "nested.list": '[1, "zwei"]',
        "nested.none": "null",
        "nested.flag": "true",
    }


def test_steps_come_from_the_plots_whose_x_counts(pipeline: Pipeline) -> None:
    assert steps.history(pipeline) == {
        "loss": {0: 1.0, 1: 0.25},
        "rate": {1: 0.5, 4: 0.125},
        "last": {0: 1.0, 7: 2.0},
        "deep": {0: 1.5, 1: 2.5},
    }


def test_numbers_are_flat_and_a_name_that_is_taken_comes_with_its_file(pipeline: Pipeline) -> None:
    found = content.metrics(pipeline, steps.history(pipeline))
    assert found == {
        "one.last": 3.0,
        "deep.count": 2.0,
        "deep.list.0": 1.0,
        "one.shared": 1.0,
        "more.shared": 2.0,
    }
    assert next(iter(found)) == "deep.count"  # the first metric among the table's columns
    assert all(type(value) is float for value in found.values())
    without = content.metrics(pipeline, {})
    assert (without["loss"], without["last"]) == (0.25, 3.0)


def test_a_number_that_is_not_one_is_left_to_the_history_that_ends_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = SimpleNamespace(path="m.json", kind="metric")
    load = {"m.json": {"loss": math.nan}}.__getitem__
    fake = SimpleNamespace(
        outputs=lambda: [item],
        relative=str,
        project=SimpleNamespace(load=load),
        config=Config("x"),
        stage=SimpleNamespace(file=Path("dvc.yaml")),
    )
    monkeypatch.setattr("samerun.dvc.metrics.declared", lambda *_: [])
    assert content.metrics(cast("Pipeline", fake), {"loss": {0: 1.0, 1: math.nan}}) == {}
    assert list(content.metrics(cast("Pipeline", fake), {"loss": {0: 1.0}})) == ["m.loss"]


def test_datasets_are_those_that_are_named_and_those_of_dvc_files_with_the_hashes_of_the_lock(
    pipeline: Pipeline, toy: Toy
) -> None:
    named, source = content.datasets(pipeline)
    assert (named.name, named.context, named.source) == ("made", "train", "made")
    assert (source.name, source.context) == ("raw.csv", "source")
    lock = (toy.path / "dvc.lock").read_text()
    assert f"path: made\n      hash: md5\n      md5: {named.digest}\n" in lock
    assert f"md5: {source.digest}" in (toy.path / "raw.csv.dvc").read_text()
    assert all(isinstance(each, Dataset) for each in (named, source))


def test_the_projects_own_tags_and_description(pipeline: Pipeline) -> None:
    assert own_tags(pipeline) == {"verdict": "bad", "count": "2", "deep": "count 2"}
    clean, dirty = Commit("c0ffee", b""), Commit("c0ffee", b"diff")
    assert content.description(pipeline, clean) == "What it *is*.\n\nCommit `c0ffee`.\n"
    assert "uncommitted changes (`changes.patch`)" in content.description(pipeline, dirty)
    assert content.tags_of(dirty) == {"git_commit": "c0ffee", "git_dirty": "true"}
    assert content.tags_of(Commit(None, b"")) == {"git_commit": "none", "git_dirty": "false"}


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"w": 0.34593, "b": -0.5502}, "w 0.346, b -0.55"),
        ({"w": -4.00544e33, "b": 0}, "w -4.01e+33, b 0"),
        ({"w": 4.04, "b": 1234.5, "c": 2.6e-16}, "w 4.04, b 1230, c 2.6e-16"),
        ({"a": 1, "b": -3, "c": None, "d": 2, "e": 0.5}, "b -3, d 2, a 1, 1 smaller"),
        ({"w": None, "b": None}, None),
    ],
)
def test_a_mapping_becomes_a_tag_that_fits_into_a_column(
    mapping: dict[str, Any], text: str | None
) -> None:
    rule = TagRule("m.json", "z", None, None)
    fake = SimpleNamespace(
        config=Config("x", tags={"z": rule}),
        project=SimpleNamespace(load=lambda _: {"z": mapping}),
    )
    assert own_tags(cast("Pipeline", fake)).get("z") == text
    assert len(text or "") <= 30


ALONE: dict[str, Any] = {
    "project": SimpleNamespace(stages=()),
    "stage": SimpleNamespace(name="dvc.yaml:record", file="dvc.yaml"),
}
PHRASES = ("{table} | {rows} rows", "y~{x}", "lr {rate}", "{epochs} epochs")


def first_run(values: dict[str, Any], fingerprint: str = "0" * 64) -> RecordedRun:
    """Return the first run of a store, as `record` finds it later."""
    params = {key: content.text_of(value) for key, value in values.items()}
    return RecordedRun("1d", "the first", "FINISHED", {"fingerprint": fingerprint}, params)


def named(
    values: dict[str, Any],
    first: RecordedRun | None,
    experiment: str | None = None,
    *,
    phrases_of: tuple[str, ...] = (),
    others: tuple[RecordedRun, ...] = (),
) -> str:
    """Return the name of a run with these parameters. others: the other runs of the store."""
    fake = SimpleNamespace(
        params=lambda: values,
        config=Config("price", name=phrases_of),
        fingerprint="f" * 64,
        **ALONE,
    )

    def similar(name: str) -> RecordedRun | None:
        return next((run for run in others if run.name[:20] == name[:20]), None)

    return phrases.run_name(cast("Pipeline", fake), first, experiment, similar)


BASELINE = {"rows": 99, "table": None, "x": "x", "rate": 0.25, "epochs": 100, "deep.z": 4}


@pytest.mark.parametrize(
    ("params", "experiment", "name"),
    [
        ({"rate": 0.5}, None, "lr 0.5"),
        ({"rate": 0.5, "deep.z": 5}, None, "lr 0.5, z 5"),
        ({"table": "data/own/mine.csv"}, None, "mine.csv"),
        ({"table": "mine.csv", "a": None, "deep.z": 5}, None, "mine.csv, z 5, no a"),
        ({"x": ["area", "age"]}, None, "y~area+age"),
        ({"epochs": 5}, "tidal-orbs", "5 epochs, tidal-orbs"),
        ({"epochs": 5}, "my idea", "my idea, 5 epochs"),
        ({"epochs": 5}, "the-second-idea-of-monday", "5 epochs, the-second-idea-of-monday"),
        ({"deep.z": "x" * 200}, None, f"z {'x' * 40}"),
        ({}, None, "inputs ffffff"),
    ],
)
def test_a_run_is_named_by_what_differs_from_the_first(
    params: dict[str, Any], experiment: str | None, name: str
) -> None:
    first = first_run(BASELINE)
    assert named(BASELINE | params, first, experiment, phrases_of=PHRASES) == name


def test_the_first_run_and_one_with_the_same_inputs_have_every_phrase() -> None:
    for first in (None, first_run(BASELINE, "f" * 64)):
        name = named(BASELINE, first, phrases_of=PHRASES)
        assert name == "99 rows, y~x, lr 0.25, 100 epochs"


def test_runs_with_other_inputs_have_other_names_within_what_mlflow_shows() -> None:
    first = first_run(BASELINE)
    runs: list[RecordedRun] = []
    for columns in ("area", ["area", "age"], ["area", "age", "rooms"], "area"):
        values = BASELINE | {"table": "data/own/houses.csv", "x": columns}
        name = named(values, first, phrases_of=PHRASES, others=tuple(runs))
        runs.append(replace(first_run(values), name=name))
    assert [run.name for run in runs] == [
        "houses.csv, y~area",
        "houses.csv, y~area+age",
        "y~area+age+rooms, houses.csv",  # its first 20 characters were taken
        "inputs ffffff, houses.csv, y~area",  # the same parameters, other code or data
    ]
    assert len({run.name[:20] for run in runs}) == len(runs)


def test_the_view_of_the_experiment_has_the_form_that_mlflows_page_reads() -> None:
    tags = experiment_page.experiment_tags(
        Config("x", columns=("tags.gate", "metrics.z.w"), about="A.")
    )
    assert tags["mlflow.note.content"] == "A."
    view = json.loads(tags[f"mlflow.sharedViewState.{experiment_page.VIEW}"])
    head, packed = view["state"].split(";")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert head == "deflate"
    assert state["selectedColumns"] == ["tags.`gate`", "metrics.`z.w`"]


def test_a_text_that_mlflow_would_cut_silently_says_where_all_of_it_is() -> None:
    assert content.text_of("x" * 6000) == "x" * 6000
    cut = content.text_of("x" * 6001)
    assert len(cut) == 6000
    assert cut.lstrip("x") == "… (all 6,001 characters are in identity.json)"


@pytest.mark.parametrize(
    ("values", "first", "experiment", "name"),
    [
        ({"rate": 0.5, "rows": 9}, None, None, "rate 0.5, rows 9"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, None, None, "price"),
        ({}, None, None, "price"),
        ({}, {}, None, "inputs ffffff"),
        ({}, {}, "tidal-orbs", "inputs ffffff, tidal-orbs"),
        ({"rate": 0.5}, {"rate": 0.5}, None, "inputs ffffff"),
        ({"rate": 0.5}, {"rate": 0.25}, None, "rate 0.5"),
        ({"a.rate": 2, "b.rate": 1}, {"a.rate": 1, "b.rate": 1}, None, "a.rate 2"),
        (
            {"generate.seed": 20261102, "train.seed": 0},
            {"generate.seed": 20261101, "train.seed": 0},
            None,
            "seed 20261102",
        ),
        ({"a.rate": 2, "b.c": 1}, {"a.rate": 1, "b.c": 1}, None, "rate 2"),
        ({"gradient_accumulation_steps": 2}, {}, None, "gradie…_steps 2"),
        (
            {"gradient_accumulation_steps": 2, "gradient_averaging_steps": None},
            {},
            None,
            "gra…ion_steps 2, no gra…ing_steps",
        ),
        (
            {"other.yaml:rate": 1, "params.yaml:rate": 1},
            {},
            None,
            "other.…l:rate 1, params…l:rate 1",
        ),
    ],
)
def test_a_run_of_a_project_without_phrases_has_a_name_that_a_person_would_choose(
    values: dict[str, Any], first: dict[str, Any] | None, experiment: str | None, name: str
) -> None:
    baseline = None if first is None else first_run(first)
    assert named(values, baseline, experiment) == name


@pytest.mark.parametrize(
    ("table", "columns", "others"),
    [
        ("step,a\n0,1\n1,nan", {"a": {0: 1.0, 1: "nan"}}, []),
        ("step,a\n-2,inf\n-5,1", {"a": {-2: "inf", -5: 1.0}}, []),
        ("step,a\n0,1\n0,1\n0,2", {"a": {0: 1.0}}, ["1 more of a step that was there"]),
        ("step,a\n0,nan\n0,1\n", {"a": {0: "nan"}}, ["1 more of a step that was there"]),
        ("step,a,b\n0,x,\n1,,", {}, ["a (1 times no number)"]),
        ("epoch,a\n0,1\n0.5,2", {}, ["all, since epoch is 0.5"]),
        ("epoch,a\nnan,1", {}, ["all, since epoch is nan"]),
        ("epoch,a\n1e30,1", {}, ["1 whose epoch is beyond 64 bits"]),
        ("step,a\n0,1_0\n1,2", {"a": {1: 2.0}}, ["a (1 times no number)"]),
        ("fpr,a\n0.5,1", {}, []),  # counts nothing, and does not look as if
        ("", {}, []),
    ],
)
def test_a_table_is_shown_by_step_and_what_it_has_besides_is_named(
    table: str, columns: dict[str, dict[int, Any]], others: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(table)
    axis = table.partition(",")[0]
    found, said = steps._steps(path, steps.Table(axis, frozenset()))
    shown = {
        name: {step: x if math.isfinite(x) else str(x) for step, x in column.items()}
        for name, column in found.items()
    }
    assert (shown, said) == (columns, others)


def test_a_table_with_a_byte_order_mark_is_shown_and_one_that_is_not_utf_8_is_named(
    tmp_path: Path,
) -> None:
    path, shape = tmp_path / "table.csv", steps.Table("step", frozenset())
    path.write_text("step,a\n0,1\n", encoding="utf-8-sig")
    assert steps._steps(path, shape) == ({"a": {0: 1.0}}, [])
    path.write_text("step,lösung\n0,1\n", encoding="latin-1")
    columns, (others,) = steps._steps(path, shape)
    assert columns == {}
    assert others.startswith("all, since it cannot be read ('utf-8' codec can't decode byte 0xf6")


@pytest.mark.parametrize("phrase", ["{table} | {rows} rows", "{table}|{rows} rows"])
def test_after_a_bar_comes_the_phrase_for_a_parameter_that_is_null(phrase: str) -> None:
    assert phrases.filled(phrase, {"table": "data/a.csv", "rows": "9"}) == "a.csv"
    assert phrases.filled(phrase, {"table": "null", "rows": "9"}) == "9 rows"
    assert phrases.filled(phrase, {"table": "null", "rows": "null"}) == ""
