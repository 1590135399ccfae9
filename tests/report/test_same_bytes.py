"""The same numbers give the same page and the same pictures, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import ROOT

SCRIPT = """
import hashlib
from knownline.report import page, plots
from knownline.report.views import Reference, View
from tests.report.fits import PARAMS, TRUTH, plane, results
fit = results()
found = fit.evaluation
for content in (
    page.render(PARAMS, fit).encode(),
    page.render(plane(3), results(plane(3))).encode(),
    plots.fit(View.of(fit.data, fit.inputs, fit.y, found.fitted, TRUTH, found.se), 79),
    plots.loss(fit.history.loss, Reference("least squares", 2.25)),
    plots.path(fit.history, fit.data, TRUTH),
):
    print(hashlib.sha256(content).hexdigest())
"""


def hashes(folder: Path, **env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_surroundings_change_no_byte_of_the_report(tmp_path: Path) -> None:
    """Neither hash seed, time zone, locale and SIMD, nor the user's settings of matplotlib."""
    first = hashes(tmp_path, PYTHONHASHSEED="1")
    assert len(set(first)) == 5
    # matplotlib reads ./matplotlibrc, $MATPLOTLIBRC or the one in the user's home.
    (tmp_path / "matplotlibrc").write_text(
        "lines.linewidth: 5\nfigure.facecolor: black\nsavefig.dpi: 50\nlegend.fontsize: 20\n"
    )
    env = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C", "MPLBACKEND": "Qt4Agg"}
    simd = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    assert hashes(tmp_path, **env, NPY_DISABLE_CPU_FEATURES=" ".join(simd)) == first
