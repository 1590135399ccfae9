"""From a Parquet table to the fitted line: ours and its peers, 10³ to 10⁸ rows; a table, a picture.

Each side is a process (ours is two, `generate` and `train`), timed from its start to its end, on
the same table in the system's cache. All sides that fit must find the same line. Ours also writes a
copy of the table, which the peers do not. Run it on a machine that does nothing else.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Run, Side, in_turn, side, stage, workspace

SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
OURS = "knownline, generate and train"
ARTICLE = "the article's loop, 100 epochs"
PEERS = {
    "DuckDB, regr_slope": "duckdb",
    "polars, streaming": "polars",
    "scikit-learn": "scikit_learn",
    ARTICLE: "article",
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
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    parser.add_argument("--folder", type=Path, help="where the data goes (the system's)")
    parser.add_argument("--picture", type=Path, help="a PNG to draw")
    given = parser.parse_args()
    results: Results = {name: {} for name in (OURS, *PEERS)}
    for rows in given.sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
            print(f"{rows:,} rows", file=sys.stderr)
            runs = in_turn(_sides(Path(scratch).resolve(), rows), given.times, long_once=True)
        _check_line(runs)
        for name, run in runs.items():
            results[name][rows] = run
    print("\n".join(table(results, given.sizes)))
    if given.picture:
        draw(results, given.picture)


def _sides(root: Path, rows: int) -> dict[str, Side]:
    folder = workspace(root / "work", table="data/own/table.parquet", holdout=0)
    path = folder / "data/own/table.parquet"
    side("table", path, rows)

    def ours() -> Run:
        shutil.rmtree(folder / "data/train", ignore_errors=True)
        runs = stage("generate", folder), stage("train", folder)
        line = json.loads((folder / "models/model.json").read_text())["parameters"]
        seconds, peak = sum(run.seconds for run in runs), max(run.peak for run in runs)
        return Run(seconds, peak, answer={"line": (float(line["w"]), float(line["b"]))})

    return {OURS: ours, **{name: partial(side, key, path) for name, key in PEERS.items()}}


def _check_line(runs: dict[str, Run]) -> None:
    """Fail if two sides found different lines: a quick wrong answer is no peer."""
    lines = {name: run.answer["line"] for name, run in runs.items() if "line" in run.answer}
    for line in lines.values():
        for one, other in zip(line, lines[OURS], strict=True):
            assert math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6), lines


def table(results: Results, sizes: Sequence[int]) -> list[str]:
    """Return the table in Markdown: seconds by rows, and the memory at the most rows."""
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
    """Draw seconds against rows, both logarithmic, one line a side, named where it ends."""
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
