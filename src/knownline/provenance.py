"""What went into a run, as one hash; and where its code stands in git.

Knows nothing of MLflow.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from knownline import files
from knownline.errors import MissingError, WorkspaceError
from knownline.layout import DATA
from knownline.params import Params

JUDGED = ("generate", "train", "evaluate")
"""The stages that decide what a run's numbers are; `record` only writes them down."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C, where PyYAML was built with it: a stage reads dvc.yaml three times."""

BASE = "KNOWNLINE_COMMIT"
"""Names the commit a retraining made of HEAD and what it laid; the tree is held against it."""


def data_sha256() -> str:
    """Return the hash of the data: the SHA-256 of data/SHA256SUMS, which lists every file's."""
    files.sealed(DATA)  # refuses what is no seal
    return files.sha256_of(DATA / files.SUMS)


def code_hashes(root: Path, stages: Sequence[str] = JUDGED) -> dict[str, str]:
    """Return the SHA-256 of the code that decides the numbers, by module.

    These are the modules that dvc.yaml lists for those stages, and a test holds dvc.yaml to it.
    """
    try:
        text = (root / "dvc.yaml").read_text(encoding="utf-8")
        listed = yaml.load(text, Loader=_LOADER)["stages"]
    except FileNotFoundError:
        raise MissingError("dvc.yaml must be in the current folder (got none there)") from None
    deps = {dep for name in stages for dep in listed[name]["deps"] if str(dep).endswith(".py")}
    return {name: files.sha256_of(root / name) for name in sorted(deps)}


def made_with(stage: str, params: Params, **more: str) -> dict[str, Any]:
    """Return what a stage's outputs are made with: its sections of params.yaml and its code.

    A stage writes it beside them. So a change of code that leaves every number as it was still
    reaches `record`, whose fingerprint it changes.
    """
    return {**params.used_by(stage), **more, "code": code_hashes(Path(), (stage,))}


def check_unchanged(stage: str, made: Mapping[str, Any], params: Params, *, then: str) -> None:
    """Hold what a stage began with against what is there now that it ends; `then`: what to do.

    DVC notes parameters and code as they are when a stage ends, whichever it ran with.

    Raises: WorkspaceError with the name of what changed.
    """
    now = made_with(stage, params)
    for name, sha in now["code"].items():
        if made["code"].get(name) != sha:
            raise WorkspaceError(
                f"{name} must not change while `{stage}` runs: {then} (got other bytes than at"
                " its beginning)"
            )
    for key in now.keys() - {"code"}:
        if made[key] != now[key]:
            raise WorkspaceError(
                f"{key} in params.yaml must not change while `{stage}` runs: {then} (got other"
                " values than at its beginning)"
            )


def digest(made: Mapping[str, Any]) -> str:
    """Return what a stage's outputs are made with as one SHA-256, in hex."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """What goes into a run: the data's hash, every parameter, and the hash of every module."""

    data: str
    params: dict[str, Any]
    code: dict[str, str]

    def as_json(self) -> str:
        """Return the identity as the JSON whose SHA-256 is the fingerprint."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the identity, in hex."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


def identity(params: Params, data: str) -> Identity:
    """Return what goes into a run of the current folder; `data` is what `data_sha256` returns."""
    return Identity(data, params.flat(), code_hashes(Path()))


@dataclass(frozen=True, slots=True)
class Commit:
    """Where the code of a run stands in git.

    sha: the commit checked out, None outside git or before the first commit.
    patch: what the working tree has beyond it, untracked files included; empty when clean.
    left_out: git repositories in the tree that have no commit: git can say nothing of them.
    """

    sha: str | None
    patch: bytes
    left_out: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether the commit alone does not give the code that ran."""
        return bool(self.patch)

    @property
    def paths(self) -> list[str]:
        """The files that the patch is about, as git names them."""
        text = self.patch.decode(errors="replace")  # a name with a quote or an escape is quoted
        return re.findall(r'(?m)^diff --git "?a/(.+?)"? "?b/', text)


def commit(base: str | None = None) -> Commit:
    """Return the commit and the patch of the current folder's checkout, against `base` (HEAD).

    dvc.lock is left out: it is what a run writes, not what goes into it. The patch is taken with
    an index and an object store of its own, so nothing of the user's repository is touched.

    Raises: WorkspaceError where git does not answer: an unknown tree is not a clean one.
    """
    if not _in_git():
        return Commit(None, b"")
    if _call("rev-parse", "--verify", "--quiet", "HEAD").returncode:
        return Commit(None, b"")  # before the first commit
    base = base or os.environ.get(BASE) or "HEAD"
    sha = _git("rev-parse", "--verify", f"{base}^{{commit}}")
    with tempfile.TemporaryDirectory() as scratch:
        objects = _git("rev-parse", "--path-format=absolute", "--git-path", "objects")
        env = {
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(objects.strip()),
        }
        _git("read-tree", base, env=env)
        left_out = _add_all(env)
        # Not `git diff`: how that looks is the user's own (diff.noprefix, diff.context, …).
        patch = _git(
            "-c", "core.quotePath=false", "diff-index", "--cached", "--patch", "--binary",
            "--full-index", "--unified=3",
            "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", base, "--",
            ".", ":(exclude)dvc.lock", env=env,
        )  # fmt: skip
    return Commit(sha.decode().strip(), patch, left_out)


def _add_all(env: dict[str, str]) -> tuple[str, ...]:
    """Add the tree to the index of `env`; return the repositories in it that git cannot add.

    Of a repository in the tree git adds the commit it is at. One that has none yet, as a
    `git init` leaves it, would make git refuse the whole tree.

    Raises: WorkspaceError where git cannot for another reason.
    """
    try:
        _git("add", "--all", "--", ".", env=env)
        return ()
    except WorkspaceError:
        listed = os.fsdecode(_git("ls-files", "--others", "--exclude-standard", "-z"))
        nested = [name for name in listed.split("\0") if name.endswith("/")]
        empty = [
            n for n in nested if _call("-C", n, "rev-parse", "-q", "--verify", "HEAD").returncode
        ]
        if not empty:
            raise
        _git("add", "--all", "--", ".", *(f":(exclude,literal){name}" for name in empty), env=env)
        return tuple(empty)


def _in_git() -> bool:
    """Return whether the current folder is in a git checkout; one that git will not read raises."""
    try:
        done = _call("rev-parse", "--is-inside-work-tree")
    except FileNotFoundError:
        return False
    if done.returncode == 0:
        return done.stdout.strip() == b"true"
    if b"not a git repository" in done.stderr:
        return False
    raise WorkspaceError(_unreadable(done))


def _git(*arguments: str, env: dict[str, str] | None = None) -> bytes:
    """Return what git prints. Raises: WorkspaceError where it fails."""
    done = _call(*arguments, env=env)
    if done.returncode:
        raise WorkspaceError(_unreadable(done))
    return done.stdout


def _call(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    # LC_ALL: git's messages, one of which is read, are translated.
    own = {**os.environ, **(env or {}), "LC_ALL": "C"}
    return subprocess.run(["git", *arguments], capture_output=True, check=False, env=own)


def _unreadable(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").splitlines()
    said = next((x for x in lines if x.startswith(("error:", "fatal:"))), f"exit {done.returncode}")
    return f"git must be able to read {Path.cwd()}, to say which code ran (got {said})"
