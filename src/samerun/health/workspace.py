"""The checks of a workspace; each yields findings with what to do.

A check changes nothing. Knows nothing of MLflow, and of the store only the folder it is in.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from samerun import git, programs, working_tree
from samerun.core import files, progress
from samerun.core.errors import UserError
from samerun.execution import receipts
from samerun.health.finding import Finding

_ABANDONED_AFTER = 3600.0
"""Seconds after which no process uses a temporary file any more."""

_SEALED = ("data", "models", "reports")
"""Folders in which a stage writes a list of sums."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")


def git_tree() -> Iterator[Finding]:
    """Check that the workspace is committed to git."""
    if not git.is_installed():
        yield Finding("git", "there is none here", "install it")
        return
    if not _in_git():
        yield Finding(
            "git", "this folder is in no git repository, which a ZIP is not", "`git init`"
        )
        return
    try:
        commit = working_tree.commit()
    except UserError as error:
        yield Finding("git", str(error), "see `git status`")
        return
    if commit.sha is None:
        yield Finding("git", "no commit is checked out", "commit, so that runs can be done again")
        return
    changes = sorted(set(commit.paths) - {"params.yaml"})  # changing a parameter is normal use
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        yield Finding(
            "git",
            f"the workspace has changes beyond its commit ({', '.join(changes[:3])}{more})",
            "commit them; until then runs are recorded with a patch",
        )
    for folder in commit.left_out:
        yield Finding(
            "git",
            f"{folder} is a git repository without a commit, of which no run keeps anything",
            "commit there, or name it in .gitignore",
        )


def _in_git() -> bool:
    """Return whether there is a repository, even if git refuses to read it."""
    process = git.call("rev-parse", "--git-dir")
    return process.returncode == 0 or b"not a git repository" not in process.stderr


def outputs() -> Iterator[Finding]:
    """Compare what the stages wrote with their seals."""
    for folder in map(Path, _SEALED):
        if not (folder / files.SUMS).exists():
            yield Finding(f"{folder}/", "no stage has written here", "run `dvc repro`")
            continue
        try:
            files.check_sums(folder)
        except UserError as error:
            yield Finding(f"{folder}/", str(error), "its text says what to do")


def cache() -> Iterator[Finding]:
    """Compare every object of DVC's cache with the MD5 in its name."""
    process = programs.call(*programs.dvc("cache", "dir"), isolated=False)
    if process.returncode:
        yield Finding("cache", "DVC does not say where it is", "run `dvc cache dir`")
        return
    objects = sorted((Path(os.fsdecode(process.stdout).strip()) / "files" / "md5").glob("??/*"))
    for path in progress.track(objects, "cache"):
        if path.name.endswith((".unpacked", ".tmp")) or not path.is_file():
            continue
        expected = path.parent.name + path.name.removesuffix(".dir")
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
    path = Path(".dvc/tmp/rwlock")
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
        str(path),
        "a kill cut DVC's lock file short, and DVC does nothing until it is gone",
        "`knownline doctor --repair`, or delete it, while no DVC runs here",
        _removal(path),
    )


def dvc_lock() -> Iterator[Finding]:
    """Check that dvc.lock can be read: DVC writes it in place too."""
    path = Path("dvc.lock")
    if not path.exists() or _is_complete(path):
        return
    committed = git.call("show", "HEAD:./dvc.lock")
    yield Finding(
        str(path),
        "a kill cut it short, and DVC does nothing until it is whole",
        "`knownline doctor --repair`, or `git checkout dvc.lock`, brings back the committed one",
        None if committed.returncode else lambda: files.write_bytes(path, committed.stdout),
    )


def _is_complete(lock: Path) -> bool:
    """Return whether a dvc.lock can be read and each of its entries is complete."""
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        entries = [
            entry
            for stage in stages.values()
            for kind in ("deps", "outs")
            for entry in stage.get(kind, [])
        ]
        return all("cmd" in stage for stage in stages.values()) and all(
            {"path", "md5", "size"} <= entry.keys() for entry in entries
        )
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return False


def pipeline() -> Iterator[Finding]:
    """Ask DVC whether the outputs match the current parameters and code."""
    process = programs.call(*programs.dvc("status", "--quiet"), isolated=False)
    if process.returncode == 1:
        yield Finding("pipeline", "something changed since it ran", "run `dvc repro`")
    elif process.returncode and git.is_installed() and _in_git():  # else `git_tree` has reported it
        yield Finding("pipeline", "DVC cannot look at it", "see `dvc status`")


def packages() -> Iterator[Finding]:
    """Compare the installed packages with requirements.lock."""
    lock = Path("requirements.lock")
    if not lock.exists():
        yield Finding("packages", "there is no requirements.lock", "run `make lock`")
        return
    installed = {
        _normalized(package.metadata["Name"]): package.version.partition("+")[0]
        for package in metadata.distributions()
        if package.metadata["Name"]
    }
    for line in lock.read_text().splitlines():
        pin = _PIN.match(line)
        if pin and (version := installed.get(_normalized(pin[1]), "none")) != pin[2]:
            yield Finding(
                "packages",
                f"{pin[1]} must be {pin[2]} (got {version})",
                "pip install -r requirements.lock",
            )


def device(choose: Callable[[], object]) -> Iterator[Finding]:
    """Check that params.yaml can be used here, its device too; if not, `choose` raises."""
    try:
        choose()
    except UserError as error:
        yield Finding("params.yaml", str(error), "change it there")


def leftovers() -> Iterator[Finding]:
    """Look for what a kill leaves: temporary files, checkpoints, trainings not recorded."""
    for root in ("data", "models", "reports", "mlruns"):
        for path in sorted(Path(root).glob("**/.*.tmp-*")):
            if time.time() - path.lstat().st_mtime > _ABANDONED_AFTER:
                yield Finding(str(path), "a kill left it", "delete it", _removal(path))
    for path in sorted((receipts.FOLDER / "checkpoints").glob("*")):
        if not path.name.startswith("."):
            yield Finding(
                str(path),
                "a training was cut short here",
                "`dvc repro` with its parameters goes on from it; or delete it",
            )
    for path, name in receipts.run_names().items():
        yield Finding(
            str(path),
            f"a training was not recorded{f': {name}' if name else ''}",
            "`dvc repro` with its parameters records it; or delete it",
        )


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
