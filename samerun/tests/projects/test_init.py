"""`samerun init`: one command makes a project's runs recorded, and changes nothing else."""

import base64
import difflib
import json
import sqlite3
import zlib
from pathlib import Path

import pytest
import yaml

from projects.toy import ALL, FILES, Toy, flip, project
from support.workspace import commit

pytestmark = pytest.mark.usefixtures("warm")

STAGES = ALL[:-1]

PLAIN = FILES["dvc.yaml"].replace("samerun run -- ", "").split("  record:\n")[0]
"""A pipeline without a record stage."""

MODEL = "artifacts:\n  fit: {type: model, path: models/fit.json}\n"


def plain(path: Path, pipeline: str = PLAIN + MODEL, **files: str) -> Toy:
    """Return a project without samerun, in which the pipeline ran once."""
    toy = project(path, FILES | {"dvc.yaml": pipeline, ".dvcignore": "# DVC's own\n"} | files)
    toy.dvc("repro")
    commit(toy, "results")
    return toy


def added(old: str, new: str) -> list[str]:
    """Return the lines that were added to a text; assert that the old ones are unchanged."""
    diff = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] != "?"]
    assert [line for line in diff if line[0] == "-"] == []
    return [line[2:] for line in diff if line[0] == "+"]


def stage(toy: Toy, folder: str = ".", name: str = "record") -> dict[str, object]:
    """Return the record stage in dvc.yaml."""
    content = yaml.safe_load((toy.path / folder / "dvc.yaml").read_text())
    return dict(content["stages"][name])


def shown_columns(toy: Toy) -> list[str]:
    """Return the columns of the saved view of the table of runs."""
    with sqlite3.connect(toy.path / "mlruns/mlflow.db") as store:
        query = "select value from experiment_tags where key like 'mlflow.sharedViewState.%'"
        ((view,),) = store.execute(query).fetchall()
    packed = base64.b64decode(json.loads(view)["state"].removeprefix("deflate;"))
    return list(json.loads(zlib.decompress(packed))["selectedColumns"])


