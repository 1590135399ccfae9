"""What can be wrong with a workspace and its store, each as a finding with what to do.

Every check only looks. Knows nothing of MLflow's calls; the store is handed in.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from knownline import files, git, location, progress, provenance, receipts
from knownline.errors import StoreError, UserError, one_line
from knownline.layout import DATA, LOCK, MODELS, PARAMS, REPORTS
from knownline.models import MODEL
from knownline.processes import is_left
from knownline.tracking import Recorded, Store

OLD = 3600.0
"""Seconds after which a temporary file belongs to nobody any more."""

_KEPT = {
    "data/SHA256SUMS": "SHA256SUMS",
    "models/line.json": f"{MODEL}/artifacts/line.json",
    "reports/history.csv": "history.csv",
    "reports/metrics.json": "metrics.json",
}
"""Outputs in dvc.lock, and what a run keeps of them."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and what to do about it.

    mend: does it, where that loses nothing of the user's; `--repair` calls it.
    """

    where: str
    what: str
    todo: str
    mend: Callable[[], None] | None = None

    def __str__(self) -> str:
        return one_line(f"{self.where}: {self.what}: {self.todo}")


def tree() -> Iterator[Finding]:
    """Look at what git has of the workspace."""
    if not _has_git():
        yield Finding("git", "there is none here", "install it")
        return
    if not _in_git():
        yield Finding(
            "git", "this folder is in no git repository, which a ZIP is not", "`git init`"
        )
        return
    try:
        commit = provenance.commit()
    except UserError as error:
        yield Finding("git", str(error), "see `git status`")
        return
    if commit.sha is None:
        yield Finding("git", "no commit is checked out", "commit, so that runs can be done again")
        return
    beyond = sorted(set(commit.paths) - {str(PARAMS)})  # to try a parameter is what this is for
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


def _has_git() -> bool:
    return shutil.which("git") is not None


def _in_git() -> bool:
    """Return whether there is a repository, be it one that git refuses to read."""
    done = git.call("rev-parse", "--git-dir")
    return done.returncode == 0 or "not a git repository" not in done.stderr


def outputs() -> Iterator[Finding]:
    """Hold what the stages wrote against their seals."""
    for folder in (DATA, MODELS, REPORTS):
        if not (folder / files.SUMS).exists():
            yield Finding(f"{folder}/", "no stage has written here", "run `dvc repro`")
            continue
        try:
            files.check_seal(folder)
        except UserError as error:
            yield Finding(f"{folder}/", str(error), "its text says what to do")


def cache() -> Iterator[Finding]:
    """Hold every object of DVC's cache against the MD5 it is named by."""
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        yield Finding("cache", "DVC does not say where it is", "run `dvc cache dir`")
        return
    objects = sorted((Path(asked.stdout.strip()) / "files" / "md5").glob("??/*"))
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


def lock_of_dvc() -> Iterator[Finding]:
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


def results() -> Iterator[Finding]:
    """Look whether dvc.lock can be read: DVC writes it in place too."""
    path = LOCK
    if not path.exists() or _whole(path):
        return
    known = subprocess.run(["git", "show", "HEAD:./dvc.lock"], capture_output=True, check=False)
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
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )
    if asked.returncode == 1:
        yield Finding("pipeline", "something changed since it ran", "run `dvc repro`")
    elif asked.returncode and _has_git() and _in_git():  # else `tree` has told what is amiss
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


def moved() -> Iterator[Finding]:
    """Look whether the embedded store lies where its artifacts' paths say."""
    store = location.embedded()
    if store is None or not store.exists() or not store.stat().st_size:
        return  # no store: what opens it says so
    there = location.moved_from(store)
    if there:
        yield Finding(
            "store",
            f"its artifacts are said to be in {there}, and it is {store}",
            "`knownline doctor --repair`, or the next `dvc repro`, mends the paths",
            lambda: location.follow(store),
        )


def absent(branch: str) -> Iterator[Finding]:
    """Look whether the store is there, where it is a file.

    branch: the reference, with wildcards, that a clone has where the store is carried.
    """
    store = location.database()
    if store is None or (store.exists() and store.stat().st_size):
        return
    carried = location.embedded() and _has_git() and git.call("for-each-ref", branch).stdout
    todo = "`knownline store pull` brings it" if carried else "run `dvc repro`"
    yield Finding("store", f"{store} is not there", todo)


def runs(store: Store) -> Iterator[Finding]:
    """Look at every run: does it run, and is what it kept what it says."""
    found = store.runs()
    for run in progress.over(found, "runs"):
        name = f"run {run.name} ({run.run_id})"
        if run.status == "FINISHED":
            yield from _kept(store, run, name)
        elif run.status == "RUNNING":
            yield from _running(store, run, name)
    yield from _marker(found)


def _running(store: Store, run: Recorded, name: str) -> Iterator[Finding]:
    if run.tags.get("execution") in receipts.waiting():
        yield Finding(name, "its training ended and is not recorded", "run `dvc repro`")
    elif is_left(run.tags):
        yield Finding(
            name,
            "it says RUNNING and its process is gone",
            "`knownline doctor --repair`, or the next `dvc repro`, ends it as KILLED",
            lambda: _sweep(store),
        )


def _sweep(store: Store) -> None:
    store.sweep(waiting=receipts.waiting())


def _kept(store: Store, run: Recorded, name: str) -> Iterator[Finding]:
    """Hold a run's artifacts against its fingerprint and against its own dvc.lock."""
    with TemporaryDirectory(prefix="knownline-doctor-") as scratch:
        folder = Path(scratch)
        try:
            store.fetch(run.run_id, folder)
        except StoreError as error:
            yield Finding(name, f"its artifacts are not there ({error})", "restore or delete it")
            return
        identity = folder / "identity.json"
        if not identity.exists():
            yield Finding(name, "identity.json is not there", "it cannot be reproduced: delete it")
        elif files.sha256_of(identity) != run.tags.get("fingerprint"):
            yield Finding(
                name,
                "identity.json is not what its fingerprint says",
                "it was changed: restore or delete the run",
            )
        if run.tags.get("by_hand"):
            return  # its dvc.lock is of whatever `dvc repro` ran last
        locked = _locked(folder / "dvc.lock")
        if locked is None:
            yield Finding(name, "its dvc.lock is missing or damaged", "restore or delete the run")
        for output, expected in (locked or {}).items():
            kept = folder / _KEPT[output]
            if not kept.exists() or hashlib.md5(kept.read_bytes()).hexdigest() != expected:
                yield Finding(
                    name,
                    f"{_KEPT[output]} is not the {output} of its dvc.lock",
                    "it was changed: restore or delete the run",
                )


def _locked(lock: Path) -> dict[str, str] | None:
    """Return the MD5 that a dvc.lock has of the outputs that a run keeps; None where it is none."""
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text())["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs if out["path"] in _KEPT}
    except (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None


def _marker(found: list[Recorded]) -> Iterator[Finding]:
    """Ask whether the run that the workspace was recorded as is in the store."""
    marker = receipts.MARKER
    if not marker.exists():
        yield Finding(str(marker), "the workspace is not recorded", "run `dvc repro`")
        return
    try:
        fingerprint = json.loads(marker.read_text())["fingerprint"]
    except (KeyError, TypeError, ValueError):
        yield Finding(str(marker), "it is damaged", "delete it and run `dvc repro`")
        return
    complete = {run.tags.get("fingerprint") for run in found if run.status == "FINISHED"}
    if fingerprint not in complete:
        yield Finding(
            str(marker),
            f"no complete run in the store has its fingerprint {fingerprint[:12]}",
            "delete it and run `dvc repro`",
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
