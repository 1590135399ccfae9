"""A checkout of a recorded run's code in a temporary folder.

The user's repository is only read: the checkout shares its objects, as with `git clone --shared`,
but has its own index, configuration and DVC cache, and none of the user's hooks. If the repository
is a partial clone, git fetches what it lacks into the checkout. Knows nothing of MLflow.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from samerun import programs
from samerun.core.errors import ReproductionError
from samerun.dvc import checkout
from samerun.dvc.paths import overlap
from samerun.dvc.project import Project
from samerun.dvc.stage import Item, Stage
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit

_APPLY = ("apply", "--binary", "--whitespace=nowarn", "--no-ignore-whitespace", "-")
"""Applies a patch byte for byte, whatever the user has configured (apply.whitespace)."""

_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",  # no prompt, which nobody would answer
    "GIT_LFS_SKIP_SMUDGE": "1",  # a file in Git LFS is reported, not fetched
    "LC_ALL": "C",
}

_COPIED = re.compile(r"(url|http|credential|remote)\..+|core\.(autocrlf|eol|sshcommand)")
"""The git settings that the checkout copies: how to reach the remotes, and line ends. The remotes
themselves are copied only if the repository is a partial clone."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Sandbox:
    """A checkout for one reproduction.

    top: its root. folder: the folder of dvc.yaml in it. users_cache: the user's DVC cache.
    users_root: the folder of the user's DVC project. base: the folder of dvc.yaml, relative to it.
    """

    def __init__(self, scratch: Path, pipeline: Pipeline) -> None:
        """Prepare an empty checkout. scratch: an empty folder. pipeline: the user's own."""
        self._own, self._project = scratch, pipeline.project
        self._record, project, folder = pipeline.stage.name, pipeline.project, pipeline.folder
        self.users_cache, self.users_root = project.cache, project.root
        self.base = Path(os.path.relpath(folder, project.root.resolve())).as_posix()
        self._source = Path(_git(folder, "rev-parse", "--show-toplevel"))
        self.top = scratch / "checkout"
        self.folder = self.top / _git(folder, "rev-parse", "--show-prefix")

    def check_out(self, commit: Commit) -> None:
        """Check out a commit, and apply its patch.

        Raises: ReproductionError if the user's repository does not have the commit, or the patch
        does not apply.
        """
        sha = commit.sha or "none"
        self._share_objects()
        # Before git may fetch: a remote may have a commit that nobody has reviewed.
        if _call(self.top, "cat-file", "-e", f"{sha}^{{commit}}").returncode:
            shallow = _git(self._source, "rev-parse", "--is-shallow-repository") == "true"
            advice = ", which is shallow: run `git fetch --unshallow`" if shallow else ""
            raise ReproductionError(f"the run's commit ({sha}) is not in this repository{advice}")
        partial = self._copy_settings()
        done = _call(self.top, "checkout", "--quiet", "--detach", sha)
        tree = _call(self.top, "rev-parse", "--verify", "--quiet", f"{sha}^{{tree}}")
        if not done.returncode:  # git may succeed without files that it lacks
            done = _call(self.top, "write-tree")
        if done.returncode or done.stdout != tree.stdout:
            what = f"fetch what this partial clone lacks of {sha[:12]}"
            what = what if partial else f"check out {sha[:12]}"
            raise ReproductionError(f"git cannot {what}: {_reason(done)}")
        if commit.patch:
            done = _call(self.top, *_APPLY, stdin=commit.patch)
            if done.returncode:
                raise ReproductionError(
                    f"the run's patch does not apply to {sha[:12]}: {_reason(done)}"
                )
        if not (self.folder / "dvc.yaml").is_file():
            raise ReproductionError(
                f"the run's commit has no {self._name(self.folder / 'dvc.yaml')}"
            )
        checkout.configure(self.folder, self._project, self._own)

    def pipeline(self, environ: Mapping[str, str | None]) -> Pipeline:
        """Return the checkout's pipeline, as dvc.yaml and dvc.lock are now. Raises: UserError."""
        with checkout.own_site_cache(self._own):
            project = Project(self.folder)
            return Pipeline(project, project.record_stage(self._record), environ)

    def check_inputs(self, pipeline: Pipeline, stages: Iterable[Stage]) -> None:
        """Check that the stages' inputs are all here and that their outputs are in the checkout.

        Raises: ReproductionError if one is not.
        """
        project = pipeline.project
        for stage in stages:
            for out in stage.outs:
                if not self.contains(project, out):
                    raise ReproductionError(
                        f"stage {stage.short} writes {out.path}, which is outside the repository:"
                        " a reproduction would overwrite it"
                    )
            for dep in stage.deps:
                path = project.path(dep.path)
                made = any(overlap(one, dep.path) for one in project.made)
                if "://" not in dep.path and not made and not path.exists():
                    where = self.not_fetched(path) or "it is neither in git nor in DVC"
                    raise ReproductionError(
                        f"{dep.path}, which stage {stage.short} reads, is not in the run's commit:"
                        f" {where}"
                    )

    def contains(self, project: Project, item: Item) -> bool:
        """Return whether the path of an item is in this checkout. project: the item's."""
        path = Path(os.path.normpath(project.path(item.path)))
        return "://" not in item.path and path.is_relative_to(self.top)

    def not_fetched(self, path: Path) -> str | None:
        """Return why files at a path are missing: a submodule or Git LFS has them; else None."""
        listed = _git(self.top, "ls-files", "--stage", "-z")
        for entry in listed.split("\0"):
            facts, _, name = entry.partition("\t")
            submodule = self.top / name
            near = path.is_relative_to(submodule) or submodule.is_relative_to(path)
            if facts.startswith("160000 ") and near:
                return f"the submodule {name} is not checked out in a reproduction"
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
                        name = self._name(file)
                        return f"{name} is in Git LFS, which a reproduction does not fetch"
        return None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that DVC and the stages get in addition to inherited ones."""
        return {
            checkout.SITE_CACHE: str(self._own / "site-cache"),
            "SAMERUN_LIVE_AFTER": "inf",  # a reproduction is shown in no store
        }

    def _share_objects(self) -> None:
        """Create an empty repository that shares the objects of the user's repository."""
        hash_name = _git(self._source, "rev-parse", "--show-object-format")
        init = ("init", "--quiet", "--template=", f"--object-format={hash_name}", str(self.top))
        _git(self._own, *init)
        git_folder = self.top / ".git"
        paths = {
            name: Path(
                _git(self._source, "rev-parse", "--path-format=absolute", "--git-path", name)
            )
            for name in ("objects", "shallow")
        }
        alternates = git_folder / "objects" / "info" / "alternates"
        alternates.parent.mkdir(parents=True, exist_ok=True)
        alternates.write_bytes(os.fsencode(paths["objects"]) + b"\n")
        if paths["shallow"].exists():
            (git_folder / "shallow").write_bytes(paths["shallow"].read_bytes())
        _git(self.top, "config", "core.hooksPath", os.devnull)

    def _copy_settings(self) -> bool:
        """Copy git settings into the checkout. Return whether the repository is a partial clone."""
        listed = _git(self._source, "config", "--local", "--includes", "--null", "--list")
        settings = [entry.partition("\n")[::2] for entry in listed.split("\0") if entry]
        partial = any(re.fullmatch(r"remote\..+\.(promisor|partialclonefilter)", key)
                      for key, _ in settings)  # fmt: skip
        for key, value in settings:
            if not _COPIED.fullmatch(key) or (key.startswith("remote.") and not partial):
                continue
            if re.fullmatch(r"remote\..+\.url", key) and not re.match(r"/|[^/]+:", value):
                value = os.path.normpath(self._source / value)
            _git(self.top, "config", "--add", key, value)
        return partial

    def _name(self, path: Path) -> str:
        return path.relative_to(self.top).as_posix()


def _git(folder: Path, *arguments: str) -> str:
    """Return what git prints, without the end of the line. Raises: ReproductionError."""
    done = _call(folder, *arguments)
    if done.returncode:
        raise ReproductionError(f"{folder} is not a git checkout: {_reason(done)}")
    return os.fsdecode(done.stdout).removesuffix("\n")


def _call(
    folder: Path, *arguments: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    return programs.call("git", *arguments, at=folder, stdin=stdin, env=_ENVIRONMENT)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return git's own message for a failure."""
    lines = done.stderr.decode(errors="replace").splitlines()
    reasons = [line for line in lines if line.startswith(("error:", "fatal:"))]
    if not done.returncode:
        return "some files are missing"
    return reasons[0] if reasons else programs.reason(done)
