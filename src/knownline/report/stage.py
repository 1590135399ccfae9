"""The stage `report`: draws the results of `evaluate` in reports/report.html and reports/plots/."""

from knownline.core import folders
from knownline.core.layout import PLOTS, REPORT
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.report import page, plots, views
from knownline.report.views import View
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
    data, found = results.data, results.evaluation
    sample, names = (results.inputs, results.y), views.names(params)
    view = View.of(data, *sample, found.fitted, found.truth, found.se, names)
    reference = views.reference(data) if results.convergence.squared else None
    images = {
        "fit.png": plots.fit(view, found.rows),
        "loss.png": plots.loss(results.history.loss, reference),
        "path.png": plots.path(results.history, data, found.truth),
    }
    return {name: png for name, png in images.items() if png is not None}
