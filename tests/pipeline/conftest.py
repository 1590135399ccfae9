"""Workspaces with a champion, made once and copied."""

from pathlib import Path

import pytest

from support.warm import Warm
from support.workspace import copied
from tests.conftest import Workspace
from tests.pipeline.retraining import expect, retrain


@pytest.fixture(scope="session")
def _promoted(
    _built: Workspace, _warm: Warm | None, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    workspace = copied(_built, tmp_path_factory.mktemp("promoted") / "work")
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        first = retrain(workspace)
    expect(first, 0, "promoted: version 1 is the champion", "no champion before")
    return workspace


@pytest.fixture
def promoted(_promoted: Workspace, tmp_path: Path) -> Workspace:
    """A workspace whose first retraining, on DAY, made version 1 the champion."""
    return copied(_promoted, tmp_path / "work")


def add_remotes(workspace: Workspace, folder: Path) -> Workspace:
    """Give a workspace a bare git remote and a DVC remote in a folder, and push its main."""
    workspace.git("init", "--quiet", "--bare", "--initial-branch=main", str(folder / "origin.git"))
    workspace.git("remote", "add", "origin", str(folder / "origin.git"))
    workspace.dvc("remote", "add", "--default", "store", str(folder / "remote"))
    workspace.git("commit", "--quiet", "--message", "remotes", "--", ".dvc/config")
    workspace.git("push", "--quiet", "origin", "main")
    return workspace


@pytest.fixture
def pushing(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with a bare git remote and a DVC remote folder."""
    return add_remotes(workspace, tmp_path)


@pytest.fixture
def pushing_champion(promoted: Workspace, tmp_path: Path) -> Workspace:
    """The same with a champion, of which nothing was pushed yet."""
    return add_remotes(promoted, tmp_path)
