"""The registered models in MLflow, one for each problem: their versions, tags and aliases.

The model of the first problem in a store has the project's name, `knownline`. The names of the
others continue with the model, the target and a hash
(docs/decisions/0017-one-champion-per-problem.md).

MLflow cannot move two aliases at once. So before the alias `champion` moves, a tag of the new
champion gets the number of the version that it replaces. The alias `previous` only shows that
number; no decision depends on it.

A version has a tag for each fact that people or MLflow's search need. Everything else that was
known at its registration is JSON in one tag, `registration`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import ABSENT_CODES, store_errors

# isort: split
from mlflow.exceptions import MlflowException

from knownline.core.model_file import Fitted
from knownline.retrain.problem import Problem
from samerun.core.errors import StoreError
from samerun.mlflow import tracking

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

PROBLEM = "problem"
"""The tag of a registered model that says what its versions are fitted for, as JSON."""

DESCRIPTION = (
    "Aliases: `champion` is the version in production, `challenger` the latest one that was tried,"
    " `previous` the one that `knownline rollback` would restore. Each version's description is the"
    " report of its retraining."
)

_REGISTRATION = "registration"
"""The tag of a version with what only code reads, as JSON."""

_SHOWN = ("fingerprint", "gate", "git_commit", "retrained_on")
"""What is known of a version at its registration and has a tag of its own."""

_LONGEST = 5_000
"""The most characters that MLflow stores of a version's tag or description."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the registered model.

    tags: its tags in MLflow, and what was known at its registration.
    """

    number: str
    run_id: str
    tags: dict[str, str]
    model_name: str

    @property
    def name(self) -> str:
        """The version's name in a sentence."""
        return f"version {self.number}"

    @property
    def fitted(self) -> Fitted | None:
        """The model it was registered with, or None if knownline did not register it."""
        try:
            return Fitted.from_json(self.text("model"))
        except ValueError:
            return None

    def text(self, key: str) -> str:
        """Return a tag, also one that was divided because it is long; "" if there is none."""
        return _whole(self.tags, key)


def _parts(key: str) -> Iterator[str]:
    """Yield the keys of the tags that a long text is divided into."""
    yield key
    for number in count(2):
        yield f"{key}.{number}"


def _whole(tags: Mapping[str, str], key: str) -> str:
    """Return the text that `_divided` divided; "" if there is none."""
    return "".join(tags[part] for part in takewhile(lambda part: part in tags, _parts(key)))


