"""Snapshots: of a recorded run, from its artifacts, and of its reproduction, from a folder.

Knows nothing of MLflow's calls: what the store shows is passed in.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from knownline.identity import provenance

from knownline.core import history, yaml_text
from knownline.core.line import Line
from samerun.core import files
from samerun.core.errors import ReproductionError
from samerun.core.flatten import flatten
from samerun.mlflow import run_metadata
from samerun.proof.comparison import Snapshot
from samerun.working_tree import Commit

Array = npt.NDArray[np.float64]

PROBES = [-1.0, 0.0, 0.5, 3.0, 1e6]
"""The x for which the predictions of models are compared."""


def recorded(
    folder: Path,
    logged: Mapping[str, Mapping[int, float]],
    shown: Mapping[str, Any],
    model: Mapping[str, bytes],
    predicted: Sequence[float] | str,
) -> Snapshot:
    """Return the snapshot of a recorded run.

    folder: its artifacts. logged: its metrics by epoch, as the store has them. shown: what else is
    on its page. model: the model's files. predicted: its predictions for PROBES, or why there are
    none.

    Raises: ReproductionError if an artifact is missing or cannot be read.
    """
    try:
        identity = json.loads((folder / "identity.json").read_bytes())
        metrics = json.loads((folder / "metrics.json").read_bytes())
        return Snapshot(
            params=identity["params"],
            code=identity["code"],
            data=_sums(folder, str(identity["data"])),
            history=_columns(folder / "history.csv"),
            logged={name: _by_epoch(steps) for name, steps in logged.items()},
            line=Line(metrics["w"], metrics["b"]),
            metrics=flatten(metrics),
            model=model,
            predictions=predicted,
            shown=shown,
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReproductionError(f"the run's artifacts must be whole (got {error})") from error


def planned(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the parameters and the code hashes that a checkout will run with.

    Raises: ReproductionError if params.yaml or a module is missing or cannot be read.
    """
    try:
        params = yaml.safe_load((folder / "params.yaml").read_bytes())
        params.pop("retrain", None)  # the rules of a retraining's decision are not part of a run
        return flatten(params), provenance.code_hashes(folder)
    except (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ReproductionError(
            f"params.yaml and the code of the run must be whole (got {error})"
        ) from error


def reproduced(
    folder: Path, commit: Commit, recorded_params: Mapping[str, Any], model: Mapping[str, bytes]
) -> Snapshot:
    """Return the snapshot of a folder after its stages ran.

    commit: the commit that was checked out. recorded_params: the run's, which are equal to the
    folder's. model: the files of the model that the folder's line and code make.
    """
    params, code = planned(folder)
    line = Line.from_json((folder / "models/line.json").read_text())
    metrics = json.loads((folder / "reports/metrics.json").read_bytes())
    data_sha256 = files.sha256_of(folder / "data" / files.SUMS)
    columns = _columns(folder / "reports/history.csv")
    return Snapshot(
        params=params,
        code=code,
        data=_sums(folder / "data", data_sha256),
        history=columns,
        logged=columns,
        line=line,
        metrics=flatten(metrics),
        model=model,
        predictions=[float(line.at(x)) for x in PROBES],
        shown=_shown(recorded_params, metrics, data_sha256, commit),
    )


def _shown(
    params: Mapping[str, Any], metrics: dict[str, Any], data_sha256: str, commit: Commit
) -> dict[str, Any]:
    """Return what a run's page shows of its inputs and results."""
    gate = "passed" if metrics["gate"]["passed"] else "failed"
    tags = {"data_sha256": data_sha256, "gate": gate, **run_metadata.tags_of(commit)}
    numbers = {k: x for k, x in run_metadata.numbers(metrics).items() if k not in ("w", "b")}
    return {
        **{f"parameter {key}": text for key, text in yaml_text.texts(params).items()},
        **{f"metric {key}": x for key, x in numbers.items()},
        **{f"tag {key}": text for key, text in tags.items()},
    }


def _sums(folder: Path, seal_sha256: str) -> dict[str, str]:
    """Return the sums that a folder's seal lists, and `seal_sha256` as the sum of the seal."""
    sums = {
        path.relative_to(folder).as_posix(): sha for path, sha in files.read_sums(folder).items()
    }
    return {**sums, files.SUMS: seal_sha256}


def _columns(path: Path) -> dict[str, Array]:
    return history.read(path)._asdict()


def _by_epoch(steps: Mapping[int, float]) -> Array:
    """Return values by epoch, (epochs,); nan, which no training reports, for a missing epoch."""
    values = np.full(max(steps, default=-1) + 1, np.nan)
    for step, value in steps.items():
        values[step] = value
    return values
