"""`knownline retrain --push`: branch, data and store at their remotes, and remotes that fail."""

import re
import shutil
from pathlib import Path

import pytest

from knownline.core.layout import MODEL
from knownline.core.model_file import Fitted
from support.workspace import commit
from tests.conftest import Workspace
from tests.pipeline.retraining import DAY, aliases, expect, retrain, versions
from tests.pipeline.test_inputs import use

pytestmark = pytest.mark.usefixtures("warm")


def clone(workspace: Workspace, path: Path, *options: str) -> Workspace:
    """Clone what a workspace has pushed."""
    workspace.git("clone", "--quiet", *options, str(path.parent / "origin.git"), str(path))
    return Workspace(path)


def test_params_lock_data_and_store_are_pushed(pushing_champion: Workspace, tmp_path: Path) -> None:
    here = pushing_champion
    done = retrain(here, DAY, "--push")
    expect(done, 0, f"pushed retrain/{DAY}", "nothing new", "the store is pushed as")
    tip = here.git("rev-parse", f"retrain/{DAY}")
    there = here.git("ls-remote", "origin")
    assert f"{tip.strip()}\trefs/heads/retrain/{DAY}" in there
    assert "samerun/store" in there
    other = clone(here, tmp_path / "other", "--branch", f"retrain/{DAY}")
    assert "seed: 20261101" in (other.path / "params.yaml").read_text()
    other.dvc("pull")
    line = "models/model.json"
    assert (other.path / line).read_bytes() == (here.path / line).read_bytes()


@pytest.mark.slow
def test_another_machine_repeats_the_day_and_adds_a_second_seed(
    pushing_champion: Workspace, tmp_path: Path
) -> None:
    expect(retrain(pushing_champion, DAY, "--push"), 0, "nothing new")
    tip = pushing_champion.git("rev-parse", f"retrain/{DAY}")
    other = clone(pushing_champion, tmp_path / "other")
    expect(retrain(other, DAY, "--push"), 0, "nothing new")
    assert other.git("rev-parse", f"retrain/{DAY}") == tip
    for words in ("pushed ", "nothing new"):
        expect(retrain(other, DAY, "--push", "--seed", "2026110105"), 0, words)
    assert len(versions(other)) == 2
    assert other.git("merge-base", f"retrain/{DAY}", tip.strip()) == tip
    seeds = other.git("log", "--patch", "--format=", f"retrain/{DAY}", "--", "params.yaml")
    assert re.findall(r"^\+  seed: (2026\d+)", seeds, flags=re.M)[:2] == ["2026110105", "20261101"]


@pytest.mark.slow
def test_a_branch_that_somebody_else_pushed_first_leaves_the_champion(
    pushing_champion: Workspace, tmp_path: Path
) -> None:
    day = "2026-11-02"
    bob = clone(pushing_champion, tmp_path / "bob")
    bob.git("switch", "--quiet", "--create", f"retrain/{day}")
    commit(bob, "bob was here")
    bob.git("push", "--quiet", "origin", f"retrain/{day}")
    done = retrain(pushing_champion, day, "--push")
    expect(done, 2, f"cannot push retrain/{day} to origin", "rejected")
    assert aliases(pushing_champion)["champion"] == 1
    assert "verdict" not in versions(pushing_champion)[2]
    bob.git("push", "--quiet", "--delete", "origin", f"retrain/{day}")
    done = retrain(pushing_champion, day, "--push")
    expect(done, 0, "kept: version 1 stays, version 2")
    assert len(pushing_champion.runs()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["remote", "origin.git"])
def test_a_remote_that_is_away_before_or_after_training_changes_no_champion(
    pushing_champion: Workspace, kind: str
) -> None:
    here = pushing_champion
    expect(retrain(here, DAY, "--push"), 0, "is pushed")
    remote = here.path.parent / kind
    away = remote.with_name(f"{kind}.away")
    here.git("checkout", "--quiet", "--", ".")
    unplug = f"if [ -d '{remote}' ]; then mv '{remote}' '{away}'; touch '{remote}'; fi"
    record = "cmd: samerun record"
    here.replace("dvc.yaml", record, f"{record} && {unplug}")
    commit(here, "the remote goes away when the run is recorded")
    expect(retrain(here, "2026-11-02", "--push"), 2, "Running stage 'train'", "must")
    assert aliases(here)["champion"] == 1
    before = (here.path / "params.yaml").read_bytes()
    cache = here.path / ".dvc/cache"
    shutil.move(cache, f"{cache}.away")  # DVC asks its remote only for what is not here
    expect(retrain(here, "2026-11-03", "--push"), 2, "must")
    shutil.rmtree(cache, ignore_errors=True)
    shutil.move(f"{cache}.away", cache)
    assert (here.path / "params.yaml").read_bytes() == before
    remote.unlink()
    shutil.move(away, remote)
    done = retrain(here, "2026-11-02", "--push")
    expect(done, 0, "kept: version 1 stays, version 2 was tried")
    assert "Running stage 'train'" not in done.stdout


@pytest.mark.slow
def test_a_table_that_came_by_git_is_followed_and_a_replaced_one_is_kept(
    pushing: Workspace, tmp_path: Path
) -> None:
    def write(workspace: Workspace, slope: int) -> None:
        lines = [f"{i},{slope * i + i * 7 % 5}" for i in range(40)]
        (workspace.path / "data/own/mine.csv").write_text("a,b\n" + "\n".join(lines) + "\n")

    def keep(workspace: Workspace, slope: int) -> None:
        write(workspace, slope)
        workspace.dvc("add", "data/own/mine.csv")
        commit(workspace, "my own table, kept by DVC")
        workspace.dvc("push", "data/own/mine.csv.dvc")
        workspace.git("push", "--quiet", "origin", "main")

    def slope_of(workspace: Workspace) -> float:
        return round(Fitted.read(workspace.path / MODEL).parameters["w"])

    use(pushing, "data/own/mine.csv", "a", "b")
    pushing.replace("params.yaml", "holdout: 0\n", "holdout: 0.3\n")
    keep(pushing, 3)
    expect(retrain(pushing), 0, "promoted")
    assert "mine.csv.dvc" in pushing.git("show", "--stat", f"retrain/{DAY}~1")
    pushing.git("checkout", "--quiet", "--", ".")
    keep(clone(pushing, tmp_path / "bob"), 4)
    pushing.git("pull", "--quiet", "origin", "main")
    expect(retrain(pushing, "2026-11-02"), 0, "promoted: version 2", "the line drifted")
    assert slope_of(pushing) == 4
    write(pushing, 5)
    expect(retrain(pushing, "2026-11-03"), 0, "promoted: version 3")
    assert slope_of(pushing) == 5
