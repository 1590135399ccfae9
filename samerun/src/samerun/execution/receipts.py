"""Receipts: files that tell `record` that a stage was executed, when, where, and with what result.

They are in DVC's folder for temporary files, which neither git nor DVC tracks. A receipt is named
by the hash of all that went into the stage, so experiments that run at once do not mix theirs up.
Knows nothing of MLflow.
"""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from samerun.core import address, files
from samerun.execution.processes import is_gone

_KEPT = 500
"""How many receipts are kept. One that is recorded still shows where the outputs came from."""

_REPORTED = ".jsonl"

_LONGEST = 1e11
"""Seconds, more than 3000 years: a larger number is neither a time since 1970 nor a duration."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution of a stage.

    key: the hash of what went into it. stage: its name. execution: the id of this execution, by
    which an interrupted recording can be completed. started: seconds since 1970, UTC. seconds: its
    duration. outs: path to hash. tags: what the program reported about itself, such as its device.
    facts: host, CPU, python. packages: name to version. env: the values of the environment
    variables that belong to identity. params: dotted name to value, as text. pipeline: the name of
    the DVC process that ran it. live: whether a run may have shown it while it ran. recorded:
    whether a complete run includes it.
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
    env: dict[str, str | None] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    pipeline: str | None = None
    live: bool = False
    recorded: bool = False


def folder() -> Path:
    """Return the folder of samerun's own files, which is in the workspace even in experiments."""
    return address.workspace() / ".dvc" / "tmp" / "samerun"


def write(receipt: Receipt, reported: Path | None = None) -> None:
    """Write a receipt; it replaces that of an earlier execution with the same inputs.

    If the same DVC process has one that is not recorded yet, that is of an earlier command of the
    same stage, and the two are merged. That of another DVC process stays, since two experiments may
    execute equal stages at once; but if that process is gone, it is removed. reported: the file
    with what the program has reported, which is moved beside the receipt.
    """
    target = path(receipt)
    earlier = None if receipt.recorded else _earlier_command(receipt)
    if earlier:
        receipt = _merged(earlier, receipt)
    if reported:
        target.parent.mkdir(parents=True, exist_ok=True)
        _keep_reported(reported, reported_of(receipt), add=earlier is not None)
    files.write_text(target, json.dumps(asdict(receipt), indent=1) + "\n")
    for other in _found(f"{receipt.key}.*.json"):
        if path(other) != target and is_new(other, receipt.pipeline):
            _remove(path(other))
    _remove_oldest(target.parent)


def _earlier_command(receipt: Receipt) -> Receipt | None:
    """Return the receipt of an earlier command of the same stage and DVC process, or None."""
    receipts = _found(path(receipt).name) if receipt.pipeline else []
    return next((one for one in receipts if not one.recorded), None)


def _merged(earlier: Receipt, later: Receipt) -> Receipt:
    """Return two commands of a stage as one execution; its id is the one that may have a run."""
    return replace(
        later,
        execution=earlier.execution if earlier.live else later.execution,
        started=min(earlier.started, later.started),
        seconds=earlier.seconds + later.seconds,
        tags=earlier.tags | later.tags,
        live=earlier.live or later.live,
    )


def _keep_reported(reported: Path, target: Path, *, add: bool) -> None:
    """Move what a program has reported beside its receipt. add: append it to what is there."""
    if not add:
        target.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if not target.exists():
            reported.replace(target)
            return
        with reported.open("rb") as new, target.open("rb+") as all_lines:
            if all_lines.seek(0, os.SEEK_END):
                all_lines.write(b"\n")  # the last line may have no newline
            shutil.copyfileobj(new, all_lines)
        reported.unlink()


def read(key: str, pipeline: str | None) -> Receipt | None:
    """Return the receipt for these inputs, or None: that of this DVC process, else the latest.

    pipeline: the name of the DVC process that runs this one.
    """
    matching = _found(f"{key}.*.json")
    own = [receipt for receipt in matching if receipt.pipeline == pipeline]
    return max(own or matching, key=lambda receipt: receipt.started, default=None)


def is_new(receipt: Receipt, pipeline: str | None) -> bool:
    """Return whether an execution still has to be recorded, by this DVC process.

    It has not if a run includes it, or if another DVC process executed it and will record it.
    """
    other = receipt.pipeline if receipt.pipeline != pipeline else None
    return not receipt.recorded and (other is None or is_gone(other))


def _found(pattern: str) -> list[Receipt]:
    receipts = []
    for file in sorted((folder() / "receipts").glob(pattern)):
        try:
            receipt = Receipt(**json.loads(file.read_text()))
        except (OSError, TypeError, ValueError, RecursionError):
            continue  # another version's: the run is recorded without its facts
        if _is_valid(receipt) and path(receipt).name == file.name:
            receipts.append(receipt)
    return receipts


def _is_valid(receipt: Receipt) -> bool:
    """Return whether a receipt's values have the right types: its file may have been edited."""
    texts = (receipt.key, receipt.stage, receipt.execution, receipt.pipeline or "")
    mappings = (receipt.outs, receipt.tags, receipt.facts, receipt.packages, receipt.params)
    return (
        all(isinstance(each, str) for each in texts)
        and all(isinstance(each, bool) for each in (receipt.live, receipt.recorded))
        and all(_is_seconds(each) for each in (receipt.started, receipt.seconds))
        and all(isinstance(each, dict) for each in (*mappings, receipt.env))
        and all(isinstance(text, str) for each in mappings for text in each.values())
    )


def _is_seconds(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < _LONGEST  # type: ignore[operator]


def unrecorded() -> list[Receipt]:
    """Return the executions that succeeded and that no complete run includes yet."""
    return [receipt for receipt in _found("*.json") if not receipt.recorded]


def mark_recorded(receipt: Receipt) -> None:
    """Note that a complete run includes an execution, unless a later receipt has replaced this."""
    latest = read(receipt.key, receipt.pipeline)
    if latest and latest.execution == receipt.execution:
        write(replace(latest, recorded=True))


def _remove_oldest(parent: Path) -> None:
    """Remove all but the newest receipts, unless another process has removed one already."""

    def modified(file: Path) -> float:
        try:
            return file.stat().st_mtime
        except OSError:
            return 0.0

    for old in sorted(parent.glob("*.json"), key=modified)[:-_KEPT]:
        _remove(old)


def _remove(file: Path) -> None:
    for each in (file, file.with_suffix(_REPORTED)):
        each.unlink(missing_ok=True)


def reported_of(receipt: Receipt) -> Path:
    """Return the file with what the program has reported; it need not exist."""
    return path(receipt).with_suffix(_REPORTED)


def path(receipt: Receipt) -> Path:
    """Return the file of a receipt."""
    process = hashlib.sha256((receipt.pipeline or "").encode()).hexdigest()[:8]
    return folder() / "receipts" / f"{receipt.key}.{process}.json"
