"""The stage `report`: draws the results of `evaluate` in reports/report.html and reports/plots/."""

from knownline.core.layout import METRICS, PLOTS, REPORT, REPORTS
from knownline.core.line import Line
from knownline.evaluate.results import Results
from knownline.identity import provenance
from knownline.params import Params
from knownline.report import page, plots
from samerun.core import files
from samerun.core.errors import DamagedError


def main() -> int:
    """Draw the report and the plots, then write them."""
    params = Params.read()
    inputs = provenance.stage_inputs("report", params)
    results = Results.read(params)
    files.check_made_with(REPORTS, provenance.stage_inputs("evaluate", params))
    if METRICS.read_text() != results.metrics:
        raise DamagedError(
            f"{METRICS} must be what `evaluate` wrote: delete it and run `dvc repro --force` (got"
            " other numbers)"
        )
    images = _plots(params, results)
    html = page.render(params, results)
    provenance.check_unchanged("report", inputs, Params.read(), then="run `dvc repro` again")
    with files.replaced_folder(PLOTS) as folder:
        for name, png in images.items():
            files.write_bytes(folder / name, png)
    files.write_text(REPORT, html)
    files.write_sums(REPORTS, [METRICS, REPORT, REPORTS / files.MADE_WITH, *PLOTS.glob("*.png")])
    print(f"report: {REPORT}")
    return 0


def _plots(params: Params, results: Results) -> dict[str, bytes]:
    """Return the files of reports/plots/ by name, as PNG."""
    rows, line = results.rows, results.evaluation.line
    truth = Line(params.truth.w, params.truth.b) if params.truth else None
    has_table = params.generate.table is not None
    names = plots.Names(*params.generate.columns.short) if has_table else plots.Names()
    squared = results.convergence.squared
    least = rows.mean_squared_error(results.evaluation.ols) if squared else None
    return {
        "fit.png": plots.fit(
            results.x, results.y, line=line, truth=truth, of=rows.rows, names=names
        ),
        "loss.png": plots.loss(results.loss, least),
        "path.png": plots.path(results.w, results.b, rows=rows, truth=truth),
    }
