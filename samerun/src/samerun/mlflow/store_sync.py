"""Sync of the embedded store between ephemeral machines.

DVC's remote holds its files; a branch of the git remote says which are the latest, and which state
they follow. Git accepts a push only from a machine that has the branch's latest commit, so of two
writers the second is refused and no run is overwritten. Knows nothing of MLflow but its files.
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
from samerun.core.errors import StoreError, WorkspaceError
from samerun.execution import receipts
from samerun.programs import dvc, output

BRANCH = "samerun/store"
_POINTER, _STORE, _DATABASE = "store.dvc", "store", "mlflow.db"
_NAME, _EMAIL = "samerun store", "store@samerun.invalid"


@dataclass(frozen=True, slots=True)
class SyncState:
    """The state of the last pull or push: the branch's commit, the digest of the store's files."""

    commit: str
    digest: str


def pull() -> str:
    """Fetch the latest store and return what was done, in words.

    Raises: WorkspaceError if the store here has runs that the latest one lacks, or if a remote does
    not answer.
    """
    if (store := address.local_store()) is None:
        return "a tracking server keeps the runs: nothing to sync"
    latest, last = git.fetch_branch(BRANCH), _read_state()
    if latest is None:
        return "no store was pushed yet"
    present = address.is_store(store)
    if last and last.commit == latest and present:
        return "the store is the latest"
    if present:
        digest = _store_digest(store)
        if digest != _branch_digest(latest) and (last is None or last.digest != digest):
            raise WorkspaceError(
                f"{store} must have no runs that were not pushed, since another machine has pushed"
                f" its own (got {BRANCH} at {latest[:12]}): move it away, or delete that branch"
            )
    with _scratch() as scratch:
        (scratch / _POINTER).write_text(git.run("show", f"{latest}:{_POINTER}") + "\n")
        process = programs.call(*dvc("pull", "--quiet"), at=scratch)
        if process.returncode:
            raise WorkspaceError(f"the DVC remote must have the store ({programs.reason(process)})")
        if _folder_digest(scratch / _STORE) != _branch_digest(latest):
            raise WorkspaceError(
                f"the DVC remote must have the store of {latest[:12]} as it was pushed (got other"
                " bytes): delete what is damaged, there and in DVC's cache"
            )
        _install(scratch / _STORE, store)
    address.follow_move(store)
    _write_state(SyncState(latest, _store_digest(store)))
    return f"the store of {latest[:12]} is here"


def push() -> str:
    """Push the store and return what was done, in words.

    Raises: WorkspaceError if another machine has pushed since the last sync, or if a remote does
    not answer.
    """
    if (store := address.local_store()) is None:
        return "a tracking server keeps the runs: nothing to sync"
    if not address.is_store(store):
        return "there is no store yet"
    if not output(*dvc("remote", "list")).strip():
        raise WorkspaceError(
            "a DVC remote must be there to take the store: dvc remote add --default NAME"
            " FOLDER-OR-URL (got none)"
        )
    last = _read_state()
    with _scratch() as scratch:
        _snapshot(store, scratch / _STORE)
        digest = _folder_digest(scratch / _STORE)
        if last and last.digest == digest:
            return "the store is as it was pushed"
        latest = git.fetch_branch(BRANCH)
        if latest and _branch_digest(latest) == digest:  # an earlier attempt was cut off here
            _write_state(SyncState(latest, digest))
            return "the store is as it was pushed"
        if latest != (last.commit if last else None):
            raise WorkspaceError(_refusal(latest))
        output(*dvc("add", "--quiet", _STORE), at=scratch)
        process = programs.call(*dvc("push", "--quiet"), at=scratch)
        if process.returncode:
            raise WorkspaceError(f"the DVC remote must take the store ({programs.reason(process)})")
        commit = _commit((scratch / _POINTER).read_text(), digest, latest)
    try:
        git.run("push", "--quiet", git.remote_name(), f"{commit}:refs/heads/{BRANCH}")
    except WorkspaceError as error:
        if "rejected" in str(error):
            raise WorkspaceError(_refusal(None)) from error
        raise
    _write_state(SyncState(commit, digest))
    return f"the store is pushed as {commit[:12]}"


def _refusal(latest: str | None) -> str:
    """Return the error message for a store that another machine has pushed meanwhile."""
    return (
        f"no other machine must have pushed its store since this one's (got {BRANCH} at"
        f" {(latest or 'a newer commit')[:12]}): one machine writes at a time; a tracking server"
        " takes many (MLFLOW_TRACKING_URI)"
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yield an empty DVC repository with this workspace's remotes and cache."""
    folder = receipts.folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".store.tmp-", dir=folder) as name:
        scratch = Path(name).resolve()
        output("git", "init", "--quiet", str(scratch))
        # A run keeps its dvc.yaml; DVC does not take what git ignores for a part of the project.
        (scratch / ".gitignore").write_text(f"/{_STORE}\n")
        (scratch / ".dvc").mkdir()
        root = address.workspace()
        shutil.copy(root / ".dvc" / "config", scratch / ".dvc" / "config")
        programs.copy_remotes(root, scratch)
        cache = output(*dvc("cache", "dir")).strip()
        for key, value in (("cache.dir", cache), ("cache.type", "copy")):
            output(*dvc("config", "--local", key, value), at=scratch)
        yield scratch


