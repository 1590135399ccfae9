"""`knownline summary`: prints the fit, the gate's verdict and the recorded run, from files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from knownline.core.errors import damaged, missing
from knownline.core.formatting import plain, rounded
from knownline.core.layout import METRICS
from knownline.evaluate.verdict import rows, verdict

MARKER = Path("mlruns/recorded.json")
"""The output of `samerun record`: the fingerprint of the recorded run."""

LAST = Path("mlruns/last.json")
"""A file of `samerun record` about the last run that it recorded."""


def main() -> int:
    """Print the summary, quickly: without importing torch or mlflow."""
    try:
        metrics = json.loads(METRICS.read_text())
    except FileNotFoundError:
        raise missing(METRICS) from None
    except (IsADirectoryError, ValueError) as error:
        raise damaged(METRICS, str(error)) from error
    try:
        reasons = [f"    - {reason}" for reason in metrics["gate"]["reasons"]]
        lines = ["", *_parameters(metrics), f"  {rows(metrics)}", ""]
        lines += [f"  gate {verdict(metrics)}", *reasons, "", _run(), ""]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(METRICS, str(error)) from error
    print("\n".join(lines))
    return 0


def _parameters(metrics: dict[str, Any]) -> list[str]:
    """Return a line for each parameter: fitted, standard error, and true if that is known."""
    return [
        f"  {name} = {_with_error(metrics[name], error)}{_truth_clause(metrics['truth'][name])}"
        for name, error in metrics["se"].items()
    ]


def _run() -> str:
    """Return a line about the recorded run that has the current files."""
    try:
        last, marker = json.loads(LAST.read_text()), json.loads(MARKER.read_text())
    except (OSError, ValueError):
        last, marker = None, None
    if not _is_recorded(last, marker):
        return "  run not recorded: run `dvc repro`"
    return f"  run recorded: {last['name']} ({last['run_id']}); `make ui` shows it"


def _is_recorded(last: Any, marker: Any) -> bool:
    """Return whether the current files are those of the last run that was recorded.

    The metrics are compared too, because another run's files may have been checked out since.
    """
    if not isinstance(last, dict) or not {"fingerprint", "name", "run_id", "outs"} <= last.keys():
        return False
    md5 = hashlib.md5(METRICS.read_bytes(), usedforsecurity=False).hexdigest()  # as in dvc.lock
    return (
        marker == {"fingerprint": last["fingerprint"]}
        and isinstance(last["outs"], dict)
        and last["outs"].get(METRICS.as_posix()) == md5
    )


def _with_error(value: float | None, error: float | None) -> str:
    """Return value ± standard error, both to the second significant digit of the error."""
    if value is None or not error:
        return str(value)
    return f"{rounded(value, error)} ± {rounded(error, error)}"


def _truth_clause(value: float | None) -> str:
    return "" if value is None else f" (true {plain(value)})"
