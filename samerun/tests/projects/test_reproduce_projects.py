"""`samerun reproduce` wherever a project lies, whatever it is made of, whoever has its store."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from projects.test_layouts import (
    APART,
    CONTAINED,
    FILES_OF_PARAMETERS,
    GENERATED,
    within,
)
from projects.test_reproduce import everything, exact, refused, reproduce
from projects.toy import FILES, Toy, project
from support.servers import over_sqlite
from support.workspace import commit, copied

pytestmark = pytest.mark.usefixtures("warm")


def dirty(toy: Toy) -> str:
    """Record a run with uncommitted changes, undo them in the workspace, and return its id."""
    known = toy.runs()
    toy.append("code/fit/step.sh", "# ends in blanks   \n# and in CR LF\r\n")
    toy.set("fit.rate", 0.25)
    toy.repro()
    run = toy.new_run(known)
    assert run.tags["git_dirty"] == "true"
    toy.git("checkout", "--", "code", "params.yaml")
    return run.run_id


SETTINGS = {
    "diff.noprefix": "true",
    "diff.context": "0",
    "diff.external": "false",
    "apply.whitespace": "fix",
}


def test_uncommitted_changes_come_back_from_the_local_store(toy: Toy, tmp_path: Path) -> None:
    config = tmp_path / "gitconfig"
    for setting, value in SETTINGS.items():
        toy.run("git", "config", "--file", str(config), setting, value)
    before = everything(toy.path / "code")
    exact(toy, dirty(toy), GIT_CONFIG_GLOBAL=str(config))
    assert everything(toy.path / "code") == before


def test_uncommitted_changes_of_another_store_are_refused_unless_wanted(
    toy: Toy, tmp_path: Path
) -> None:
    run_id = dirty(toy)
    (toy.path / "mlruns/mlflow.db").rename(tmp_path / "other.db")
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"}
    log = toy.executions()
    refused(toy, "its changes.patch, then add --with-patch", run_id, **env)
    assert toy.executions() == log
    exact(toy, run_id, "--with-patch", **env)


def test_another_store_brings_no_parameter_file_of_its_own(toy: Toy, tmp_path: Path) -> None:
    (run,) = toy.runs()
    (toy.path / "mlruns/mlflow.db").rename(tmp_path / "other.db")
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"}
    exact(toy, run.run_id, **env)
    (run.artifacts / "params.yaml").write_text("import os\n")
    log = toy.executions()
    refused(toy, "params.yaml of the run differs from its commit", run.run_id, **env)
    assert toy.executions() == log


def test_a_server_is_another_store(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with over_sqlite(tmp_path / "server") as server:
        env = {"MLFLOW_TRACKING_URI": server.uri}
        toy.repro("--force", **env)
        exact(toy, server.runs()[-1].run_id, **env)
        toy.append("code/fit/step.sh", "# other\n")
        toy.repro(**env)
        changed = server.runs()[-1]
        assert changed.tags["git_dirty"] == "true"
        refused(toy, "add --with-patch", changed.run_id, **env)
        exact(toy, changed.run_id, "--with-patch", **env)
        assert server.runs()[-1].tags["reproduced"] == "exact"


def test_the_champion(toy: Toy) -> None:
    (run,) = toy.runs()
    code = (
        "import mlflow; from mlflow import MlflowClient;"
        " mlflow.set_tracking_uri('sqlite:///mlruns/mlflow.db'); client = MlflowClient();"
        " client.create_registered_model('toy');"
        f" client.create_model_version('toy', 'runs:/{run.run_id}/model', '{run.run_id}');"
        " client.set_registered_model_alias('toy', 'champion', '1')"
    )
    toy.run("python", "-c", code)
    assert run.run_id in exact(toy, "champion")


def test_an_experiment_with_parameters_and_code_of_its_own(toy: Toy) -> None:
    known = toy.runs()
    toy.append("code/judge/main.sh", "# other\n")
    toy.dvc("exp", "run", "--temp", "-S", "fit.rate=0.125")
    toy.git("checkout", "--", ".")
    exact(toy, toy.new_run(known).run_id)


def clone_of(toy: Toy, folder: Path, *options: str) -> Toy:
    """Return a clone by git's own protocol, with a copy of the store."""
    toy.git("config", "uploadpack.allowFilter", "true")
    toy.git("config", "uploadpack.allowAnySHA1InWant", "true")
    toy.git("clone", "--quiet", *options, f"file://{toy.path}", str(folder))
    clone = Toy(folder)
    shutil.copytree(toy.path / "mlruns", folder / "mlruns", dirs_exist_ok=True)
    return clone


