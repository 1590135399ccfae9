"""Mistakes in dvc.yaml and odd values in files: one line of error, or a complete run."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from projects.toy import Toy, project
from samerun import config
from samerun.core.errors import UserError, WorkspaceError
from samerun.execution import reported
from samerun.health import inputs
from samerun.live import _first, _follow_table
from samerun.mlflow import content, model_files, models, steps
from samerun.mlflow.tags import own_tags
from samerun.pipeline import Pipeline

HUGE = "9" * 401

PIPELINE = """
stages:
  one:
    cmd: sh one.sh
    params: ["a@b", "a#b", table]
    deps: [one.sh, tables]
    outs: [data, data.csv]
    metrics: [m.json: {cache: false}]
    plots:
      - curve.csv: {cache: false, x: batch, y: loss}
      - rows.json: {cache: false, x: step}
  draw:
    cmd: echo >picture.svg
    deps: [m.json]
    outs: [picture.svg]
  record:
    cmd: samerun record
    deps: [one.sh, tables, data, data.csv, m.json, curve.csv, rows.json, picture.svg]
    params: ["a@b", "a#b", table]
    outs: [mlruns/recorded.json: {cache: false, persist: true}]
    meta: {samerun: {not_identity: [draw], reads: {tables: table}}}
artifacts:
  m: {type: model, path: m.json}
plots:
  - data.csv
