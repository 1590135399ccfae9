"""Receipts: what an execution of a stage leaves for `record`, namely that it ran, when, and where.

They lie in DVC's own folder for temporary files, which neither git nor DVC keeps. Each is known by
the digest of all that went into the stage, so experiments side by side do not take each other's.
Knows nothing of MLflow.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from samerun.core import files

_KEPT = 500
"""How many receipts are kept: a recorded one still says where the outputs came from."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution of a stage.

    key: the digest of what went into it. stage: its name. execution: names this execution, so that
    an interrupted recording can be completed. started: seconds since 1970, UTC. seconds: how long
    it took. outs: path to hash. tags: what the program said of itself, as its device. facts: host,
    CPU, python. packages: name to version. live: whether a run may have shown it while it ran.
    recorded: whether a complete run has it.
    """

    key: str
    stage: str
    execution: str
    started: float
    seconds: float
    outs: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    live: bool = False
    recorded: bool = False


def folder() -> Path:
    """Return the folder of samerun's own files: that of the workspace, in every experiment."""
    root = os.environ.get("DVC_ROOT")
    here = Path(root) if root else next(
        (path for path in (Path.cwd(), *Path.cwd().parents) if (path / ".dvc").is_dir()), Path.cwd()
    )  # fmt: skip
    return here / ".dvc" / "tmp" / "samerun"


def write(receipt: Receipt) -> None:
    """Write a receipt; it replaces that of an earlier execution with the same inputs."""
    files.write_text(_path(receipt.key), json.dumps(asdict(receipt), indent=1) + "\n")
    files.keep_newest(_path(receipt.key).parent, _KEPT)


def read(key: str) -> Receipt | None:
    """Return the receipt of the latest execution with these inputs, or None."""
    try:
        return Receipt(**json.loads(_path(key).read_text()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError):
        return None  # written by another version: its facts are lost, the run is still recorded


def unrecorded() -> list[Receipt]:
    """Return the executions that succeeded and that no complete run has yet."""
    found = (read(path.stem) for path in sorted((folder() / "receipts").glob("*.json")))
    return [receipt for receipt in found if receipt and not receipt.recorded]


def mark_recorded(receipt: Receipt) -> None:
    """Note that a complete run has this execution, unless a later one replaced its receipt."""
    latest = read(receipt.key)
    if latest and latest.execution == receipt.execution:
        write(replace(latest, recorded=True))


def _path(key: str) -> Path:
    return folder() / "receipts" / f"{key}.json"
