"""`samerun init`: adds the record stage to a project's dvc.yaml.

It prints what it cannot know. No line of the project's code changes.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from samerun import git
from samerun.core import address, files
from samerun.core.errors import MissingError, WorkspaceError
from samerun.dvc import edits, metrics
from samerun.dvc.commands import RECORD
from samerun.dvc.paths import contains, overlap
from samerun.dvc.project import Project
from samerun.dvc.stage import Item, Stage
from samerun.pipeline import Pipeline, is_made

FILE = Path("dvc.yaml")

MARKER = "mlruns/recorded.json"

BYTECODE = ("__pycache__/", "*.pyc")
"""Lines of .dvcignore, so that running the code does not change the hash of its folder."""

_PREFIX = "samerun run -- "

_WHY = "then each execution is a run, has its times, and is shown while it runs"

_WIDTH = 96


def main(*, wrap: bool = False) -> int:
    """Return 0, or 1 if an existing record stage lacks something. Raises: UserError."""
    _check_repository()
    project = Project()
    own = [stage for stage in project.stages if stage.file == FILE.resolve()]
    if not own:
        raise WorkspaceError("dvc.yaml has no stages")
    recorders = [stage for stage in own if stage.records]
    old = text = FILE.read_bytes().decode()
    messages: list[str] = []
    if not recorders:
        text, message = _with_record(project, own, text)
        messages.append(message)
    wrappable: list[str] = []
    if wrap:
        text, prefixed, skipped = edits.with_prefix(text, _PREFIX)
        messages += _wrapping_messages(prefixed, skipped)
    else:
        with contextlib.suppress(WorkspaceError):
            _, wrappable, _ = edits.with_prefix(text, _PREFIX)
    if text != old:
        _check_committed()
        _check_place(project)
    messages += _write_ignore_files(project, own)  # first: after a kill, call it again
    if text != old:
        files.write_bytes(FILE.resolve(), text.encode())
    messages += [] if recorders else _unknown(project, own)
    lacking = [line for stage in recorders for line in _lacking(project, stage)]
    for line in [*messages, *lacking] or [
        "nothing to do: the record stage in dvc.yaml is complete"
    ]:
        print(f"init: {line}")
    if wrappable:
        names = ", ".join(wrappable)
        print(f"init: `samerun init --wrap` puts `{_PREFIX}` before {names}: {_WHY}")
    if text != old:
        print("init: next: commit the changed files, then run `dvc repro`")
    return 1 if lacking else 0


def _check_repository() -> None:
    """Raise a UserError unless the current folder has a dvc.yaml and is in a git repository."""
    if not FILE.is_file():
        raise MissingError(f"no dvc.yaml in {Path.cwd()}: go to the folder that has it")
    if not git.is_installed() or git.call("rev-parse", "--show-toplevel").returncode:
        raise WorkspaceError(f"{Path.cwd()} is not in a git repository: run `git init`")


def _check_committed() -> None:
    """Raise a WorkspaceError if dvc.yaml has uncommitted edits."""
    if git.run("status", "--porcelain", "--", str(FILE)):
        raise WorkspaceError(
            "dvc.yaml has uncommitted edits: commit them, so that you see what samerun changes"
        )


def _check_place(project: Project) -> None:
    """Raise a WorkspaceError if the folder of the marker cannot be made."""
    folder = Path(MARKER).parent
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise WorkspaceError(
            f"{folder} must be a folder for the local store (got a file, or a link to nothing)"
        )
    for made in (out.path for stage in project.stages if not stage.records for out in stage.outs):
        if overlap(str(os.path.relpath(project.path(made))), folder.as_posix()):
            raise WorkspaceError(
                f"the output {made} of a stage overlaps {folder}, the folder of the local store"
            )


def _with_record(project: Project, own: list[Stage], text: str) -> tuple[str, str]:
    """Return the text of dvc.yaml with a record stage, and a message that says so."""
    taken = {stage.short.partition("@")[0] for stage in own}
    name = next(each for each in ("record", "record-run", "samerun") if each not in taken)
    changed = edits.with_stage(text, name, _body(project, own))
    count = len(changed.splitlines()) - len(text.splitlines())
    return changed, f"dvc.yaml: added the stage {name} ({count} lines)"


def _body(project: Project, own: list[Stage]) -> str:
    """Return the lines of the record stage."""
    stages = _recorded(project, own)
    deps, params = list(_deps(project, stages)), _params(project, stages)
    lines = [f"cmd: {RECORD}"]
    lines += [f"deps: {_flow(_shortest(deps))}"]
    lines += [f"params: {_flow(params)}"] if params else []
    lines += [
        "outs:",
        f"  - {MARKER}: {{cache: false, persist: true}}",
        "meta:",
        f"  samerun: {{experiment: {_flow(_experiment())}}}",
    ]
    return "\n".join(lines)


def _recorded(project: Project, own: list[Stage]) -> list[Stage]:
    """Return the stages of dvc.yaml, and the stages of others whose outputs they need."""
    names = {stage.name for stage in own}
    names |= {one.name for stage in own for one in project.upstream(stage)}
    return [stage for stage in project.stages if stage.name in names and not stage.records]


def _deps(project: Project, stages: list[Stage]) -> Iterator[str]:
    """Yield what a record stage depends on, relative to dvc.yaml.

    These are inputs that no stage makes, metrics, plots, models, and results that no stage reads.
    """
    for stage in stages:
        yield from (_path(project, dep) for dep in stage.deps if not is_made(project, dep))
    models = [str(each.get("path")) for each in project.artifacts(FILE.resolve()).values()]
    for stage in stages:
        read = [dep.path for other in stages for dep in other.deps if other is not stage]
        outs = [out for out in stage.outs if not any(contains(out.path, one) for one in read)]
        outs = [out for out in outs if not any(contains(one, out.path) for one in read)]
        last = outs if len(outs) == len(stage.outs) else []
        for out in stage.outs:
            metric = metrics.files(project, FILE.resolve(), [out])
            if metric or out.kind or out in last or _path(project, out) in models:
                yield _path(project, out)


def _path(project: Project, item: Item) -> str:
    return item.written(project.root, Path.cwd())


def _shortest(paths: Iterable[str]) -> list[str]:
    """Return paths, each once, without those inside another of them."""
    unique = list(dict.fromkeys(paths))
    return [one for one in unique if not any(o != one and contains(o, one) for o in unique)]


def _params(project: Project, stages: list[Stage]) -> list[Any]:
    """Return the parameters of stages, in the form of `params` in dvc.yaml."""
    keys: dict[str, list[str]] = {}
    for each in (params for stage in stages for params in stage.params):
        name = Path(os.path.relpath(project.path(each.file))).as_posix()
        file_keys = keys.setdefault(name, [])
        file_keys += [key for key in each.keys or [""] if key not in file_keys]
    listed: list[Any] = []
    for name, file_keys in keys.items():
        if "" in file_keys:
            listed.append({name: None})
            continue
        own = [key for key in file_keys if not any(key.startswith(f"{one}.") for one in file_keys)]
        listed += own if name == "params.yaml" else [{name: own}]
    return listed


def _experiment() -> str:
    """Return a name for the experiment: the repository's name and the folder in it."""
    remote = git.call("config", "remote.origin.url").stdout.decode(errors="replace").strip()
    top = Path(os.fsdecode(git.call("rev-parse", "--show-toplevel").stdout).strip())
    name = (
        re.sub(r"\.git$", "", remote.rstrip("/")).replace(":", "/").rpartition("/")[2] or top.name
    )
    below = Path.cwd().resolve().relative_to(top.resolve()).parts
    return re.sub(r"[/:]+", "-", "-".join([name, *below])) or "samerun"


