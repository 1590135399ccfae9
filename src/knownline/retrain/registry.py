"""The registered model `knownline`: its versions, what is said on them, and who is champion.

MLflow cannot move two aliases at once. So what a version replaced is a tag on it, written before
the alias moves; the alias `previous` shows it, and is never what decides.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import ABSENT, store_errors

# isort: split
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException

from knownline.core.line import Line
from samerun.core import address
from samerun.core.errors import StoreError
from samerun.mlflow import models, tracking

Array = npt.NDArray[np.float64]

NAME = address.EXPERIMENT
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

DESCRIPTION = (
    "A straight line, y = w*x + b. The alias `champion` serves, `challenger` is the latest that was"
    " tried, `previous` is what `knownline rollback` puts back."
)
_TAG = 5_000  # the most characters MLflow keeps of a version's tag or description


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the registered model. created_ms: milliseconds since 1970."""

    number: str
    run_id: str
    tags: dict[str, str]
    created_ms: int

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return f"version {self.number}"

    @property
    def line(self) -> Line | None:
        """The line it was registered as; None where somebody else registered it."""
        try:
            return Line.from_json(self.tags["line"])
        except (KeyError, ValueError):
            return None


class DamagedModelError(Exception):
    """A version's model cannot be loaded, or is not the line it was registered as."""


class Registry:
    """The versions of the registered model in one store."""

    def __init__(self, store: tracking.Store) -> None:
        self._store = store
        self._client = store.client

    def holding(self, alias: str) -> Version | None:
        """Return the version an alias points at, or None."""
        with self._answering():
            try:
                return _version(self._client.get_model_version_by_alias(NAME, alias))
            except MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                return None

    def numbered(self, number: str) -> Version | None:
        """Return the version with this number, or None where there is none any more."""
        with self._answering():
            try:
                return _version(self._client.get_model_version(NAME, number))
            except MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                return None

    def of_run(self, run_id: str) -> Version | None:
        """Return the version that was registered from a run, or None."""
        return self._first(f"name = '{NAME}' and run_id = '{run_id}'")

    def settled(self, fingerprint: str) -> Version | None:
        """Return the latest version of this fingerprint on which a retraining came to its end."""
        return self._first(
            f"name = '{NAME}' and tag.fingerprint = '{fingerprint}' and tag.settled = 'true'"
        )

    def register(self, run_id: str, tags: dict[str, str]) -> Version:
        """Return the version of a run, registered now if it is not yet."""
        found = self.of_run(run_id)
        with self._answering():
            if found is None:
                self._make_model()
                outputs = self._client.get_run(run_id).outputs
                models = outputs.model_outputs if outputs else []
                if not models:
                    raise StoreError(f"run {run_id} must have a model (got none)")
                model = models[-1].model_id
                found = _version(
                    self._client.create_model_version(
                        NAME, f"models:/{model}", run_id=run_id, tags=tags, model_id=model
                    )
                )
            self.tag(found, tags)
            return found

    def tag(self, version: Version, tags: dict[str, str]) -> None:
        """Set tags on a version."""
        with self._answering():
            for key, value in tags.items():
                self._client.set_model_version_tag(NAME, version.number, key, value[:_TAG])

    def describe(self, version: Version, text: str) -> None:
        """Set a version's description, in Markdown."""
        with self._answering():
            self._client.update_model_version(NAME, version.number, text[:_TAG])

    def preface(self, version: Version, line: str) -> None:
        """Put a line before a version's description, once."""
        with self._answering():
            text = self._client.get_model_version(NAME, version.number).description or ""
        if not text.startswith(line):
            self.describe(version, f"{line}\n\n{text}")

    def point(self, alias: str, version: Version | None) -> None:
        """Let an alias point at a version, or at none."""
        with self._answering():
            if version:
                self._client.set_registered_model_alias(NAME, alias, version.number)
            elif self.holding(alias):
                self._client.delete_registered_model_alias(NAME, alias)

    def tag_run(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags on a run."""
        self._store.tag(run_id, tags)

    def attach(self, run_id: str, path: Path) -> None:
        """Add a file to a run."""
        with self._answering():
            self._client.log_artifact(run_id, str(path))

    def run_artifacts(self, run_id: str, names: tuple[str, ...], folder: Path) -> None:
        """Bring some of a run's files into a folder."""
        with self._answering():
            for name in names:
                self._client.download_artifacts(run_id, name, str(folder))

    def _make_model(self) -> None:
        try:
            self._client.create_registered_model(NAME, description=DESCRIPTION)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _first(self, query: str) -> Version | None:
        with self._answering():
            found = self._client.search_model_versions(query)
        return max(map(_version, found), key=lambda v: int(v.number), default=None)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        with store_errors(self._store.uri, every=True):
            yield


class Model:
    """A version's model, loaded from the registry with pickle forbidden."""

    def __init__(self, version: Version) -> None:
        """Load it and hold its answers against the line it was registered as, where that is known.

        Raises: DamagedModelError, and StoreError where its files are out of reach.
        """
        probes = [-1.0, 0.0, 0.5, 3.0, 1e6]
        try:
            self._model: Any = models.load(f"models:/{NAME}/{version.number}")
            answers = self.predict(np.array(probes))
        except StoreError:
            raise  # not reached is not damaged
        except Exception as error:  # whatever a damaged model raises is its damage
            first = str(error).strip().splitlines() or [""]
            said = f"{type(error).__name__}: {first[0][:160]}"
            raise DamagedModelError(f"its model does not answer ({said})") from error
        line = version.line
        if line is None:
            return
        if [float(y).hex() for y in answers] != [float(line.at(x)).hex() for x in probes]:
            raise DamagedModelError("its model is not the line it was registered as")

    def predict(self, x: Array) -> Array:
        """Return the predictions for x, (rows,) each."""
        return np.asarray(self._model.predict(pd.DataFrame({"x": x})), dtype=np.float64)


def _version(found: Any) -> Version:
    created = int(found.creation_timestamp or 0)
    return Version(str(found.version), str(found.run_id), dict(found.tags), created)
