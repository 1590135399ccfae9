"""The inputs of a stage, checked before its command starts and compared after it has ended.

Imports little, since `samerun run` needs it before the command starts.
"""

import os
from typing import TYPE_CHECKING, Any

from samerun.core.errors import DamagedError, WorkspaceError
from samerun.dvc import hashing, quick

if TYPE_CHECKING:
    from samerun.dvc.project import Project
    from samerun.dvc.stage import Stage


class InputSnapshot:
    """The inputs of a stage before its command starts.

    stage: its name, relative to the repository. tracked: path to hash, of the inputs that other
    stages or .dvc files track. untracked: paths of code. params: file to keys, None for all.
    markers: the outputs of the record stages. env: the environment variables that belong to
    identity.
    """

    def __init__(
        self,
        stage: str,
        tracked: dict[str, str],
        untracked: list[str],
        params: dict[str, list[str] | None],
        markers: list[str],
        env: list[str],
    ) -> None:
        self.env = {name: os.environ.get(name) for name in env}
        self.stage, self.tracked, self.untracked, self.markers = stage, tracked, untracked, markers
        self.params = {file: quick.values(file, keys) for file, keys in params.items()}
        self.texts = {file: bytes_of(file) for file in params}
        self.code = hashing.snapshot(untracked)
        self.stats = {
            file: hashing.file_stat(file) for path in tracked for file in hashing.files_below(path)
        }

    @classmethod
    def read(cls) -> "InputSnapshot":
        """Read dvc.yaml and dvc.lock, by means of DVC if they hold more than plain stages."""
        name = os.environ["DVC_STAGE"].rpartition(":")[2]
        declared = quick.read(name)
        if declared:
            full = f"{_folder_in_repository()}dvc.yaml:{name}"
            return cls(
                full, declared.tracked, declared.untracked, declared.params, declared.markers,
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
            [path(dep.path) for dep in project.untracked(stage)],
            {path(one.file): one.keys or None for one in stage.params},
            [path(out.path) for one in recorders for out in one.outs],
            [name for one in recorders for name in config.of(project, one).env],
        )

    def check(self) -> None:
        """Compare the inputs with their hashes in dvc.lock and .dvc files. Raises: DamagedError."""
        differing = [path for path, sha in self.tracked.items() if hashing.digest(path) != sha]
        if not differing:
            return
        from samerun.dvc.differences import changed_file
        from samerun.dvc.project import Project

        project = Project()  # .dvcignore may exclude a file, so DVC decides
        stage = project.own_stage()
        for source in project.sources(stage):
            if source.locked and project.digest(source) != source.locked:
                raise DamagedError(
                    f"{changed_file(project, source)} differs from its hash in dvc.lock or its"
                    " .dvc file: delete it and its object in DVC's cache, then run `dvc repro`"
                )

    def check_unchanged(self, project: "Project", stage: "Stage") -> None:
        """Compare code, data and parameters with the snapshot. Raises: WorkspaceError."""
        from samerun.dvc.stage import changed_keys

        advice = "run `dvc repro` again; if you undo the change, a stage with checkpoints resumes"
        changed = hashing.changed(self.code, self.untracked)
        changed += self._changed_data(project, stage)
        for path in changed:
            if not project.ignored(path):
                raise WorkspaceError(f"{path} changed while stage {stage.short} ran: {advice}")
        for params in stage.params:
            name = os.path.relpath(project.path(params.file))
            old, new = self.texts.get(name, b""), bytes_of(name)
            if old == new:
                continue
            for key in changed_keys(project.values(params, old), project.values(params, new)):
                raise WorkspaceError(
                    f"{key} in {name} changed while stage {stage.short} ran: {advice}"
                )

    def _changed_data(self, project: "Project", stage: "Stage") -> list[str]:
        """Return the files of tracked data whose bytes differ from their hashes.

        A new hard link to a file changes its FileStat but not its bytes.
        """
        touched = [path for path, old in self.stats.items() if hashing.file_stat(path) != old]
        if not touched:
            return []
        unchanged = {path for path, sha in self.tracked.items() if hashing.digest(path) == sha}
        for source in project.sources(stage):  # .dvcignore may exclude a file
            path = os.path.relpath(project.path(source.path))
            if path not in unchanged and project.digest(source) == self.tracked.get(path):
                unchanged.add(path)
        return [
            file
            for file in touched
            if not any(file == path or file.startswith(f"{path}/") for path in unchanged)
        ]

    @property
    def inputs(self) -> Any:
        """All that goes into the stage, as far as it is known without DVC."""
        code = {
            path: sha or stat
            for path, (stat, sha) in self.code.items()
            if not os.path.basename(path).startswith(".")
        }
        return [self.params, self.tracked, code, self.env]


def _folder_in_repository() -> str:
    """Return the current folder relative to DVC's root, ending in a slash; "" for the root."""
    root = here = os.getcwd()
    while not os.path.isdir(os.path.join(root, ".dvc")) and root != os.path.dirname(root):
        root = os.path.dirname(root)
    return "" if root == here else f"{os.path.relpath(here, root).replace(os.sep, '/')}/"


def bytes_of(file: str) -> bytes:
    """Return a file's content; empty if it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError:
        return b""