@pytest.mark.parametrize("kind", ["blob:none", "tree:0"])
def test_a_partial_clone_fetches_what_it_lacks(toy: Toy, tmp_path: Path, kind: str) -> None:
    (run,) = toy.runs()
    toy.append("code/fit/step.sh", "# later\n")
    toy.append("data/raw.csv", "4,40\n")
    commit(toy, "later")
    clone = clone_of(toy, tmp_path / "clone", f"--filter={kind}")
    clone.git("config", "remote.origin.url", os.path.relpath(toy.path, clone.path))
    before = everything(clone.path)
    exact(clone, run.run_id)
    after = everything(clone.path)
    after.pop(".dvc/tmp/btime")  # when DVC first saw this clone
    assert after == before
    clone.git("config", "remote.origin.url", "../nowhere")
    refused(clone, "git cannot fetch what this partial clone lacks of", run.run_id)
    clone.git("remote", "remove", "origin")
    refused(clone, "git cannot check out ", run.run_id)


def test_a_commit_that_only_the_remote_knows_is_not_fetched(toy: Toy, tmp_path: Path) -> None:
    known = toy.runs()
    clone = clone_of(toy, tmp_path / "clone", "--filter=blob:none")
    toy.append("code/fit/step.sh", "# later\n")
    commit(toy, "later")
    toy.repro()
    run = toy.new_run(known)
    shutil.copytree(toy.path / "mlruns", clone.path / "mlruns", dirs_exist_ok=True)
    refused(clone, "is not in this repository", run.run_id)


def test_a_shallow_clone_says_what_it_lacks(toy: Toy, tmp_path: Path) -> None:
    known = toy.runs()
    toy.append("code/fit/step.sh", "# later\n")
    commit(toy, "later")
    toy.repro()
    latest = toy.new_run(known)
    clone = clone_of(toy, tmp_path / "clone", "--depth=1")
    refused(clone, "which is shallow: run `git fetch --unshallow`", known[0].run_id)
    printed = exact(clone, latest.run_id, "--keep", TMPDIR=str(tmp_path))
    kept = printed.rpartition("the checkout is in ")[2].strip()
    assert "later" in clone.git("-C", kept, "log", "--oneline")  # as a stage may ask


@pytest.mark.parametrize("dvc", ["", "sub"])
def test_a_folder_of_a_repository(tmp_path: Path, dvc: str) -> None:
    root = project(tmp_path / "root", within("sub", FILES) | {"other.txt": "1\n"}, dvc=dvc)
    database = "sub/mlruns/mlflow.db" if dvc else "mlruns/mlflow.db"
    root.repro(folder="sub")
    commit(root, "results")
    sub = Toy(root.path / "sub")
    exact(sub, root.runs(database)[-1].run_id)
    root.append("sub/code/fit/step.sh", "# other\n")
    root.append("other.txt", "no part of it\n")
    root.repro(folder="sub")
    root.git("checkout", "--", "sub/code")
    run = root.runs(database)[-1]
    assert run.tags["git_dirty"] == "true"
    exact(sub, run.run_id)


@pytest.mark.parametrize(
    "files",
    [
        APART,
        FILES_OF_PARAMETERS,
        {"dvc.yaml": GENERATED, "settings.json": '{"factor": 7}\n', "code.sh": "# nothing\n",
         "out/.gitignore": "*.txt\n"},
    ],
)  # fmt: skip
def test_any_layout(tmp_path: Path, files: dict[str, str]) -> None:
    toy = project(tmp_path / "new", files)
    toy.repro("--all-pipelines")
    exact(toy, toy.runs()[0].run_id)


