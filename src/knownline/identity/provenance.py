"""Hashes the inputs of a stage and of a run: data, parameters and code.

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
"""The stages that determine a run's numbers; the others only show or record them."""

SOURCES = (".py", ".css")
"""The suffixes of files that count as code."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C if PyYAML has it, since a stage reads dvc.yaml three times."""


def data_sha256() -> str:
    """Return the hash of the data: the SHA-256 of data/SHA256SUMS, which lists every file's."""
    files.read_sums(DATA)  # raises if the list is damaged
    return files.sha256_of(DATA / files.SUMS)


def code_hashes(root: Path, stages: Sequence[str] = DECIDING_STAGES) -> dict[str, str]:
    """Return the SHA-256 of the code of some stages, by file.

    It is the code that dvc.yaml lists as their dependencies; a test checks that the lists are
    complete.
    """
    try:
        text = (root / "dvc.yaml").read_text(encoding="utf-8")
        pipeline = yaml.load(text, Loader=_LOADER)["stages"]
    except FileNotFoundError:
        raise MissingError("dvc.yaml must be in the current folder (got none there)") from None
    deps = {Path(dep) for name in stages for dep in pipeline[name]["deps"]}
    sources = {file for dep in deps if dep.parts[0] == "src" for file in _sources(root, dep)}
    try:
        return {file.as_posix(): files.sha256_of(root / file) for file in sorted(sources)}
    except FileNotFoundError as error:
        raise WorkspaceError(
            f"{error.filename} must not go while the code is hashed: run `dvc repro` again (got no"
            " file)"
        ) from None


def _sources(root: Path, dep: Path) -> list[Path]:
    """Return the code files below a folder as .dvcignore has them; of a file, the file itself."""
    if not (root / dep).is_dir():
        return [dep]
    paths = [path.relative_to(root) for path in (root / dep).rglob("*") if path.is_file()]
    return [
        path
        for path in paths
        if path.suffix in SOURCES and not any(part.startswith(".") for part in path.parts)
    ]


def stage_inputs(stage: str, params: Params, **more: str) -> dict[str, Any]:
    """Return the inputs of a stage: its sections of params.yaml, its code's hashes, and `more`.

    A stage writes them to a file among its outputs. So a change of code that changes no number
    still makes DVC run `record`, because the fingerprint has changed.
    """
    return {**params.used_by(stage), **more, "code": code_hashes(Path(), (stage,))}


def check_unchanged(stage: str, inputs: Mapping[str, Any], params: Params, *, then: str) -> None:
    """Check at the end of a stage that its inputs are those it began with.

    DVC stores the parameters and code that it finds when a stage ends, even if the stage ran with
    others. then: the advice in the message.

    Raises: WorkspaceError with the name of the input that changed.
    """
    current = stage_inputs(stage, params)
    for name in sorted(inputs["code"].keys() | current["code"].keys()):
        if inputs["code"].get(name) != current["code"].get(name):
            raise WorkspaceError(
                f"{name} must not change while `{stage}` runs: {then} (got other bytes than at"
                " its beginning)"
            )
    for key in current.keys() - {"code"}:
        if inputs[key] != current[key]:
            raise WorkspaceError(
                f"{key} in params.yaml must not change while `{stage}` runs: {then} (got other"
                " values than at its beginning)"
            )


def digest(inputs: Mapping[str, Any]) -> str:
    """Return the inputs of a stage as one SHA-256, in hex."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """The inputs of a run: the data's hash, every parameter, and the hash of every code file."""

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
    """Return the identity of a run in the current folder; data: the value of `data_sha256`."""
    return Identity(data, params.flat(), code_hashes(Path()))
