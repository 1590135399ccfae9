"""`knownline summary`: prints the fit, the gate's verdict and the recorded run, from files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from knownline.core.formatting import plain, r_squared, rounded, significant
from knownline.core.layout import METRICS
from knownline.evaluate.verdict import verdict
from samerun.core.errors import DamagedError, MissingError

MARKER = Path("mlruns/recorded.json")
"""The output of `samerun record`: the fingerprint of the run that has the current files."""

LAST = Path("mlruns/last.json")
"""What `samerun record` wrote about the last run it recorded."""


def main() -> int:
    """Print the summary, quickly: without importing torch or mlflow."""
    try:
        metrics = json.loads(METRICS.read_text())
    except FileNotFoundError:
        raise MissingError(f"{METRICS} must be there: run `dvc repro` (got no file)") from None
    except (IsADirectoryError, ValueError) as error:
        raise _damaged_error(error) from error
    try:
        verdict = _verdict(metrics)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged_error(error) from error
    print("\n".join(["", *verdict, *_run(), ""]))
    return 0


def _damaged_error(error: Exception) -> DamagedError:
    return DamagedError(
        f"{METRICS} must be what `evaluate` wrote: delete it and run `dvc repro` (got other bytes:"
        f" {error})"
    )


def _verdict(metrics: dict[str, Any]) -> list[str]:
    gate, holdout = metrics["gate"], metrics["holdout"]
    lines = [
        f"  {name} = {_with_error(metrics[name], metrics['se'][name])}"
        f"{_truth_clause(metrics['truth'][name])}"
        for name in metrics["se"]
    ]
    lines.append(
        f"  {metrics['rows']:,} rows fitted, {holdout['rows']:,} held out{_holdout_clause(holdout)}"
    )
    lines += ["", f"  gate {verdict(metrics)}"]
    return lines + [f"    - {reason}" for reason in gate["reasons"]]


def _run() -> list[str]:
    """Return the lines about the run as which the current files were recorded."""
    try:
        last, marker = json.loads(LAST.read_text()), json.loads(MARKER.read_text())
    except (OSError, ValueError):
        last, marker = None, None
    if not _is_recorded(last, marker):
        return ["", "  not recorded: run `dvc repro`"]
    return [
        "",
        f"  run recorded: {last['name']}",
        f"    id   {last['run_id']}",
        "    see  make ui, and open the address it prints",
    ]


def _is_recorded(last: Any, marker: Any) -> bool:
    """Return whether the current files are those of the last run that was recorded.

    Another run's files may have been checked out since, so the metrics are compared too.
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
    """Return value ± error, both to the second significant digit of the error."""
    if value is None or not error:
        return str(value)
    return f"{rounded(value, error)} ± {rounded(error, error)}"


def _truth_clause(value: float | None) -> str:
    return "" if value is None else f" (true {plain(value)})"


def _holdout_clause(holdout: dict[str, Any]) -> str:
    if holdout["rmse"] is None:
        return ""
    r2 = "" if holdout["r2"] is None else f", R² = {r_squared(holdout['r2'])}"
    return f" (RMSE {significant(holdout['rmse'], 4)}{r2})"
