"""`samerun reproduce` in a project with nothing of ours: exact, differs, or cannot be tried."""

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from projects.toy import Toy
from support.workspace import Run, commit

pytestmark = pytest.mark.usefixtures("warm")

Damage = Callable[[Toy, Run], None]

EXACT = (
    "exact: every bit is equal in 4 outputs of 3 stages; on the run's page 4 parameters, 2 metrics,"
    " 3 values by step, 1 tag and the model\n"
)


def reproduce(toy: Toy, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return toy.samerun("reproduce", *arguments, ok=False, **env)


def exact(toy: Toy, *arguments: str, **env: str) -> str:
    """Reproduce a run exactly, and return what is printed."""
    done = reproduce(toy, *arguments, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nexact: " in done.stdout
    assert errors(done) == ""
    return done.stdout


def errors(done: subprocess.CompletedProcess[str]) -> str:
    """Return what is on stderr, without the line that follows a copy of a store."""
    return re.sub("^samerun: the store has moved: .*\n", "", done.stderr)


def differs(toy: Toy, first: str, run: Run, **env: str) -> str:
    """Reproduce a run with a different result; assert the first difference; return the output."""
    done = reproduce(toy, run.run_id, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"\ndiffers: {first}" in done.stdout
    assert toy.runs()[-1].tags["reproduced"] == "differs"
    return done.stdout


def refused(toy: Toy, reason: str, *arguments: str, **env: str) -> None:
    """Assert that a reproduction fails with one line of error."""
    done = reproduce(toy, *arguments, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert errors(done).startswith("samerun: error: ")
    assert errors(done).count("\n") == 1, done.stderr
    assert reason in errors(done)


def everything(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a checkout: git's, DVC's, the store's artifacts, outputs.

    Without the store's database: the outcome is a tag in it.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("mlflow.db", ".mlflow.db.lock")
    }


@pytest.mark.cold
def test_a_run_is_exact_and_nothing_of_the_users_changes(toy: Toy, tmp_path: Path) -> None:
    (run,) = toy.runs()
    (toy.path / "notes.txt").write_text("staged\n")
    toy.git("add", "notes.txt")
    before, log = everything(toy.path), toy.executions()
    scratch, site = tmp_path / "scratch", tmp_path / "site"
    scratch.mkdir()
    env = {"TMPDIR": str(scratch), "DVC_SITE_CACHE_DIR": str(site)}
    assert EXACT in exact(toy, run.run_id[:10], **env)
    assert len(list((site / "repo").iterdir())) == 1  # what DVC remembers of the user's workspace
    assert everything(toy.path) == before
    assert toy.executions()[len(log) :] == ["prepare", "fit", "judge"]
    assert list(scratch.iterdir()) == []
    (after,) = toy.runs()
    assert after.tags.pop("reproduced") == "exact"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", after.tags.pop("reproduced_at"))
    assert after.tags.pop("reproduced_on")
    assert after == run


def test_it_is_named_by_its_name_and_kept_on_demand(toy: Toy, tmp_path: Path) -> None:
    (run,) = toy.runs()
    printed = exact(toy, run.name, "--keep", TMPDIR=str(tmp_path))
    kept = Path(printed.rpartition("the checkout is in ")[2].strip())
    assert (kept / "models/fit.json").read_bytes() == (toy.path / "models/fit.json").read_bytes()
    assert not (kept / "reports/picture.svg").exists()
    (toy.path / ".dvc/config.local").write_text("")
    exact(toy, run.name, TMPDIR=str(tmp_path))
    assert kept.exists()


def test_hooks_and_what_they_hand_down_count_for_nothing(toy: Toy, tmp_path: Path) -> None:
    (run,) = toy.runs()
    ran = tmp_path / "hook-ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for folder in (hooks, toy.path / ".git/hooks"):
        for name in ("post-checkout", "pre-commit", "reference-transaction"):
            (folder / name).write_text(f"#!/bin/sh\ntouch '{ran}'\n")
            (folder / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    toy.run("git", "config", "--file", str(config), "core.hooksPath", str(hooks))
    other = tmp_path / "other"
    toy.git("init", "--quiet", str(other))
    env = {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_DIR": str(other / ".git"),
        "GIT_INDEX_FILE": str(other / ".git/index"),
        "GIT_WORK_TREE": str(other),
    }
    before = everything(other)
    exact(toy, run.run_id, **env)
    assert not ran.exists()
    assert everything(other) == before


FIRST = [
    ("s/105/106/ models/fit.json", "stage fit: models/fit.json: slope was 105, is 106 (1 away, "),
    ("s/105/105.00000000000001/ models/fit.json", "stage fit: models/fit.json: slope was 105, is"
     " 105.00000000000001 (1.42e-14 away, 1 step of float64)"),
    ("s/1,900/1,901/ reports/history.csv", "stage fit: reports/history.csv: row 2, column loss was"
     " 900, is 901 (1 away, "),
    ("$d reports/history.csv", "stage fit: reports/history.csv: row 3 is gone"),
    ("s/slope/incline/ reports/history.csv", "stage fit: reports/history.csv: the header lost the"
     " column slope, gained the column incline"),
    ("s/105/100/;s/slope/incline/ models/fit.json", "stage fit: models/fit.json: slope is gone"),
    ("s/^/[/ models/fit.json",
     'stage fit: models/fit.json: line 1 was {"slope": 105}, is [{"slope": 105}'),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "first"), FIRST)
def test_the_first_difference_is_named(toy: Toy, edit: str, first: str) -> None:
    (run,) = toy.runs()
    text, _, file = edit.rpartition(" ")
    printed = differs(toy, first, run, TOY_MEANWHILE=f"sed -i '{text}' {file}")
    assert "\nenvironment: the same packages and machine\n" in printed


def in_file(name: str, old: str, new: str) -> Damage:
    """Return a function that changes text in one of a run's artifacts."""

    def change(toy: Toy, run: Run) -> None:
        path = run.artifacts / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


def without(name: str) -> Damage:
    """Return a function that removes one of a run's artifacts."""
    return lambda toy, run: (run.artifacts / name).unlink()


def in_store(*statements: str) -> Damage:
    """Return a function that executes SQL, with :run as the run's id, and asserts a change."""

    def change(toy: Toy, run: Run) -> None:
        with sqlite3.connect(toy.path / "mlruns/mlflow.db") as store:
            for statement in statements:
                assert store.execute(statement, {"run": run.run_id}).rowcount > 0

    return change


def value(table: str, key: str, new: str) -> Damage:
    """Return a function that changes a value on the run's page."""
    tables = ("metrics", "latest_metrics") if table == "metrics" else (table,)
    return in_store(
        *(
            f"update {each} set value = {new!r} where key = {key!r} and run_uuid = :run"
            for each in tables
        )
    )


def in_model(name: str, change: Callable[[str], str]) -> Damage:
    """Return a function that changes the text of a file of the run's model, or creates it."""

    def changed(toy: Toy, run: Run) -> None:
        (folder,) = toy.path.glob("mlruns/artifacts/models/*/artifacts")
        text = (folder / name).read_text() if (folder / name).exists() else ""
        assert change(text) != text
        (folder / name).write_text(change(text))

    return changed


def change_code(toy: Toy, run: Run) -> None:
    """Set the run's commit to one with different code."""
    toy.append("code/fit/step.sh", "# other\n")
    commit(toy, "other code")
    value("tags", "git_commit", toy.git("rev-parse", "HEAD").strip())(toy, run)


def change_identity(toy: Toy, run: Run) -> None:
    """Change identity.json and the tag, so that they agree."""
    in_file("identity.json", '"steps":3', '"steps":4')(toy, run)
    sha = hashlib.sha256((run.artifacts / "identity.json").read_bytes()).hexdigest()
    value("tags", "fingerprint", sha)(toy, run)


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (
            in_file("identity.json", '"steps":3', '"steps":4'),
            "identity.json has SHA-256",
        ),
        (change_identity, "identity: stages.dvc.yaml:fit.params.params.yaml.fit.steps was 4, is 3"),
        (
            in_file("params.yaml", "steps: 3", "steps: 4"),
            "stage fit: fit.steps in params.yaml differs from the run's dvc.lock",
        ),
        (change_code, "stage fit: code/fit differs from what the run read (MD5 was "),
        (
            in_file("dvc.yaml", "code/fit/main.sh", "code/fit/evil.sh"),
            "artifact dvc.yaml: stages.fit.cmd was samerun run -- sh -e code/fit/evil.sh, is",
        ),
        (
            in_file("dvc.lock", "sh -e code/fit/main.sh", "sh -e code/fit/evil.sh"),
            "stage fit: the command differs from the run's dvc.lock",
        ),
        (
            in_file("dvc.lock", "path: reports/history.csv\n      hash: md5\n      md5: ",
                    "path: reports/history.csv\n      hash: md5\n      md5: 0"),
            "the outputs in the run's dvc.lock do not match its tag results",
        ),
        (
            in_file("reports/metrics.json", '"absolute": 15', '"absolute": 14'),
            "artifact reports/metrics.json: error.absolute was 14, is 15 (1 away",
        ),
        (without("reports/history.csv"), "artifact reports/history.csv is missing"),
        (
            value("metrics", "error.absolute", "14"),
            "the run's page: metric error.absolute was 14.0, is 15.0 (1 away",
        ),
        (
            in_store("delete from latest_metrics where key = 'slope' and run_uuid = :run",
                     "delete from metrics where key = 'slope' and run_uuid = :run"),
            "the run's page: metric slope is not on the page",
        ),
        (
            in_store("update metrics set value = value + 1e-9 where run_uuid = :run"
                     " and key = 'loss' and step = 1"),
            "the run's page: metric loss at step 1 was 900.0",
        ),
        (
            in_store("delete from metrics where run_uuid = :run and key = 'loss' and step = 1"),
            "the run's page: metric loss at step 1 is not on the page",
        ),
        (value("params", "fit.rate", "0.75"), "the run's page: parameter fit.rate was 0.75, is"),
        (value("tags", "verdict", "bad"), "the run's page: tag verdict was bad, is good"),
        (
            in_model("artifacts/fit.json", lambda text: text.replace("105", "106")),
            "the run's model: fit.json differs from byte 12 on",
        ),
        (
            in_model("artifacts/serve.py", lambda text: "print()"),
            "the run's model: serve.py differs from byte",
        ),
        (in_model("MLmodel", lambda text: "{"), "the run's model: MLmodel differs from byte"),
        (in_model("evil.py", lambda text: "print()"), "the run's model: evil.py is new"),
        (
            in_model("requirements.txt", lambda text: "evil==1"),
            "the run's model: requirements.txt differs from byte",
        ),
    ],
)  # fmt: skip
def test_what_was_changed_is_the_first_difference(toy: Toy, damage: Damage, first: str) -> None:
    (run,) = toy.runs()
    damage(toy, run)
    differs(toy, first, run)


def file(name: str, text: str) -> Damage:
    """Return a function that overwrites one of a run's artifacts."""

    def write(toy: Toy, run: Run) -> None:
        (run.artifacts / name).write_text(text)

    return write


def remove_store(toy: Toy, run: Run) -> None:
    (toy.path / "mlruns/mlflow.db").unlink()


def claim_identity(toy: Toy, run: Run) -> None:
    file("identity.json", "[]")(toy, run)
    value("tags", "fingerprint", hashlib.sha256(b"[]").hexdigest())(toy, run)


COMMIT_TAG = "where run_uuid = :run and key = 'git_commit'"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (in_store("update runs set status = 'RUNNING'"), "has not finished: its status is RUNNING"),
        (
            in_store(f"update tags set value = '{'0' * 40}' {COMMIT_TAG}"),
            f"the run's commit ({'0' * 40}) is not in this repository",
        ),
        (
            in_store(f"delete from tags {COMMIT_TAG}"),
            "the run's commit (none) is not in this repository",
        ),
        (without("dvc.lock"), "the run's artifact dvc.lock is missing"),
        (without("identity.json"), "the run's artifact identity.json is missing"),
        (without("environment.json"), "cannot read the run's artifact environment.json"),
        (claim_identity, "cannot read the run's artifact identity.json"),
        (file("dvc.lock", "a: [1"), "DVC cannot read its files"),
        (file("params.yaml", "a: [1"), "params.yaml"),
        (
            value("tags", "git_dirty", "true"),
            "the run has no changes.patch, but its tag git_dirty is true",
        ),
        (file("changes.patch", "x"), "the run has a changes.patch, but its tag git_dirty is false"),
        (remove_store, "must be there: run `dvc repro`"),
    ],
)
def test_a_run_that_cannot_be_tried_says_why(toy: Toy, damage: Damage, reason: str) -> None:
    (run,) = toy.runs()
    damage(toy, run)
    refused(toy, reason, run.run_id)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no-such-run", "got none in"), ("champion", "champion"), (" ", "(got nothing)")],
)
def test_an_unknown_run_is_refused(toy: Toy, name: str, reason: str) -> None:
    refused(toy, reason, name)


