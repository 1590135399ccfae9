"""Workspaces with real git, real DVC and a real MLflow store."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.fixtures import _warm, pytest_collection_modifyitems, warm
from support.workspace import Workspace as Folder
from support.workspace import commit, copied

__all__ = ["_warm", "pytest_collection_modifyitems", "warm"]
"""What pytest finds here by name."""

ROOT = Path(__file__).resolve().parent.parent


class Workspace(Folder):
    """A checkout of this project, and what can be done in it."""

    def knownline(
        self, *arguments: str, ok: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of ours the way DVC does."""
        return self.run("python", "src/knownline", *arguments, ok=ok, **env)

    def outputs(self) -> dict[str, bytes]:
        """Return every output and the lock, by path."""
        names = (
            "data/train",
            "data/holdout",
            "data/SHA256SUMS",
            "data/summary.json",
            "models",
            "reports",
        )
        found = [self.path / name for name in (*names, "dvc.lock")]
        files = [f for n in found for f in (n.rglob("*") if n.is_dir() else [n]) if f.is_file()]
        return {f.relative_to(self.path).as_posix(): f.read_bytes() for f in files}


def checkout(path: Path) -> Workspace:
    """Return a new git repository with this project's files as they are now, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "samerun/tests/")):
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    workspace = Workspace(path)
    workspace.git("init", "--quiet", "--initial-branch=main")
    commit(workspace, "start")
    return workspace


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    """A checkout in which nothing ran yet."""
    return checkout(tmp_path / "fresh")


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = checkout(tmp_path_factory.mktemp("built") / "work")
    workspace.dvc("repro")
    commit(workspace, "results")
    return workspace


@pytest.fixture
def workspace(_built: Workspace, tmp_path: Path) -> Workspace:
    """A checkout in which `dvc repro` ran once and dvc.lock is committed."""
    return copied(_built, tmp_path / "work")


@pytest.fixture(scope="session")
def _trained(_built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copied(_built, tmp_path_factory.mktemp("trained") / "work")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 60")
    workspace.dvc("repro", "report", SAMERUN_LIVE_AFTER="inf")
    return workspace


@pytest.fixture
def trained(_trained: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with a training of 60 epochs that is not recorded yet."""
    return copied(_trained, tmp_path / "work")


@pytest.fixture
def built(_built: Workspace) -> Workspace:
    """The same, shared by all tests that only read it."""
    return _built


@pytest.fixture
def clone(tmp_path: Path) -> Callable[[Workspace], Workspace]:
    """Return what clones a workspace as a colleague would: committed files alone."""

    def make(origin: Workspace) -> Workspace:
        origin.git("clone", "--quiet", str(origin.path), str(tmp_path / "clone"))
        return Workspace(tmp_path / "clone")

    return make