def test_uncommitted_variables_of_templates_come_back(tmp_path: Path) -> None:
    pipeline = GENERATED.replace("- folder: out", "- folder: out\n  - sub/own.yaml:suffix")
    pipeline = pipeline.replace("echo ${factor}${item}", "echo ${factor}${item}${suffix}${last}")
    files = {"dvc.yaml": pipeline, "settings.json": '{"factor": 7}\n', "code.sh": "# nothing\n",
             "sub/own.yaml": "suffix: a\n", "params.yaml": "last: z\n",
             "out/.gitignore": "*.txt\n"}  # fmt: skip
    toy = project(tmp_path / "new", files)
    toy.repro()
    assert toy.runs()[0].tags["git_dirty"] == "false"
    for file, old, new in (
        ("settings.json", "7", "8"), ("sub/own.yaml", "a", "b"), ("params.yaml", "z", "y"),
    ):  # fmt: skip
        known = toy.runs()
        toy.replace(file, f" {old}", f" {new}")
        toy.repro()
        run = toy.new_run(known)
        assert run.tags["git_dirty"] == "true"
        toy.git("checkout", "--", file)
        exact(toy, run.run_id)


def test_a_stage_of_another_dvc_yaml_that_makes_something_else(tmp_path: Path) -> None:
    files = dict(APART)
    clock = "date +%N | cat raw.csv - >"
    files["data/dvc.yaml"] = files["data/dvc.yaml"].replace("cp raw.csv", clock)
    toy = project(tmp_path / "new", files)
    toy.repro("--all-pipelines")
    done = reproduce(toy, toy.runs()[0].run_id)
    assert done.returncode == 1, done.stderr
    assert "differs: stage cut: data/cut.csv: row 1, column 1 was " in done.stdout


def test_a_folder_of_code_and_results_and_a_table_from_outside(tmp_path: Path) -> None:
    outside = tmp_path / "ein table.csv"
    outside.write_text("1\n2\n")
    pipeline = CONTAINED["dvc.yaml"].replace("OUTSIDE", str(outside)).replace("date +%N", "echo 5")
    toy = project(tmp_path / "new", CONTAINED | {"dvc.yaml": pipeline})
    toy.repro()
    (run,) = toy.runs()
    exact(toy, run.run_id)
    outside.write_text("1\n3\n")
    done = reproduce(toy, run.run_id)
    assert done.returncode == 1
    assert (
        f"differs: stage parts: {outside} differs from what the run read (MD5 was " in done.stdout
    )


def test_a_dependency_outside_of_dvcs_folder(tmp_path: Path) -> None:
    files = within("sub", FILES) | {"common.sh": "true\n"}
    files["sub/dvc.yaml"] = files["sub/dvc.yaml"].replace("code/common.sh", "../common.sh")
    files["sub/code/common.sh"] = FILES["code/common.sh"]
    root = project(tmp_path / "root", files, dvc="sub")
    root.repro(folder="sub")
    exact(Toy(root.path / "sub"), root.runs("sub/mlruns/mlflow.db")[0].run_id)
    root.append("common.sh", "# not committed\n")
    root.repro(folder="sub")
    root.git("checkout", "--", "common.sh")
    exact(Toy(root.path / "sub"), root.runs("sub/mlruns/mlflow.db")[-1].run_id)


EXAMPLE = """
import json, random
import pandas as pd

INPUT_EXAMPLE = pd.DataFrame({"x": [1.0, 2.0]})

def load(path):
    slope = json.loads(open(path).read())["slope"]
    return lambda frame: frame["x"] * slope
"""


def test_the_predictions_of_its_example(tmp_path: Path) -> None:
    toy = project(tmp_path / "new", FILES | {"code/serve.py": EXAMPLE})
    toy.repro()
    exact(toy, toy.runs()[0].run_id)
    toy.replace("code/serve.py", 'frame["x"] * slope', 'frame["x"] * random.random()')
    toy.repro()
    done = reproduce(toy, toy.runs()[-1].run_id)
    assert done.returncode == 1, done.stderr
    assert "differs: the run's model: prediction 0 was " in done.stdout