def test_a_run_is_recorded_and_proven_after_one_command(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    old = (toy.path / "dvc.yaml").read_text()
    shown = toy.samerun("init").stdout
    lines = added(old, (toy.path / "dvc.yaml").read_text())
    assert f"added the stage record ({len(lines)} lines)" in shown
    assert len(lines) <= 14
    changed = toy.git("status", "--short").split()
    assert set(changed[1::2]) == {"dvc.yaml", ".dvcignore", "mlruns/"}
    assert set(stage(toy)["deps"]) == {  # type: ignore[call-overload]
        "code/common.sh", "code/prepare", "code/fit", "code/judge", "code/draw", "data/raw.csv",
        "models/fit.json", "reports/history.csv", "reports/metrics.json", "reports/picture.svg",
    }  # fmt: skip
    assert stage(toy)["params"] == ["prepare", "fit", "judge", "draw"]
    assert stage(toy)["meta"] == {"samerun": {"experiment": "mine"}}
    commit(toy, "init")
    assert toy.repro() == ["record"]
    (run,) = toy.runs()
    assert (run.tags["executed"], run.tags["git_dirty"]) == ("unseen", "false")
    assert {"error.absolute", "slope"} <= set(run.last)
    assert run.steps["loss"] == [0, 1, 2]
    assert shown_columns(toy) == [
        "metrics.`slope`", "metrics.`error.absolute`", "params.`prepare.scale`",
        "params.`fit.rate`", "params.`fit.steps`", "params.`judge.limit`", "params.`draw.color`",
    ]  # fmt: skip
    assert "exact" in toy.samerun("reproduce", run.run_id).stdout
    assert toy.samerun("doctor").returncode == 0
    assert toy.repro() == []


def test_wrapped_stages_leave_receipts(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    shown = toy.samerun("init", "--wrap").stdout
    assert "wrapped prepare, fit, judge, draw" in shown
    commit(toy, "init")
    assert toy.repro() == ALL
    (run,) = toy.runs()
    assert "executed" not in run.tags
    assert "device" in run.tags


def test_called_again_it_changes_nothing(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    toy.samerun("init", "--wrap")
    commit(toy, "init")
    for arguments in ((), ("--wrap",)):
        assert "nothing to do" in toy.samerun("init", *arguments).stdout
        assert toy.git("status", "--short") == ""


def test_what_the_stage_lacks_since_dvc_yaml_changed_is_named(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    toy.samerun("init")
    commit(toy, "init")
    more = "  more:\n    cmd: date > when.txt\n    deps: [data/raw.csv]\n    outs: [when.txt]\n"
    toy.replace("dvc.yaml", "  record:\n", f"{more}  record:\n")
    toy.replace("dvc.yaml", "    params: [judge]\n", "    params: [judge, draw.color]\n")
    toy.replace("dvc.yaml", "[code/common.sh, code/fit, data/table.csv]",
                "[code/common.sh, code/fit, data/table.csv, code/serve.py]")  # fmt: skip
    old = (toy.path / "dvc.yaml").read_bytes()
    done = toy.samerun("init", ok=False)
    assert done.returncode == 1
    assert "record lacks code/serve.py" in done.stdout
    assert "record does not depend on more: add when.txt to its deps" in done.stdout
    assert "color" not in done.stdout  # the stage depends on all of `draw`
    assert "stage more: no record stage depends on it" in toy.samerun("doctor", ok=False).stdout
    assert (toy.path / "dvc.yaml").read_bytes() == old


@pytest.mark.parametrize(
    ("ruin", "says"),
    {
        "no dvc.yaml": (lambda toy: (toy.path / "dvc.yaml").unlink(), "no dvc.yaml in"),
        "edits": (lambda toy: toy.append("dvc.yaml", "# mine\n"), "dvc.yaml has uncommitted edits"),
        "no git": (lambda toy: (toy.path / ".git").rename(toy.path / "git"), "git repository"),
        "no dvc": (lambda toy: (toy.path / ".dvc").rename(toy.path / "dvc"), "run `dvc init`"),
        "encoding": (
            lambda toy: (toy.path / ".dvcignore").write_bytes(b"caf\xe9\n"),
            ".dvcignore must be text in UTF-8",
        ),
        "link": (
            lambda toy: (toy.path / "mlruns").symlink_to("nowhere"),
            "mlruns must be a folder for the local store",
        ),
    }.values(),
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, ruin: object, says: str) -> None:
    toy = project(tmp_path / "mine", FILES | {"dvc.yaml": PLAIN})
    ruin(toy)  # type: ignore[operator]
    before = {path: path.read_bytes() for path in toy.path.glob("*") if path.is_file()}
    toy.refused("samerun", "init", says=says)
    assert {path: path.read_bytes() for path in toy.path.glob("*") if path.is_file()} == before


def test_line_ends_links_and_a_second_call_after_a_kill(tmp_path: Path) -> None:
    toy = project(tmp_path / "mine", FILES | {"dvc.yaml": ""})
    old = PLAIN.lstrip("\n").replace("\n", "\r\n").encode()
    (toy.path / "dvc.yaml").unlink()
    (toy.path / "real.yaml").write_bytes(old)
    (toy.path / "dvc.yaml").symlink_to("real.yaml")
    commit(toy, "a link")
    toy.samerun("init")
    assert (toy.path / "dvc.yaml").is_symlink()
    new = (toy.path / "real.yaml").read_bytes()
    assert new.startswith(old.rstrip())
    assert b"\n" not in new.replace(b"\r\n", b"")
    commit(toy, "init")
    (toy.path / "mlruns/.gitignore").unlink()  # as if the call before had been killed
    assert "mlruns/.gitignore" in toy.samerun("init").stdout


def test_an_output_in_the_markers_place_is_refused(tmp_path: Path) -> None:
    pipeline = "stages:\n  one:\n    cmd: mkdir mlruns\n    outs: [mlruns]\n"
    toy = project(tmp_path / "mine", {"dvc.yaml": pipeline})
    toy.refused("samerun", "init", says="the output mlruns of a stage overlaps mlruns")
    assert (toy.path / "dvc.yaml").read_text() == pipeline


def test_anchors_are_kept_and_not_wrapped(tmp_path: Path) -> None:
    pipeline = """\
stages:
  one: &one
    cmd: sh -c 'echo 1 > out.txt'
    outs: [out.txt]
  two:
    <<: *one
    outs: [two.txt]
"""
    toy = project(tmp_path / "mine", {"dvc.yaml": pipeline})
    toy.refused("samerun", "init", "--wrap", says="anchors")
    assert toy.git("status", "--short") == ""
    toy.samerun("init")
    added(pipeline, (toy.path / "dvc.yaml").read_text())


def test_stages_in_braces_are_refused(tmp_path: Path) -> None:
    braces = "stages: {one: {cmd: echo 1 > a.txt, outs: [a.txt]}}\n"
    toy = project(tmp_path / "mine", {"dvc.yaml": braces})
    toy.refused("samerun", "init", says="line by line")


def test_comments_order_and_odd_forms_stay(tmp_path: Path) -> None:
    pipeline = """\
vars: [{where: out}]   # a variable

stages:
    # indented by four
    each:
        foreach: [a, 'b']
        do:
            cmd: "echo ${item} > ${where}-${item}.txt"
            outs: ["${where}-${item}.txt"]
    grid:
        matrix: {x: [1, 2]}
        cmd: python -c "open('grid-${item.x}.txt', 'w')"
        deps: [other.yaml]
        params: [{other.yaml: }]
        outs: ['grid-${item.x}.txt']
        # the last word


# what follows
plots: []
"""
    toy = project(tmp_path / "mine", {"dvc.yaml": pipeline, "other.yaml": "a: 1\n"})
    toy.samerun("init")
    text = (toy.path / "dvc.yaml").read_text()
    added(pipeline, text)
    assert text.endswith("\n\n\n# what follows\nplots: []\n")
    outs = ["out-a.txt", "out-b.txt", "grid-1.txt", "grid-2.txt"]
    assert sorted(stage(toy)["deps"]) == sorted([*outs, "other.yaml"])  # type: ignore[call-overload]
    assert stage(toy)["params"] == [{"other.yaml": None}]
    commit(toy, "init")
    shown = toy.samerun("init", "--wrap").stdout
    assert "wrapped each, grid;" in shown
    assert '    cmd: "samerun run -- echo ${item} > ${where}' in (toy.path / "dvc.yaml").read_text()
    commit(toy, "wrapped")
    toy.dvc("repro")
    (run,) = toy.runs()
    assert run.params == {"a": "1"}
    assert toy.samerun("doctor").returncode == 0


def test_a_marker_that_dvc_would_restore_is_named(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    toy.samerun("init")
    commit(toy, "init")
    toy.replace("dvc.yaml", "{cache: false, persist: true}", "{cache: false}")
    done = toy.samerun("init", ok=False)
    assert done.returncode == 1
    assert "must be a marker" in done.stdout


def test_what_a_shell_must_read_is_not_wrapped(tmp_path: Path) -> None:
    commands = {
        "two": "echo 1 > two.txt && echo 2",
        "pipe": "echo 1 | cat > pipe.txt",
        "variable": "A=./1 sh -c 'echo $A' > variable.txt",
        "builtin": "ulimit -c 0",
        "lines": "|\n      echo 1 > lines.txt\n      echo 2",
        "several": "[echo 1 > several.txt, echo 2]",
        "one": "sh -c 'echo 1; (echo 2 | cat)' > one.txt",
    }
    pipeline = "stages:\n" + "".join(
        f"  {name}:\n    cmd: {command}\n    outs: [{name}.txt]\n"
        for name, command in commands.items()
    )
    toy = project(
        tmp_path / "mine", {"dvc.yaml": pipeline.replace("    outs: [builtin.txt]\n", "")}
    )
    shown = toy.samerun("init", "--wrap").stdout
    assert "wrapped one;" in shown
    for name in ("two", "pipe", "variable", "builtin", "lines", "several"):
        assert f"{name}: not wrapped, since its command is more than one program" in shown
    assert "builtin: it has no outputs" in shown
    toy.dvc("repro")
    assert (toy.path / "one.txt").read_text() == "1\n2\n"


def test_two_pipelines_of_a_repository_have_experiments_of_their_own(tmp_path: Path) -> None:
    files = {
        f"{folder}/{name}": text
        for folder in ("one", "two")
        for name, text in (FILES | {"dvc.yaml": PLAIN}).items()
        if name != ".dvcignore"
    }
    toy = project(tmp_path / "mono", files)
    for folder in ("one", "two"):
        toy.run("sh", "-c", 'cd "$0" && samerun init', folder)
        assert stage(toy, folder)["meta"] == {"samerun": {"experiment": f"mono-{folder}"}}
    commit(toy, "init")
    toy.dvc("repro", "one/dvc.yaml", "two/dvc.yaml")
    assert set(toy.experiments().values()) == {"mono-one", "mono-two"}


def test_metrics_that_no_stage_makes_are_named(tmp_path: Path) -> None:
    top = "metrics: [live/metrics.json, models/fit.json]\n"
    toy = project(tmp_path / "mine", FILES | {"dvc.yaml": f"{PLAIN}{top}"})
    shown = toy.samerun("init").stdout
    assert "init: live/metrics.json: not recorded, since it is no output" in shown
    assert "models/fit.json: not" not in shown


def test_a_changed_byte_after_init_is_found(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    toy.samerun("init")
    commit(toy, "init")
    toy.dvc("repro")
    (run,) = toy.runs()
    flip(run.artifacts / "reports/metrics.json")
    done = toy.samerun("reproduce", run.run_id, ok=False)
    assert done.returncode == 1
    assert "reports/metrics.json" in done.stdout


ALIASED = """stages:
  a:
    foreach: [1, 2]
    do: &both
      cmd: cp data/raw.csv ${item}.csv
      deps: [data/raw.csv]
      outs: ["${item}.csv"]
  b:
    foreach: [3]
    do: *both
  on:
    cmd: cp 1.csv on.csv
    deps: [1.csv]
    outs: [on.csv]
"""


def test_an_alias_is_wrapped_once_and_a_name_that_yaml_takes_for_true_is_left(
    tmp_path: Path,
) -> None:
    toy = project(tmp_path / "mine", FILES | {"dvc.yaml": ALIASED, ".dvcignore": "# DVC's own\n"})
    shown = toy.samerun("init", "--wrap").stdout
    text = (toy.path / "dvc.yaml").read_text()
    assert text.count("samerun run -- cp data/raw.csv") == 1
    assert text.count("samerun run -- samerun") == 0
    assert "wrapped a, b" in shown
    assert "on: not wrapped" in shown


def test_a_folder_with_an_apostrophe_is_recorded(tmp_path: Path) -> None:
    toy = plain(tmp_path / "mine")
    folder = toy.path / "it's"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(
        "stages:\n  only:\n    cmd: echo '{\"a\":1}' > m.json\n    metrics: [m.json]\n"
    )
    commit(toy, "another pipeline")
    toy.run("sh", "-c", 'cd "it\'s" && samerun init')
    toy.run("sh", "-c", 'cd "it\'s" && dvc repro record')
    (run,) = toy.runs()
    assert (run.status, run.last) == ("FINISHED", {"a": 1.0})


def test_an_absolute_dependency_outside_the_repository_stays_absolute(tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("1\n")
    pipeline = (
        f"stages:\n  one:\n    cmd: cp {outside} a.txt\n    deps: [{outside}]\n    outs: [a.txt]\n"
    )
    toy = project(tmp_path / "mine", {"dvc.yaml": pipeline})
    toy.samerun("init")
    assert str(outside) in stage(toy)["deps"]  # type: ignore[operator]
    commit(toy, "init")
    assert "nothing to do" in toy.samerun("init").stdout
    toy.replace("dvc.yaml", f"    deps: [{outside}, a.txt]\n", "    deps: [a.txt]\n")
    assert f"record lacks {outside}: add it to its deps" in toy.samerun("init", ok=False).stdout