def _flow(value: Any) -> str:
    """Return a value in YAML's flow style, in lines of at most _WIDTH characters."""
    text = yaml.safe_dump(value, default_flow_style=True, width=_WIDTH, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _wrapping_messages(prefixed: list[str], skipped: list[str]) -> list[str]:
    """Return a message for the stages whose commands were wrapped, and one for each other."""
    names = ", ".join(prefixed)
    messages = [f"dvc.yaml: wrapped {names}; DVC will run them again"] if prefixed else []
    return messages + [
        f"{name}: not wrapped, since its command is more than one program on one line; write"
        " `samerun run -- sh -c '...'` by hand"
        for name in skipped
    ]


def _write_ignore_files(project: Project, own: list[Stage]) -> Iterator[str]:
    """Write mlruns/.gitignore and lines of .dvcignore; yield what was written."""
    store = [address.workspace() / "mlruns"] if address.local_store() else []
    for folder in (Path(MARKER).parent, *store):
        ignore = Path(os.path.relpath(folder / ".gitignore"))
        if not ignore.exists():
            files.write_text(ignore, "*\n!.gitignore\n")
            yield f"{ignore}: added, so that git ignores the local store"
    read = [dep for stage in own for dep in stage.deps if not is_made(project, dep)]
    deps = [project.path(dep.path) for dep in read]
    path = project.root / ".dvcignore"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in BYTECODE if line not in text.splitlines()]
    if missing and any(dep.is_dir() for dep in deps):
        gap = "" if not text or text.endswith("\n") else "\n"
        files.write_text(path, text + gap + "".join(f"{line}\n" for line in missing))
        yield f"{os.path.relpath(path)}: added {' and '.join(missing)}, since stages read folders"


