"""Compares the outputs of a recorded run with those of its reproduction.

The hashes in the two dvc.lock files say which output differs. To find the row or key, the files are
compared; those of the recorded run come from its artifacts, else from DVC's cache.
"""

import posixpath
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samerun.dvc import cache, hashing
from samerun.dvc.stage import Item, Stage
from samerun.mlflow import content
from samerun.pipeline import Pipeline
from samerun.proof.comparison import Change
from samerun.proof.files import between, same_form
from samerun.proof.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class RecordedFiles:
    """The files of the recorded run. artifacts: the folder of its artifacts.

    cache: the user's DVC cache. base: the folder of dvc.yaml, relative to that of the project.
    """

    artifacts: Path
    cache: Path
    base: str

    def artifact(self, name: str) -> Path:
        """Return the path of an artifact. name: relative to the folder of dvc.yaml."""
        if not name.startswith("../"):
            return self.artifacts / name
        path = posixpath.normpath(posixpath.join(self.base, name))
        return self.artifacts / content.elsewhere(path)

    def file(self, name: str, digest: str) -> Path | None:
        """Return a file with this hash, or None. name: relative to the folder of dvc.yaml."""
        path = self.artifact(name)
        if path.is_file() and hashing.md5(str(path)) == digest:
            return path
        return cache.find(self.cache, digest)

    def listing(self, name: str, digest: str) -> dict[str, str] | None:
        """Return the files of a folder with this hash: relative path to hash. None if not found."""
        folder = self.artifact(name)
        if folder.is_dir() and hashing.digest(str(folder)) == digest:
            return {
                Path(file).relative_to(folder).as_posix(): hashing.md5(file)
                for file in hashing.files_below(str(folder))
            }
        return cache.listing(self.cache, digest)


@dataclass(frozen=True, slots=True)
class Difference:
    """An output that differs. stage: the one that makes it. name: its path. text: how it differs.

    follows: whether its stage reads another output that differs, even within a tolerance.
    """

    stage: str
    name: str
    text: str
    follows: bool

    def __str__(self) -> str:
        return f"stage {self.stage}: {self.text}"


def differences(
    recorded: Pipeline,
    current: Pipeline,
    stages: Iterable[Stage],
    old: RecordedFiles,
    tolerance: Tolerance,
) -> Iterator[Difference]:
    """Yield the outputs of stages that differ. stages: in the order in which they were executed.

    An output whose differences are all within the tolerance is replaced by the recorded one, so
    that the run's page can be compared with the files from which it was written.
    """
    now = {item.path: item for item in current.outputs()}
    differing, close = set[str](), dict[str, str]()
    for stage in stages:
        read = [item.path for item in recorded.project.sources(stage)]
        near = ", ".join(close[path] for path in read if path in close)
        for out in stage.outs:
            name = recorded.relative(out.path)
            if text := _difference(name, current, out, now.get(out.path), old, tolerance):
                if near:
                    text += f"; this stage read {near}, which differed within its tolerance"
                follows = any(path in differing or path in close for path in read)
                yield Difference(stage.short, name, text, follows)
                differing.add(out.path)
            elif out.locked != now[out.path].locked:
                close[out.path] = name


def _difference(
    name: str,
    pipeline: Pipeline,
    out: Item,
    now: Item | None,
    old: RecordedFiles,
    tolerance: Tolerance,
) -> str | None:
    """Return how an output differs; None if it does not, or only within the tolerance."""
    if out.locked is None:
        return f"{name} is not in the run's dvc.lock"
    if now is None or now.locked is None:
        return f"{name} is gone"
    if out.locked == now.locked:
        return None
    target, was, is_ = pipeline.project.path(out.path), out.locked, now.locked
    if was.endswith(".dir") != is_.endswith(".dir"):
        words = ("a folder", "a file") if was.endswith(".dir") else ("a file", "a folder")
        text: str | None = f"{name} was {words[0]}, is {words[1]}"
    elif is_.endswith(".dir"):
        prefix = f"{out.path}/"
        current_files = {
            path.removeprefix(prefix): sha for path, sha in pipeline.project.files(now).items()
        }
        listed = old.listing(name, was)
        if listed is None:
            text = f"{name} differs ({_hashes(was, is_)})"
        else:
            text = _folder(name, target, listed, current_files, old, tolerance)
    else:
        text = _file(name, target, was, is_, old, tolerance)
    if text and out.persists:
        text += "; it has persist: true, so the stage may have added to an earlier version"
    return text


def _folder(
    name: str,
    target: Path,
    before: Mapping[str, str],
    after: Mapping[str, str],
    old: RecordedFiles,
    tolerance: Tolerance,
) -> str | None:
    """Return how the first file that differs in a folder does, and how many more do; or None."""
    texts: list[str] = []
    for inner in sorted({*before, *after}):
        file = f"{name}/{inner}"
        if inner not in after:
            texts.append(f"{file} is gone")
        elif inner not in before:
            texts.append(f"{file} is new")
        elif before[inner] != after[inner]:
            text = _file(file, target / inner, before[inner], after[inner], old, tolerance)
            texts += [text] if text else []
    more = len(texts) - 1
    if more > 0:
        others = "1 more file differs" if more == 1 else f"{more:,} more files differ"
        return f"{texts[0]}; {others} in {name}"
    return texts[0] if texts else None


def _file(
    name: str, target: Path, before: str, after: str, old: RecordedFiles, tolerance: Tolerance
) -> str | None:
    recorded = old.file(name, before)
    if recorded is None:
        return f"{name} differs ({_hashes(before, after)})"
    change = tolerance.first_exceeding(name, between(recorded, target))
    if change is None and not tolerance.allows_any(name) and not same_form(recorded, target):
        change = Change("", "", "differs in more than its numbers: layout, comments or line ends")
    if change:
        return f"{name}: {change}"
    target.unlink()  # it may be a link to DVC's cache
    shutil.copyfile(recorded, target)
    return None


def _hashes(before: str, after: str) -> str:
    advice = "the recorded file is neither an artifact nor in DVC's cache: try `dvc fetch`"
    return f"MD5 was {before[:12]}…, is {after[:12]}…; {advice}"


def artifacts(pipeline: Pipeline, names: Iterable[str], folder: Path) -> Iterator[str]:
    """Yield how a run's artifacts differ from the files that they are copies of.

    names: the files, as the project names them. folder: the artifacts.
    """
    for name in names:
        artifact, file = folder / content.artifact(pipeline, name), pipeline.project.path(name)
        if not artifact.is_file():
            yield f"artifact {content.artifact(pipeline, name)} is missing"
        else:
            for change in between(artifact, file):
                yield f"artifact {content.artifact(pipeline, name)}: {change}"


def files(pipeline: Pipeline, stages: Iterable[Stage]) -> Iterator[tuple[str, Path]]:
    """Yield the files, and folders, of the outputs of stages: name and path."""
    for out in (out for stage in stages for out in stage.outs):
        name, path = pipeline.relative(out.path), pipeline.project.path(out.path)
        yield name, path
        for file in path.rglob("*") if path.is_dir() else ():
            yield f"{name}/{file.relative_to(path).as_posix()}", file
