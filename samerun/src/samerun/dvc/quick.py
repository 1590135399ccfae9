"""What `samerun run` must know of its stage before the command starts, read without DVC.

Only for a stage that dvc.yaml spells out; of a template, DVC itself must be asked (`project`).
"""

import os
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


class Declared:
    """A stage as dvc.yaml spells it out, paths relative to the folder of dvc.yaml.

    deps: its dependencies. params: file to keys, None for all. kept: what other stages and .dvc
    files make of the dependencies, path to hash. markers: the outputs of the stages that record.
    env: the environment variables that belong to a run's identity.
    """

    def __init__(
        self,
        deps: list[str],
        params: dict[str, list[str] | None],
        kept: dict[str, str],
        markers: list[str],
        env: list[str],
    ) -> None:
        self.deps, self.params, self.kept, self.markers = deps, params, kept, markers
        self.env = env

    @property
    def outside(self) -> list[str]:
        """The dependencies that nothing makes: code."""
        return [dep for dep in self.deps if dep not in self.kept]


def read(name: str) -> Declared | None:
    """Return the stage `name` of the current folder's dvc.yaml; None if DVC must be asked."""
    stages = load("dvc.yaml").get("stages")
    stages = stages if isinstance(stages, dict) else {}
    stage = stages.get(name)
    if not isinstance(stage, dict) or "${" in str(stage) or "wdir" in stage or "@" in name:
        return None
    written = [one for one in stages.values() if isinstance(one, dict)]
    recorders = [one for one in written if commands.records(one.get("cmd", ""))]
    if not recorders or "${" in str(recorders):
        return None
    deps = [os.path.normpath(dep) for dep in stage.get("deps", []) if isinstance(dep, str)]
    if len(deps) != len(stage.get("deps", [])) or any("://" in dep for dep in deps):
        return None
    kept, params, env = _kept(name, deps), _params(stage), _env(recorders)
    if kept is None or params is None or env is None:
        return None
    markers = [_first(out) for one in recorders for out in one.get("outs", [])]
    return Declared(deps, params, kept, markers, env)


def _first(entry: Any) -> str:
    """Return the path of an entry that may have settings: a text, or a mapping with one key."""
    return str(next(iter(entry))) if isinstance(entry, dict) else str(entry)


def _env(recorders: list[dict[str, Any]]) -> list[str] | None:
    """Return the names under `env` in meta.samerun of the stages that record.

    None if it is written in another form, which `config` refuses.
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
    """Return file to all the keys that a stage lists of it; None if DVC must be asked."""
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


def _kept(name: str, deps: list[str]) -> dict[str, str] | None:
    """Return what dvc.lock or a .dvc file has a hash of among the dependencies: path to hash.

    None if a dependency holds results and other files, which only DVC can tell apart.
    """
    made = {
        os.path.normpath(out["path"]): out.get("md5", "")
        for other, stage in load("dvc.lock").get("stages", {}).items()
        for out in stage.get("outs", [])
        if other != name
    }
    kept = {dep: made[dep] for dep in deps if dep in made}
    if any(overlap(dep, one) for dep in deps if dep not in made for one in made):
        return None
    if any(os.path.exists(f"{folder}.dvc") for dep in deps for folder in _folders_of(dep)):
        return None
    for dep in deps:
        inside = [file for file in hashing.files_below(dep) if file.endswith(".dvc")]
        for pointer in [*inside, *([f"{dep}.dvc"] if os.path.exists(f"{dep}.dvc") else [])]:
            for out in load(pointer).get("outs", []):
                path = os.path.join(os.path.dirname(pointer), str(out.get("path", "")))
                kept[os.path.normpath(path)] = out.get("md5", "")
    return kept


def _folders_of(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def values(file: str, keys: list[str] | None) -> Any:
    """Return what a YAML file has at dotted keys, by default all; of another format, its bytes.

    What differs for DVC differs here. So values are taken as they are written: DVC reads YAML 1.2,
    in which `010` and `on` are not what they are in YAML 1.1.
    """
    try:
        with open(file, "rb") as stream:
            content = stream.read()
    except OSError:
        return None
    if not file.endswith((".yaml", ".yml")):
        return content.hex()
    try:
        found = _written(yaml.compose(content, Loader=_LOADER))
    except (yaml.YAMLError, RecursionError):
        return content.hex()
    return {key: _at(found, key.split(".")) for key in keys} if keys else found


def _written(node: Any) -> Any:
    """Return a node of YAML as mappings, lists and, for each scalar, how it is written."""
    if isinstance(node, yaml.MappingNode):
        return {_key(key): _written(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_written(value) for value in node.value]
    return node and f"{node.tag} {node.style or 'plain'} {node.value}"


def _key(node: Any) -> str:
    return str(node.value if isinstance(node, yaml.ScalarNode) else _written(node))


def _at(found: Any, parts: list[str]) -> Any:
    """Return what is at a path; if it cannot be followed to its end, all of where that is."""
    for part in parts:
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return found
    return found


def load(file: str) -> dict[str, Any]:
    """Return the content of a dvc.yaml, dvc.lock or .dvc file, its scalars as texts; {} if none."""
    try:
        with open(file, "rb") as stream:
            return yaml.load(stream, Loader=_Texts) or {}
    except (OSError, yaml.YAMLError):
        return {}
