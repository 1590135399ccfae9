"""Receipts: what a training leaves for `record`, namely that it ran, when, and on what machine.

A receipt is beside the marker and in no output of DVC, since nothing in it may be hashed. `record`
removes it once the run is in the store. Knows nothing of MLflow.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from samerun.core import files

FOLDER = Path("mlruns")
"""The folder of the marker and the receipts, relative to the folder that the stage runs in."""

MARKER = FOLDER / "recorded.json"
"""The output of `record`: the fingerprint of the run that the store has of these files."""

_GITIGNORE = "*\n!.gitignore\n"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution of `train`.

    trained: the digest of the inputs of `train`; those of `evaluate` may still change.
    started: seconds since 1970, UTC. seconds: how long the fit took.
    device: where the fit ran. facts: host, CPU, python. packages: name to version.
    execution: names this execution, so that an interrupted recording can be completed.
    name: the name of its run; "" in a receipt of an earlier version.
    """

    trained: str
    started: float
    seconds: float
    device: str
    facts: dict[str, str]
    packages: dict[str, str]
    execution: str
    name: str = ""


def make_folder() -> None:
    """Create mlruns/ if it is absent, with a .gitignore that excludes everything but itself."""
    gitignore = FOLDER / ".gitignore"
    if not gitignore.exists():
        files.write_text(gitignore, _GITIGNORE)


def remove_marker() -> None:
    """Remove the marker when a training begins, so that DVC runs `record` after it.

    A repeated training gives the same bytes, and DVC restores the outputs of one that was killed
    from its cache: either way DVC by itself would skip `record`, which records or sweeps.
    """
    MARKER.unlink(missing_ok=True)


def write(receipt: Receipt) -> None:
    """Write a receipt; it replaces one of the same training that was not recorded yet."""
    make_folder()
    files.write_text(_path(receipt.trained), json.dumps(asdict(receipt), indent=1) + "\n")


def read(trained: str) -> Receipt | None:
    """Return the receipt of a training that is not recorded yet, or None."""
    try:
        return Receipt(**json.loads(_path(trained).read_text()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError):
        return None  # written by another version: its facts are lost, the run is still recorded


def unrecorded() -> set[str]:
    """Return the executions whose training succeeded and that are not recorded yet."""
    names = (path.stem for path in (FOLDER / "receipts").glob("*.json"))
    return {receipt.execution for name in names if (receipt := read(name))}


def run_names() -> dict[Path, str]:
    """Return the receipts that exist, each with the name of its run; "" if unknown."""
    paths = sorted((FOLDER / "receipts").glob("*.json"))
    return {path: receipt.name if (receipt := read(path.stem)) else "" for path in paths}


def remove(trained: str) -> None:
    """Remove the receipt of a training that is recorded."""
    _path(trained).unlink(missing_ok=True)


def _path(trained: str) -> Path:
    return FOLDER / "receipts" / f"{trained}.json"