def test_a_linked_worktree(toy: Toy, tmp_path: Path) -> None:
    toy.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    linked = Toy(tmp_path / "linked")
    linked.repro()
    exact(linked, linked.runs()[-1].run_id)


def test_an_odd_folder_that_was_moved(toy: Toy, tmp_path: Path) -> None:
    (run,) = toy.runs()
    odd = tmp_path / "a b'ö#?&$(x)"
    toy.path.rename(odd)
    done = reproduce(Toy(odd), run.run_id)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nexact: " in done.stdout


def test_a_frozen_stage_is_executed_too(toy: Toy) -> None:
    known = toy.runs()
    toy.dvc("freeze", "fit")
    commit(toy, "frozen")
    assert toy.repro("--force") == ["prepare", "judge", "draw", "record"]
    run, log = toy.new_run(known), toy.executions()
    exact(toy, run.run_id)
    assert toy.executions()[len(log) :] == ["prepare", "fit", "judge"]
    toy.set("fit.rate", 0.25)
    known = toy.runs()
    toy.repro("--force")  # which writes parameters into dvc.lock that the stage did not run with
    run = toy.new_run(known)
    done = reproduce(toy, run.run_id)
    assert done.returncode == 1
    assert "differs: stage fit: models/fit.json: slope was 105, is 69.375" in done.stdout


def test_variables_of_the_identity_have_the_runs_values(tmp_path: Path) -> None:
    used = "\necho ${TOY_A:-none} ${TOY_B-none} >> models/fit.txt\n"
    pipeline = FILES["dvc.yaml"].replace("[models/fit.json]", "[models/fit.json, models/fit.txt]")
    pipeline = pipeline.replace("experiment: toy", "experiment: toy\n        env: [TOY_A, TOY_B]")
    fit = FILES["code/fit/main.sh"] + used
    toy = project(tmp_path / "new", {**FILES, "code/fit/main.sh": fit, "dvc.yaml": pipeline})
    toy.repro(TOY_A="first")
    (run,) = toy.runs()
    exact(toy, run.run_id, TOY_A="second", TOY_B="third")


HISTORY = "reports/history.csv"


def judged(toy: Toy, edit: str, *tolerance: str) -> tuple[int, str]:
    """Reproduce a run whose results differ, and return the verdict."""
    text = (toy.path / "dvc.yaml").read_text()
    if tolerance:
        entries = ", ".join(tolerance)
        text = text.replace("experiment: toy", f"experiment: toy\n        tolerance: {{{entries}}}")
        (toy.path / "dvc.yaml").write_text(text)
    done = reproduce(toy, toy.runs()[0].run_id, TOY_MEANWHILE=f"sed -i {edit}")
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()[1]


def test_what_is_within_the_declared_tolerance(toy: Toy) -> None:
    edit = f"s/,900/,900.25/ {HISTORY}"
    assert judged(toy, edit, f'"{HISTORY}": 0.5') == (
        0,
        f"within tolerance: {HISTORY} loss by 0.25 at most (allowed 0.5); otherwise equal: 4"
        " outputs of 3 stages; on the run's page 4 parameters, 2 metrics, 3 values by step, 1 tag"
        " and the model",
    )
    assert toy.runs()[0].tags["reproduced"] == "within tolerance"


def test_what_is_beyond_the_declared_tolerance(toy: Toy) -> None:
    code, verdict = judged(toy, f"s/,900/,900.25/ {HISTORY}", "loss: 0.125", "slope: 9")
    assert code == 1
    assert verdict.startswith(f"differs: stage fit: {HISTORY}: row 2, column loss was 900, is")


