"""The identity of a run: what went into its stages, as one canonical JSON and its SHA-256.

Pure functions: no DVC, no MLflow, and no file is read.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from samerun.dvc import commands
from samerun.dvc.paths import contains, overlap

Digest = str | Mapping[str, str]
"""The hash of a dependency; for a folder of which only some files count, the hash of each."""


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What went into one stage.

    name: of the stage, relative to the repository ("sub/dvc.yaml:train"). command: as DVC runs it.
    params: parameter file to its values in dvc.lock. deps: path to hash. outs: the paths it makes.
    """

    name: str
    command: str | list[str]
    params: Mapping[str, Any]
    deps: Mapping[str, Digest]
    outs: Collection[str]


def identity(
    stages: Iterable[StageInputs],
    *,
    made: Collection[str],
    env: Mapping[str, str | None] | None = None,
    model: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the identity of a run of these stages.

    made: every path that a stage with a command makes: a result, not an input.
    env: the environment variables that belong to the identity. model: path to hash, of its code.
    """
    content: dict[str, Any] = {
        "stages": {
            stage.name: {
                "command": commands.without_wrapper(stage.command),
                "params": _canonical(stage.params),
                "deps": _inputs(stage.deps, made),
            }
            for stage in stages
        }
    }
    if env:
        content["env"] = dict(env)
    if model:
        content["model"] = dict(model)
    return content


def as_json(content: Mapping[str, Any]) -> str:
    """Return an identity as the JSON whose SHA-256 is the fingerprint."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an identity, in hex."""
    return hashlib.sha256(as_json(content).encode()).hexdigest()


def _inputs(deps: Mapping[str, Digest], made: Collection[str]) -> dict[str, str]:
    """Return the dependencies that no stage makes, by path.

    If a folder also holds results and its files are given, its other files are inputs.
    """
    inputs: dict[str, str] = {}
    for path, digest in sorted(deps.items(), key=lambda entry: entry[0]):
        if isinstance(digest, str):
            if not any(overlap(one, path) for one in made):
                inputs[path] = digest
            continue
        inputs |= {
            file: sha
            for file, sha in digest.items()
            if not any(contains(one, file) for one in made)
        }
    return inputs


def _canonical(value: Any) -> Any:
    """Return a value in which equal numbers have equal texts: to DVC, 1 and 1.0 are the same."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return {"float": repr(value)}  # JSON has no such number
        return int(value) if value.is_integer() else value
    if isinstance(value, str | int | None):
        return value
    return {type(value).__name__: str(value)}  # a date, in YAML or TOML


def key(stage: StageInputs) -> str:
    """Return the SHA-256 of all that went into one stage, results of other stages included."""
    content = {
        "name": stage.name,
        "command": stage.command,
        "params": _canonical(stage.params),
        "deps": _canonical(stage.deps),
    }
    return hashlib.sha256(as_json(content).encode()).hexdigest()