def _snapshot(store: Path, folder: Path) -> None:
    """Copy a consistent state of the store, even while another process writes to it.

    The database is copied first: artifacts that appear later belong to runs that it lacks.

    Raises: StoreError if it is damaged.
    """
    folder.mkdir()
    try:
        with (
            closing(sqlite3.connect(store, timeout=30)) as source,
            closing(sqlite3.connect(folder / _DATABASE)) as copy,
        ):
            source.backup(copy)
    except sqlite3.Error as error:
        raise StoreError(f"the MLflow store {store} must be readable (got {error})") from error
    artifacts = store.parent / "artifacts"
    if artifacts.exists():
        shutil.copytree(artifacts, folder / "artifacts")


def _install(folder: Path, store: Path) -> None:
    """Move a store's files from a folder into place: the artifacts first, the database last."""
    for path in sorted((folder / "artifacts").rglob("*")):
        if path.is_file():
            target = store.parent / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    new = folder / _DATABASE
    with new.open("rb") as stream:
        os.fsync(stream.fileno())
    new.replace(store)


def _store_digest(store: Path) -> str:
    """Return the digest of a consistent state of a store's files."""
    with tempfile.TemporaryDirectory(prefix=".store.tmp-", dir=store.parent) as name:
        folder = Path(name) / _STORE
        _snapshot(store, folder)
        return _folder_digest(folder)


def _folder_digest(folder: Path) -> str:
    """Return the SHA-256 of a list of a folder's files and their sums."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            digest.update(f"{files.sha256_of(path)}  {name}\n".encode())
    return digest.hexdigest()


def _branch_digest(commit: str) -> str:
    """Return the digest of the store at a commit of the branch: the last word of its message."""
    return git.run("log", "-1", "--format=%B", commit).split()[-1]


def _commit(pointer: str, digest: str, parent: str | None) -> str:
    """Commit the pointer to the store's files without touching the workspace; return the commit."""
    blob = git.run("hash-object", "-w", "--stdin", stdin=pointer)
    tree = git.run("mktree", stdin=f"100644 blob {blob}\t{_POINTER}\n")
    timestamp = datetime.now(UTC).isoformat(timespec="seconds")
    return git.run(
        "commit-tree",
        tree,
        *(("-p", parent) if parent else ()),
        "-m",
        f"The embedded store as of {timestamp}\n\nSHA-256 {digest}",
        env=git.commit_identity(_NAME, _EMAIL, timestamp),
    )


def _state_file() -> Path:
    return receipts.folder() / "store.json"


def _read_state() -> SyncState | None:
    try:
        return SyncState(**json.loads(_state_file().read_text()))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def _write_state(state: SyncState) -> None:
    files.write_text(_state_file(), json.dumps(asdict(state)) + "\n")
