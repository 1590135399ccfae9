"""The embedded store on its way between machines that keep nothing.

DVC's remote keeps its files; a branch of the git remote says which are the latest, and whose they
follow. Git takes that branch only from who knows its latest commit, so of two writers the second is
refused, and no run is written over. Knows nothing of MLflow but where its files lie.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from samerun import git, programs
from samerun.core import address, files
from samerun.core.errors import WorkspaceError
from samerun.execution import receipts
from samerun.programs import dvc, output

BRANCH = "knownline/store"
_POINTER, _STORE, _DATABASE = "store.dvc", "store", "mlflow.db"
_CARRIED = receipts.STORE / "carried.json"
_NAME, _EMAIL = "knownline store", "store@knownline.invalid"


@dataclass(frozen=True, slots=True)
class SyncState:
    """What was carried last, in or out. commit: of the branch. digest: of the store's files."""

    commit: str
    digest: str


def pull() -> str:
    """Bring the latest store here and return what was done, in words.

    Raises: WorkspaceError where the store here has runs that the latest has not, or where a remote
    does not answer.
    """
    if (store := address.local_store()) is None:
        return "a tracking server keeps the runs: nothing to carry"
    latest, base = git.fetched(BRANCH), _last_sync()
    if latest is None:
        return "nothing was carried yet"
    if base and base.commit == latest:
        return "the store is the latest"
    if store.exists():
        digest = _digest_of(store)
        if digest != _digest_at(latest) and (base is None or base.digest != digest):
            raise WorkspaceError(
                f"{store} must have no runs that were not carried, while another machine carried"
                f" its own (got {BRANCH} at {latest[:12]}): move it away, or delete that branch"
            )
    with _scratch() as scratch:
        (scratch / _POINTER).write_text(git.run("show", f"{latest}:{_POINTER}") + "\n")
        done = programs.call(*dvc("pull", "--quiet"), at=scratch)
        if done.returncode:
            raise WorkspaceError(f"the DVC remote must have the store ({programs.reason(done)})")
        _put_in_place(scratch / _STORE, store)
    address.follow_move(store)
    _remember(SyncState(latest, _digest_of(store)))
    return f"the store of {latest[:12]} is here"


def push() -> str:
    """Send the store off and return what was done, in words.

    Raises: WorkspaceError where another machine carried its own since, or a remote does not answer.
    """
    if (store := address.local_store()) is None:
        return "a tracking server keeps the runs: nothing to carry"
    if not store.exists():
        return "there is no store yet"
    if not output(*dvc("remote", "list")).strip():
        raise WorkspaceError(
            "a DVC remote must be there to take the store: dvc remote add --default NAME"
            " FOLDER-OR-URL (got none)"
        )
    base = _last_sync()
    with _scratch() as scratch:
        _snapshot(store, scratch / _STORE)
        digest = _digest(scratch / _STORE)
        if base and base.digest == digest:
            return "the store is as it was carried"
        latest = git.fetched(BRANCH)
        if latest and _digest_at(latest) == digest:  # an earlier try came this far
            _remember(SyncState(latest, digest))
            return "the store is as it was carried"
        if latest != (base.commit if base else None):
            raise WorkspaceError(_refusal(latest))
        output(*dvc("add", "--quiet", _STORE), at=scratch)
        done = programs.call(*dvc("push", "--quiet"), at=scratch)
        if done.returncode:
            raise WorkspaceError(f"the DVC remote must take the store ({programs.reason(done)})")
        commit = _commit((scratch / _POINTER).read_text(), digest, latest)
    try:
        git.run("push", "--quiet", git.remote(), f"{commit}:refs/heads/{BRANCH}")
    except WorkspaceError as error:
        if "rejected" in str(error):
            raise WorkspaceError(_refusal(None)) from error
        raise
    _remember(SyncState(commit, digest))
    return f"the store is carried as {commit[:12]}"


def _refusal(latest: str | None) -> str:
    return (
        f"no other machine must have carried its store since this one's (got {BRANCH} at"
        f" {(latest or 'a newer commit')[:12]}): one machine writes at a time; a tracking server"
        " takes many (MLFLOW_TRACKING_URI)"
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a folder with this workspace's DVC remotes and cache, and nothing else of it."""
    receipts.make_folder()
    with tempfile.TemporaryDirectory(prefix=".store.tmp-", dir=receipts.STORE) as name:
        scratch = Path(name).resolve()
        output("git", "init", "--quiet", str(scratch))
        (scratch / ".dvc").mkdir()
        shutil.copy(".dvc/config", scratch / ".dvc" / "config")
        programs.copy_remotes(scratch)
        cache = output(*dvc("cache", "dir")).strip()
        for key, value in (("cache.dir", cache), ("cache.type", "copy")):
            output(*dvc("config", "--local", key, value), at=scratch)
        yield scratch


def _snapshot(store: Path, folder: Path) -> None:
    """Copy the store as it is at one moment, also while somebody writes to it.

    The database first: artifacts that come later are those of runs it does not have yet.
    """
    folder.mkdir()
    with (
        closing(sqlite3.connect(store, timeout=30)) as here,
        closing(sqlite3.connect(folder / _DATABASE)) as there,
    ):
        here.backup(there)
    artifacts = store.parent / "artifacts"
    if artifacts.exists():
        shutil.copytree(artifacts, folder / "artifacts")


def _put_in_place(folder: Path, store: Path) -> None:
    """Move a store's files here: the artifacts first, the database last and at once."""
    for path in sorted((folder / "artifacts").rglob("*")):
        if path.is_file():
            target = store.parent / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    new = folder / _DATABASE
    with new.open("rb") as stream:
        os.fsync(stream.fileno())
    new.replace(store)


def _digest_of(store: Path) -> str:
    with tempfile.TemporaryDirectory(prefix=".store.tmp-", dir=store.parent) as name:
        folder = Path(name) / _STORE
        _snapshot(store, folder)
        return _digest(folder)


def _digest(folder: Path) -> str:
    listed = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            listed.update(f"{files.sha256_of(path)}  {name}\n".encode())
    return listed.hexdigest()


def _digest_at(commit: str) -> str:
    """Return the digest that a commit of the branch is of: the last word of its message."""
    return git.run("log", "-1", "--format=%B", commit).split()[-1]


def _commit(pointer: str, digest: str, parent: str | None) -> str:
    blob = git.run("hash-object", "-w", "--stdin", stdin=pointer)
    tree = git.run("mktree", stdin=f"100644 blob {blob}\t{_POINTER}\n")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return git.run(
        "commit-tree",
        tree,
        *(("-p", parent) if parent else ()),
        "-m",
        f"The embedded store as of {now}\n\nSHA-256 {digest}",
        env=git.signed(_NAME, _EMAIL, now),
    )


def _last_sync() -> SyncState | None:
    try:
        return SyncState(**json.loads(_CARRIED.read_text()))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def _remember(carried: SyncState) -> None:
    files.write_text(_CARRIED, json.dumps(asdict(carried)) + "\n")
