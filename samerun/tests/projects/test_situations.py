"""Which executions become runs: the ways of running a pipeline, in a project with nothing of ours.

`record` adds a run for each execution, and none for what was only restored from DVC's cache.
"""

import shutil
from pathlib import Path

import pytest

from projects.toy import ALL, Toy
from support.workspace import commit

pytestmark = pytest.mark.usefixtures("warm")

MARKER = "mlruns/recorded.json"


def test_the_first_repro_is_one_complete_run(toy: Toy) -> None:
    """The fixture has asserted that each stage was executed once."""
    run = toy.new_run([])
    assert toy.experiments() == {run.run_id: "toy"}
    assert run.tags["fingerprint"] == toy.marker()
    assert run.tags["verdict"] == "good"
    assert run.tags["git_commit"] == toy.git("rev-parse", "HEAD~1").strip()
    assert run.tags["git_dirty"] == "false"  # what the stages wrote is no change of the user's
    assert not {"backfilled", "executed", "frozen", "dvc_exp_name"} & run.tags.keys()


def test_a_run_has_the_parameters_metrics_steps_and_files_that_dvc_yaml_declares(toy: Toy) -> None:
    run = toy.new_run([])
    wanted = {"prepare.scale": "2", "fit.rate": "0.5", "fit.steps": "3", "judge.limit": "100"}
    assert wanted.items() <= run.params.items()
    assert run.last["error.absolute"] == 15
    assert run.steps["loss"] == [0, 1, 2]
    assert run.last["loss"] == 225
    for file in ("params.yaml", "dvc.yaml", "reports/metrics.json", "reports/history.csv",
                 "reports/picture.svg"):  # fmt: skip
        assert (run.artifacts / file).read_bytes() == (toy.path / file).read_bytes()
    assert {"dvc.lock", "identity.json", "environment.json"} <= {
        path.name for path in run.artifacts.iterdir()
    }
    assert not (run.artifacts / "changes.patch").exists()


def test_nothing_changed(toy: Toy) -> None:
    before = toy.runs()
    assert toy.repro() == []
    assert toy.runs() == before
    assert toy.git("status", "--short") == ""


def test_a_changed_parameter_is_a_run_and_changing_it_back_is_none(toy: Toy) -> None:
    first = toy.runs()
    toy.set("fit.rate", 0.25)
    assert toy.repro() == ["fit", "judge", "draw", "record"]
    run = toy.new_run(first)
    assert run.tags["fingerprint"] == toy.marker() != first[0].tags["fingerprint"]
    assert run.tags["git_dirty"] == "true"
    assert (run.artifacts / "changes.patch").exists()
    assert "backfilled" not in run.tags
    assert {key for key in run.params if run.params[key] != first[0].params[key]} == {"fit.rate"}

    both = toy.runs()
    toy.set("fit.rate", 0.5)
    assert toy.repro() == ["record"]  # everything else comes from the run cache
    assert toy.runs() == both
    assert toy.marker() == first[0].tags["fingerprint"]
    assert toy.git("status", "--short") == ""


def test_a_parameter_of_the_last_stage_alone_is_a_run(toy: Toy) -> None:
    first = toy.runs()
    toy.set("judge.limit", 1)
    assert toy.repro() == ["judge", "draw", "record"]
    run = toy.new_run(first)
    assert run.tags["verdict"] == "bad"
    assert "backfilled" not in run.tags


def test_a_forced_repro_is_a_second_run_of_the_same_fingerprint(toy: Toy) -> None:
    first = toy.runs()
    assert toy.repro("--force") == ALL
    run = toy.new_run(first)
    assert run.tags["fingerprint"] == first[0].tags["fingerprint"]
    assert run.tags["execution"] != first[0].tags["execution"]
    assert "backfilled" not in run.tags


def test_a_forced_stage_alone_is_recorded_by_the_next_repro(toy: Toy) -> None:
    first = toy.runs()
    assert toy.repro("--force", "--single-item", "fit") == ["fit"]
    assert toy.runs() == first
    assert toy.repro() == ["record"]
    run = toy.new_run(first)
    assert run.tags["fingerprint"] == first[0].tags["fingerprint"]
    assert "backfilled" not in run.tags


def test_record_alone_adds_nothing_to_what_is_recorded(toy: Toy) -> None:
    first = toy.runs()
    assert toy.repro("--single-item", "record") == []
    assert toy.repro("--force", "--single-item", "record") == ["record"]
    toy.samerun("record")
    assert toy.runs() == first


