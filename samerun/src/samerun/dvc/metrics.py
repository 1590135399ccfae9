"""The metrics files of stages: those that they declare, and those that dvc.yaml names at its top.

Users of DVCLive have its folder as an output, and `dvclive/metrics.json` under `metrics:`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from samerun.dvc.paths import contains
from samerun.dvc.project import Project
from samerun.dvc.stage import Item


def files(project: Project, file: Path, outs: Iterable[Item]) -> list[str]:
    """Return the metrics files among outputs, as the project names them.

    file: the dvc.yaml whose top-level `metrics` count. A file there that no stage makes is left
    out, since DVC restores it with no output.
    """
    named = declared(project, file)
    paths: list[str] = []
    for out in outs:
        paths += [out.path] if out.kind == "metric" else []
        paths += [n for n in named if contains(out.path, n) and project.path(n).is_file()]
    return list(dict.fromkeys(paths))


def declared(project: Project, file: Path) -> list[str]:
    """Return the paths under `metrics` at the top of a dvc.yaml, as the project names them."""
    paths = (file.parent / str(name) for name in project.declared("metrics", file))
    return [Path(os.path.relpath(path, project.root.resolve())).as_posix() for path in paths]
