"""A second checkout of a project, in which DVC shares nothing with the user's workspace."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samerun.core.errors import ReproductionError
from samerun.dvc.project import Project

SITE_CACHE = "DVC_SITE_CACHE_DIR"
"""The variable that names the folder of DVC's databases of file hashes, one per workspace."""


def configure(folder: Path, project: Project, own: Path) -> None:
    """Configure DVC in a second checkout: the user project's remotes, and a cache of its own.

    folder: the DVC project in the checkout. own: the folder that will hold the cache.

    Raises: ReproductionError if the checkout has no DVC project there.
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
            "the run's commit has no DVC project: its .dvc folder is missing"
        ) from None
    except DvcException as error:
        raise ReproductionError(f"DVC cannot use its settings: {error}") from error


@contextmanager
def own_site_cache(own: Path) -> Iterator[None]:
    """Let DVC in this process keep its file hashes in another folder, for the block."""
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
    """Make a relative source in a .dvc file of `dvc import` absolute, so that DVC finds it.

    pointer: the .dvc file in the checkout. root: the folder that the path is relative to.
    """
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(pointer)) as content:
        for dep in content.get("deps", []):
            source = dep.get("repo", {}).get("url", "")
            if source and not re.match(r"/|[^/]+:", source):
                dep["repo"]["url"] = str((root / source).resolve())


def unfreeze(file: Path) -> None:
    """Remove `frozen` from the stages of a dvc.yaml, so that `dvc repro` executes them."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(file)) as content:
        for stage in content.get("stages", {}).values():
            for entry in (stage, stage.get("do")):  # `do`: the stage that foreach repeats
                if isinstance(entry, dict):
                    entry.pop("frozen", None)