def test_a_comment_in_code_is_a_run_and_taking_it_back_is_none(toy: Toy) -> None:
    first, model = toy.runs(), (toy.path / "models/fit.json").read_bytes()
    toy.append("code/fit/step.sh", "# a comment\n")
    assert toy.repro() == ["fit", "record"]
    assert (toy.path / "models/fit.json").read_bytes() == model
    run = toy.new_run(first)
    assert run.tags["fingerprint"] == toy.marker() != first[0].tags["fingerprint"]
    assert run.tags["git_dirty"] == "true"
    assert "+# a comment" in (run.artifacts / "changes.patch").read_text()
    assert "backfilled" not in run.tags

    both = toy.runs()
    toy.git("checkout", "--", "code")
    assert toy.repro() == ["record"]
    assert toy.runs() == both
    assert toy.marker() == first[0].tags["fingerprint"]
    assert toy.git("status", "--short") == ""


def test_a_committed_change_of_code_is_a_clean_run_of_that_commit(toy: Toy) -> None:
    first = toy.runs()
    toy.append("code/fit/step.sh", "# a comment\n")
    commit(toy, "a comment")
    (toy.path / "notes.txt").write_text("no part of the pipeline\n")
    toy.repro()
    run = toy.new_run(first)
    assert run.tags["git_dirty"] == "false"
    assert run.tags["git_commit"] == toy.git("rev-parse", "HEAD").strip()
    assert not (run.artifacts / "changes.patch").exists()