"""

ONE = f"""
mkdir -p data; echo 1 >data/secret; echo a >data.csv
echo '{{"acc@5": 1, "acc#5": 2, "acc_5": 3, "huge": {HUGE}}}' >m.json
printf 'epoch,batch,loss,other\\n0,0,1,1\\n0,1,2,2\\n0,1,3,3\\n' >curve.csv
echo '[{{"step": 0, "x": 1, "y": {HUGE}}}, {{"step": 99999999999999999999, "x": 2}}]' >rows.json
"""

FILES = {
    "dvc.yaml": PIPELINE,
    "one.sh": ONE,
    "params.yaml": 'a@b: 1\n"a#b": 2\ntable: tables/a.csv\n',
    "tables/a.csv": "1\n",
    "broken.py": "def (\n",
    "raises.py": "import nothing_of_this_name\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    toy = project(tmp_path_factory.mktemp("attacked") / "work", FILES)
    toy.dvc("repro", "--quiet", "one", "draw")
    return toy


@pytest.fixture
def here(made: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.chdir(made.path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    return made


def with_meta(toy: Toy, meta: Any) -> None:
    declared = yaml.safe_load(PIPELINE)
    declared["stages"]["record"]["meta"] = meta
    (toy.path / "dvc.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ("text", "must be a mapping"),
        ({"samerun": "x"}, "must be a mapping"),
        ({"samerun": {"env": 5}}, "env must be a list"),
        ({"samerun": {"env": [5]}}, "env.0 must be a text"),
        ({"samerun": {"reads": {"tables": 5}}}, "reads.tables must be a text"),
        ({"samerun": {"datasets": {"a": ["x"]}}}, "datasets.a must be a text"),
        *(
            ({"samerun": {"tags": {name: "m.json:huge"}}}, f"(got {name})")
            for name in ("fingerprint", "git_commit", "mlflow.user", "execution")
        ),
    ],
)
def test_a_configuration_of_other_types_is_refused(here: Toy, meta: Any, says: str) -> None:
    with_meta(here, meta)
    with pytest.raises(WorkspaceError) as error:
        config.here()
    assert says in str(error.value)


def test_a_tag_has_a_name_that_mlflow_takes(here: Toy) -> None:
    rules = {"a@b": "m.json:acc_5", "a#b": "m.json:acc_5", 5: "m.json:acc_5"}
    with_meta(here, {"samerun": {"tags": rules}})
    first, second, third = own_tags(Pipeline.here())
    assert (first, third) == ("a_b", "5")
    assert second.startswith("a_b_")


@pytest.mark.parametrize(
    ("meta", "got"),
    [
        ({"not_identity": ["darw"]}, "darw"),
        ({"reads": {"tabels": "table"}}, "tabels"),
        ({"reads": {"tables": "tabel"}}, "tabel"),
        ({"datasets": {"train": "date"}}, "date"),
        ({"description": "nofile.md"}, "nofile.md"),
        ({"model": "nofile.py"}, "nofile.py"),
    ],
)
def test_a_name_that_the_pipeline_does_not_have_is_refused_and_found(
    here: Toy, meta: Any, got: str
) -> None:
    with_meta(here, {"samerun": meta})
    pipeline = Pipeline.here()
    with pytest.raises(WorkspaceError, match=rf"\(got {got}\)"):
        pipeline.check()
    assert any(f"(got {got})" in str(finding) for finding in inputs.record_stage(pipeline))


def test_the_names_that_it_has_are_taken(here: Toy) -> None:
    named = {"not_identity": ["draw"], "reads": {"tables": "table"}, "datasets": {"a": "data"}}
    with_meta(here, {"samerun": named})
    Pipeline.here().check()


@pytest.mark.parametrize("code", ["broken.py", "nofile.py"])
def test_code_of_a_model_that_is_no_python_is_refused_before_a_run(here: Toy, code: str) -> None:
    with_meta(here, {"samerun": {"model": code}})
    with pytest.raises(UserError, match=code):
        model_files.files_of(Pipeline.here())


def test_nothing_is_written_for_a_mistake(here: Toy) -> None:
    with_meta(here, {"samerun": {"model": "broken.py", "not_identity": ["draw"]}})
    here.refused("samerun", "record", says="broken.py, the model's code, must be Python")


def test_code_of_a_model_that_fails_is_named_in_one_line(here: Toy, tmp_path: Path) -> None:
    with_meta(here, {"samerun": {"model": "raises.py"}})
    files = model_files.files_of(Pipeline.here())
    assert files
    with pytest.raises(WorkspaceError, match="must run"):
        models.expected(files)


def test_a_missing_description_is_named_in_one_line(here: Toy) -> None:
    with_meta(here, {"samerun": {"description": "nofile.md"}})
    pipeline = Pipeline.here()
    with pytest.raises(WorkspaceError, match=r"nofile\.md"):
        content.description(pipeline, pipeline.commit())


def test_names_that_become_the_same_in_mlflow_are_all_kept(here: Toy) -> None:
    with_meta(here, {"samerun": {}})
    pipeline = Pipeline.here()
    metrics = content.metrics(pipeline, {})
    assert sorted(metrics.values()) == [1, 2, 3]
    assert metrics["acc_5"] == 3
    assert sorted(content.params(pipeline).values()) == ["1", "2", "tables/a.csv"]


def test_a_folder_whose_name_begins_as_a_plots_does_is_not_kept(here: Toy) -> None:
    with_meta(here, {"samerun": {}})
    kept = content.files(Pipeline.here())
    assert "data.csv" in kept
    assert "data/secret" not in kept


def test_a_table_is_followed_by_the_columns_that_its_plot_names(here: Toy) -> None:
    with_meta(here, {"samerun": {}})
    pipeline = Pipeline.here()
    recorded = steps.history(pipeline)
    assert recorded == {"loss": {0: 1, 1: 2}, "x": {0: 1}}
    shapes = [steps.growing(pipeline, stage) for stage in pipeline.deciding]
    (shape,) = (found[path] for found in shapes for path in found if path.name == "curve.csv")
    shown = _first(next(_follow_table(here.path / "curve.csv", shape)), {})
    assert shown == [(0, {"loss": 1.0}), (1, {"loss": 2.0})]
    curve = here.path / "curve.csv"
    curve.write_text("batch,loss\n0,1\n1,2\n", encoding="utf-8-sig")
    assert _first(next(_follow_table(curve, shape)), {}) == shown


def test_what_a_program_reports_cannot_break_the_run_nor_take_its_tags() -> None:
    lines = "\n".join(
        (
            '{"fingerprint": "x", "git_commit": "x", "mlflow.user": "x", "device": "y"}',
            '{"step": 99999999999999999999, "a": 1}',
            f'{{"step": 1, "a": {HUGE}, "b@": 2, "b#": 3}}',
            "[" * 100_000,
        )
    ).encode()
    assert reported.texts(lines) == {"device": "y"}
    ((step, values),) = reported.rows(lines)
    assert step == 1
    assert sorted(values.values()) == [2, 3]


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("ffffffffffff", "a newer MLflow than"),
        ("0584bdc529eb", "back it up, then run `mlflow db upgrade`"),
    ],
)
def test_a_store_of_another_mlflow_is_named_as_newer_or_older(
    toy: Toy, version: str, says: str
) -> None:
    with sqlite3.connect(toy.path / "mlruns/mlflow.db") as store:
        store.execute("update alembic_version set version_num = ?", [version])
    toy.refused("samerun", "record", says=says)


def test_files_that_may_not_grow_are_one_line(toy: Toy) -> None:
    limited = toy.run("bash", "-c", "ulimit -f 8; samerun record", ok=False)
    assert limited.returncode == 2
    assert limited.stderr.startswith("samerun: error: ")
    assert limited.stderr.count("\n") == 1


def test_a_pipe_in_the_place_of_what_a_program_reports_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live.jsonl")
    script = "import sys; from samerun.execution import reported; print(reported.read(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "live.jsonl")],
        capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
    assert done.stdout == "b''\n"
