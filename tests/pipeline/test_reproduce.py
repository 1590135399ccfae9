"""`knownline reproduce`: proven, differs with the right first difference, or cannot be tried."""

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import Run, Workspace, commit
from tests.pipeline.test_inputs import use

pytestmark = pytest.mark.usefixtures("warm")


def reproduce(
    workspace: Workspace, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    return workspace.knownline("reproduce", *arguments, ok=False, **env)


def recorded(workspace: Workspace) -> Run:
    """Run what changed, if anything did, and return the latest run."""
    workspace.dvc("repro")
    return workspace.runs()[-1]


def everything(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a checkout: git's, DVC's cache, the lock, the outputs.

    Without the store's database (the outcome is a tag in it), and without DVC's scratch.
    """
    skipped = {"mlflow.db", ".mlflow.db.lock"}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in skipped
        and ".dvc/tmp" not in str(path)
        and "__pycache__" not in str(path)
    }


@pytest.mark.cold
def test_a_run_is_proven_and_nothing_of_the_users_changes(
    workspace: Workspace, tmp_path: Path
) -> None:
    (run,) = workspace.runs()
    (workspace.path / "notes.txt").write_text("staged\n")
    workspace.git("add", "notes.txt")
    before = everything(workspace.path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = reproduce(workspace, run.run_id[:10], TMPDIR=str(scratch))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "proven: 2 data files, 100 epochs" in done.stdout
    assert everything(workspace.path) == before
    assert list(scratch.iterdir()) == []
    (after,) = workspace.runs()
    assert after.tags.pop("reproduced") == "proven"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", after.tags.pop("reproduced_at"))
    assert after.tags.pop("reproduced_on")
    assert after == run


def test_a_run_from_a_dirty_tree_is_proven(workspace: Workspace) -> None:
    workspace.replace(
        "src/knownline/train/descent.py", "w.sub_(learning_rate", "w.sub_(0.99 * learning_rate"
    )
    (workspace.path / "data/own/more.csv").write_bytes(b"a,b\n1,2\n")
    run = recorded(workspace)
    assert run.tags["git_dirty"] == "true"
    workspace.git("checkout", "--", "src")
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_is_named_by_its_name_and_kept_on_demand(
    workspace: Workspace, tmp_path: Path
) -> None:
    (run,) = workspace.runs()
    done = reproduce(workspace, run.name, "--keep", TMPDIR=str(tmp_path))
    assert done.returncode == 0
    kept = Path(done.stdout.rpartition("kept: ")[2].strip())
    assert (kept / "models/line.json").read_bytes() == (
        workspace.path / "models/line.json"
    ).read_bytes()


def test_a_table_that_dvc_keeps_comes_from_the_cache_or_the_remote(workspace: Workspace) -> None:
    table = workspace.path / "data/own/mine.csv"
    table.write_text("a,b\n" + "".join(f"{i},{3 * i + i % 2}\n" for i in range(30)))
    workspace.dvc("add", "data/own/mine.csv")
    workspace.dvc("remote", "add", "--default", "here", "../remote")
    use(workspace, "data/own/mine.csv", "a", "b")
    commit(workspace, "a table of my own")
    run = recorded(workspace)
    table.unlink()
    assert reproduce(workspace, run.run_id).returncode == 0
    workspace.dvc("checkout", "data/own/mine.csv.dvc")
    workspace.dvc("push")
    workspace.run("rm", "-rf", ".dvc/cache")
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0, done.stdout + done.stderr
    workspace.run("rm", "-rf", "../remote")
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 2
    assert "must be in DVC's cache or remote" in done.stderr


@pytest.mark.parametrize("seen_by", ["us", "dvc"])
def test_a_changed_byte_of_the_users_table_is_found(workspace: Workspace, seen_by: str) -> None:
    table = workspace.path / "data/own/mine.csv"
    table.write_text("a,b\n" + "".join(f"{i},{3 * i + i % 2}\n" for i in range(30)))
    workspace.dvc("add", "data/own/mine.csv")
    use(workspace, "data/own/mine.csv", "a", "b")
    commit(workspace, "a table of my own")
    run = recorded(workspace)
    digest = hashlib.md5(table.read_bytes()).hexdigest()
    kept = workspace.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes().replace(b"7,22", b"7,23"))
    if seen_by == "us":
        kept.chmod(0o444)  # DVC trusts what nobody may write to
    done = reproduce(workspace, run.run_id)
    if seen_by == "us":
        assert done.returncode == 1, done.stderr
        assert "differs: data: train/part-00000.parquet has other bytes" in done.stdout
    else:
        assert done.returncode == 2, done.stdout
        assert "the table of the run must be in DVC's cache or remote (got " in done.stderr
        assert "error.dvc.org" not in done.stderr


def edit(name: str, old: bytes, new: bytes) -> Callable[[Workspace, Run], None]:
    """Return what changes bytes in one of a run's artifacts."""

    def change(workspace: Workspace, run: Run) -> None:
        path = run.artifacts / name
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return change


def edit_history(workspace: Workspace, run: Run) -> None:
    path = run.artifacts / "history.csv"
    lines = path.read_text().splitlines(keepends=True)
    epoch, loss, w, b = lines[18].split(",")
    lines[18] = f"{epoch},{float(loss) + 1e-9!r},{w},{b}"
    path.write_text("".join(lines))


def edit_store(workspace: Workspace, run: Run) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        changed = store.execute(
            "update metrics set value = value + 1e-9"
            " where run_uuid = ? and key = 'w' and step = 17",
            [run.run_id],
        )
        assert changed.rowcount == 1


def drop_from_store(workspace: Workspace, run: Run) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute(
            "delete from metrics where run_uuid = ? and key = 'b' and step = 40", [run.run_id]
        )


def edit_model(workspace: Workspace, run: Run) -> None:
    (line,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts/artifacts/line.json")
    line.write_bytes(line.read_bytes().replace(b"0x1.4", b"0x1.5", 1))


def edit_model_file(workspace: Workspace, run: Run) -> None:
    (mlmodel,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts/MLmodel")
    content = mlmodel.read_bytes()
    named = content.replace(b'"name": "x"', b'"name": "z"').replace(b"name: x", b"name: z")
    mlmodel.write_bytes(named)
    assert named != content


def model_file(name: str, text: str) -> Callable[[Workspace, Run], None]:
    """Return what writes a file into the run's model."""

    def change(workspace: Workspace, run: Run) -> None:
        (folder,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts")
        (folder / name).write_text(text)

    return change


def other_model_code(workspace: Workspace, run: Run) -> None:
    """Let MLmodel name other code: the model's own lies untouched beside it."""
    (folder,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts")
    code = (folder / "line_model.py").read_text()
    (folder / "other.py").write_text(code)
    card = folder / "MLmodel"
    card.write_text(re.sub("model_code_path: .*", "model_code_path: other.py", card.read_text()))


def in_store(table: str, key: str, value: str) -> Callable[[Workspace, Run], None]:
    """Return what changes a value on the run's page."""

    def change(workspace: Workspace, run: Run) -> None:
        tables = ("metrics", "latest_metrics") if table == "metrics" else (table,)
        with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
            for each in tables:
                query = f"update {each} set value = ? where key = ? and run_uuid = ?"
                assert store.execute(query, [value, key, run.run_id]).rowcount == 1

    return change


def out_of_store(table: str, key: str) -> Callable[[Workspace, Run], None]:
    """Return what takes a metric from the run's page."""

    def change(workspace: Workspace, run: Run) -> None:
        with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
            for each in (table, f"latest_{table}"):
                store.execute(
                    f"delete from {each} where key = ? and run_uuid = ?", [key, run.run_id]
                )

    return change


def other_data_hash(workspace: Workspace, run: Run) -> None:
    """Change the data's hash in all that says it, so that each agrees with the others."""
    path = run.artifacts / "identity.json"
    data = run.tags["data_sha256"]
    path.write_text(path.read_text().replace(data, "0" * 64))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    in_store("tags", "data_sha256", "0" * 64)(workspace, run)
    in_store("tags", "fingerprint", sha)(workspace, run)


def edit_code(workspace: Workspace, run: Run) -> None:
    workspace.replace(
        "src/knownline/train/descent.py", "w.sub_(learning_rate", "w.sub_(1.01 * learning_rate"
    )
    commit(workspace, "other code")
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute(
            "update tags set value = ? where run_uuid = ? and key = 'git_commit'",
            [workspace.git("rev-parse", "HEAD").strip(), run.run_id],
        )


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (
            edit("params.yaml", b"epochs: 100", b"epochs: 101"),
            "params: train.epochs was 100, is 101",
        ),
        (
            edit("params.yaml", b"seed: 20200910", b"seed: 20200911"),
            "params: generate.seed was 20200910, is 20200911",
        ),
        (edit_code, "code: src/knownline/train/descent.py has other bytes"),
        (
            edit("identity.json", b'"train.epochs":100', b'"train.epochs":101'),
            "identity: identity.json has SHA-256",
        ),
        (edit("SHA256SUMS", b"a", b"b"), "data: "),
        (edit_history, "history: epoch 17: loss was 2."),
        (edit_store, "history in the store: epoch 17: w was 20."),
        (drop_from_store, "history in the store: epoch 40: b was nan"),
        (edit("metrics.json", b'"rows": 79', b'"rows": 78'), "metrics: rows was 78, is 79"),
        (edit_model, "model: line.json has other bytes from byte"),
        (edit_model_file, "model: MLmodel has other bytes from byte"),
        (model_file("MLmodel", "{"), "model: MLmodel has other bytes from byte"),
        (model_file("requirements.txt", "evil==1"), "model: requirements.txt has other bytes"),
        (model_file("evil.py", "print()"), "model: evil.py is gone"),
        (other_model_code, "model: MLmodel has other bytes from byte"),
        (in_store("metrics", "z.w", "1e-6"), "store: metric z.w was 1e-06, is 0.3"),
        (out_of_store("metrics", "holdout.rmse"), "store: metric holdout.rmse is new"),
        (in_store("params", "train.learning_rate", "9"), "store: parameter train.learning_rate"),
        (in_store("tags", "gate", "failed"), "store: tag gate was failed, is passed"),
        (other_data_hash, "data: SHA256SUMS has other bytes"),
    ],
)
def test_what_was_changed_is_the_first_difference(
    workspace: Workspace, damage: Callable[[Workspace, Run], None], first: str
) -> None:
    (run,) = workspace.runs()
    damage(workspace, run)
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"differs: {first}" in done.stdout
    assert "environment: the same packages and machine" in done.stdout
    assert workspace.runs()[-1].tags["reproduced"] == "differs"


def test_another_environment_is_named(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    edit("environment.json", b'"numpy": "2', b'"numpy": "1')(workspace, run)
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0
    assert re.search(r"on another environment: numpy was 1\.\S+, is 2", done.stdout)


def test_a_verdict_that_cannot_be_written_down_holds(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute(
            "create trigger never before insert on tags begin select raise(abort, 'never'); end"
        )
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0, done.stderr
    assert "proven: " in done.stdout
    assert done.stderr.startswith("knownline: warning: the outcome is not on the run: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("diff.noprefix", "true"),
        ("diff.context", "0"),
        ("diff.external", "false"),
        ("diff.submodule", "log"),
        ("apply.whitespace", "fix"),
        ("core.autocrlf", "true"),
    ],
)
def test_the_users_git_settings_change_nothing(
    workspace: Workspace, tmp_path: Path, setting: str, value: str
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("")
    workspace.run("git", "config", "--file", str(settings), setting, value)
    code = workspace.path / "src/knownline/train/descent.py"
    code.write_bytes(code.read_bytes() + b"# ends in blanks   \n# and in CR LF\r\n")
    env = {"GIT_CONFIG_GLOBAL": str(settings)}
    workspace.dvc("repro", ok=True, **env)
    run = workspace.runs()[-1]
    assert run.tags["git_dirty"] == "true"
    done = reproduce(workspace, run.run_id, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_whole_number_past_float64_is_the_float_it_became(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "b: 5.0}", "b: 9007199254740993}")
    run = recorded(workspace)
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0, done.stdout + done.stderr


def unfinished(workspace: Workspace, run: Run) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("update runs set status = 'RUNNING'")


def commit_gone(workspace: Workspace, run: Run) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("update tags set value = ? where key = 'git_commit'", ["0" * 40])


def artifact_gone(workspace: Workspace, run: Run) -> None:
    (run.artifacts / "history.csv").unlink()


def tag_gone(workspace: Workspace, run: Run) -> None:
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("delete from tags where key = 'git_commit'")


def artifact(name: str, text: str) -> Callable[[Workspace, Run], None]:
    """Return what writes over one of a run's artifacts."""
    return lambda workspace, run: cast("None", (run.artifacts / name).write_text(text))


def store_gone(workspace: Workspace, run: Run) -> None:
    (workspace.path / "mlruns/mlflow.db").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (unfinished, "the run must have finished"),
        (commit_gone, "the run's commit must be in this repository (got 0000"),
        (artifact_gone, "the run's artifacts must be whole"),
        (tag_gone, "the run's commit must be in this repository (got none: not here)"),
        (artifact("params.yaml", "[1, 2]"), "params.yaml and the code of the run must be whole"),
        (artifact("params.yaml", "a: [1"), "params.yaml and the code of the run must be whole"),
        (artifact("environment.json", "[]"), "environment.json must be whole"),
        (artifact("identity.json", "[]"), "the run's artifacts must be whole"),
        (store_gone, "must be there: run `dvc repro`"),
    ],
)
def test_what_cannot_be_tried_says_why(
    workspace: Workspace, damage: Callable[[Workspace, Run], None], says: str
) -> None:
    (run,) = workspace.runs()
    damage(workspace, run)
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("knownline: error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


@pytest.mark.parametrize(
    ("name", "says"), [("no-such-run", "got none in"), ("champion", "champion")]
)
def test_an_unknown_run_says_so(built: Workspace, name: str, says: str) -> None:
    done = reproduce(built, name)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.cold
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_reproduction_leaves_nothing(
    workspace: Workspace, tmp_path: Path, sent: signal.Signals
) -> None:
    (run,) = workspace.runs()
    before = everything(workspace.path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    process = subprocess.Popen(
        ["python", "src/knownline", "reproduce", run.run_id],
        cwd=workspace.path,
        env=workspace.env(TMPDIR=str(scratch)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list(scratch.glob("knownline-reproduce-*/checkout/data/train")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, sent)
    _, told = process.communicate()
    assert process.returncode == 130
    assert told == b"knownline: interrupted\n"
    assert [path for path in scratch.iterdir() if path.name.startswith("knownline")] == []
    assert everything(workspace.path) == before
