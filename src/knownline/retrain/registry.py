"""The registered model `knownline` in MLflow: its versions, their tags and its aliases.

MLflow cannot move two aliases at once. So the version that another one replaced is written to a tag
before the alias moves; the alias `previous` only shows it and decides nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samerun.mlflow.errors import ABSENT_CODES, store_errors

# isort: split
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException

from knownline.core.line import Line
from samerun.core.errors import StoreError
from samerun.mlflow import models, tracking

Array = npt.NDArray[np.float64]

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

DESCRIPTION = (
    "A straight line, y = w*x + b. The alias `champion` serves, `challenger` is the latest that was"
    " tried, `previous` is what `knownline rollback` puts back."
)
_LONGEST = 5_000  # the most characters that MLflow stores of a version's tag or description


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the registered model."""

    number: str
    run_id: str
    tags: dict[str, str]
    model_name: str

    @property
    def name(self) -> str:
        """The version's name in a sentence."""
        return f"version {self.number}"

    @property
    def line(self) -> Line | None:
        """The line it was registered with, or None if knownline did not register it."""
        try:
            return Line.from_json(self.tags["line"])
        except (KeyError, ValueError):
            return None


class DamagedModelError(Exception):
    """A version's model cannot be loaded, or is not the line it was registered with."""


class Registry:
    """The versions of the registered model in one store."""

    def __init__(self, store: tracking.Store) -> None:
        self._store = store
        self._client = store.client
        self._name = store.name

    def by_alias(self, alias: str) -> Version | None:
        """Return the version that an alias points to, or None."""
        with self._store_errors():
            try:
                return _version(self._client.get_model_version_by_alias(self._name, alias))
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
        """Return the version of a run; register it first if it has none."""
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
        """Set a version's description, in Markdown."""
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
        try:
            self._client.create_registered_model(self._name, description=DESCRIPTION)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _latest(self, query: str) -> Version | None:
        with self._store_errors():
            versions = self._client.search_model_versions(query)
        return max(map(_version, versions), key=lambda v: int(v.number), default=None)

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        with store_errors(self._store.uri, every=True):
            yield


class Model:
    """A version's model, loaded from the registry with pickle forbidden."""

    def __init__(self, version: Version) -> None:
        """Load the model and compare its predictions with the registered line, if that is known.

        Raises: DamagedModelError, or StoreError if its files cannot be reached.
        """
        x_values = [-1.0, 0.0, 0.5, 3.0, 1e6]
        try:
            self._model: Any = models.load(f"models:/{version.model_name}/{version.number}")
            predictions = self.predict(np.array(x_values))
        except StoreError:
            raise  # a store out of reach does not mean a damaged model
        except Exception as error:  # a damaged model can raise anything
            first_line = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {first_line[0][:160]}"
            raise DamagedModelError(f"its model does not answer ({reason})") from error
        line = version.line
        if line is None:
            return
        if [float(y).hex() for y in predictions] != [float(line.at(x)).hex() for x in x_values]:
            raise DamagedModelError("its model is not the line it was registered as")

    def predict(self, x: Array) -> Array:
        """Return the predictions for x, (rows,) each."""
        return np.asarray(self._model.predict(pd.DataFrame({"x": x})), dtype=np.float64)


def _version(entity: Any) -> Version:
    return Version(str(entity.version), str(entity.run_id), dict(entity.tags), str(entity.name))
