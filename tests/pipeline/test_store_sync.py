"""The embedded store, synced between machines that keep nothing: real git and DVC remotes."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.workspace import commit
from tests.conftest import Workspace
from tests.pipeline.retraining import aliases, expect, retrain

pytestmark = pytest.mark.usefixtures("warm")

Runner = Callable[[], Workspace]


@pytest.fixture
def runner(pushing: Workspace, tmp_path: Path) -> Runner:
    """Return a function that makes a runner: a fresh clone, with nothing of the one before."""
    made: list[Path] = []

    def make() -> Workspace:
        path = tmp_path / f"runner {len(made)}"
        made.append(path)
        pushing.git("clone", "--quiet", str(tmp_path / "origin.git"), str(path))
        return Workspace(path)

    return make


def store(workspace: Workspace, way: str, code: int = 0, *words: str, **env: str) -> None:
    expect(workspace.samerun("store", way, ok=False, **env), code, *words)


def ids(workspace: Workspace) -> list[str]:
    return [run.run_id for run in workspace.runs()]


def again(workspace: Workspace) -> None:
    """Add a run."""
    workspace.dvc("repro", "--force")


def test_runs_travel_whole_and_back(pushing: Workspace, runner: Runner) -> None:
    for way in ("pull", "push"):
        server = "http://127.0.0.1:1"
        store(pushing, way, 0, "nothing to sync", MLFLOW_TRACKING_URI=server)
    store(pushing, "pull", 0, "no store was pushed yet")
    store(pushing, "push", 0, "the store is pushed as")
    store(pushing, "push", 0, "the store is as it was pushed")
    # A push that was killed before it noted what it had pushed is recognised.
    (pushing.path / ".dvc/tmp/samerun/store.json").unlink()
    store(pushing, "push", 0, "as it was pushed")
    other = runner()
    store(other, "pull", 0, "is here")
    store(other, "pull", 0, "the store is the latest")
    store(other, "push", 0, "the store is as it was pushed")
    assert ids(other) == ids(pushing)
    (other.path / "mlruns/mlflow.db").unlink()  # and what was synced last is still noted
    store(other, "pull", 0, "is here")
    assert ids(other) == ids(pushing)
    (run,) = other.runs()
    assert run.artifacts.is_relative_to(other.path)
    assert (run.artifacts / "reports/history.csv").read_bytes() == (
        pushing.path / "reports/history.csv"
    ).read_bytes()
    expect(other.samerun("reproduce", run.run_id, ok=False), 0, "exact")
    again(other)
    store(other, "push", 0, "the store is pushed as")
    store(pushing, "pull", 0, "is here")
    assert ids(pushing) == ids(other)
    assert len(ids(other)) == 2
    assert pushing.runs()[1].artifacts.is_relative_to(pushing.path)
    again(pushing)
    store(pushing, "push", 0, "the store is pushed as")


@pytest.mark.slow
def test_the_second_of_two_writers_is_refused_and_loses_nothing(
    pushing: Workspace, runner: Runner
) -> None:
    store(pushing, "push")
    other = runner()
    store(other, "pull")
    again(pushing)
    again(other)
    store(other, "push")
    mine, theirs = ids(pushing), ids(other)
    store(pushing, "push", 2, "no other machine must have pushed its store")
    store(pushing, "pull", 2, "must have no runs that were not pushed")
    assert (ids(pushing), ids(other)) == (mine, theirs)
    stranger = runner()
    stranger.dvc("repro")  # its own store, never pushed
    store(stranger, "pull", 2, "must have no runs that were not pushed")
    store(stranger, "push", 2, "no other machine must have pushed its store")


@pytest.mark.slow
def test_an_unreachable_remote_changes_nothing(pushing: Workspace, runner: Runner) -> None:
    store(pushing, "push")
    again(pushing)
    remote = pushing.path.parent / "remote"
    shutil.move(remote, f"{remote}.away")
    remote.write_text("unplugged")
    store(pushing, "push", 2, "the DVC remote must take the store")
    bare = runner()
    store(bare, "pull", 2, "the DVC remote must have the store")
    assert not (bare.path / "mlruns/mlflow.db").exists()
    assert not list((bare.path / "mlruns").glob(".store.tmp-*"))
    remote.unlink()
    shutil.move(f"{remote}.away", remote)
    store(pushing, "push", 0, "the store is pushed as")
    store(bare, "pull", 0, "is here")
    assert ids(bare) == ids(pushing)


def test_a_store_that_is_being_written_to_is_pushed_as_it_last_was(
    pushing: Workspace, runner: Runner
) -> None:
    with sqlite3.connect(pushing.path / "mlruns/mlflow.db") as writer:
        writer.execute("begin immediate")
        writer.execute("update runs set name = 'half'")
        store(pushing, "push", 0, "the store is pushed as")
        writer.rollback()
    other = runner()
    store(other, "pull")
    assert [run.name for run in other.runs()] == [run.name for run in pushing.runs()]


def test_a_store_that_is_empty_or_damaged_replaces_no_other(
    pushing: Workspace, runner: Runner
) -> None:
    store(pushing, "push")
    known, database = ids(pushing), pushing.path / "mlruns/mlflow.db"
    database.write_bytes(b"")
    store(pushing, "push", 0, "there is no store yet")
    store(pushing, "pull", 0, "is here")
    assert ids(pushing) == known
    whole = database.read_bytes()
    database.write_bytes(whole[:20_000])
    store(pushing, "push", 2, "samerun: error: the MLflow store", "must be readable")
    database.write_bytes(whole)
    objects = (pushing.path.parent / "remote/files/md5").glob("??/*")
    (kept,) = (each for each in objects if each.read_bytes().startswith(b"SQLite"))
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:20_000])
    bare = runner()
    store(bare, "pull", 2, "the DVC remote must have the store of", "as it was pushed")
    assert not (bare.path / "mlruns/mlflow.db").exists()


@pytest.mark.slow
def test_runners_that_keep_nothing_retrain_day_after_day_on_one_store(runner: Runner) -> None:
    first = runner()
    expect(retrain(first, "2026-11-01", "--push"), 0, "no store was pushed yet", "promoted")
    shutil.rmtree(first.path)
    second = runner()
    done = retrain(second, "2026-11-02", "--push")
    expect(done, 0, "kept: version 1 stays, version 2 was tried", "the store is pushed as")
    third = runner()
    expect(retrain(third, "2026-11-02", "--push"), 0, "nothing new")
    assert aliases(third) == {"champion": 1, "challenger": 2}
    expect(third.samerun("reproduce", "champion", ok=False), 0, "exact")


@pytest.mark.slow
def test_a_rollback_is_pushed(pushing: Workspace, runner: Runner) -> None:
    expect(retrain(pushing, "2026-11-01", "--push"), 0, "promoted")
    pushing.replace("params.yaml", "w: 20.0", "w: 20.2")
    commit(pushing, "the truth has moved")
    expect(retrain(pushing, "2026-11-02", "--push"), 0, "promoted")
    other = runner()
    done = other.knownline("rollback", "--reason", "too steep", "--push")
    assert "version 1 is the champion again" in done.stdout
    store(pushing, "pull", 0, "is here")
    assert aliases(pushing)["champion"] == 1


def test_wrong_arguments_are_refused(built: Workspace) -> None:
    for arguments in ([], ["sideways"], ["pull", "push"]):
        done: subprocess.CompletedProcess[str] = built.samerun("store", *arguments, ok=False)
        expect(done, 2, "samerun: error: ")
