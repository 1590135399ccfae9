"""What is compared of a run, read from what the store kept and from a folder it was done again in.

Knows nothing of MLflow; the store's part is handed in.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from knownline import files, history, provenance
from knownline.comparison import Evidence
from knownline.errors import ReplicaError
from knownline.line import Line

Array = npt.NDArray[np.float64]

PROBES = [-1.0, 0.0, 0.5, 3.0, 1e6]
"""The x at which a recorded model is asked for its predictions."""


def recorded(
    folder: Path, logged: Mapping[str, Mapping[int, float]], predicted: Sequence[float] | str
) -> Evidence:
    """Return what a run was.

    folder: its artifacts, the model's in model/. logged: its metrics by epoch, as the store has
    them. predicted: what its model says at PROBES, or why it says nothing.

    Raises: ReplicaError where an artifact is missing or cannot be read.
    """
    try:
        identity = json.loads((folder / "identity.json").read_bytes())
        metrics = json.loads((folder / "metrics.json").read_bytes())
        return Evidence(
            params=identity["params"],
            code=identity["code"],
            data=_sums(folder),
            history=_columns(folder / "history.csv"),
            logged={name: _by_epoch(steps) for name, steps in logged.items()},
            line=Line(metrics["w"], metrics["b"]),
            metrics=_flat(metrics),
            model={
                "line.json": (folder / "model/artifacts/line.json").read_bytes(),
                "line_model.py": (folder / "model/line_model.py").read_bytes(),
            },
            predictions=predicted,
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReplicaError(f"the run's artifacts must be whole (got {error})") from error


def planned(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the parameters and the code that a checkout is about to be run with."""
    params = yaml.safe_load((folder / "params.yaml").read_bytes())
    params.pop("retrain", None)  # how a retraining decides is no part of a run
    return _flat(params), provenance.code_hashes(folder)


def present(folder: Path) -> Evidence:
    """Return what a folder's outputs are after its stages ran."""
    params, code = planned(folder)
    line = Line.from_json((folder / "models/line.json").read_text())
    metrics = json.loads((folder / "reports/metrics.json").read_bytes())
    columns = _columns(folder / "reports/history.csv")
    return Evidence(
        params=params,
        code=code,
        data=_sums(folder / "data"),
        history=columns,
        logged=columns,
        line=line,
        metrics=_flat(metrics),
        model={
            "line.json": (folder / "models/line.json").read_bytes(),
            "line_model.py": (folder / "src/served/line_model.py").read_bytes(),
        },
        predictions=[float(line.at(x)) for x in PROBES],
    )


def _sums(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha for path, sha in files.sealed(folder).items()}


def _columns(path: Path) -> dict[str, Array]:
    return history.read(path)._asdict()


def _by_epoch(steps: Mapping[int, float]) -> Array:
    """Return values by epoch; an epoch that is missing is nan, which no training reports."""
    values = np.full(max(steps, default=-1) + 1, np.nan)
    for step, value in steps.items():
        values[step] = value
    return values


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
