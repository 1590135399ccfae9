"""What can be wrong with a workspace, each as a finding with what to do.

Every check only looks. Knows nothing of MLflow, and of the store nothing but where it is.
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

OLD = 3600.0
"""Seconds after which a temporary file belongs to nobody any more."""

SEALED = ("data", "models", "reports")
"""Folders in which a stage leaves a list of sums."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")


def git_tree() -> Iterator[Finding]:
    """Look at what git has of the workspace."""
    if not git.is_here():
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
    beyond = sorted(set(commit.paths) - {"params.yaml"})  # to try a parameter is what this is for
    if beyond:
        more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
        yield Finding(
            "git",
            f"the workspace has changes beyond its commit ({', '.join(beyond[:3])}{more})",
            "commit them; until then runs are recorded with a patch",
        )
    for folder in commit.left_out:
        yield Finding(
            "git",
            f"{folder} is a git repository without a commit, of which no run keeps anything",
            "commit there, or name it in .gitignore",
        )


def _in_git() -> bool:
    """Return whether there is a repository, be it one that git refuses to read."""
    done = git.call("rev-parse", "--git-dir")
    return done.returncode == 0 or b"not a git repository" not in done.stderr


def outputs() -> Iterator[Finding]:
    """Hold what the stages wrote against their seals."""
    for folder in map(Path, SEALED):
        if not (folder / files.SUMS).exists():
            yield Finding(f"{folder}/", "no stage has written here", "run `dvc repro`")
            continue
        try:
            files.check_sums(folder)
        except UserError as error:
            yield Finding(f"{folder}/", str(error), "its text says what to do")


def cache() -> Iterator[Finding]:
    """Hold every object of DVC's cache against the MD5 it is named by."""
    asked = programs.call(*programs.dvc("cache", "dir"), isolated=False)
    if asked.returncode:
        yield Finding("cache", "DVC does not say where it is", "run `dvc cache dir`")
        return
    objects = sorted((Path(os.fsdecode(asked.stdout).strip()) / "files" / "md5").glob("??/*"))
    for path in progress.over(objects, "cache"):
        if path.name.endswith((".unpacked", ".tmp")) or not path.is_file():
            continue
        named = path.parent.name + path.name.removesuffix(".dir")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != named:
            yield Finding(
                "cache",
                f"{path} has other bytes than its name says (MD5 {found})",
                "delete it, then `dvc pull` or `dvc repro --force`",
            )


def dvc_rwlock() -> Iterator[Finding]:
    """Look whether DVC's own lock file can be read: it writes it in place, and a kill cuts it."""
    path = Path(".dvc/tmp/rwlock")
    for left in (1, 0):
        try:
            json.loads(path.read_text(encoding="utf-8"))
            return
        except FileNotFoundError:
            return
        except ValueError:
            if left:
                time.sleep(0.5)  # a DVC that is at work may be writing it
    yield Finding(
        str(path),
        "a kill cut DVC's lock file short, and DVC does nothing until it is gone",
        "`knownline doctor --repair`, or delete it, while no DVC runs here",
        _removal(path),
    )


def dvc_lock() -> Iterator[Finding]:
    """Look whether dvc.lock can be read: DVC writes it in place too."""
    path = Path("dvc.lock")
    if not path.exists() or _whole(path):
        return
    known = git.call("show", "HEAD:./dvc.lock")
    yield Finding(
        str(path),
        "a kill cut it short, and DVC does nothing until it is whole",
        "`knownline doctor --repair`, or `git checkout dvc.lock`, brings back the committed one",
        None if known.returncode else lambda: files.write_bytes(path, known.stdout),
    )


def _whole(lock: Path) -> bool:
    """Return whether every entry of a dvc.lock is there to its end."""
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
    """Ask DVC whether the outputs are those of the parameters and the code of now."""
    asked = programs.call(*programs.dvc("status", "--quiet"), isolated=False)
    if asked.returncode == 1:
        yield Finding("pipeline", "something changed since it ran", "run `dvc repro`")
    elif asked.returncode and git.is_here() and _in_git():  # else `tree` has told what is amiss
        yield Finding("pipeline", "DVC cannot look at it", "see `dvc status`")


def packages() -> Iterator[Finding]:
    """Hold the installed packages against requirements.lock."""
    lock = Path("requirements.lock")
    if not lock.exists():
        yield Finding("packages", "there is no requirements.lock", "run `make lock`")
        return
    installed = {
        _normal(found.metadata["Name"]): found.version.partition("+")[0]
        for found in metadata.distributions()
        if found.metadata["Name"]
    }
    for line in lock.read_text().splitlines():
        pin = _PIN.match(line)
        if pin and (have := installed.get(_normal(pin[1]), "none")) != pin[2]:
            yield Finding(
                "packages",
                f"{pin[1]} must be {pin[2]} (got {have})",
                "pip install -r requirements.lock",
            )


def device(choose: Callable[[], object]) -> Iterator[Finding]:
    """Ask whether params.yaml can be used here, its device too; `choose` raises where not."""
    try:
        choose()
    except UserError as error:
        yield Finding("params.yaml", str(error), "change it there")


def leftovers() -> Iterator[Finding]:
    """Look for what a kill left: temporary files, checkpoints, trainings not recorded."""
    for root in ("data", "models", "reports", "mlruns"):
        for path in sorted(Path(root).glob("**/.*.tmp-*")):
            if time.time() - path.lstat().st_mtime > OLD:
                yield Finding(str(path), "a kill left it", "delete it", _removal(path))
    for path in sorted((receipts.STORE / "checkpoints").glob("*")):
        if not path.name.startswith("."):
            yield Finding(
                str(path),
                "a training was cut short here",
                "`dvc repro` with its parameters goes on from it; or delete it",
            )
    for path, name in receipts.names().items():
        yield Finding(
            str(path),
            f"a training was not recorded{f': {name}' if name else ''}",
            "`dvc repro` with its parameters records it; or delete it",
        )


def _removal(path: Path) -> Callable[[], None]:
    def remove() -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return remove


def _normal(package: str) -> str:
    """Return a package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", package).lower()