def test_a_stage_that_fails_is_named_with_its_reason(toy: Toy) -> None:
    (run,) = toy.runs()
    reason = "stage fit of the run failed: no luck today"
    refused(toy, reason, run.run_id, TOY_MEANWHILE="echo no luck today >&2; exit 3")
    assert "reproduced" not in toy.runs()[-1].tags


def test_another_environment_is_named(toy: Toy) -> None:
    (run,) = toy.runs()
    in_file("environment.json", '"numpy": "2', '"numpy": "1')(toy, run)
    in_model("requirements.txt", lambda text: f"{text}\nother==1\n")(toy, run)
    value("tags", "python", "3.9.1")(toy, run)
    printed = exact(toy, run.run_id)
    python = r"python was 3\.9\.1, is 3\.\S+"
    assert re.search(rf"\nin another environment: {python}; numpy was 1\.\S+, is 2", printed)


def test_a_verdict_that_cannot_be_written_down_holds(toy: Toy) -> None:
    (run,) = toy.runs()
    with sqlite3.connect(toy.path / "mlruns/mlflow.db") as store:
        store.execute(
            "create trigger never before insert on tags begin select raise(abort, 'never'); end"
        )
    done = reproduce(toy, run.run_id)
    assert done.returncode == 0, done.stderr
    assert EXACT in done.stdout
    assert done.stderr.startswith("samerun: warning: the verdict was not written to the run: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.cold
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_reproduction_leaves_nothing(
    toy: Toy, tmp_path: Path, sent: signal.Signals
) -> None:
    (run,) = toy.runs()
    before = everything(toy.path)
    process, scratch, group = under_way(toy, run, tmp_path)
    process.send_signal(sent)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == b"samerun: interrupted\n"
    assert list(scratch.iterdir()) == []
    assert everything(toy.path) == before
    deadline = time.monotonic() + 5
    while is_there(group):  # until the parent of what was ended, or init, has seen it
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.cold
def test_what_a_kill_leaves_is_removed_by_the_next_one(toy: Toy, tmp_path: Path) -> None:
    (run,) = toy.runs()
    process, scratch, _ = under_way(toy, run, tmp_path)
    process.kill()
    process.communicate()
    (left,) = scratch.glob("samerun-reproduce-*")
    exact(toy, run.run_id, TMPDIR=str(scratch))
    assert not left.exists()


def under_way(toy: Toy, run: Run, folder: Path) -> tuple["subprocess.Popen[bytes]", Path, int]:
    """Start a reproduction and wait until a stage runs.

    Returns: the process, its TMPDIR, and the process group of the stage.
    """
    scratch, begun = folder / "scratch", folder / "begun"
    scratch.mkdir()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    process = subprocess.Popen(
        ["samerun", "reproduce", run.run_id],
        cwd=toy.path,
        env=toy.env(TMPDIR=str(scratch), TOY_MEANWHILE=f"echo $$ > {begun}; sleep 60"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (begun.exists() and begun.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, scratch, os.getpgid(int(begun.read_text()))


def test_without_a_name_it_is_the_run_of_the_results_in_the_lock(toy: Toy) -> None:
    first = toy.runs()
    toy.replace("params.yaml", "rate: 0.5", "rate: 0.25")
    toy.refused("samerun", "reproduce", "", says="RUN must be a run's name")
    the_first = f"({first[0].run_id})"
    assert the_first in toy.samerun("reproduce").stdout  # dvc.lock is still as it was
    toy.repro()
    assert f"({toy.new_run(first).run_id})" in toy.samerun("reproduce").stdout
    toy.replace("params.yaml", "rate: 0.25", "rate: 0.5")
    toy.repro()
    assert the_first in toy.samerun("reproduce").stdout  # not the latest one
    (toy.path / "mlruns/mlflow.db").rename(toy.path / "mlruns/away.db")
    done = toy.samerun("reproduce", ok=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
