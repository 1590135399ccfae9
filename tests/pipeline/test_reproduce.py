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


Damage = Callable[[Workspace, Run], None]

DESCENT = "src/knownline/train/descent.py"


def reproduce(
    workspace: Workspace, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    return workspace.knownline("reproduce", *arguments, ok=False, **env)


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


GIT_SETTINGS = {
    "diff.noprefix": "true",
    "diff.context": "0",
    "diff.external": "false",
    "diff.submodule": "log",
    "apply.whitespace": "fix",
    "core.autocrlf": "true",
}


def test_a_run_from_a_dirty_tree_is_proven_whatever_the_users_git_settings(
    workspace: Workspace, tmp_path: Path
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("")
    for setting, value in GIT_SETTINGS.items():
        workspace.run("git", "config", "--file", str(settings), setting, value)
    env = {"GIT_CONFIG_GLOBAL": str(settings)}
    workspace.replace(DESCENT, "w.sub_(learning_rate", "w.sub_(0.99 * learning_rate")
    code = workspace.path / DESCENT
    code.write_bytes(code.read_bytes() + b"# ends in blanks   \n# and in CR LF\r\n")
    (workspace.path / "data/own/more.csv").write_bytes(b"a,b\n1,2\n")
    workspace.dvc("repro", ok=True, **env)
    run = workspace.runs()[-1]
    assert run.tags["git_dirty"] == "true"
    workspace.git("checkout", "--", "src")
    for environment in (env, {}):
        done = reproduce(workspace, run.run_id, **environment)
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


@pytest.fixture
def with_table(workspace: Workspace) -> tuple[Workspace, Run]:
    """A workspace with a run that read a table kept by DVC."""
    table = workspace.path / "data/own/mine.csv"
    table.write_text("a,b\n" + "".join(f"{i},{3 * i + i % 2}\n" for i in range(30)))
    workspace.dvc("add", "data/own/mine.csv")
    workspace.dvc("remote", "add", "--default", "here", "../remote")
    use(workspace, "data/own/mine.csv", "a", "b")
    commit(workspace, "a table of my own")
    workspace.dvc("repro")
    return workspace, workspace.runs()[-1]


@pytest.mark.slow
def test_a_table_that_dvc_keeps_comes_from_the_cache_or_the_remote(
    with_table: tuple[Workspace, Run],
) -> None:
    workspace, run = with_table
    workspace.dvc("push")
    (workspace.path / "data/own/mine.csv").unlink()
    assert reproduce(workspace, run.run_id).returncode == 0
    workspace.run("rm", "-rf", ".dvc/cache")
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 0, done.stdout + done.stderr
    workspace.run("rm", "-rf", "../remote")
    done = reproduce(workspace, run.run_id)
    assert done.returncode == 2
    assert "must be in DVC's cache or remote" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        # DVC trusts a file of its cache that nobody may write to; only our own hash finds it.
        (0o444, 1, "differs: data: train/part-00000.parquet has other bytes"),
        (0o644, 2, "the table of the run must be in DVC's cache or remote (got "),
    ],
)
def test_a_changed_byte_of_the_users_table_is_found(
    with_table: tuple[Workspace, Run], mode: int, code: int, words: str
) -> None:
    workspace, run = with_table
    digest = hashlib.md5((workspace.path / "data/own/mine.csv").read_bytes()).hexdigest()
    cached = workspace.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    cached.chmod(0o644)
    cached.write_bytes(cached.read_bytes().replace(b"7,22", b"7,23"))
    cached.chmod(mode)
    done = reproduce(workspace, run.run_id)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert "error.dvc.org" not in done.stderr


def in_file(name: str, old: bytes, new: bytes) -> Damage:
    """Return what changes bytes in one of a run's artifacts."""

    def change(workspace: Workspace, run: Run) -> None:
        path = run.artifacts / name
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return change


def file(name: str, text: str) -> Damage:
    """Return what writes over one of a run's artifacts."""
    return lambda workspace, run: cast("None", (run.artifacts / name).write_text(text))


def in_store(*statements: str) -> Damage:
    """Return what executes SQL in the store; :run is the run's id, and each changes something."""

    def change(workspace: Workspace, run: Run) -> None:
        with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
            for statement in statements:
                assert store.execute(statement, {"run": run.run_id}).rowcount > 0

    return change


def value_in_store(table: str, key: str, value: str) -> Damage:
    """Return what changes a value on the run's page."""
    tables = ("metrics", "latest_metrics") if table == "metrics" else (table,)
    return in_store(
        *(
            f"update {each} set value = {value!r} where key = {key!r} and run_uuid = :run"
            for each in tables
        )
    )


