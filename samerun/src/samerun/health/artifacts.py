"""Checks the artifacts of a recorded run against each other and against the run's tags.

The SHA-256 of identity.json is the fingerprint, and dvc.lock has the hash of every output.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from samerun.core import files
from samerun.dvc import hashing, quick
from samerun.mlflow.models import MODEL


def problems(folder: Path, tags: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with a run. folder: its artifacts, and its model in model/."""
    yield from _identity(folder / "identity.json", tags.get("fingerprint"))
    if tags.get("git_dirty") == "true" and not (folder / "changes.patch").exists():
        yield "changes.patch, with its uncommitted changes, is missing"
    lock, declared = _load(folder / "dvc.lock"), _load(folder / "dvc.yaml")
    locked = _outputs(lock, declared)
    if locked is None:
        yield "its dvc.lock is missing or damaged"
        return
    identity = _load(folder / "identity.json")
    stages = identity.get("stages") if isinstance(identity, dict) else None
    file = tags.get("record", "").rpartition(":")[0]  # as the names of stages begin with it
    for short in (name.removeprefix(f"{file}:") for name in stages or ()):
        if ":" not in short and not lock["stages"].get(short, {}).get("outs"):
            yield f"its dvc.lock lacks the outputs of the stage {short}"
    for name in ("dvc.yaml", "environment.json"):
        content = _load(folder / name)
        if not (isinstance(content, dict) and content):
            yield f"{name} is missing or damaged"
    names = {str(name).rpartition(":")[2].partition("@")[0] for name in stages or ()}
    stored = _stored(declared, names)
    for path, md5 in locked.items():
        artifact = folder / path
        if artifact.exists():
            if hashing.digest(str(artifact)) != md5:
                yield f"{path} differs from its hash in the run's dvc.lock"
        elif path in stored:
            yield f"{path} is missing"
    yield from _model(folder, locked, declared)


def _identity(path: Path, fingerprint: str | None) -> Iterator[str]:
    """Compare the SHA-256 of a run's identity.json with its fingerprint."""
    if not path.exists():
        yield "identity.json is missing"
    elif files.sha256_of(path) != fingerprint:
        yield "identity.json does not match the run's fingerprint"


def _outputs(lock: Any, declared: Any) -> dict[str, str] | None:
    """Return the MD5 of each output by path, as a dvc.lock lists it; None if it is damaged.

    A path is relative to the folder of dvc.yaml; dvc.lock has it relative to the stage's `wdir`.
    """
    try:
        hashes = {}
        for name, stage in lock["stages"].items():
            wdir = str(_stages(declared).get(name, {}).get("wdir", "."))
            for out in stage.get("outs", []):
                if "md5" in dict(out):
                    hashes[os.path.normpath(Path(wdir, out["path"]))] = str(out["md5"])
        return hashes
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _stages(declared: Any) -> dict[str, Any]:
    """Return the stages that a dvc.yaml spells out, by name."""
    stages = declared.get("stages") if isinstance(declared, dict) else None
    return {name: s for name, s in (stages or {}).items() if isinstance(s, dict)}


def _stored(declared: Any, names: Collection[str]) -> set[str]:
    """Return the outputs of stages that a run stores, as far as dvc.yaml spells them out."""
    paths = set()
    for stage in (stage for name, stage in _stages(declared).items() if name in names):
        for kind in ("metrics", "plots"):
            for entry in stage.get(kind) or []:
                name = next(iter(entry)) if isinstance(entry, dict) else entry
                paths.add(os.path.normpath(Path(str(stage.get("wdir", ".")), str(name))))
    return paths | {os.path.normpath(path) for path in _models(declared)}


def _models(declared: Any) -> list[str]:
    """Return the files under `artifacts:` in dvc.yaml with `type: model`."""
    entries = declared.get("artifacts") if isinstance(declared, dict) else None
    values = entries.values() if isinstance(entries, dict) else []
    return [str(e["path"]) for e in values if isinstance(e, dict) and e.get("type") == "model"]


def _model(folder: Path, locked: Mapping[str, str], declared: Any) -> Iterator[str]:
    """Compare the files of the model in MLflow with the hashes of the files it was made from."""
    identity = _load(folder / "identity.json")
    code = identity.get("model") if isinstance(identity, dict) else None
    if not isinstance(code, dict) or not code:
        return
    paths = [os.path.normpath(path) for path in _models(declared)]
    made_from = {path: locked[path] for path in paths if path in locked} | code
    for path, md5 in made_from.items():
        name = Path(path).name
        places = [place for place in (folder / MODEL).rglob("*") if place.name == name]
        digests = [hashing.digest(str(place)) for place in places]
        if not digests:
            yield f"its model lacks {name}"
        elif str(md5) not in digests:
            yield f"{MODEL}/{name} differs from {path}, from which it was made"


def _load(path: Path) -> Any:
    """Return the content of a JSON file or one of DVC's; None or {} if it cannot be read."""
    if path.suffix != ".json":
        return quick.load(str(path))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
