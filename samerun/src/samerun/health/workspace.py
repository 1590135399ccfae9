"""The checks of a workspace: git, DVC's own files and cache, packages, what a kill has left.

A check changes nothing. Knows nothing of MLflow, and of the store only the folder it is in.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from samerun import git, programs
from samerun.core import address, files, progress
from samerun.core.errors import MissingError
from samerun.dvc import quick
from samerun.dvc.commands import RECORD
from samerun.dvc.project import Project
from samerun.dvc.stage import Stage
from samerun.execution import receipts, scratch
from samerun.health.finding import Finding
from samerun.pipeline import Pipeline

_ABANDONED_AFTER = 3600.0
"""Seconds after which no process uses a temporary file any more."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")

_HASHES = ("md5", "etag", "checksum", "files")
"""The keys by which an entry of a dvc.lock names content, on a disk or in a cloud."""


def check_project() -> None:
    """Raises: MissingError if this folder is in no DVC project."""
    if not (address.workspace() / ".dvc").is_dir():
        raise MissingError(
            f"this folder must be in a DVC project: run `dvc init` (got {Path.cwd()})"
        )


def record_stages(project: Project) -> list[Stage]:
    """Return the stages of the current folder that record. Raises: MissingError with advice."""
    here = (Path.cwd() / "dvc.yaml").resolve()
    elsewhere = [stage for stage in project.stages if stage.records and stage.file != here]
    try:
        return project.recorders()
    except MissingError:
        if elsewhere:
            folders = " and ".join({os.path.relpath(each.file.parent): 0 for each in elsewhere})
            raise MissingError(
                f"no stage in this folder runs `{RECORD}`, but one does in {folders}: call doctor"
                " there"
            ) from None
        raise MissingError(
            f"no stage runs `{RECORD}`: add one as the last, which depends on the others' outputs"
        ) from None


def git_repository() -> Iterator[Finding]:
    """Check that the workspace is in a git repository with a commit."""
    if not git.is_installed():
        yield Finding("git", "there is none here", "install it")
    elif not _in_git():
        yield Finding(
            "git", "this folder is in no git repository, which a ZIP is not", "`git init`"
        )
    elif git.call("rev-parse", "--verify", "--quiet", "HEAD").returncode == 1:
        yield Finding("git", "no commit is checked out", "commit, so that runs can be done again")


def _in_git() -> bool:
    """Return whether there is a repository, even if git refuses to read it."""
    process = git.call("rev-parse", "--git-dir")
    return process.returncode == 0 or b"not a git repository" not in process.stderr


def cache() -> Iterator[Finding]:
    """Compare every object of DVC's cache with the MD5 in its name; look for what a kill left."""
    process = programs.call(*programs.dvc("cache", "dir"), isolated=False)
    if process.returncode:
        if git.is_installed() and _in_git():  # else `git_repository` has reported it
            yield Finding("cache", "DVC does not say where it is", "run `dvc cache dir`")
        return
    folder = Path(os.fsdecode(process.stdout).strip())
    for path in sorted((folder / "runs").glob("??/*")):
        if path.is_dir() and not any(path.iterdir()):
            yield Finding(
                os.path.relpath(path),
                "a kill left this folder of DVC's run cache empty, and DVC 3.67 fails at its stage"
                " (join() argument must be str)",
                "`samerun doctor --repair`, or remove the folder",
                path.rmdir,
            )
    objects = sorted((folder / "files" / "md5").glob("??/*"))
    for path in progress.track(objects, "cache"):
        expected = path.parent.name + path.name.removesuffix(".dir")
        if not _MD5.fullmatch(expected) or not path.is_file():
            continue  # a file that DVC is writing, or has unpacked
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != expected:
            yield Finding(
                "cache",
                f"{path} has other bytes than its name says (MD5 {md5})",
                "delete it, then `dvc pull` or `dvc repro --force`",
            )


def dvc_rwlock() -> Iterator[Finding]:
    """Check that DVC's own lock file is readable: written in place, it is truncated by a kill."""
    path = address.workspace() / ".dvc" / "tmp" / "rwlock"
    for attempts_left in (1, 0):
        try:
            json.loads(path.read_text(encoding="utf-8"))
            return
        except FileNotFoundError:
            return
        except ValueError:
            if attempts_left:
                time.sleep(0.5)  # a DVC that is running may be writing it
    yield Finding(
        os.path.relpath(path),
        "a kill cut DVC's lock file short, and DVC does nothing until it is gone",
        "`samerun doctor --repair`, or delete it, while no DVC runs here",
        _removal(path),
    )


def dvc_locks() -> Iterator[Finding]:
    """Check that every dvc.lock can be read: DVC writes it in place too."""
    for path in _lock_files():
        if _is_complete(path):
            continue
        name = os.path.relpath(path)
        problem = "a kill cut it short, and DVC does nothing until it is whole"
        committed = git.call("show", f"HEAD:./{name}") if git.is_installed() else None
        if committed is None or committed.returncode:
            yield Finding(name, problem, "delete it and run `dvc repro`, which has its own cache")
        else:
            yield Finding(
                name,
                problem,
                f"`samerun doctor --repair`, or `git checkout {name}`, brings back the committed"
                " one",
                _rewriting(path, committed.stdout),
            )