def in_model(name: str, change: Callable[[str], str]) -> Damage:
    """Return what changes the text of a file of the run's model, or makes the file."""

    def changed(workspace: Workspace, run: Run) -> None:
        (folder,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts")
        text = (folder / name).read_text() if (folder / name).exists() else ""
        assert change(text) != text
        (folder / name).write_text(change(text))

    return changed


def change_loss(workspace: Workspace, run: Run) -> None:
    path = run.artifacts / "history.csv"
    lines = path.read_text().splitlines(keepends=True)
    epoch, loss, w, b = lines[18].split(",")
    lines[18] = f"{epoch},{float(loss) + 1e-9!r},{w},{b}"
    path.write_text("".join(lines))


def name_other_model_code(workspace: Workspace, run: Run) -> None:
    """Let MLmodel name other code; the model's own stays untouched beside it."""
    (folder,) = workspace.path.glob("mlruns/artifacts/models/*/artifacts")
    (folder / "other.py").write_text((folder / "serve.py").read_text())
    card = folder / "MLmodel"
    card.write_text(re.sub("model_code_path: .*", "model_code_path: other.py", card.read_text()))


def change_data_hash(workspace: Workspace, run: Run) -> None:
    """Change the data's hash in every place that names it, so that they agree."""
    path = run.artifacts / "identity.json"
    path.write_text(path.read_text().replace(run.tags["data_sha256"], "0" * 64))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    value_in_store("tags", "data_sha256", "0" * 64)(workspace, run)
    value_in_store("tags", "fingerprint", sha)(workspace, run)


def change_code(workspace: Workspace, run: Run) -> None:
    workspace.replace(DESCENT, "w.sub_(learning_rate", "w.sub_(1.01 * learning_rate")
    commit(workspace, "other code")
    sha = workspace.git("rev-parse", "HEAD").strip()
    value_in_store("tags", "git_commit", sha)(workspace, run)


def slow(*case: object) -> object:
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (
            in_file("params.yaml", b"epochs: 100", b"epochs: 101"),
            "params: train.epochs was 100, is 101",
        ),
        (change_code, "code: src/knownline/train/descent.py has other bytes"),
        (
            in_file("identity.json", b'"train.epochs":100', b'"train.epochs":101'),
            "identity: identity.json has SHA-256",
        ),
        slow(change_data_hash, "data: SHA256SUMS has other bytes"),
        slow(in_file("SHA256SUMS", b"a", b"b"), "data: "),
        (change_loss, "history: epoch 17: loss was 2."),
        (
            in_store(
                "update metrics set value = value + 1e-9"
                " where run_uuid = :run and key = 'w' and step = 17"
            ),
            "history in the store: epoch 17: w was 20.",
        ),
        slow(
            in_store("delete from metrics where run_uuid = :run and key = 'b' and step = 40"),
            "history in the store: epoch 40: b was nan",
        ),
        slow(in_file("metrics.json", b'"rows": 79', b'"rows": 78'), "metrics: rows was 78, is 79"),
        (
            in_model("artifacts/line.json", lambda text: text.replace("0x1.4", "0x1.5", 1)),
            "model: line.json has other bytes from byte",
        ),
        slow(
            in_model("MLmodel", lambda text: re.sub(r"(name\W+)x", r"\1z", text)),
            "model: MLmodel has other bytes from byte",
        ),
        slow(in_model("MLmodel", lambda text: "{"), "model: MLmodel has other bytes from byte"),
        slow(
            in_model("requirements.txt", lambda text: "evil==1"),
            "model: requirements.txt has other bytes",
        ),
        slow(in_model("evil.py", lambda text: "print()"), "model: evil.py is gone"),
        slow(name_other_model_code, "model: MLmodel has other bytes from byte"),
        (value_in_store("metrics", "z.w", "1e-6"), "store: metric z.w was 1e-06, is 0.3"),
        slow(
            in_store(
                "delete from metrics where key = 'holdout.rmse' and run_uuid = :run",
                "delete from latest_metrics where key = 'holdout.rmse' and run_uuid = :run",
            ),
            "store: metric holdout.rmse is new",
        ),
        slow(
            value_in_store("params", "train.learning_rate", "9"),
            "store: parameter train.learning_rate",
        ),
        slow(value_in_store("tags", "gate", "failed"), "store: tag gate was failed, is passed"),
    ],
)
def test_what_was_changed_is_the_first_difference(
    workspace: Workspace, damage: Damage, first: str
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
    in_file("environment.json", b'"numpy": "2', b'"numpy": "1')(workspace, run)
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


@pytest.mark.slow
def test_a_whole_number_past_float64_is_the_float_it_became(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "b: 5.0}", "b: 9007199254740993}")
    workspace.dvc("repro")
    done = reproduce(workspace, workspace.runs()[-1].run_id)
    assert done.returncode == 0, done.stdout + done.stderr


GIT_COMMIT = "where run_uuid = :run and key = 'git_commit'"


def remove_history(workspace: Workspace, run: Run) -> None:
    (run.artifacts / "history.csv").unlink()


def remove_store(workspace: Workspace, run: Run) -> None:
    (workspace.path / "mlruns/mlflow.db").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (in_store("update runs set status = 'RUNNING'"), "the run must have finished"),
        (
            in_store(f"update tags set value = '{'0' * 40}' {GIT_COMMIT}"),
            "the run's commit must be in this repository (got 0000",
        ),
        (remove_history, "the run's artifacts must be whole"),
        (
            in_store(f"delete from tags {GIT_COMMIT}"),
            "the run's commit must be in this repository (got none: not here)",
        ),
        (file("params.yaml", "[1, 2]"), "params.yaml and the code of the run must be whole"),
        (file("params.yaml", "a: [1"), "params.yaml and the code of the run must be whole"),
        (file("environment.json", "[]"), "environment.json must be whole"),
        (file("identity.json", "[]"), "the run's artifacts must be whole"),
        (remove_store, "must be there: run `dvc repro`"),
    ],
)
def test_a_run_that_cannot_be_reproduced_says_why(
    workspace: Workspace, damage: Damage, reason: str
) -> None:
    (run,) = workspace.runs()
    damage(workspace, run)
    refused(workspace, run.run_id, reason)


@pytest.mark.parametrize(
    ("name", "reason"), [("no-such-run", "got none in"), ("champion", "champion")]
)
def test_an_unknown_run_is_refused(built: Workspace, name: str, reason: str) -> None:
    refused(built, name, reason)


def refused(workspace: Workspace, name: str, reason: str) -> None:
    done = reproduce(workspace, name)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("knownline: error: ")
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr


@pytest.mark.cold
@pytest.mark.parametrize(
    "sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
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
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == b"knownline: interrupted\n"
    assert [path for path in scratch.iterdir() if path.name.startswith("knownline")] == []
    assert everything(workspace.path) == before
