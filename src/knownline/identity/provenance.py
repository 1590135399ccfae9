"""What went into a run, as one hash.

Knows nothing of MLflow.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from knownline.core.layout import DATA
from knownline.params import Params
from samerun.core import files
from samerun.core.errors import MissingError, WorkspaceError

DECIDING_STAGES = ("generate", "train", "evaluate")
"""The stages that decide what a run's numbers are; `record` only writes them down."""

SOURCES = (".py", ".css")
"""The endings of files of code."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C, where PyYAML was built with it: a stage reads dvc.yaml three times."""


def data_sha256() -> str:
    """Return the hash of the data: the SHA-256 of data/SHA256SUMS, which lists every file's."""
    files.read_sums(DATA)  # refuses what is no seal
    return files.sha256_of(DATA / files.SUMS)


def code_hashes(root: Path, stages: Sequence[str] = DECIDING_STAGES) -> dict[str, str]:
    """Return the SHA-256 of the code that decides the numbers, by file.

    It is the code that dvc.yaml lists for those stages, and a test holds dvc.yaml to it.
    """
    try:
        text = (root / "dvc.yaml").read_text(encoding="utf-8")
        listed = yaml.load(text, Loader=_LOADER)["stages"]
    except FileNotFoundError:
        raise MissingError("dvc.yaml must be in the current folder (got none there)") from None
    deps = {Path(dep) for name in stages for dep in listed[name]["deps"]}
    files_of = {file for dep in deps if dep.parts[0] == "src" for file in _sources(root, dep)}
    return {file.as_posix(): files.sha256_of(root / file) for file in sorted(files_of)}


def _sources(root: Path, dep: Path) -> list[Path]:
    """Return the files of a folder of code, or the one file that is named; no bytecode, no swap."""
    if not (root / dep).is_dir():
        return [dep]
    found = [path.relative_to(root) for path in (root / dep).rglob("*") if path.is_file()]
    return [path for path in found if path.suffix in SOURCES and not path.name.startswith(".")]


def stage_inputs(stage: str, params: Params, **more: str) -> dict[str, Any]:
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
    now = stage_inputs(stage, params)
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
