"""Checks of a workspace: git, DVC's own files and cache, packages, leftovers of killed processes.

A check changes nothing. Knows nothing of MLflow.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from samerun import git, programs
from samerun.core import address, files, progress
from samerun.core.errors import MissingError
from samerun.dvc import quick
from samerun.dvc.commands import RECORD
from samerun.dvc.project import NO_PROJECT, Project
from samerun.dvc.stage import Stage, changed_keys
from samerun.execution import receipts, scratch
from samerun.execution.receipts import Receipt
from samerun.health.finding import Finding
from samerun.pipeline import Pipeline

_ABANDONED_AFTER = 3600.0
"""The age in seconds from which on a temporary file counts as abandoned."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")

_HASHES = ("md5", "etag", "checksum", "files")
"""The keys of an entry in dvc.lock that identify content, on disk or in cloud storage."""


def check_project() -> None:
    """Raise a MissingError if this folder is not in a DVC project."""
    if not (address.workspace() / ".dvc").is_dir():
        raise MissingError(NO_PROJECT.format(Path.cwd()))


def record_stages(project: Project) -> list[Stage]:
    """Return the record stages of the current folder. Raises: MissingError if there are none."""
    here = (Path.cwd() / "dvc.yaml").resolve()
    elsewhere = [stage for stage in project.stages if stage.records and stage.file != here]
    try:
        return project.recorders()
    except MissingError:
        if elsewhere:
            folders = " and ".join({os.path.relpath(each.file.parent): 0 for each in elsewhere})
            raise MissingError(
                f"no stage in this folder runs `{RECORD}`, but one in {folders} does: run `samerun"
                " doctor` there"
            ) from None
        raise MissingError(f"no stage runs `{RECORD}`: `samerun init` adds one") from None


def git_repository() -> Iterator[Finding]:
    """Check that the workspace is in a git repository with a commit."""
    if not git.is_installed():
        yield Finding("git", "it is not installed", "install it")
    elif not _in_git():
        yield Finding(
            "git", "this folder is not in a git repository (a ZIP has none)", "run `git init`"
        )
    elif git.call("rev-parse", "--verify", "--quiet", "HEAD").returncode == 1:
        yield Finding("git", "no commit is checked out", "commit, so that runs can be reproduced")


def _in_git() -> bool:
    """Return whether there is a repository, even if git refuses to read it."""
    process = git.call("rev-parse", "--git-dir")
    return process.returncode == 0 or b"not a git repository" not in process.stderr


def cache() -> Iterator[Finding]:
    """Compare each object of DVC's cache with the MD5 in its name; look for broken folders."""
    process = programs.call(*programs.dvc("cache", "dir"), isolated=False)
    if process.returncode:
        if git.is_installed() and _in_git():  # else `git_repository` has reported it
            yield Finding("cache", "`dvc cache dir` failed", "run it to see why")
        return
    folder = Path(os.fsdecode(process.stdout).strip())
    for path in sorted((folder / "runs").glob("??/*")):
        if path.is_dir() and not any(path.iterdir()):
            yield Finding(
                os.path.relpath(path),
                "a kill left this folder of DVC's run cache empty, so DVC 3.67 fails at its stage"
                " (join() argument must be str)",
                "`samerun doctor --repair`, or remove the folder",
                path.rmdir,
            )
    objects = sorted((folder / "files" / "md5").glob("??/*"))
    for path in progress.track(objects, "cache"):
        expected = path.parent.name + path.name.removesuffix(".dir")
        if not _MD5.fullmatch(expected) or not path.is_file():
            continue  # a temporary file, or an unpacked folder
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != expected:
            yield Finding(
                "cache",
                f"{path} is damaged: its MD5 is {md5}, not that of its name",
                "delete it, then `dvc pull` or `dvc repro --force`",
            )


