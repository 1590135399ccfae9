"""Workspaces with real git, real DVC and a real MLflow store."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from tests.warm import Warm

ROOT = Path(__file__).resolve().parent.parent

QUIET = {
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@dataclass(frozen=True)
class Run:
    """A run as the store's own tables have it."""

    run_id: str
    name: str
    status: str
    artifacts: Path
    tags: dict[str, str]
    params: dict[str, str]
    steps: dict[str, list[int]]
    last: dict[str, float]


def inherited() -> dict[str, str]:
    """Return the environment without what a test's own process may have set."""
    # KMP_: sklearn sets two of them where it is imported.
    others = ("DVC_", "MLFLOW_", "KMP_")
    return {k: v for k, v in os.environ.items() if not k.startswith(others)}


@dataclass(frozen=True)
class Workspace:
    """A checkout of this project, and what can be done in it."""

    path: Path

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment that the Makefile gives its recipes."""
        python = os.environ.get("KNOWNLINE_WARM", sys.executable)
        path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
        return {**inherited(), **QUIET, "PATH": path, **more}

    def run(self, *command: str, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command here; `ok` asserts that it succeeds."""
        done = subprocess.run(
            command, cwd=self.path, env=self.env(**env), capture_output=True, text=True, check=False
        )
        if ok:
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def dvc(self, *arguments: str, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run dvc here."""
        return self.run("dvc", *arguments, ok=ok, **env)

    def knownline(
        self, *arguments: str, ok: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of ours the way DVC does."""
        return self.run("python", "src/knownline", *arguments, ok=ok, **env)

    def samerun(
        self, *arguments: str, ok: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of samerun here."""
        return self.run("samerun", *arguments, ok=ok, **env)

    def git(self, *arguments: str) -> str:
        """Run git here and return what it prints."""
        return self.run("git", *arguments).stdout

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace text in a file; it must be there."""
        path = self.path / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def processes(self, wanted: Callable[[list[bytes]], bool]) -> list[int]:
        """Return the processes that work in this folder with a command line that is wanted."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
                here = (process / "cwd").resolve() == self.path.resolve()
            except OSError:
                continue
            if here and wanted(command):
                found.append(int(process.name))
        return found

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

    def runs(self, database: str = "mlruns/mlflow.db") -> list[Run]:
        """Return the runs of a SQLite store, oldest first, read without MLflow."""
        with sqlite3.connect(f"file:{self.path / database}?mode=rw", uri=True) as store:
            return runs_in(store)


def runs_in(store: Any) -> list[Run]:
    """Return the runs of a store, oldest first; its connection takes SQLite's queries."""
    rows = store.execute(
        "select run_uuid, name, status, artifact_uri from runs"
        " where lifecycle_stage = 'active' order by start_time"
    ).fetchall()
    return [_run(store, *row) for row in rows]


def needs(there: bool, what: str) -> None:
    """Skip the test where something it needs is not there; CI, which installs it, fails instead.

    what: one constant phrase, which says how to get it.
    """
    if not there:
        (pytest.fail if os.environ.get("KNOWNLINE_REQUIRE_ALL") == "1" else pytest.skip)(what)


def _run(store: Any, run_id: str, name: str, status: str, uri: str) -> Run:
    def pairs(table: str) -> dict[str, Any]:
        return dict(
            store.execute(f"select key, value from {table} where run_uuid = ?", [run_id]).fetchall()
        )

    steps: dict[str, list[int]] = {}
    for key, step in store.execute(
        "select key, step from metrics where run_uuid = ? order by key, step", [run_id]
    ).fetchall():
        steps.setdefault(key, []).append(step)
    return Run(
        run_id,
        name,
        status,
        Path(url2pathname(urlparse(uri).path)),
        pairs("tags"),
        pairs("params"),
        steps,
        pairs("latest_metrics"),
    )


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
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    workspace = Workspace(path)
    workspace.git("init", "--quiet", "--initial-branch=main")
    commit(workspace, "start")
    return workspace


def commit(workspace: Workspace, message: str) -> None:
    """Commit everything that git does not ignore."""
    workspace.git("add", "--all")
    workspace.git("commit", "--quiet", "--allow-empty", "--message", message)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that at the end no worker waits for one that began late."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def _warm() -> Iterator[Warm | None]:
    if os.environ.get("KNOWNLINE_COLD") == "1":
        yield None
        return
    # Not deep: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="knownline-warm-") as folder:
        warm = Warm(Path(folder), {**inherited(), **QUIET})
        yield warm
        warm.end()


@pytest.fixture
def warm(
    _warm: Warm | None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Start what this test's workspaces run with other people's packages already imported.

    Unless it is marked `cold`, or KNOWNLINE_COLD=1 asks for every process to be started anew.
    """
    if _warm and not request.node.get_closest_marker("cold"):
        monkeypatch.setenv("KNOWNLINE_WARM", str(_warm.bin / "python"))


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


def copied(origin: Workspace, path: Path) -> Workspace:
    """Return a copy of a workspace whose store knows that its artifacts came along."""
    copy = Workspace(Path(shutil.copytree(origin.path, path, symlinks=True)))
    with sqlite3.connect(copy.path / "mlruns/mlflow.db") as store:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):
            store.execute(
                f"update {table} set {column} = replace({column}, ?, ?)",
                [str(origin.path), str(copy.path)],
            )
    return copy


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
