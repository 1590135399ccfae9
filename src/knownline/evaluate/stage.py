"""The stage `evaluate`: judges the line in models/ by data/, and writes reports/metrics.json."""

from knownline.core.layout import METRICS, REPORTS
from knownline.evaluate.results import Results
from knownline.identity import provenance
from knownline.params import Params
from samerun.core import files


def main() -> int:
    """Judge the fit and write the verdict. A refusal is a verdict, not a failure."""
    params = Params.read()
    inputs = provenance.stage_inputs("evaluate", params)
    results = Results.read(params)
    gate = results.gate
    provenance.check_unchanged("evaluate", inputs, Params.read(), then="run `dvc repro` again")
    files.write_text(METRICS, results.metrics)
    files.write_made_with(REPORTS, inputs)
    print(f"evaluate: gate {'passed' if gate.passed else 'refused'}: {'; '.join(gate.reasons)}")
    return 0
