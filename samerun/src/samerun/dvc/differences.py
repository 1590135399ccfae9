"""How the workspace differs from dvc.lock, whose entries may be wrong or out of date."""

from collections.abc import Iterator

from samerun.dvc import cache
from samerun.dvc.project import Project
from samerun.dvc.stage import Item, Stage


def differences(project: Project, stage: Stage) -> Iterator[str]:
    """Yield what differs from dvc.lock: a stage's command, parameters, dependencies, outputs."""
    if stage.changed_command:
        yield f"the command of {stage.name}"
    for params in stage.params:
        yield from params.changes()
    for item in (*stage.deps, *stage.outs):
        if item.locked is None and not item.path.startswith("remote://"):
            yield f"{item.path} (missing in dvc.lock)"
        elif project.digest(item) != item.locked:
            yield changed_file(project, item)


def changed_file(project: Project, item: Item) -> str:
    """Return the first file of an item that has changed; the item if the cache lacks its list."""
    listed = cache.listing(project.cache, item.locked) or {}
    old = {f"{item.path}/{name}": sha for name, sha in listed.items()}
    new = project.files(item) if old else {}
    changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
    return changed[0] if changed else item.path
