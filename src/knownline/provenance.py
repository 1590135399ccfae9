"""What went into a run, as one hash; and where its code stands in git.

Knows nothing of MLflow.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from knownline import files
from knownline.errors import MissingError
from knownline.params import Params

JUDGED = ("generate", "train", "evaluate")
"""The stages that decide what a run's numbers are; `record` only writes them down."""

BASE = "KNOWNLINE_COMMIT"
"""Names the commit a retraining made of HEAD and what it laid; the tree is held against it."""


def data_sha256() -> str:
    """Return the hash of the data: the SHA-256 of data/SHA256SUMS, which lists every file's."""
    files.sealed(Path("data"))  # refuses what is no seal
    return files.sha256_of(Path("data") / files.SUMS)


def code_hashes(root: Path, stages: Sequence[str] = JUDGED) -> dict[str, str]:
    """Return the SHA-256 of the code that decides the numbers, by module.

    These are the modules that dvc.yaml lists for those stages, and a test holds dvc.yaml to it.
    """
    try:
        listed = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
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
    """

    sha: str | None
    patch: bytes

    @property
    def dirty(self) -> bool:
        """Whether the commit alone does not give the code that ran."""
        return bool(self.patch)


def commit() -> Commit:
    """Return the commit and the patch of the current folder's checkout.

    dvc.lock is left out: it is what a run writes, not what goes into it. The patch is taken with
    an index and an object store of its own, so nothing of the user's repository is touched.
    """
    base = os.environ.get(BASE) or "HEAD"
    sha = _git("rev-parse", "--verify", "--quiet", base)
    if sha is None:
        return Commit(None, b"")
    with tempfile.TemporaryDirectory() as scratch:
        objects = _git("rev-parse", "--path-format=absolute", "--git-path", "objects") or b""
        env = {
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(objects.strip()),
        }
        _git("read-tree", base, env=env)
        _git("add", "--all", "--", ".", env=env)
        patch = _git(
            "diff", "--cached", "--binary", "--full-index", "--no-color", "--no-ext-diff",
            "--no-textconv", base, "--", ".", ":(exclude)dvc.lock", env=env,
        )  # fmt: skip
    return Commit(sha.decode().strip(), patch or b"")


def _git(*arguments: str, env: dict[str, str] | None = None) -> bytes | None:
    """Return what git prints, or None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, check=False, env={**os.environ, **(env or {})}
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
