"""Workspaces with real git, real DVC and a real MLflow store."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the distribution."""

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
    """A folder of a project, with what tests do in it."""

    path: Path

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment that the Makefile gives its recipes."""
        python = os.environ.get("TESTS_WARM", sys.executable)
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

    def runs(self, database: str = "mlruns/mlflow.db") -> list[Run]:
        """Return the runs of a SQLite store, oldest first, read without MLflow."""
        with sqlite3.connect(f"file:{self.path / database}?mode=rw", uri=True) as store:
            return runs_in(store)


W = TypeVar("W", bound=Workspace)


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
        (pytest.fail if os.environ.get("TESTS_REQUIRE_ALL") == "1" else pytest.skip)(what)


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


def commit(workspace: Workspace, message: str) -> None:
    """Commit everything that git does not ignore."""
    workspace.git("add", "--all")
    workspace.git("commit", "--quiet", "--allow-empty", "--message", message)


def copied(origin: W, path: Path) -> W:
    """Return a copy of a workspace whose store knows that its artifacts came along."""
    copy = type(origin)(Path(shutil.copytree(origin.path, path, symlinks=True)))
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
