"""What a stage is about to read: checked before its command starts, and looked at again after it.

Imports little, since `samerun run` needs it before the command starts.
"""

import os
from typing import TYPE_CHECKING, Any

from samerun.core.errors import DamagedError, WorkspaceError
from samerun.dvc import hashing, quick

if TYPE_CHECKING:
    from samerun.dvc.project import Project
    from samerun.dvc.stage import Stage


class Before:
    """What a stage is about to read.

    stage: its name, relative to the repository. kept: path to hash, of what other stages and .dvc
    files keep. outside: paths of code. markers: of `record`. params: file to values. env: the
    environment variables that belong to identity.
    """

    def __init__(
        self,
        stage: str,
        kept: dict[str, str],
        outside: list[str],
        params: dict[str, list[str] | None],
        markers: list[str],
        env: list[str],
    ) -> None:
        self.env = {name: os.environ.get(name) for name in env}
        self.stage, self.kept, self.outside, self.markers = stage, kept, outside, markers
        self.params = {file: quick.values(file, keys) for file, keys in params.items()}
        self.texts = {file: bytes_of(file) for file in params}
        self.code = hashing.snapshot(outside)
        self.looks = {
            file: hashing.look(file) for path in kept for file in hashing.files_below(path)
        }

    @classmethod
    def read(cls) -> "Before":
        """Read dvc.yaml and dvc.lock, or let DVC do so where they hold more than plain stages."""
        name = os.environ["DVC_STAGE"].rpartition(":")[2]
        declared = quick.read(name)
        if declared:
            full = f"{_folder_in_repository()}dvc.yaml:{name}"
            return cls(
                full, declared.kept, declared.outside, declared.params, declared.markers,
                declared.env,
            )  # fmt: skip
        from samerun import config
        from samerun.dvc.project import Project

        project = Project()
        stage = project.own_stage()

        def path(name: str) -> str:
            return os.path.relpath(project.path(name))

        recorders = [
            one for one in project.stages if one.records and stage in project.upstream(one)
        ]
        return cls(
            stage.name,
            {path(one.path): one.locked for one in project.sources(stage) if one.locked},
            [path(dep.path) for dep in project.outside(stage)],
            {path(one.file): one.keys or None for one in stage.params},
            [path(out.path) for one in recorders for out in one.outs],
            [name for one in recorders for name in config.of(project, one).env],
        )

    def check(self) -> None:
        """Compare what the stage reads with the hashes that DVC keeps. Raises: DamagedError."""
        differing = [path for path, sha in self.kept.items() if hashing.digest(path) != sha]
        if not differing:
            return
        from samerun.dvc.differences import changed_file
        from samerun.dvc.project import Project

        project = Project()  # .dvcignore may leave out a file: DVC has the last word
        stage = project.own_stage()
        for source in project.sources(stage):
            if source.locked and project.digest(source) != source.locked:
                raise DamagedError(
                    f"{changed_file(project, source)} must be what dvc.lock or its .dvc file says:"
                    " delete it, and its object in DVC's cache, then run `dvc repro` (got other"
                    " bytes)"
                )

    def check_unchanged(self, project: "Project", stage: "Stage") -> None:
        """Compare code, data and parameters with what they were. Raises: WorkspaceError."""
        advice = "run `dvc repro` again; if it is put back, a stage with checkpoints goes on"
        changed = hashing.changed(self.code, self.outside)
        changed += self._changed_data(project, stage)
        for path in changed:
            if not project.ignored(path):
                raise WorkspaceError(
                    f"{path} must not change while {stage.short} runs: {advice} (got other bytes"
                    " than at its beginning)"
                )
        for params in stage.params:
            name = os.path.relpath(project.path(params.file))
            old, new = self.texts.get(name, b""), bytes_of(name)
            if old != new and (
                key := _changed_key(project.values(params, old), project.values(params, new))
            ):
                raise WorkspaceError(
                    f"{key} in {name} must not change while {stage.short} runs: {advice} (got"
                    " another value than at its beginning)"
                )

    def _changed_data(self, project: "Project", stage: "Stage") -> list[str]:
        """Return the files of kept data that have other bytes than DVC keeps.

        A link that is made to a file changes what it looks like, but not its bytes.
        """
        touched = [path for path, look in self.looks.items() if hashing.look(path) != look]
        if not touched:
            return []
        sound = {path for path, sha in self.kept.items() if hashing.digest(path) == sha}
        for source in project.sources(stage):  # .dvcignore may leave out a file
            path = os.path.relpath(project.path(source.path))
            if path not in sound and project.digest(source) == self.kept.get(path):
                sound.add(path)
        return [
            file
            for file in touched
            if not any(file == path or file.startswith(f"{path}/") for path in sound)
        ]

    @property
    def inputs(self) -> Any:
        """All that goes into the stage, as far as it is known before DVC is asked."""
        code = {
            path: sha or look
            for path, (look, sha) in self.code.items()
            if not os.path.basename(path).startswith(".")
        }
        return [self.params, self.kept, code, self.env]


def _folder_in_repository() -> str:
    """Return the current folder relative to DVC's root, with a slash at its end; empty if it is."""
    root = here = os.getcwd()
    while not os.path.isdir(os.path.join(root, ".dvc")) and root != os.path.dirname(root):
        root = os.path.dirname(root)
    return "" if root == here else f"{os.path.relpath(here, root).replace(os.sep, '/')}/"


def _changed_key(old: Any, new: Any) -> str | None:
    from samerun.dvc.stage import changed_keys

    return next(iter(changed_keys(old, new)), None)


def bytes_of(file: str) -> bytes:
    """Return a file's content; empty if it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError:
        return b""