def test_a_model_within_the_tolerance_is_compared_as_it_was_recorded(toy: Toy) -> None:
    edit = "s/105/105.5/ models/fit.json"
    code, verdict = judged(toy, edit, '"models/fit.json:slope": 1', "slope: 1", "error.absolute: 1",
                           '"reports/metrics.json": 1')  # fmt: skip
    assert code == 0
    assert (
        "models/fit.json slope by 0.5 at most (allowed 1), reports/metrics.json slope by" in verdict
    )


Place = Callable[[Toy], None]


@pytest.fixture
def data(tmp_path: Path) -> Toy:
    """A project whose data is tracked by DVC: a file, a folder, and an import."""
    source = project(tmp_path / "source", {"a.txt": "1\n"})
    (source.path / "given.txt").write_text("imported\n")
    source.dvc("add", "given.txt")
    commit(source, "data")
    wanted = "data/raw.csv, data/more, data/given.txt]"
    pipeline = FILES["dvc.yaml"].replace("data/raw.csv]", wanted)
    files = {k: v for k, v in FILES.items() if k != "data/raw.csv"} | {"dvc.yaml": pipeline}
    toy = project(tmp_path / "new", files)
    (toy.path / "data/more/deep").mkdir(parents=True)
    (toy.path / "data/raw.csv").write_text(FILES["data/raw.csv"])
    (toy.path / "data/more/deep/a").write_text("a\n")
    (toy.path / "data/more/b").write_text("b\n")
    toy.dvc("add", "data/raw.csv", "data/more")
    toy.dvc("import", "../source", "given.txt", "--out", "data/given.txt")
    toy.dvc("remote", "add", "--default", "here", "../remote")
    commit(toy, "data")
    toy.repro()
    commit(toy, "results")
    toy.dvc("push")
    for name in ("raw.csv", "given.txt"):
        (toy.path / "data" / name).unlink()
    shutil.rmtree(toy.path / "data/more")
    return toy


def test_data_come_from_the_cache_else_from_a_remote(data: Toy, tmp_path: Path) -> None:
    (run,) = data.runs()
    before = everything(data.path)
    (tmp_path / "remote").rename(tmp_path / "away")
    exact(data, run.run_id)
    assert everything(data.path) == before
    (tmp_path / "away").rename(tmp_path / "remote")
    shutil.rmtree(data.path / ".dvc/cache")
    before = everything(data.path)
    exact(data, run.run_id)
    assert everything(data.path) == before
    shutil.rmtree(tmp_path / "remote")
    refused(data, "not in DVC's cache or remote: data/raw.csv", run.run_id)


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_damaged_object_of_the_cache_is_not_used_and_stays(data: Toy, mode: int) -> None:
    (run,) = data.runs()
    digest = hashlib.md5(FILES["data/raw.csv"].encode()).hexdigest()
    cached = data.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    cached.chmod(0o644)
    cached.write_text(FILES["data/raw.csv"].replace("20", "21"))
    cached.chmod(mode)
    before = everything(data.path)
    exact(data, run.run_id)
    assert everything(data.path) == before
    assert cached.stat().st_mode & 0o777 == mode
    shutil.rmtree(data.path.parent / "remote")
    refused(data, "not in DVC's cache or remote: data/raw.csv (", run.run_id)


def changed_folder(toy: Toy) -> tuple[int, str]:
    (run,) = toy.runs()
    edit = "echo 9 > out/deep/a; rm out/gone; touch out/new"
    done = reproduce(toy, run.run_id, TOY_MEANWHILE=edit)
    return done.returncode, done.stdout


def test_of_folders_the_first_file_is_named(tmp_path: Path) -> None:
    made = "\nmkdir -p out/deep; echo 1 > out/deep/a; touch out/gone; touch out/same\n"
    fit = FILES["code/fit/main.sh"].replace("\neval", f"{made}eval")
    assert made in fit
    pipeline = FILES["dvc.yaml"].replace("outs: [models/fit.json]", "outs: [models/fit.json, out]")
    toy = project(tmp_path / "new", {**FILES, "code/fit/main.sh": fit, "dvc.yaml": pipeline})
    toy.repro()
    code, printed = changed_folder(toy)
    assert code == 1
    differs = "differs: stage fit: out/deep/a: line 1 was 1, is 9; 2 more files differ in out\n"
    assert differs in printed
    shutil.rmtree(toy.path / ".dvc/cache")
    code, printed = changed_folder(toy)
    assert code == 1
    assert "differs: stage fit: out differs (MD5 was " in printed