def dvc_rwlock() -> Iterator[Finding]:
    """Check that DVC's own lock file is readable: a kill may truncate it."""
    path = address.workspace() / ".dvc" / "tmp" / "rwlock"
    for attempts_left in (1, 0):
        try:
            json.loads(path.read_text(encoding="utf-8"))
            return
        except FileNotFoundError:
            return
        except ValueError:
            if attempts_left:
                time.sleep(0.5)  # a DVC command that runs may be writing it
    yield Finding(
        os.path.relpath(path),
        "a kill truncated DVC's lock file, and no DVC command works until it is deleted",
        "while no DVC command runs here, `samerun doctor --repair`, or delete it",
        partial(_remove, path),
    )


def dvc_locks() -> Iterator[Finding]:
    """Check that every dvc.lock is readable: a kill may truncate it."""
    for path in _lock_files():
        if _is_complete(path):
            continue
        name = os.path.relpath(path)
        problem = "a kill truncated it, and no DVC command works until it is restored"
        committed = git.call("show", f"HEAD:./{name}") if git.is_installed() else None
        if committed is None or committed.returncode:
            yield Finding(name, problem, "delete it and run `dvc repro`, which uses DVC's cache")
        else:
            yield Finding(
                name,
                problem,
                f"`samerun doctor --repair`, or `git checkout {name}`, restores the committed one",
                partial(files.write_bytes, path, committed.stdout),
            )


def _lock_files() -> Iterator[Path]:
    """Yield every dvc.lock of the DVC project, but not of nested projects or of recorded runs."""
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

    stages: those to check, with all that they need; empty for the whole repository. damaged:
    whether DVC's cache is damaged; then DVC is not asked, since it would remove damaged objects.
    """
    if damaged:
        return
    which = ["--with-deps", *stages] if stages else []
    process = programs.call(*programs.dvc("status", "--quiet", *which), isolated=False)
    if process.returncode == 1:
        yield Finding(
            "pipeline", "something has changed since the last `dvc repro`", "run `dvc repro`"
        )
    elif process.returncode:
        yield Finding("pipeline", "`dvc status` failed", "run it to see why")


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
    """Look for files and folders of killed processes, and for unrecorded executions."""
    for path in sorted({*_temporary_files(pipeline)}):
        if time.time() - path.lstat().st_mtime > _ABANDONED_AFTER:
            yield Finding(
                os.path.relpath(path),
                "a killed process left it",
                "delete it",
                partial(_remove, path),
            )
    for home in scratch.abandoned(str(receipts.folder())):
        name = os.path.relpath(home.path)
        if home.resumable:
            yield Finding(
                name,
                f"an execution of {home.stage} was killed and left its checkpoints",
                "`dvc repro` with the same inputs resumes from them; or delete this folder",
            )
        else:
            problem = f"an execution of {home.stage} was killed and left no checkpoints"
            yield Finding(name, problem, "delete it", partial(_remove, Path(home.path)))
    stages = {stage.name: stage for stage in pipeline.deciding}
    for receipt in receipts.unrecorded():
        if receipt.stage in stages:
            yield _unrecorded(receipt, stages[receipt.stage])


def _unrecorded(receipt: Receipt, stage: Stage) -> Finding:
    """Return the finding for an execution that no run includes, with how its parameters differ."""
    now, then = stage.current_params(), receipt.params
    differing = [f"{name}: {then.get(name, 'none')}" for name in changed_keys(now, then) if then]
    params = f" ({', '.join(differing)})" if differing else ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(receipt.started))
    return Finding(
        os.path.relpath(receipts.path(receipt)),
        f"stage {stage.short} was executed at {when}{params} but the execution was never recorded",
        "run `dvc repro` with the same inputs to record it, or delete this file",
    )


def _temporary_files(pipeline: Pipeline) -> Iterator[Path]:
    """Yield files with temporary names beside and inside outputs and in samerun's own folders.

    Only the folder around an output is searched, not what is below it: it may be a home directory.
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


def _remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _normalized(package: str) -> str:
    """Return a package's name in the normal form of PEP 503."""
    return re.sub(r"[-_.]+", "-", package).lower()
