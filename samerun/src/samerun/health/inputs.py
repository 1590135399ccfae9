"""Checks of a pipeline's inputs, of its record stage, and of its files against dvc.lock.

A check changes nothing.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from samerun import git, working_tree
from samerun.core import progress
from samerun.core.errors import UserError
from samerun.dvc.differences import differences
from samerun.dvc.paths import contains
from samerun.dvc.stage import Stage
from samerun.health.finding import Finding
from samerun.pipeline import Pipeline

_NAMED = 3
"""Most files that one finding names."""


def changes(pipeline: Pipeline) -> Iterator[Finding]:
    """Check that the inputs are committed, or small enough to be stored with a run.

    Changing a parameter is normal use, so it is no finding.
    """
    params = {
        os.path.relpath(pipeline.project.path(each.file))
        for stage in pipeline.deciding
        for each in stage.params
    }
    paths = [path for path in pipeline.inputs() if path not in params]
    try:
        pipeline.check_size()
        commit = working_tree.commit(None, paths, pipeline.project.ignored)
    except UserError as error:
        yield Finding("git", str(error), "see `git status`")
        return
    if commit.paths:
        yield Finding(
            "git",
            f"the pipeline reads files with uncommitted changes ({_list(commit.paths)})",
            "commit them; until then, each run stores them as a patch",
        )
    for folder in commit.left_out:
        yield Finding(
            "git",
            f"{folder} is a git repository without a commit, so no run stores its files",
            "commit there, or list it in .gitignore",
        )


def untracked(pipeline: Pipeline) -> Iterator[Finding]:
    """Look for inputs that neither git nor DVC tracks: no run that reads them can be reproduced."""
    top = git.call("rev-parse", "--show-toplevel") if git.is_installed() else None
    if top is None or top.returncode:
        return
    root = Path(os.fsdecode(top.stdout).rstrip("\n"))
    for stage in pipeline.deciding:
        names = {
            os.path.relpath(pipeline.project.path(name))
            for name in _untracked_files(pipeline, stage)
        }
        in_repository = sorted(name for name in names if Path(name).resolve().is_relative_to(root))
        lost = [*sorted(names - {*in_repository}), *_ignored(in_repository)]
        if lost:
            yield Finding(
                f"stage {stage.short}",
                f"it reads {_list(lost)}, which neither git nor DVC tracks, so no run can be"
                " reproduced on another machine",
                "`dvc add` it, or take it out of .gitignore",
            )


def _untracked_files(pipeline: Pipeline, stage: Stage) -> Iterator[str]:
    """Yield the files that a stage reads and that neither a stage nor a .dvc file tracks."""
    project = pipeline.project
    tracked = [*project.made, *(item.path for item in project.data)]
    counted = project.counted(stage, pipeline.config.reads).deps
    for dep in project.untracked(stage):
        if "://" in dep.path:
            continue  # cloud storage has its own versions
        digest = counted[dep.path]
        for name in digest if isinstance(digest, Mapping) else project.files(dep):
            if not any(contains(one, name) for one in tracked):
                yield name
    yield from (each.file for each in stage.params if project.path(each.file).exists())


def _ignored(names: list[str]) -> list[str]:
    """Return the files that git ignores."""
    listed = "\0".join(name for name in names if name.isprintable())
    process = git.call("check-ignore", "--stdin", "-z", stdin=listed)
    return [] if process.returncode else os.fsdecode(process.stdout).rstrip("\0").split("\0")


def record_stage(pipeline: Pipeline) -> Iterator[Finding]:
    """Check that DVC runs the record stage whenever there is something to record."""
    place = f"stage {pipeline.stage.short}"
    for mistake in pipeline.mistakes():
        yield Finding(place, f"meta.samerun: {mistake}", "correct it in dvc.yaml")
    for name in pipeline.lacking():
        yield Finding(
            place,
            f"it does not depend on {name}, so a change of it may not be recorded",
            "add it to the stage in dvc.yaml",
        )
    for one in pipeline.unfollowed():
        yield Finding(
            f"stage {one.short}",
            "no record stage depends on it, so it is not part of any run",
            f"add one of its outputs to the deps of {pipeline.stage.short}; `samerun init` prints"
            " everything that is missing there",
        )
    outs = pipeline.stage.outs
    if len(outs) != 1 or outs[0].cached or not outs[0].persists:
        yield Finding(
            place,
            "DVC may restore its output from a cache instead of running it",
            "its only output must be the marker, as in mlruns/recorded.json: {cache: false,"
            " persist: true}",
        )
    for other in pipeline.sharing_marker():
        yield Finding(place, f"it has the same marker as {other}", "give each its own")


def lock(pipeline: Pipeline) -> Iterator[Finding]:
    """Compare each stage with dvc.lock, byte by byte, and report its first difference."""
    named: set[str] = set()
    stages = [*pipeline.deciding, *pipeline.presenting]
    for stage in progress.track(stages, "outputs"):
        if not any(item.locked for item in (*stage.deps, *stage.outs)):
            yield Finding(f"stage {stage.short}", "it has not run here", "run `dvc repro`")
            continue
        for difference in differences(pipeline.project, stage):
            if difference not in named:  # by an earlier stage, which makes what this one reads
                named.add(difference)
                yield _difference(pipeline, stage, difference)
                break


def _difference(pipeline: Pipeline, stage: Stage, name: str) -> Finding:
    """Return the finding for a difference from dvc.lock. name: a path, key or command."""
    place = f"stage {stage.short}"
    outputs = [item.path for each in pipeline.project.stages for item in each.outs]
    is_output = any(contains(one, name) for one in outputs)
    if not is_output and not any(contains(item.path, name) for item in pipeline.project.data):
        return Finding(place, f"{name} differs from dvc.lock", "run `dvc repro`")
    if not pipeline.project.path(name).exists():
        return Finding(place, f"{name} is missing", "run `dvc repro`, or `dvc pull`")
    return Finding(
        place,
        f"{name} differs from its hash in dvc.lock",
        "run `dvc repro`, or `dvc checkout` if it ran already"
        if is_output
        else "`dvc add` it, or `dvc checkout` it",
    )


def _list(names: list[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
