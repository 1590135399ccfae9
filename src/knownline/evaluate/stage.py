"""The stage `evaluate`: judges the model by the data; writes metrics.json and verdict.md."""

import json

from knownline.core.layout import METRICS, VERDICT
from knownline.evaluate import gate, verdict
from knownline.evaluate.results import Results
from knownline.params import Params
from samerun.core import files


def main() -> int:
    """Judge the fit and write the verdict. The stage succeeds even if the gate fails."""
    results = Results.read(Params.read())
    metrics = gate.as_metrics(results.evaluation, results.gate)
    files.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    files.write_text(VERDICT, verdict.description(metrics))
    failed = "" if results.gate.passed else f"; the gate failed: {'; '.join(results.gate.reasons)}"
    print(f"evaluate: {METRICS} and {VERDICT}{failed}")
    return 0
