"""The files of a recorded run against those of its reproduction: dvc.lock against dvc.lock.

The hashes in the two files say which output differs. In which row or key, the bytes say: those of
the recorded run come from its artifacts, else from DVC's cache.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samerun.dvc import cache, hashing
from samerun.dvc.stage import Item
from samerun.mlflow import content
from samerun.pipeline import Pipeline
from samerun.proof.comparison import between
from samerun.proof.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class Old:
    """Where the files of the recorded run are. artifacts: its folder. cache: the user's, of DVC."""

    artifacts: Path
    cache: Path

    def file(self, name: str, digest: str) -> Path | None:
        """Return a file with this hash. name: its path relative to the folder of dvc.yaml."""
        path = self.artifacts / name
        if path.is_file() and hashing.md5(str(path)) == digest:
            return path
        return cache.find(self.cache, digest)

    def listing(self, name: str, digest: str) -> dict[str, str] | None:
        """Return the files of a folder with this hash: relative path to hash."""
        folder = self.artifacts / name
        if folder.is_dir() and hashing.digest(str(folder)) == digest:
            return {
                Path(file).relative_to(folder).as_posix(): hashing.md5(file)
                for file in hashing.files_below(str(folder))
            }
        return cache.listing(self.cache, digest)


def differences(
    recorded: Pipeline, current: Pipeline, old: Old, tolerance: Tolerance
) -> Iterator[str]:
    """Yield what of the outputs differs, in the order in which the stages make them.

    An output whose differences are all within the tolerance is replaced by the recorded one, so
    that the page of the run can be compared with the files that it was written from.
    """
    now = {item.path: item for item in current.outputs()}
    for stage in filter(recorded.deciding.__contains__, recorded.ordered()):
        for out in stage.outs:
            where = f"stage {stage.short}"
            if out.locked is None:
                yield f"{where}: {recorded.relative(out.path)} is not in the run's dvc.lock"
            elif out.path not in now:
                yield f"{where}: {recorded.relative(out.path)} is gone"
            elif out.locked != now[out.path].locked:
                for text in _output(current, out, now[out.path], old, tolerance):
                    yield f"{where}: {text}"


def _output(
    pipeline: Pipeline, out: Item, now: Item, old: Old, tolerance: Tolerance
) -> Iterator[str]:
    name, target = pipeline.relative(out.path), pipeline.project.path(out.path)
    before, after = str(out.locked), str(now.locked)
    if before.endswith(".dir") != after.endswith(".dir"):
        words = ("a folder", "a file") if before.endswith(".dir") else ("a file", "a folder")
        yield f"{name} was {words[0]}, is {words[1]}"
    elif after.endswith(".dir"):
        listed = old.listing(name, before)
        if listed is None:
            yield f"{name} has other files ({_hashes(before, after)})"
            return
        prefix = f"{out.path}/"
        found = pipeline.project.files(now)
        yield from _folder(
            name,
            target,
            listed,
            {path.removeprefix(prefix): sha for path, sha in found.items()},
            old,
            tolerance,
        )
    else:
        yield from _file(name, target, before, after, old, tolerance)


def _folder(
    name: str,
    target: Path,
    before: Mapping[str, str],
    after: Mapping[str, str],
    old: Old,
    tolerance: Tolerance,
) -> Iterator[str]:
    for inner in sorted({*before, *after}):
        file = f"{name}/{inner}"
        if inner not in after:
            yield f"{file} is gone"
        elif inner not in before:
            yield f"{file} is new"
        elif before[inner] != after[inner]:
            yield from _file(file, target / inner, before[inner], after[inner], old, tolerance)


def _file(
    name: str, target: Path, before: str, after: str, old: Old, tolerance: Tolerance
) -> Iterator[str]:
    recorded = old.file(name, before)
    if recorded is None:
        yield f"{name} has other bytes ({_hashes(before, after)})"
        return
    change = tolerance.first_beyond(name, between(recorded, target))
    if change:
        yield f"{name}: {change}"
    else:
        shutil.copyfile(recorded, target)


def _hashes(before: str, after: str) -> str:
    return f"MD5 was {before[:12]}…, is {after[:12]}…"


def artifacts(pipeline: Pipeline, names: Iterable[str], folder: Path) -> Iterator[str]:
    """Yield what of a run's artifacts differs from the files that they are copies of.

    names: the files, as the project names them. folder: the artifacts.
    """
    for name in names:
        kept, file = folder / content.artifact(pipeline, name), pipeline.project.path(name)
        if not kept.is_file():
            yield f"artifact {content.artifact(pipeline, name)} is gone"
        else:
            for change in between(kept, file):
                yield f"artifact {content.artifact(pipeline, name)}: {change}"
