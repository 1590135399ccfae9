"""What `samerun run` needs to know about its stage before the command starts, without DVC.

Only for a stage that dvc.yaml spells out. DVC itself must read a template (see `project`).
"""

import os
from dataclasses import dataclass
from typing import Any

import yaml

from samerun.dvc import commands, hashing
from samerun.dvc.paths import overlap

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_KEPT_TAGS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _Texts(_LOADER):  # type: ignore[misc]
    """Reads `no`, `on`, `1:30` and every other plain scalar but null as the text that it is.

    PyYAML reads YAML 1.1, in which these are false, true and 90. DVC reads and writes YAML 1.2.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 — as PyYAML's own classes have it
        first: [pair for pair in pairs if pair[0] in _KEPT_TAGS]
        for first, pairs in _LOADER.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class Declared:
    """A stage as dvc.yaml spells it out, paths relative to the folder of dvc.yaml.

    deps: its dependencies. params: file to keys, None for all. tracked: path to hash, of those
    dependencies that other stages or .dvc files track. markers: the outputs of record stages.
    env: the environment variables that belong to a run's identity.
    """

    deps: list[str]
    params: dict[str, list[str] | None]
    tracked: dict[str, str]
    markers: list[str]
    env: list[str]

    @property
    def untracked(self) -> list[str]:
        """The dependencies that neither a stage nor a .dvc file tracks: code."""
        return [dep for dep in self.deps if dep not in self.tracked]


def read(name: str) -> Declared | None:
    """Return the stage `name` of the current folder's dvc.yaml; None if DVC must read it."""
    stages = load("dvc.yaml").get("stages")
    stages = stages if isinstance(stages, dict) else {}
    stage = stages.get(name)
    if not isinstance(stage, dict) or "${" in str(stage) or "wdir" in stage or "@" in name:
        return None
    mappings = [one for one in stages.values() if isinstance(one, dict)]
    recorders = [one for one in mappings if commands.records(one.get("cmd", ""))]
    if not recorders or "${" in str(recorders):
        return None
    deps = [os.path.normpath(dep) for dep in stage.get("deps", []) if isinstance(dep, str)]
    if len(deps) != len(stage.get("deps", [])) or any("://" in dep for dep in deps):
        return None
    tracked, params, env = _tracked(name, deps), _params(stage), _env(recorders)
    if tracked is None or params is None or env is None:
        return None
    markers = [_first(out) for one in recorders for out in one.get("outs", [])]
    return Declared(deps, params, tracked, markers, env)


def _first(entry: Any) -> str:
    """Return the path of an entry: a text, or a mapping of the path to its settings."""
    return str(next(iter(entry))) if isinstance(entry, dict) else str(entry)


def _env(recorders: list[dict[str, Any]]) -> list[str] | None:
    """Return the names under `env` in meta.samerun of the record stages.

    None if `env` is no list: `config` then reports the error.
    """
    names: list[str] = []
    for one in recorders:
        meta = one.get("meta") or {}
        samerun = (meta.get("samerun") or {}) if isinstance(meta, dict) else None
        env = samerun.get("env", []) if isinstance(samerun, dict) else None
        if not isinstance(env, list):
            return None
        names += map(str, env)
    return names


def _params(stage: dict[str, Any]) -> dict[str, list[str] | None] | None:
    """Return the keys that a stage lists, by file; None if DVC must read them."""
    wanted: dict[str, list[str] | None] = {}
    entries = stage.get("params", [])
    for entry in entries if isinstance(entries, list) else [None]:
        of_files = {"params.yaml": [entry]} if isinstance(entry, str) else entry
        if not isinstance(of_files, dict):
            return None
        for name, keys in of_files.items():
            if not isinstance(keys, list | None):
                return None
            file = os.path.normpath(str(name))
            known = wanted.get(file, [])
            wanted[file] = None if not keys or known is None else [*known, *map(str, keys)]
    return wanted


def _tracked(name: str, deps: list[str]) -> dict[str, str] | None:
    """Return the dependencies that dvc.lock or a .dvc file has a hash of: path to hash.

    None if a dependency holds both results and other files: only DVC can tell which is which.
    """
    made = {
        os.path.normpath(out["path"]): out.get("md5", "")
        for other, stage in load("dvc.lock").get("stages", {}).items()
        for out in stage.get("outs", [])
        if other != name
    }
    tracked = {dep: made[dep] for dep in deps if dep in made}
    if any(overlap(dep, one) for dep in deps if dep not in made for one in made):
        return None
    if any(os.path.exists(f"{folder}.dvc") for dep in deps for folder in _folders_of(dep)):
        return None
    for dep in deps:
        inside = [file for file in hashing.files_below(dep) if file.endswith(".dvc")]
        for pointer in [*inside, *([f"{dep}.dvc"] if os.path.exists(f"{dep}.dvc") else [])]:
            for out in load(pointer).get("outs", []):
                path = os.path.join(os.path.dirname(pointer), str(out.get("path", "")))
                tracked[os.path.normpath(path)] = out.get("md5", "")
    return tracked


def _folders_of(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def values(file: str, keys: list[str] | None) -> Any:
    """Return a YAML file's values at dotted keys, by default all; of another format, its bytes.

    Two values that differ for DVC must differ here. So values are compared as they are written: DVC
    reads YAML 1.2, in which `010` and `on` mean something else than in YAML 1.1.
    """
    try:
        with open(file, "rb") as stream:
            content = stream.read()
    except OSError:
        return None
    if not file.endswith((".yaml", ".yml")):
        return content.hex()
    try:
        parsed = _written(yaml.compose(content, Loader=_LOADER))
    except (yaml.YAMLError, RecursionError):
        return content.hex()
    return {key: _at(parsed, key.split(".")) for key in keys} if keys else parsed


def _written(node: Any) -> Any:
    """Return a YAML node as mappings, lists and, for each scalar, its written form."""
    if isinstance(node, yaml.MappingNode):
        return {_key(key): _written(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_written(value) for value in node.value]
    return node and f"{node.tag} {node.style or 'plain'} {node.value}"


def _key(node: Any) -> str:
    return str(node.value if isinstance(node, yaml.ScalarNode) else _written(node))


def _at(value: Any, parts: list[str]) -> Any:
    """Return the value at a path of keys; if a key is missing, the value that lacks it."""
    for part in parts:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return value
    return value


def load(file: str) -> dict[str, Any]:
    """Return the content of a dvc.yaml, dvc.lock or .dvc file, its scalars as texts; {} if none."""
    try:
        with open(file, "rb") as stream:
            return yaml.load(stream, Loader=_Texts) or {}
    except (OSError, yaml.YAMLError):
        return {}