def test_a_deleted_store_is_filled_again_once_its_marker_is_deleted_too(toy: Toy) -> None:
    for path in (toy.path / "mlruns").iterdir():
        if path.name not in ("recorded.json", ".gitignore"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert toy.repro() == []  # with the marker there, nothing has changed for DVC
    assert toy.runs() == []
    (toy.path / MARKER).unlink()
    assert toy.repro() == ["record"]
    run = toy.new_run([])
    assert run.tags["backfilled"] == "true"
    assert run.tags["fingerprint"] == toy.marker()
    assert run.steps["loss"] == [0, 1, 2]
    assert toy.git("status", "--short") == ""


def test_a_deleted_folder_of_the_store_is_filled_again(toy: Toy) -> None:
    shutil.rmtree(toy.path / "mlruns")
    assert toy.repro() == ["record"]
    assert toy.new_run([]).tags["backfilled"] == "true"


def test_a_deleted_marker_alone_is_written_again(toy: Toy) -> None:
    first, marker = toy.runs(), toy.marker()
    (toy.path / MARKER).unlink()
    assert toy.repro() == ["record"]
    assert toy.runs() == first
    assert toy.marker() == marker


def test_a_fresh_clone_executes_everything_and_has_one_run(toy: Toy) -> None:
    clone = toy.clone()
    assert clone.repro() == ALL
    run = clone.new_run([])
    assert "backfilled" not in run.tags
    assert run.tags["fingerprint"] == toy.marker() == clone.marker()
    assert clone.git("status", "--short") == ""


@pytest.fixture
def pushed(toy: Toy, tmp_path: Path) -> Toy:
    """A project whose outputs are in a DVC remote, and whose raw data is tracked by a .dvc file."""
    toy.git("rm", "--quiet", "--cached", "data/raw.csv")
    toy.dvc("add", "--quiet", "data/raw.csv")
    toy.dvc("remote", "add", "--quiet", "--default", "here", str(tmp_path / "remote"))
    assert toy.repro() == []
    toy.dvc("push", "--quiet")
    commit(toy, "a remote")
    return toy


def test_a_clone_that_pulled_executes_nothing_and_is_backfilled(pushed: Toy) -> None:
    clone = pushed.clone()
    clone.dvc("pull", "--quiet", "--allow-missing")
    assert clone.repro() == ["record"]
    run = clone.new_run([])
    assert run.tags["backfilled"] == "true"
    assert run.tags["git_dirty"] == "false"
    assert run.tags["fingerprint"] == pushed.marker()
    assert clone.git("status", "--short") == ""


def test_repro_with_pull_leaves_a_missing_marker_to_the_next_repro(pushed: Toy) -> None:
    clone = pushed.clone()
    assert clone.repro("--pull") == []
    assert clone.runs() == []
    assert clone.repro() == ["record"]
    assert clone.new_run([]).tags["backfilled"] == "true"


def test_data_of_a_dvc_file_belongs_to_identity(pushed: Toy) -> None:
    first = pushed.runs()
    pushed.append("data/raw.csv", "4,40\n")
    pushed.dvc("add", "--quiet", "data/raw.csv")
    assert pushed.repro() == ALL
    run = pushed.new_run(first)
    assert run.tags["fingerprint"] != first[0].tags["fingerprint"]
    assert run.tags["git_dirty"] == "true"
    assert "data/raw.csv.dvc" in (run.artifacts / "changes.patch").read_text()


def test_a_stage_that_only_presents_adds_its_new_output_to_the_run(toy: Toy) -> None:
    (run,) = toy.runs()
    old = (run.artifacts / "reports/picture.svg").read_bytes()
    toy.replace("code/draw/main.sh", "<svg ", "<svg width='9' ")
    assert toy.repro() == ["draw", "record"]
    (again,) = toy.runs()
    assert again.tags["fingerprint"] == run.tags["fingerprint"] == toy.marker()
    assert (run.artifacts / "reports/picture.svg").read_bytes() == old
    (added,) = (run.artifacts / "reports").glob("picture-????????.svg")
    assert added.read_bytes() == (toy.path / "reports/picture.svg").read_bytes() != old

    toy.git("checkout", "--", "code")  # the run has this picture already
    assert toy.repro() == ["record"]
    assert len(list((run.artifacts / "reports").glob("picture*.svg"))) == 2

    toy.set("draw.color", "blue")  # a parameter of such a stage is no part of identity either
    assert toy.repro() == ["draw", "record"]
    assert len(toy.runs()) == 1
    assert len(list((run.artifacts / "reports").glob("picture*.svg"))) == 3


def test_a_stage_that_only_presents_adds_to_the_newest_run_of_its_fingerprint(toy: Toy) -> None:
    (first,) = toy.runs()
    toy.repro("--force")
    newest = toy.new_run([first])
    toy.replace("code/draw/main.sh", "<svg ", "<svg width='9' ")
    toy.repro()
    assert len(toy.runs()) == 2
    assert not list((first.artifacts / "reports").glob("picture-*.svg"))
    assert len(list((newest.artifacts / "reports").glob("picture-*.svg"))) == 1


PREDICT = """
import sys, mlflow, pandas as pd
print(list(mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({"x": [1.0, 2.0]}))))
"""


def test_changed_code_of_the_model_is_a_run_whose_model_has_it(toy: Toy) -> None:
    def predictions(run_id: str) -> str:
        store = f"sqlite:///{toy.path}/mlruns/mlflow.db"
        arguments = ("python", "-c", PREDICT, f"runs:/{run_id}/model")
        return toy.run(*arguments, MLFLOW_TRACKING_URI=store).stdout.strip()

    first = toy.runs()
    toy.replace("code/serve.py", "* slope", "* slope + 1")
    assert toy.repro() == ["record"]
    run = toy.new_run(first)
    assert run.tags["fingerprint"] != first[0].tags["fingerprint"]
    assert run.tags["backfilled"] == "true"
    assert run.tags["git_dirty"] == "true"
    assert predictions(first[0].run_id) == "[105.0, 210.0]"
    assert predictions(run.run_id) == "[106.0, 211.0]"


SERVE_BY_RULE = """
import json, runpy
from pathlib import Path

RULE = runpy.run_path(str(Path(__file__).parent / "lib/rule.py"))["rule"]


def input_example(path):
    import pandas
    return pandas.DataFrame({name: [1.0, 2.0] for name in json.loads(Path(path).read_text())})


def load(path):
    slope = json.loads(Path(path).read_text())["slope"]
    return lambda frame: RULE(frame["slope"], slope)
"""


def test_a_file_beside_the_code_of_the_model_belongs_to_the_run_and_to_its_model(
    toy: Toy,
) -> None:
    (toy.path / "code/lib").mkdir()
    (toy.path / "code/lib/rule.py").write_text("def rule(x, slope):\n    return x * slope\n")
    (toy.path / "code/serve.py").write_text(SERVE_BY_RULE)
    toy.replace("dvc.yaml", "model: code/serve.py", "model: [code/serve.py, code/lib/rule.py]")
    toy.replace("dvc.yaml", "      - code/serve.py\n", "      - code/serve.py\n      - code/lib\n")
    commit(toy, "a rule of its own")
    before = toy.runs()
    assert toy.repro() == ["record"]
    first = toy.new_run(before)
    assert first.tags["git_dirty"] == "false"
    assert toy.samerun("reproduce", first.run_id).returncode == 0

    toy.replace("code/lib/rule.py", "x * slope", "x * slope + 1")
    assert toy.repro() == ["record"]
    second = toy.new_run([*before, first])
    assert second.tags["fingerprint"] != first.tags["fingerprint"]
    assert second.tags["git_dirty"] == "true"
    rules = toy.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/lib/rule.py")
    assert sorted(path.read_text().count("+ 1") for path in rules) == [0, 1]

    toy.replace("dvc.yaml", "code/lib/rule.py]", "data/raw.csv]")
    toy.refused("samerun", "record", says="must name files in the folder of code/serve.py")
