"""What of the workspace is not as dvc.lock has it: the lock can lie, and so can DVC's memory."""

from collections.abc import Iterator

from samerun.dvc import cache
from samerun.dvc.project import Project
from samerun.dvc.stage import Item, Stage


def differences(project: Project, stage: Stage) -> Iterator[str]:
    """Yield what of a stage differs from dvc.lock: command, parameters, dependencies, outputs."""
    if stage.changed_command:
        yield f"the command of {stage.name}"
    for params in stage.params:
        yield from params.changes()
    for item in (*stage.deps, *stage.outs):
        if item.locked is None and not item.path.startswith("remote://"):
            yield f"{item.path}, which dvc.lock does not have"
        elif project.digest(item) != item.locked:
            yield changed_file(project, item)


def changed_file(project: Project, item: Item) -> str:
    """Return which file of an item is not as DVC has it, as far as DVC's cache can tell."""
    listed = cache.listing(project.cache, item.locked) or {}
    old = {f"{item.path}/{name}": sha for name, sha in listed.items()}
    new = project.files(item) if old else {}
    changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
    return changed[0] if changed else item.path
