"""Time from a Parquet table to the fitted parameters, for knownline and peers; a table, a plot.

A line and 10³ to 10⁸ rows; with --inputs N, a plane over N columns, and goals for time and memory.

Each side is a process (ours is two, `generate` and `train`), timed from its start to its end, on
the same table in the system's cache. All sides that fit must find the same parameters. Ours also
writes a copy of the table, which the peers do not. Run it on a machine that does nothing else.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Run, Side, goal, in_turn, side, stage, workspace

SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
OURS = "knownline, generate and train"
SCIKIT_LEARN = "scikit-learn"
ARTICLE = "the article's loop, 100 epochs"
PEERS = {
    "DuckDB, regr_slope": "duckdb",
    "polars, streaming": "polars",
    SCIKIT_LEARN: "scikit_learn",
    ARTICLE: "article",
}
PLANE_PEERS = {
    "DuckDB, sums of products": "plane_duckdb",
    "polars, streaming sums of products": "plane_polars",
    SCIKIT_LEARN: "plane_scikit_learn",
    "statsmodels, OLS": "plane_statsmodels",
}
NOTE = (
    "¹ once. Ours checks every value and writes"
    " a copy of the table with its SHA-256; the peers read the table and write nothing."
)

Results = dict[str, dict[int, Run]]


def main() -> None:
    """Time every side at every size; print the table; draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows (10³ … 10⁸)")
    parser.add_argument("--inputs", type=int, default=1, help="columns beside y: 1 is a line (1)")
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    parser.add_argument("--folder", type=Path, help="where the data goes (the system's)")
    parser.add_argument("--picture", type=Path, help="a PNG to draw")
    given = parser.parse_args()
    peers = PEERS if given.inputs == 1 else PLANE_PEERS
    results: Results = {name: {} for name in (OURS, *peers)}
    for rows in given.sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
            print(f"{rows:,} rows", file=sys.stderr)
            sides = _sides(Path(scratch).resolve(), rows, given.inputs, peers)
            runs = in_turn(sides, given.times, long_once=True)
        _check_parameters(runs, 1e-6 if given.inputs == 1 else 1e-8)
        for name, run in runs.items():
            results[name][rows] = run
    print("\n".join(table(results, given.sizes)))
    if given.inputs > 1:
        print("\n".join(["", *goals({name: at[given.sizes[-1]] for name, at in results.items()})]))
    if given.picture:
        draw(results, given.picture)


def _sides(root: Path, rows: int, inputs: int, peers: Mapping[str, str]) -> dict[str, Side]:
    own, settings = "data/own/table.parquet", {}
    if inputs > 1:
        columns = ", ".join(f"x{index}" for index in range(inputs))
        settings = {"model": "plane", "truth": "null", "columns": f"{{x: [{columns}], y: y}}"}
    folder = workspace(root / "work", table=own, holdout=0, **settings)
    path = folder / own
    side(*("table", path, rows) if inputs == 1 else ("plane_table", path, rows, inputs))

    def ours() -> Run:
        shutil.rmtree(folder / "data/train", ignore_errors=True)
        runs = stage("generate", folder), stage("train", folder)
        fitted = json.loads((folder / "models/model.json").read_text())["parameters"]
        seconds, peak = sum(run.seconds for run in runs), max(run.peak for run in runs)
        return Run(seconds, peak, answer={"parameters": list(map(float, fitted.values()))})

    return {OURS: ours, **{name: partial(side, key, path) for name, key in peers.items()}}


def _check_parameters(runs: dict[str, Run], tolerance: float) -> None:
    """Fail if two sides found different parameters: a wrong answer is no comparison."""
    key = "parameters"
    found = {name: run.answer[key] for name, run in runs.items() if key in run.answer}
    for parameters in found.values():
        for one, other in zip(parameters, found[OURS], strict=True):
            assert math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance), found


def goals(runs: Mapping[str, Run]) -> list[str]:
    """Return the goals for a plane, with what was measured, as a table in Markdown."""
    ours, peer = runs[OURS], runs[SCIKIT_LEARN]
    return [
        "| goal | measured | aim | |",
        "|---|---:|---|---|",
        goal("seconds, over scikit-learn's", ours.seconds / peer.seconds, 0.5),
        goal("memory, over scikit-learn's", ours.peak / peer.peak, 0.1),
    ]


def table(results: Results, sizes: Sequence[int]) -> list[str]:
    """Return the table in Markdown: seconds by rows, and the memory for the most rows."""
    last = sizes[-1]
    lines = [
        f"| seconds | {' | '.join(map(_power, sizes))} | memory at {_power(last)} |",
        f"|---|{'---:|' * (len(sizes) + 1)}",
    ]
    for name, at in results.items():
        cells = [f"{at[n].seconds:.3g}{'¹' if at[n].times == 1 else ''}" for n in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} | {at[last].peak / 2**20:,.0f} MB |")
    return [*lines, "", NOTE]


def _power(rows: int) -> str:
    return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in f"{math.log10(rows):.0f}")


def draw(results: Results, path: Path) -> None:
    """Draw seconds against rows, both logarithmic, one labelled line per side."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from knownline.report import plots

    with mpl.rc_context(plots._STYLE):
        figure = Figure(figsize=(8.4, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        lowest = 0.0
        for name, at in sorted(results.items(), key=lambda item: item[1][max(item[1])].seconds):
            color, width = (plots.FITTED, 2.2) if name == OURS else (plots.FAINT, 1.3)
            seconds = [run.seconds for run in at.values()]
            axes.loglog(list(at), seconds, color=color, marker="o", markersize=3, linewidth=width)
            lowest = max(seconds[-1], lowest * 1.55)  # so that names do not overlap
            axes.annotate(
                name, (max(at), seconds[-1]), (max(at) * 1.8, lowest), color=color, va="center",
                annotation_clip=False, fontweight="bold" if name == OURS else "normal",
                arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7,
                            "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 4},
            )  # fmt: skip
        axes.set_ylim(top=2 * lowest)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="rows of the table", ylabel="seconds")
        axes.set_title("From a Parquet table to the fitted line, whole processes", pad=22)
        axes.text(
            0, 1.02, "knownline also writes a checked, hashed copy of the rows; its peers do not",
            transform=axes.transAxes, color=plots.FAINT, fontsize=9,
        )  # fmt: skip
        figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