def test_a_submodule_cannot_be_tried(toy: Toy, tmp_path: Path) -> None:
    library = tmp_path / "library"
    toy.git("init", "--quiet", str(library))
    (library / "code.sh").write_text("true\n")
    toy.git("-C", str(library), "add", ".")
    toy.git("-C", str(library), "commit", "--quiet", "--message", "code")
    allowed = ("-c", "protocol.file.allow=always")
    toy.git(*allowed, "submodule", "--quiet", "add", str(library), "code/fit/library")
    commit(toy, "a submodule")
    known = toy.runs()
    toy.repro()
    reason = "the submodule code/fit/library is not checked out in a reproduction"
    refused(toy, reason, toy.new_run(known).run_id)


def test_a_file_of_git_lfs_cannot_be_tried(toy: Toy, tmp_path: Path) -> None:
    """A filter like that of Git LFS: git stores a pointer for each file in the folder."""
    known = toy.runs()
    pointer = f"version https://git-lfs.github.com/spec/v1\\noid sha256:{'0' * 64}\\nsize 1\\n"
    toy.git("config", "filter.lfs.clean", f"cat > {os.devnull}; printf '{pointer}'")
    (toy.path / ".gitattributes").write_text("data/raw.csv filter=lfs\n")
    toy.append("data/raw.csv", "4,40\n")
    commit(toy, "kept by Git LFS")
    toy.repro()
    run = toy.new_run(known)
    assert run.tags["git_dirty"] == "false"
    refused(toy, "data/raw.csv is in Git LFS", run.run_id)


def test_data_that_nobody_keeps_cannot_be_tried(toy: Toy) -> None:
    known = toy.runs()
    (toy.path / "data/.gitignore").write_text("table.csv\nraw.csv\n")
    toy.git("rm", "--quiet", "--cached", "data/raw.csv")
    commit(toy, "not kept")
    toy.repro("--force")
    reason = "data/raw.csv, which stage prepare reads, is not in the run's commit"
    refused(toy, reason, toy.new_run(known).run_id)


def test_a_stage_that_writes_outside_the_repository_is_not_executed(
    toy: Toy, tmp_path: Path
) -> None:
    known = toy.runs()
    outside = tmp_path / "outside.txt"
    toy.replace("code/judge/main.sh", "ran judge", f"ran judge\necho 1 > '{outside}'")
    toy.replace(
        "dvc.yaml",
        "    metrics: [reports/metrics.json]",
        f"    metrics: [reports/metrics.json]\n    outs:\n      - {outside}: {{cache: false}}",
    )
    commit(toy, "an output outside")
    toy.repro()
    outside.write_text("mine\n")
    refused(
        toy,
        f"stage judge writes {outside}, which is outside the repository",
        toy.new_run(known).run_id,
    )
    assert outside.read_text() == "mine\n"


def test_a_project_without_git_says_so(tmp_path: Path, toy: Toy) -> None:
    (run,) = toy.runs()
    plain = copied(toy, tmp_path / "plain")
    shutil.rmtree(plain.path / ".git")
    refused(Toy(plain.path), "is not a git repository", run.run_id)
    Toy(plain.path).dvc("config", "core.no_scm", "true")
    refused(Toy(plain.path), "is not a git checkout", run.run_id)


def test_a_commit_without_the_pipeline(toy: Toy) -> None:
    known = toy.runs()
    toy.git("rm", "--quiet", "--cached", "-r", ".dvc", "dvc.yaml")
    toy.git("commit", "--quiet", "--message", "no pipeline")
    toy.repro("--force")
    run = toy.new_run(known)
    assert run.tags["git_dirty"] == "true"
    refused(toy, "the run's commit has no DVC project", run.run_id)
