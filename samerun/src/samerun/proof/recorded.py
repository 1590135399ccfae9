"""A recorded run, fetched from the store."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from samerun.core import files
from samerun.core.errors import ReproductionError
from samerun.execution import environment
from samerun.mlflow import content
from samerun.mlflow.models import MODEL
from samerun.mlflow.recorded import RecordedRun
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit

_MACHINE = ("device", "cpu", "cores", "python", "system")
"""The tags of a run that describe its environment."""

_SHOWN_CHANGES = 5


@dataclass(frozen=True)
class Recorded:
    """A run and its files. artifacts, model: the folders of its artifacts and of its model."""

    run: RecordedRun
    artifacts: Path
    model: Path

    @classmethod
    def fetch(cls, store: Store, run: RecordedRun, folder: Path) -> "Recorded":
        """Fetch a run's files into folders of `folder`. Raises: StoreError."""
        artifacts, beside = folder / "artifacts", folder / "of-model"
        for each in (artifacts, beside):
            each.mkdir()
        store.fetch(run.run_id, artifacts, beside)
        return cls(run, artifacts, beside / MODEL)

    @cached_property
    def commit(self) -> Commit:
        """The state of the code that ran. Raises: ReproductionError if tag and patch disagree."""
        patch = self.artifacts / "changes.patch"
        dirty = self.run.tags.get("git_dirty") == "true"
        if dirty != patch.is_file():
            has = "has no" if dirty else "has a"
            raise ReproductionError(
                f"the run {has} changes.patch, but its tag git_dirty is {str(dirty).lower()}"
            )
        return Commit(self.run.tags.get("git_commit"), patch.read_bytes() if dirty else b"")

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """What went into the run. Raises: ReproductionError if it cannot be read."""
        return self._mapping("identity.json")

    @property
    def environ(self) -> Mapping[str, str | None]:
        """The environment variables that belong to the run's identity."""
        return dict(self.identity.get("env", {}))

    def check_trust(self, trusted: bool) -> None:
        """Refuse a patch from a store that is not trusted. Raises: ReproductionError."""
        if self.commit.dirty and not trusted:
            raise ReproductionError(
                "the run has uncommitted changes, and its store is not the local one: read its"
                " changes.patch, then add --with-patch"
            )

    def identity_differences(self) -> Iterator[str]:
        """Yield a difference if the run's fingerprint is not the SHA-256 of its identity.json."""
        path = self.artifacts / "identity.json"
        if not path.is_file():
            raise ReproductionError("the run's artifact identity.json is missing")
        sha, tag = files.sha256_of(path), self.run.tags.get("fingerprint")
        if sha != tag:
            yield f"identity.json has SHA-256 {sha[:12]}…, not the run's fingerprint"

    def place_lock(self, folder: Path) -> None:
        """Write the run's dvc.lock into a checkout. Raises: ReproductionError if there is none."""
        lock = self.artifacts / "dvc.lock"
        if not lock.is_file():
            raise ReproductionError("the run's artifact dvc.lock is missing")
        (folder / "dvc.lock").write_bytes(lock.read_bytes())

    def place_inputs(self, pipeline: Pipeline, *, trusted: bool) -> bool:
        """Write the run's parameter files, and other folders' dvc.lock, into a checkout.

        Returns: whether any file changed. Raises: ReproductionError if a parameter file differs
        from the commit's and the store is not trusted: such a file may be a program.
        """
        changed = False
        params = content.param_files(pipeline)
        for name in (*params, *content.locks(pipeline)):
            artifact = self.artifacts / content.artifact(pipeline, name)
            file = pipeline.project.path(name)
            if not artifact.is_file():
                continue
            new = artifact.read_bytes()
            if file.is_file() and file.read_bytes() == new:
                continue
            if name in params and not trusted:
                raise ReproductionError(
                    f"{name} of the run differs from its commit, and its store is not the local"
                    " one: read it, then add --with-patch"
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(new)
            changed = True
        return changed

    def environment_change(self, root: Path) -> str:
        """Return how this environment differs from the run's; "" if it does not.

        root: of the DVC project in which the run was executed again.
        """
        tags = {key: self.run.tags[key] for key in _MACHINE if key in self.run.tags}
        before = {**self._mapping("environment.json"), **tags}
        facts = environment.facts() | _reported(root)
        now = environment.packages() | {key: facts.get(key, value) for key, value in tags.items()}
        changes = [
            f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}"
            for name in sorted({*before, *now}, key=lambda one: (one not in tags, one.lower()))
            if before.get(name) != now.get(name)
        ]
        more = len(changes) - _SHOWN_CHANGES
        return "; ".join(changes[:_SHOWN_CHANGES]) + (f"; {more} more" if more > 0 else "")

    def _mapping(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.artifacts / name).read_bytes()).items())
        except (OSError, AttributeError, ValueError) as error:
            raise ReproductionError(f"cannot read the run's artifact {name}: {error}") from error


def _reported(root: Path) -> dict[str, str]:
    """Return the tags that the programs of a project's stages reported, such as their device."""
    tags: dict[str, str] = {}
    for path in (root / ".dvc" / "tmp" / "samerun" / "receipts").glob("*.json"):
        tags |= json.loads(path.read_bytes()).get("tags", {})
    return tags
