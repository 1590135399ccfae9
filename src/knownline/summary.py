"""`knownline summary`: fitted against true, the gate and the run, as the files say."""

import json
from pathlib import Path
from typing import Any

from knownline.core.formatting import plain, r_squared, rounded, significant
from knownline.core.layout import METRICS
from samerun.core import files
from samerun.core.errors import DamagedError, MissingError
from samerun.execution import receipts

LAST = Path("mlruns/last.json")


def main() -> int:
    """Print the summary; imports neither torch nor mlflow, so that repeating it costs nothing."""
    try:
        metrics = json.loads(METRICS.read_text())
    except FileNotFoundError:
        raise MissingError(f"{METRICS} must be there: run `dvc repro` (got no file)") from None
    except (IsADirectoryError, ValueError) as error:
        raise _damaged(error) from error
    try:
        verdict = _verdict(metrics)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(error) from error
    print("\n".join(["", *verdict, *_run(), ""]))
    return 0


def _damaged(error: Exception) -> DamagedError:
    return DamagedError(
        f"{METRICS} must be what `evaluate` wrote: delete it and run `dvc repro` (got other bytes:"
        f" {error})"
    )


def _verdict(metrics: dict[str, Any]) -> list[str]:
    gate, held = metrics["gate"], metrics["holdout"]
    lines = [
        f"  {name} = {_with_error(metrics[name], metrics['se'][name])}"
        f"{_true(metrics['truth'][name])}"
        for name in ("w", "b")
    ]
    lines.append(f"  {metrics['rows']:,} rows fitted, {held['rows']:,} held out{_unseen(held)}")
    lines += ["", f"  gate {'passed' if gate['passed'] else 'REFUSED'}"]
    return lines + [f"    - {reason}" for reason in gate["reasons"]]


def _run() -> list[str]:
    """Return what to say of the run that the current files were recorded as."""
    try:
        last, marker = json.loads(LAST.read_text()), json.loads(receipts.MARKER.read_text())
    except (OSError, ValueError):
        last, marker = None, None
    # The files may be those of another run, checked out since.
    if (
        not isinstance(last, dict)
        or not {"fingerprint", "name", "run_id", "metrics"} <= last.keys()
        or marker != {"fingerprint": last["fingerprint"]}
        or files.sha256_of(METRICS) != last["metrics"]
    ):
        return ["", "  not recorded: run `dvc repro`"]
    return [
        "",
        f"  run recorded: {last['name']}",
        f"    id   {last['run_id']}",
        "    see  make ui, and open the address it prints",
    ]


def _with_error(value: float | None, error: float | None) -> str:
    """Return value ± error with two digits of the error, as a physicist would write it."""
    if value is None or not error:
        return str(value)
    return f"{rounded(value, error)} ± {rounded(error, error)}"


def _true(value: float | None) -> str:
    return "" if value is None else f" (true {plain(value)})"


def _unseen(held: dict[str, Any]) -> str:
    if held["rmse"] is None:
        return ""
    r2 = "" if held["r2"] is None else f", R² = {r_squared(held['r2'])}"
    return f" (RMSE {significant(held['rmse'], 4)}{r2})"
