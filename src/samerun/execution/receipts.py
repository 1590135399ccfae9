"""What a training leaves for `record`: that it ran, when, and on what.

A receipt lies beside the marker and in no output of DVC: none of it may be hashed. `record` takes
it when the run is in the store. Knows nothing of MLflow.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from samerun.core import files

STORE = Path("mlruns")
"""The folder of the marker and the receipts, in the folder the stage runs in."""

MARKER = STORE / "recorded.json"
"""The output of `record`: the fingerprint of what the store has of these files."""

_KEEP = "*\n!.gitignore\n"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution of `train`.

    trained: the digest of what it was made with. What judges it may change before it is recorded.
    started: seconds since 1970, UTC. seconds: how long the fit took.
    device: where the fit ran. facts: host, CPU, python. packages: name to version.
    execution: names this execution, so that a recording cut short is found and completed.
    name: what its run is to be called; "" in what an earlier version left.
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
    """Make mlruns/, kept by git and ignored but for that, also after a user removed it whole."""
    keep = STORE / ".gitignore"
    if not keep.exists():
        files.write_text(keep, _KEEP)


def remove_marker() -> None:
    """Take the marker away: a training begins, and `record` has something to do when it ended.

    A training done again gives the same bytes, and one that is killed is restored from DVC's cache:
    either way DVC by itself would see no reason to run `record`, which records, or sweeps.
    """
    MARKER.unlink(missing_ok=True)


def write(receipt: Receipt) -> None:
    """Write a receipt; one of the same training that was not taken yet is replaced."""
    make_folder()
    files.write_text(_path(receipt.trained), json.dumps(asdict(receipt), indent=1) + "\n")


def read(trained: str) -> Receipt | None:
    """Return the receipt of a training that is not recorded yet, or None."""
    try:
        return Receipt(**json.loads(_path(trained).read_text()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError):
        return None  # of another version of this code: what it would tell is lost, the run is not


def unrecorded() -> set[str]:
    """Return the executions whose training ended well and that are not recorded yet."""
    names = (path.stem for path in (STORE / "receipts").glob("*.json"))
    return {receipt.execution for name in names if (receipt := read(name))}


def names() -> dict[Path, str]:
    """Return the receipts that lie here, with what their runs are to be called; "" if unknown."""
    paths = sorted((STORE / "receipts").glob("*.json"))
    return {path: found.name if (found := read(path.stem)) else "" for path in paths}


def remove(trained: str) -> None:
    """Remove a receipt: its training is recorded."""
    _path(trained).unlink(missing_ok=True)


def _path(trained: str) -> Path:
    return STORE / "receipts" / f"{trained}.json"