def _lock_files() -> Iterator[Path]:
    """Yield every dvc.lock of the DVC project, not those of projects inside it nor of runs."""
    for folder, folders, names in os.walk(address.workspace()):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name != "mlruns"
            and not (Path(folder) / name / ".dvc").is_dir()
        ]
        if {"dvc.lock", "dvc.yaml"} <= {*names}:
            yield Path(folder) / "dvc.lock"


def _is_complete(lock: Path) -> bool:
    """Return whether a dvc.lock can be read and each of its entries is complete."""
    try:
        stages: dict[str, Any] = quick.load(str(lock))["stages"]
        entries = [
            entry
            for stage in stages.values()
            for kind in ("deps", "outs")
            for entry in stage.get(kind, [])
        ]
        return all("cmd" in stage for stage in stages.values()) and all(
            "path" in entry
            and any(key in entry for key in _HASHES)
            and _MD5.fullmatch(entry.get("md5", "0" * 32))
            for entry in entries
        )
    except (AttributeError, KeyError, TypeError):
        return False


def status(stages: Sequence[str], *, damaged: bool) -> Iterator[Finding]:
    """Ask DVC whether the outputs match the current parameters and code.

    stages: whose outputs and whose inputs'; empty for those of the whole repository. damaged:
    whether DVC's cache is: it would remove a damaged object that it comes across.
    """
    if damaged:
        return
    which = ["--with-deps", *stages] if stages else []
    process = programs.call(*programs.dvc("status", "--quiet", *which), isolated=False)
    if process.returncode == 1:
        yield Finding("pipeline", "something changed since it ran", "run `dvc repro`")
    elif process.returncode:
        yield Finding("pipeline", "DVC cannot look at it", "see `dvc status`")


def packages() -> Iterator[Finding]:
    """Compare the installed packages with requirements.lock, if there is one."""
    lock = next(
        (p for p in (Path(), address.workspace()) if (p / "requirements.lock").exists()), None
    )
    if lock is None:
        return
    installed = {
        _normalized(package.metadata["Name"]): package.version.partition("+")[0]
        for package in metadata.distributions()
        if package.metadata["Name"]
    }
    for line in (lock / "requirements.lock").read_text().splitlines():
        pin = _PIN.match(line)
        if pin and (version := installed.get(_normalized(pin[1]), "none")) != pin[2]:
            yield Finding(
                "packages",
                f"{pin[1]} must be {pin[2]} (got {version})",
                "pip install -r requirements.lock",
            )


def leftovers(pipeline: Pipeline) -> Iterator[Finding]:
    """Look for what a kill leaves: temporary files, cut executions, executions not recorded."""
    for path in sorted({*_temporary_files(pipeline)}):
        if time.time() - path.lstat().st_mtime > _ABANDONED_AFTER:
            yield Finding(os.path.relpath(path), "a kill left it", "delete it", _removal(path))
    for home in scratch.abandoned(str(receipts.folder())):
        name = os.path.relpath(home.path)
        if home.resumable:
            yield Finding(
                name,
                f"an execution of {home.stage} was cut short and left its checkpoints",
                "`dvc repro` with its inputs goes on from there; or delete it",
            )
        else:
            problem = f"an execution of {home.stage} was cut short and left nothing to go on from"
            yield Finding(name, problem, "delete it", _removal(Path(home.path)))
    recorded_here = {stage.name for stage in pipeline.deciding}
    for receipt in receipts.unrecorded():
        if receipt.stage in recorded_here:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(receipt.started))
            yield Finding(
                os.path.relpath(receipts.path(receipt)),
                f"an execution of {receipt.stage} of {when} is not recorded",
                "`dvc repro` with its inputs records it; or delete it",
            )


def _temporary_files(pipeline: Pipeline) -> Iterator[Path]:
    """Yield what was written under a temporary name: beside and in outputs, in samerun's folders.

    Those of a working folder's own name are not looked for below it: it may be a home directory.
    """
    pattern = ".*.tmp-*"
    for stage in (*pipeline.deciding, *pipeline.presenting):
        for out in stage.outs:
            path = pipeline.project.path(out.path)
            yield from path.parent.glob(pattern)
            if path.is_dir():
                yield from path.rglob(pattern)
    for folder in {address.workspace() / "mlruns", receipts.folder()}:
        yield from folder.rglob(pattern)


def _rewriting(path: Path, content: bytes) -> Callable[[], None]:
    return lambda: files.write_bytes(path, content)


def _removal(path: Path) -> Callable[[], None]:
    """Return a function that removes a file or a folder."""

    def remove() -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return remove


def _normalized(package: str) -> str:
    """Return a package's name in the normal form of PEP 503."""
    return re.sub(r"[-_.]+", "-", package).lower()