def _unknown(project: Project, own: list[Stage]) -> Iterator[str]:
    """Yield messages about what samerun cannot know or cannot record."""
    entries = project.artifacts(FILE.resolve()).values()
    models = [str(each["path"]) for each in entries if each.get("type") == "model"]
    for path in models:
        yield (
            f"unknown: which code serves {path}; if meta.samerun.model names it, each run has a"
            " model that MLflow can load"
        )
    for name in metrics.declared(project, FILE.resolve()):
        if not any(contains(one, name) for one in project.made):
            yield f"{name}: not recorded, since it is no output: add it, or its folder, to outs"
    for stage in own:
        if not stage.records and not stage.outs:
            yield f"{stage.short}: it has no outputs, so no record stage can depend on it"


def _lacking(project: Project, stage: Stage) -> Iterator[str]:
    """Yield messages about what is wrong with an existing record stage."""
    pipeline = Pipeline(project, stage)
    try:
        _ = pipeline.marker
    except WorkspaceError as error:
        yield str(error)
    for mistake in pipeline.mistakes():
        yield f"meta.samerun of {stage.short}: {mistake}"
    for name in pipeline.lacking():
        kind = "params" if name.startswith("the parameter ") else "deps"
        yield f"{stage.short} lacks {name}: add it to its {kind}"
    for one in pipeline.unfollowed():
        outs = [_path(project, out) for out in one.outs]
        wanted = f"one of {', '.join(outs)}" if len(outs) > 1 else outs[0]
        yield f"{stage.short} does not depend on {one.short}: add {wanted} to its deps"
        yield from _unread(project, stage, one)


def _unread(project: Project, stage: Stage, one: Stage) -> Iterator[str]:
    """Yield the inputs of a stage that a record stage does not depend on either."""
    have = {dep.path for dep in stage.deps}
    for dep in one.deps:
        if not is_made(project, dep) and not any(contains(path, dep.path) for path in have):
            yield f"{stage.short} lacks {_path(project, dep)}: add it to its deps"
    known = [item for item in _params(project, [stage]) if isinstance(item, str)]
    for key in (item for item in _params(project, [one]) if isinstance(item, str)):
        if not any(key == name or key.startswith(f"{name}.") for name in known):
            yield f"{stage.short} lacks the parameter {key}: add it to its params"
