"""The pipeline of one record stage: its stages, its identity, its executions and its results."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from samerun import config, working_tree
from samerun.core.errors import WorkspaceError
from samerun.core.flatten import flatten
from samerun.dvc import identity
from samerun.dvc.differences import differences
from samerun.dvc.paths import contains, overlap
from samerun.dvc.project import Project
from samerun.dvc.stage import Item, Stage, variable_files
from samerun.execution import processes, receipts
from samerun.execution.receipts import Receipt
from samerun.working_tree import Commit


class Pipeline:
    """A record stage and the stages upstream of it.

    deciding: the stages that belong to a run's identity. presenting: those under `not_identity`,
    which only present results, such as a report.
    """

    def __init__(
        self, project: Project, stage: Stage, environ: Mapping[str, str | None] = os.environ
    ) -> None:
        """environ: the environment in which the variables of `meta.samerun.env` are looked up."""
        self.project, self.stage = project, stage
        self.config = config.of(project, stage)
        self._environ = environ
        upstream = project.upstream(stage)
        shown = self.config.not_identity
        self.presenting = [s for s in upstream if s.short.partition("@")[0] in shown]
        self.deciding = [s for s in upstream if s not in self.presenting]

    @classmethod
    def here(cls) -> "Pipeline":
        """Return the pipeline of the current folder's record stage. Raises: UserError."""
        project = Project()
        return cls(project, project.record_stage())

    @classmethod
    def of(cls, project: Project, stage: Stage) -> "Pipeline | None":
        """Return the pipeline that a stage belongs to; None if no stage records it."""
        for recorder in project.stages:
            if recorder.records and stage in project.upstream(recorder):
                return cls(project, recorder)
        return None

    def ordered(self) -> list[Stage]:
        """Return the deciding stages and those that they need, each after the stages it needs."""
        both = (*self.deciding, *self.presenting)
        waiting, done = {stage.name: stage for stage in both}, list[Stage]()

        def add(stage: Stage) -> None:
            if waiting.pop(stage.name, None):
                needed = {item.path for item in self.project.sources(stage)}
                for maker in both:
                    if any(out.path in needed for out in maker.outs):
                        add(maker)
                done.append(stage)

        for stage in self.deciding:
            add(stage)
        return done

    @property
    def folder(self) -> Path:
        """The folder of dvc.yaml."""
        return self.stage.file.parent

    def relative(self, path: str) -> str:
        """Return an item's path relative to the folder of dvc.yaml."""
        return Path(os.path.relpath(self.project.path(path), self.folder)).as_posix()

    @property
    def marker(self) -> Path:
        """The file that says which run the workspace has. Raises: WorkspaceError."""
        outs = self.stage.outs
        if len(outs) != 1 or outs[0].cached or not outs[0].persists:
            names = ", ".join(self.relative(out.path) for out in outs) or "none"
            raise WorkspaceError(
                f"the only output of {self.stage.short} must be a marker that DVC does not cache,"
                f" as in mlruns/recorded.json: {{cache: false, persist: true}} (got {names})"
            )
        for other in self.sharing_marker():
            raise WorkspaceError(
                f"{self.stage.name} and {other} have the same marker: give each its own"
            )
        return self.project.path(self.stage.outs[0].path)

    def sharing_marker(self) -> list[str]:
        """Return the names of other record stages with the same marker: DVC refuses to run them."""
        own = {out.path for out in self.stage.outs}
        others = (s for s in self.project.stages if s.records and s.name != self.stage.name)
        return [other.name for other in others if own & {out.path for out in other.outs}]

    def check(self) -> None:
        """Compare dvc.lock with the workspace, byte by byte, and meta.samerun with the stages.

        Raises: WorkspaceError for the first difference or mistake.
        """
        for mistake in self.mistakes():
            raise WorkspaceError(f"meta.samerun of {self.stage.name}: {mistake}")
        for stage in (*self.deciding, *self.presenting):
            for difference in differences(self.project, stage):
                raise WorkspaceError(
                    f"stage {stage.short}: {difference} differs from dvc.lock, from which a run is"
                    " recorded: run `dvc repro`"
                )

    def mistakes(self) -> list[str]:
        """Return what `meta.samerun` names but the pipeline does not have."""
        return list(
            config.mistakes(self.config, self.project, self.deciding, self.presenting, self.folder)
        )

    def lacking(self) -> list[str]:
        """Return what the record stage must depend on but does not.

        DVC executes it only if one of its dependencies changed. So it must depend on every input of
        the deciding stages that no stage makes; otherwise a change of an input that changes no
        output would not be recorded.
        """
        own = [dep.path for dep in self.stage.deps]
        keys = {(each.file, key) for each in self.stage.params for key in _keys(each)}
        lacking = []
        for stage in self.deciding:
            inputs = [dep for dep in stage.deps if not is_made(self.project, dep)]
            lacking += [
                dep.written(self.project.root, self.folder)
                for dep in inputs
                if not any(contains(one, dep.path) for one in own)
            ]
            for each in stage.params:
                lacking += [
                    f"the parameter {key} of {each.file}"
                    for key in _keys(each)
                    if not any((each.file, one) in keys for one in _prefixes(key))
                ]
        return list(dict.fromkeys(lacking))

    def unfollowed(self) -> list[Stage]:
        """Return the stages of the same dvc.yaml that have outputs but lead to no record stage."""
        stages = self.project.stages
        recorded = {up.name for one in stages if one.records for up in self.project.upstream(one)}
        own = [one for one in stages if one.file == self.stage.file and not one.records]
        return [one for one in own if one.outs and one.name not in recorded]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What went into the deciding stages, according to dvc.lock."""
        return identity.identity(
            [self.project.counted(stage, self.config.reads) for stage in self.deciding],
            made=self.project.made,
            env={name: self._environ.get(name) for name in self.config.env},
            model={name: hash_of(self.project.path(name)) for name in self.config.model},
        )

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the identity, in hex."""
        return identity.fingerprint(self.identity)

    @property
    def results(self) -> str:
        """The SHA-256 of all outputs' hashes, which `dvc commit` can change under one identity."""
        outs = {out.path: out.locked for out in self.outputs()}
        return hashlib.sha256(json.dumps(outs, sort_keys=True).encode()).hexdigest()

    def inputs(self) -> list[str]:
        """Return the paths whose uncommitted changes are stored with a run, for git.

        They are dvc.yaml, the files of its variables and parameters, the inputs of the deciding
        stages that no stage makes, the .dvc files of their data, and the code of the model. They
        are relative to the current folder.
        """
        names = set(self.config.model)
        for stage in self.deciding:
            names |= {each.file for each in stage.params}
            names.add(self._path(stage.file))
            names |= {
                os.path.relpath(file, self.project.root.resolve())
                for file in variable_files(stage.file, self.project.load(self._path(stage.file)))
            }
            counted = {
                path
                for dep in stage.deps
                if not is_made(self.project, dep)
                for path in self._counted(dep, stage)
            }
            data = [item.path for item in self.project.data]
            names |= counted | {
                f"{one}.dvc" for one in data if any(overlap(one, path) for path in counted)
            }
        return sorted(os.path.relpath(self.project.path(name)) for name in names)

    def _path(self, file: Path) -> str:
        """Return a file's path as the project names it."""
        return Path(os.path.relpath(file, self.project.root.resolve())).as_posix()

    def commit(self, base: str | None = None) -> Commit:
        """Return a commit, and how the inputs differ from it. Raises: WorkspaceError.

        base: the commit; by default the one that is checked out.
        """
        return working_tree.commit(base, self.inputs(), self.project.ignored)

    def check_size(self) -> None:
        """Raise WorkspaceError if uncommitted inputs are too large to be stored with a run."""
        working_tree.check_size(self.inputs(), self.project.ignored)

    def _counted(self, dep: Item, stage: Stage) -> set[str]:
        """Return the paths that count of a dependency: under `reads`, only the file named there.

        Parameters are read from their file: dvc.lock has them only after the stage has run.
        """
        if dep.path not in self.config.reads:
            return {dep.path}
        params = {each.file: each.current() for each in stage.params}
        name = self.project.named(stage, params, self.config.reads[dep.path])
        return {name} if name and contains(dep.path, name) else set()

    def receipts(self) -> list[Receipt]:
        """Return the receipts of the executions that made the outputs in dvc.lock."""
        valid, own = [], processes.pipeline_process()
        for stage in self.deciding:
            receipt = receipts.read(identity.key(self.project.inputs(stage)), own)
            outs = {out.path: out.locked or "none" for out in stage.outs}
            if receipt and receipt.outs == outs:
                self._check_environment(stage, receipt)
                valid.append(receipt)
        return valid

    def _check_environment(self, stage: Stage, receipt: Receipt) -> None:
        """Check that the environment variables of the identity are as at the stage's execution.

        DVC does not see such a change, so the stage was not executed again. Raises: WorkspaceError.
        """
        for name in self.config.env:
            if receipt.env.get(name) != self._environ.get(name):
                raise WorkspaceError(
                    f"the environment variable {name} has changed since stage {stage.short} was"
                    " executed: restore its value, or run `dvc repro --force`"
                )

    @property
    def wrapped(self) -> bool:
        """Whether any deciding stage runs under `samerun run`, and so has receipts."""
        return any(stage.wrapped for stage in self.deciding)

    def params(self) -> dict[str, Any]:
        """Return the parameters of the deciding stages by dotted name, from dvc.lock.

        If two files have a name, each gets its file before it: "other.yaml:epochs".
        """
        by_name: dict[str, dict[str, Any]] = {}
        for stage in self.deciding:
            for each in stage.params:
                for name, value in flatten(each.locked).items():
                    by_name.setdefault(name, {})[each.file] = value
        return {
            name if len(values) == 1 else f"{file}:{name}": value
            for name, values in by_name.items()
            for file, value in values.items()
        }

    def outputs(self) -> Iterator[Item]:
        """Yield the outputs of the deciding stages."""
        for stage in self.deciding:
            yield from stage.outs


def hash_of(path: Path) -> str:
    """Return the MD5 of a file; "none" if it does not exist."""
    from samerun.dvc import hashing

    return hashing.md5(str(path)) if path.is_file() else "none"


def _keys(params: Any) -> list[str]:
    """Return the dotted keys that a stage reads from a file; "" for the whole file."""
    return params.keys or [""]


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")
    return ["", *(".".join(parts[:count]) for count in range(1, len(parts) + 1))]


def is_made(project: Project, dep: Item) -> bool:
    """Return whether a dependency is, or is inside, an output of a stage."""
    return any(contains(one, dep.path) for one in project.made)
