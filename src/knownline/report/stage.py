"""The stage `report`: draws the results of `evaluate` in reports/report.html and reports/plots/."""

from knownline.core import folders
from knownline.core.layout import PLOTS, REPORT
from knownline.core.line import Line
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.report import page, plots
from samerun.core import files


def main() -> int:
    """Draw the report and the plots, then write them."""
    params = Params.read()
    results = Results.read(params)
    images = _plots(params, results)
    html = page.render(params, results)
    with folders.replaced(PLOTS) as folder:
        for name, png in images.items():
            files.write_bytes(folder / name, png)
    files.write_text(REPORT, html)
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
