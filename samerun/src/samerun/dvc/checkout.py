"""Another checkout of a project, in which DVC shares nothing with the user's workspace."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samerun.core.errors import ReproductionError
from samerun.dvc.project import Project

SITE_CACHE = "DVC_SITE_CACHE_DIR"
"""The variable that names the folder in which DVC keeps what it remembers of each workspace."""


def configure(folder: Path, project: Project, own: Path) -> None:
    """Give DVC in another checkout the remotes of the user's project, and a cache of its own.

    folder: in the checkout. own: the folder that holds the cache.

    Raises: ReproductionError if there is no DVC project.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    default, remotes = project.settings["core"].get("remote"), project.settings["remote"]
    off = ("autostage", "analytics", "check_update", "interactive")
    core: dict[str, Any] = dict.fromkeys(off, False)
    try:
        with Config(Repo.find_dvc_dir(str(folder))).edit("local", validate=False) as settings:
            settings["core"] = core | ({"remote": default} if default else {})
            settings["cache"] = {"dir": str(own / "cache"), "type": "reflink,copy"}
            settings["remote"] = {name: dict(remote) for name, remote in remotes.items()}
    except NotDvcRepoError:
        raise ReproductionError(
            "the run's commit must hold the DVC project, with its .dvc folder (got none)"
        ) from None
    except DvcException as error:
        raise ReproductionError(f"DVC must be able to use its settings (got {error})") from error


@contextmanager
def apart(own: Path) -> Iterator[None]:
    """Let DVC in this process remember what it reads in a folder of its own, for the block."""
    previous = os.environ.get(SITE_CACHE)
    os.environ[SITE_CACHE] = str(own / "site-cache")
    try:
        yield
    finally:
        if previous is None:
            del os.environ[SITE_CACHE]
        else:
            os.environ[SITE_CACHE] = previous


def find_source(pointer: Path, root: Path) -> None:
    """Let the .dvc file of `dvc import` find a source whose path is relative.

    pointer: the .dvc file in the checkout. root: the folder that the path is relative to.
    """
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(pointer)) as content:
        for dep in content.get("deps", []):
            source = dep.get("repo", {}).get("url", "")
            if source and not re.match(r"/|[^/]+:", source):
                dep["repo"]["url"] = str((root / source).resolve())


def unfreeze(file: Path) -> None:
    """Let `dvc repro` execute the frozen stages of a dvc.yaml."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(file)) as content:
        for stage in content.get("stages", {}).values():
            for entry in (stage, stage.get("do")):  # `do`: the stage that foreach repeats
                if isinstance(entry, dict):
                    entry.pop("frozen", None)
