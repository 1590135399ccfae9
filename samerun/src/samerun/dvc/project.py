"""The DVC project: its stages as dvc.yaml declares them, with the values that dvc.lock has.

Only this module, `checkout` and `edits` import DVC; all others use the types of `stage`. It uses
internals of DVC 3.67 (the index, `ParamsDependency`, `dvc_data.hashfile.build`), so pyproject.toml
sets an upper bound on DVC's version.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from samerun.core.errors import MissingError, WorkspaceError
from samerun.dvc.commands import RECORD
from samerun.dvc.identity import Digest, StageInputs
from samerun.dvc.paths import contains, overlap
from samerun.dvc.stage import Item, Params, Stage, named_file

NO_PROJECT = "{} is not in a DVC project: run `dvc init`, or go to a project's folder"


class Project:
    """The stages of the DVC project that a folder is in, by default the current folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read every dvc.yaml and dvc.lock. Raises: MissingError, WorkspaceError."""
        from dvc.exceptions import DvcException, NotDvcRepoError
        from dvc.repo import Repo

        try:
            self._repo = Repo(folder and str(folder))
            self._index = self._repo.index
            dvc_stages = list(self._index.stages)
        except NotDvcRepoError:
            raise MissingError(NO_PROJECT.format(folder or Path.cwd())) from None
        except DvcException as error:
            raise WorkspaceError(f"DVC cannot read its files: {error}") from error
        except UnicodeDecodeError as error:  # DVC reads only .dvcignore without catching this
            raise WorkspaceError(f"each .dvcignore must be text in UTF-8 (got {error})") from error
        self.root = Path(self._repo.root_dir)
        self._here = folder
        self.stages = tuple(self._stage(one) for one in dvc_stages if one.cmd)
        self.data = tuple(self._item(out) for one in dvc_stages if not one.cmd for out in one.outs)

    @cached_property
    def made(self) -> frozenset[str]:
        """The paths that stages with a command make."""
        return frozenset(out.path for stage in self.stages for out in stage.outs)

    def stage(self, name: str, wdir: Path) -> Stage:
        """Return the stage that runs in `wdir` and has this name in DVC ("train", "a/dvc.yaml:b").

        Raises: MissingError if there is none.
        """
        short = name.rpartition(":")[2]
        matching = [s for s in self.stages if s.short == short and s.wdir == wdir]
        exact = [s for s in matching if f"/{s.name}".endswith(f"/{name}")] or matching
        if not exact:
            raise MissingError(f"no stage {name} in a dvc.yaml runs in {wdir}")
        return exact[0]

    def own_stage(self) -> Stage:
        """Return the stage that DVC runs this process for. Raises: MissingError."""
        return self.stage(os.environ.get("DVC_STAGE", ""), Path.cwd().resolve())

    def recorders(self) -> list[Stage]:
        """Return the stages of the folder's dvc.yaml that record. Raises: MissingError if none."""
        here = ((self._here or Path.cwd()) / "dvc.yaml").resolve()
        if recorders := [stage for stage in self.stages if stage.records and stage.file == here]:
            return recorders
        raise MissingError(f"no stage runs `{RECORD}` in {here}: run `samerun init` in that folder")

    def record_stage(self, name: str | None = None) -> Stage:
        """Return the stage that records: this process's own, or one of the project's folder.

        name: which one, if the folder has several. Raises: MissingError if there is none.
        """
        if os.environ.get("DVC_STAGE") and not self._here:
            return self.own_stage()
        recorders = self.recorders()
        return next((stage for stage in recorders if stage.name == name), recorders[0])

    def upstream(self, stage: Stage) -> list[Stage]:
        """Return the stages whose outputs a stage needs, directly or not, in dvc.yaml's order."""
        needed: dict[str, Stage] = {}
        waiting = [stage]
        while waiting:
            for maker in self._makers(waiting.pop()):
                if maker.name not in needed and maker.name != stage.name:
                    needed[maker.name] = maker
                    waiting.append(maker)
        return [one for one in self.stages if one.name in needed]

    def sources(self, stage: Stage) -> list[Item]:
        """Return the outputs of stages and the data of .dvc files that a stage reads."""
        others = [out for one in self.stages if one.name != stage.name for out in one.outs]
        return [
            item
            for item in (*others, *self.data)
            if any(overlap(item.path, dep.path) for dep in stage.deps)
        ]

    def untracked(self, stage: Stage) -> list[Item]:
        """Return the dependencies that neither a stage nor a .dvc file tracks: the stage's code."""
        tracked = [*self.made, *(item.path for item in self.data)]
        return [dep for dep in stage.deps if not any(contains(one, dep.path) for one in tracked)]

    def values(self, params: Params, text: bytes) -> Any:
        """Return the parameters that a stage would read from a file with this content."""
        from dvc.dependency.param import read_param_file

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(params.file).name
            path.write_bytes(text)
            keys = list(params.handle.params) or None
            return read_param_file(self._repo.fs, str(path), keys, flatten=True)

    def load(self, name: str) -> Any:
        """Return the content of a JSON, YAML or TOML file, as DVC reads it.

        Raises: WorkspaceError if it cannot be read.
        """
        from dvc.exceptions import DvcException
        from dvc.utils.serialize import load_path

        try:
            return load_path(str(self.path(name)), self._repo.fs)
        except (OSError, DvcException, ValueError) as error:
            raise WorkspaceError(f"DVC cannot read {name}: {error}") from None

    def _makers(self, stage: Stage) -> list[Stage]:
        return [
            one
            for one in self.stages
            if any(overlap(out.path, dep.path) for out in one.outs for dep in stage.deps)
        ]

    def declared(self, what: str, file: Path) -> list[Any]:
        """Return the top-level `metrics` or `plots` of a dvc.yaml, as they are written there."""
        return list(getattr(self._index, f"_{what}").get(str(file)) or [])

    def artifacts(self, file: Path) -> dict[str, Any]:
        """Return the top-level artifacts of a dvc.yaml: name to its fields."""
        for name, entries in self._index._artifacts.items():
            if (self.root / name).resolve() == file:
                return dict(entries)
        return {}

    @property
    def cache(self) -> Path:
        """The folder of DVC's cache."""
        return Path(self._repo.cache.local_cache_dir)

    @property
    def settings(self) -> Mapping[str, Any]:
        """DVC's configuration, its paths made absolute."""
        return dict(self._repo.config)

    def path(self, name: str) -> Path:
        """Return the full path of an item's path."""
        return self.root / name

    def digest(self, item: Item) -> str | None:
        """Return the hash of an item's bytes in the workspace now; None if it is gone."""
        built = self._build(item)
        return None if built is None else str(built.hash_info.value)

    def files(self, item: Item) -> dict[str, str]:
        """Return the hash of every file of an item, which is a file or a folder, by path."""
        built = self._build(item)
        if built is None:
            return {}
        if not built.hash_info.isdir:
            return {item.path: built.hash_info.value}
        return {f"{item.path}/{'/'.join(key)}": sha.value for key, (_, sha) in built._dict.items()}

    def ignored(self, path: str) -> bool:
        """Return whether .dvcignore excludes a file. path: relative to the current folder."""
        return bool(self._repo.dvcignore.is_ignored_file(str(Path(path).absolute())))

    def inputs(self, stage: Stage) -> StageInputs:
        """Return what dvc.lock says went into a stage."""
        return StageInputs(
            stage.name,
            stage.command,
            {each.file: dict(each.locked) for each in stage.params},
            {dep.path: dep.locked or "none" for dep in stage.deps},
            [out.path for out in stage.outs],
        )

    def counted(self, stage: Stage, reads: Mapping[str, str]) -> StageInputs:
        """Return the same, with single files for each folder of which only some files count.

        reads: folder to the dotted parameter that names the only file of it that counts.
        """
        inputs = self.inputs(stage)
        deps = {dep.path: self._digest_of(dep, stage, inputs.params, reads) for dep in stage.deps}
        return replace(inputs, deps=deps)

    def named(self, stage: Stage, params: Mapping[str, Any], key: str) -> str | None:
        """Return the path of the file that a dotted parameter names, as the project names it.

        params: parameter file to its values. None if the parameter names no file.
        """
        name = named_file(params, key)
        return name and Path(os.path.relpath(stage.wdir / name, self.root.resolve())).as_posix()

    def current_inputs(self, stage: Stage) -> StageInputs:
        """Return what goes into a stage now, as DVC writes it to dvc.lock when the stage ends."""
        return StageInputs(
            stage.name,
            stage.command,
            {each.file: each.current() for each in stage.params},
            {dep.path: self._remembered(dep) for dep in stage.deps},
            [out.path for out in stage.outs],
        )

    def current_outs(self, stage: Stage) -> dict[str, str]:
        """Return the hashes of a stage's outputs as DVC will write them to dvc.lock."""
        return {out.path: self._remembered(out) for out in stage.outs}

    def _remembered(self, item: Item) -> str:
        """Return an item's hash from DVC's own database, so that no file is read twice."""
        return str(item.handle.get_hash().value) if item.handle.exists else "none"

    def _digest_of(
        self, dep: Item, stage: Stage, params: Mapping[str, Any], reads: Mapping[str, str]
    ) -> Digest:
        if dep.path in reads:
            wanted = self.named(stage, params, reads[dep.path])
            files = self.files(dep) if wanted else {}
            return {path: sha for path, sha in files.items() if path == wanted}
        if any(contains(dep.path, one) and one != dep.path for one in self.made):
            return self.files(dep)
        return dep.locked or "none"

    def _build(self, item: Item) -> Any:
        """Hash an item's bytes, without DVC's database of hashes; None if the item is gone."""
        from dvc_data.hashfile.build import build
        from dvc_data.hashfile.db import HashFileDB

        handle = item.handle
        if not handle.exists:
            return None
        if handle.fs.protocol != "local":
            return _Remote(handle.get_hash())
        nowhere = HashFileDB(handle.fs, str(self.root / ".dvc" / "tmp"), hash_name=handle.hash_name)
        _, _, built = build(
            nowhere, handle.fs_path, handle.fs, handle.hash_name, ignore=handle.dvcignore,
            dry_run=True,
        )  # fmt: skip
        return built

    def _stage(self, stage: Any) -> Stage:
        from dvc.dependency import ParamsDependency

        params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
        deps = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
        file = Path(stage.path).resolve()
        return Stage(
            name=f"{file.relative_to(self.root.resolve()).as_posix()}:{stage.name}",
            file=file,
            wdir=Path(stage.wdir).resolve(),
            command=stage.cmd,
            changed_command=stage.cmd_changed,
            frozen=bool(stage.frozen),
            always_changed=bool(stage.always_changed),
            meta=stage.meta or {},
            deps=tuple(self._item(dep) for dep in deps),
            params=tuple(Params(self._name(dep), dep.hash_info.value or {}, dep) for dep in params),
            outs=tuple(self._item(out) for out in stage.outs),
        )

    def _item(self, item: Any) -> Item:
        kind = "metric" if item.metric else "plot" if item.plot else ""
        locked = item.hash_info.value if item.hash_info else None
        return Item(self._name(item), locked, kind, bool(item.use_cache), item)

    def _name(self, item: Any) -> str:
        path = str(item.fs_path)
        if item.fs.protocol == "local" and item.fs.isin(path, str(self.root)):
            return Path(os.path.relpath(path, self.root)).as_posix()
        if item.fs.protocol != "local":
            return str(item.def_path)
        # A relative path outside the project may be inside the repository, which can be cloned.
        return (
            path
            if Path(item.def_path).is_absolute()
            else Path(os.path.relpath(path, self.root)).as_posix()
        )


@dataclass(frozen=True, slots=True)
class _Remote:
    """The hash of a dependency in cloud storage: its tag there."""

    hash_info: Any