class Registry:
    """The versions of the registered model of one problem in one store."""

    def __init__(self, store: tracking.Store, problem: Problem) -> None:
        self._store, self._problem = store, problem
        self._client = store.client
        self._project = store.name
        solved = self._solved(self._project)
        own = solved in (None, problem.to_json())
        self._name = self._project if own else f"{self._project}-{problem.suffix()}"

    @property
    def name(self) -> str:
        """The name of the registered model."""
        return self._name

    def champion_elsewhere(self) -> tuple[Version, str] | None:
        """Return the champion of the project's first problem, if it is another, and that problem.

        The problem is as `Problem.to_json` writes it.
        """
        if self._name == self._project:
            return None
        version = self._by_alias(self._project, CHAMPION)
        return (version, self._solved(self._project) or "") if version else None

    def _solved(self, name: str) -> str | None:
        """Return the problem of a registered model; None if there is no such model or no tag."""
        with self._store_errors():
            try:
                return dict(self._client.get_registered_model(name).tags).get(PROBLEM)
            except MlflowException as error:
                if error.error_code not in ABSENT_CODES:
                    raise
                return None

    def by_alias(self, alias: str) -> Version | None:
        """Return the version that an alias points to, or None."""
        return self._by_alias(self._name, alias)

    def _by_alias(self, name: str, alias: str) -> Version | None:
        with self._store_errors():
            try:
                return _version(self._client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                if error.error_code not in ABSENT_CODES:
                    raise
                return None

    def by_number(self, number: str) -> Version | None:
        """Return the version with this number, or None if there is none."""
        with self._store_errors():
            try:
                return _version(self._client.get_model_version(self._name, number))
            except MlflowException as error:
                if error.error_code not in ABSENT_CODES:
                    raise
                return None

    def by_run(self, run_id: str) -> Version | None:
        """Return the version that was registered from a run, or None."""
        return self._latest(f"name = '{self._name}' and run_id = '{run_id}'")

    def latest_settled(self, fingerprint: str) -> Version | None:
        """Return the latest version of this fingerprint whose retraining was completed."""
        return self._latest(
            f"name = '{self._name}' and tag.fingerprint = '{fingerprint}' and tag.settled = 'true'"
        )

    def register(self, run_id: str, tags: dict[str, str]) -> Version:
        """Return the version of a run; register it first if it has none.

        tags: what is known of it; what only code reads shares one tag.
        """
        facts = {**tags, PROBLEM: self._problem.to_json()}
        tags = {key: facts.pop(key) for key in _SHOWN if key in facts}
        tags |= _divided({_REGISTRATION: json.dumps(facts, ensure_ascii=False)})
        version = self.by_run(run_id)
        with self._store_errors():
            if version is None:
                self._create_model()
                outputs = self._client.get_run(run_id).outputs
                models = outputs.model_outputs if outputs else []
                if not models:
                    raise StoreError(f"run {run_id} must have a model (got none)")
                model = models[-1].model_id
                version = _version(
                    self._client.create_model_version(
                        self._name, f"models:/{model}", run_id=run_id, tags=tags, model_id=model
                    )
                )
            self.tag(version, tags)
            return version

    def tag(self, version: Version, tags: dict[str, str]) -> None:
        """Set tags on a version."""
        with self._store_errors():
            for key, value in tags.items():
                self._client.set_model_version_tag(
                    self._name, version.number, key, value[:_LONGEST]
                )

    def describe(self, version: Version, text: str) -> None:
        """Set a version's description, which is Markdown."""
        with self._store_errors():
            self._client.update_model_version(self._name, version.number, text[:_LONGEST])

    def preface(self, version: Version, line: str) -> None:
        """Put a line before a version's description, unless it begins with it already."""
        with self._store_errors():
            text = self._client.get_model_version(self._name, version.number).description or ""
        if not text.startswith(line):
            self.describe(version, f"{line}\n\n{text}")

    def set_alias(self, alias: str, version: Version | None) -> None:
        """Let an alias point to a version; with None, delete the alias."""
        with self._store_errors():
            if version:
                self._client.set_registered_model_alias(self._name, alias, version.number)
            elif self.by_alias(alias):
                self._client.delete_registered_model_alias(self._name, alias)

    def tag_run(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags on a run."""
        self._store.tag(run_id, tags)

    def attach(self, run_id: str, path: Path) -> None:
        """Add a file to a run, under its path in the repository."""
        with self._store_errors():
            self._client.log_artifact(run_id, str(path), str(path.parent))

    def download_artifacts(self, run_id: str, names: tuple[str, ...], folder: Path) -> None:
        """Download some of a run's files into a folder."""
        with self._store_errors():
            for name in names:
                self._client.download_artifacts(run_id, name, str(folder))

    def _create_model(self) -> None:
        text = f"Fitted for: {self._problem.words}. {DESCRIPTION}"
        tags = {PROBLEM: self._problem.to_json()}
        try:
            self._client.create_registered_model(self._name, tags=tags, description=text)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            solved = self._solved(self._name)
            if solved is None:  # a person created it, or an older knownline did
                self._client.set_registered_model_tag(self._name, PROBLEM, tags[PROBLEM])
            elif solved != tags[PROBLEM]:
                raise StoreError(
                    f"{self._name} must be free for the problem {self._problem.words} (got another"
                    " problem's, which another process created meanwhile: repeat this)"
                ) from None

    def _latest(self, query: str) -> Version | None:
        with self._store_errors():
            versions = self._client.search_model_versions(query)
        return max(map(_version, versions), key=lambda v: int(v.number), default=None)

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        with store_errors(self._store.uri, every=True):
            yield


def _divided(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags that are short enough for MLflow: a longer text is divided."""
    return {
        part: value[at : at + _LONGEST]
        for key, value in tags.items()
        for part, at in zip(_parts(key), range(0, max(len(value), 1), _LONGEST), strict=False)
    }


def _version(entity: Any) -> Version:
    """Return a version of MLflow's client; an older knownline gave each fact a tag of its own."""
    tags: dict[str, str] = dict(entity.tags)
    with suppress(ValueError):
        # Not loads: after a shorter text, a part of a longer one may be left.
        facts, _ = json.JSONDecoder().raw_decode(_whole(tags, _REGISTRATION))
        tags = {**facts, **tags}
    return Version(str(entity.version), str(entity.run_id), tags, str(entity.name))
