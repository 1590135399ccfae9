"""`make screenshots`: the pictures in docs/pictures, most of them taken from a sweep of ten."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knownline import article
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.model import LINE
from knownline.report import plots
from knownline.train import descent
from support.workspace import commit
from tests.conftest import ROOT, Workspace, checkout
from tests.pipeline.browser import RATES, TEN, chromium, opened, serving_ui, sweep

PICTURES = ROOT / "docs/pictures"


def article_path() -> bytes:
    """Return the optimisation path of the article's run whose draw was +1, x not standardised."""
    x = np.arange(1.0, article.ROWS + 1)
    y = LINE.at(article.TRUTH, [x]) + 1
    walked = descent.fit(
        [x],
        y,
        kind=LINE,
        epochs=article.EPOCHS,
        learning_rate=article.LEARNING_RATE,
        dtype="float32",
        device=torch.device("cpu"),
    )
    png = plots.path(walked, LeastSquares(LINE, compress([([x], y)])), article.TRUTH)
    assert png is not None
    return png


def main() -> None:
    """Run a sweep, open it in the browser and write the pictures."""
    (PICTURES / "article.png").write_bytes(article_path())
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        _of_samerun(browser, Path(scratch) / "wine")
        workspace = checkout(Path(scratch) / "knownline")
        sweep(workspace, [[], *TEN])
        runs = workspace.runs()
        with serving_ui(workspace) as address:
            base = address.partition("/#/")[0]
            with opened(browser, width=1440, height=720) as page:
                page.goto(address)
                page.get_by_text("matching runs").wait_for()
                page.get_by_text(runs[0].name).first.wait_for()
                _settle(page)
                page.screenshot(path=PICTURES / "runs.png")
            with opened(browser, width=1440, height=720) as page:
                rates = runs[1 : 1 + len(RATES)]
                ids = "%5B" + ",".join(f"%22{run.run_id}%22" for run in rates) + "%5D"
                page.goto(f"{base}/#/compare-runs?runs={ids}&experiments=%5B%221%22%5D")
                page.locator(".js-plotly-plot").first.wait_for()
                _settle(page)
                page.screenshot(path=PICTURES / "compare.png")
        reports = runs[0].artifacts / "reports"
        shutil.copyfile(reports / "plots/fit.png", PICTURES / "fit.png")
        with opened(browser, width=1280, height=960) as page:  # up to the second row of charts
            page.goto((reports / "report.html").as_uri())
            page.screenshot(path=PICTURES / "report.png")
        verdicts = [
            json.loads((run.artifacts / "reports/metrics.json").read_text())["gate"] for run in runs
        ]
        print(f"{len(runs)} runs, {sum(v['passed'] for v in verdicts)} passed: see {PICTURES}")


def _of_samerun(browser: Any, folder: Path) -> None:
    """Write the picture of samerun's README: five runs of its example."""
    workspace = Workspace(Path(shutil.copytree(ROOT / "samerun/example", folder)))
    workspace.git("init", "--quiet")
    workspace.dvc("init", "--quiet")
    commit(workspace, "start")
    workspace.samerun("init", "--wrap")
    commit(workspace, "record each run")
    for old, new in (("", ""), *[("rate: 0.01", f"rate: {x}") for x in ("0.03", "0.003", "0.001")],
                     ("epochs: 200", "epochs: 20")):  # fmt: skip
        sweep(workspace, [[(old, new)]])
    with serving_ui(workspace) as address, opened(browser, width=1280, height=520) as page:
        page.goto(address)
        page.get_by_text("matching runs").wait_for()
        _settle(page)
        page.screenshot(path=ROOT / "samerun/docs/runs.png")


def _settle(page: Any) -> None:
    """Wait until the page is drawn; it polls for ever, so it is never idle."""
    page.wait_for_timeout(3000)


if __name__ == "__main__":
    main()
