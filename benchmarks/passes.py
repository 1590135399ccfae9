"""Ours and its peers on the same rows, 10³ to 10⁸ of them: one table, goals, and a picture.

Each side runs in a process of its own (benchmarks/peers.py), one after the other, on the same
Parquet files; figures are medians, memory is the most that the process held. `make bench` installs
the peers and calls this. Run it on a machine that does nothing else.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
SIDES = {
    "bare_read": "pyarrow, a bare read",
    "one_pass": "knownline, the pass",
    "first_pass": "knownline, the pass, every file hashed too",
    "duckdb": "DuckDB regr_slope",
    "polars": "polars, streaming",
    "scikit_learn": "scikit-learn, with reading",
    "our_epochs": "knownline, 1,000 epochs after the pass",
    "our_stage": "knownline, the whole stage, 100 epochs",
    "first_stage": "knownline, the same, every file hashed too",
    "article": "the article's loop, 100 epochs",
    "our_drawing": "knownline, drawing",
    "plain_drawing": "numpy and Parquet, drawing",
}


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds (median), bytes, repetitions, and the line that was found."""

    seconds: float
    peak: int
    times: int
    line: tuple[float, float] | None


Results = dict[str, dict[int, Result]]


def main() -> None:
    """Time every side at every size; print the table and the goals; draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows (10³ … 10⁸)")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    parser.add_argument("--folder", type=Path, help="where the data goes (the system's)")
    parser.add_argument("--picture", type=Path, help="a PNG to draw")
    given = parser.parse_args()
    found: Results = {side: {} for side in given.sides}
    for rows in given.sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
            folder = written(Path(scratch) / "work", rows)
            for side in given.sides:
                found[side][rows] = _timed(side, folder, given.times)
                print(f"{SIDES[side]}, {rows:,} rows: {_told(found[side][rows])}",
                      file=sys.stderr, flush=True)  # fmt: skip
            _same_line(found, rows)
    print("\n".join(table(found, given.sizes)))
    print("\n".join(goals(found, max(given.sizes))))
    if given.picture:
        draw(found, given.picture)


def written(root: Path, rows: int) -> Path:
    """Make a workspace whose data/train has so many rows; return that folder."""
    root.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "src", root / "src")
    (root / "data" / "own").mkdir(parents=True)
    text = (root / "params.yaml").read_text()
    for old, new in (("rows: 99", f"rows: {rows}"), ("holdout: 0.2", "holdout: 0")):
        assert old in text
        text = text.replace(old, new)
    (root / "params.yaml").write_text(text)
    subprocess.run([sys.executable, "src/knownline", "generate"], cwd=root, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return root / "data" / "train"


def _timed(side: str, folder: Path, times: int) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", side, str(folder), "--times", str(times)],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "SAMERUN_LIVE_AFTER": "inf"},
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    line = tuple(told["line"]) if told["line"] else None
    return Result(statistics.median(told["seconds"]), told["peak"], len(told["seconds"]), line)


def _same_line(found: Results, rows: int) -> None:
    """Fail where two sides found different lines: a quick wrong answer is no peer."""
    lines = {side: line for side, at in found.items() if (line := at[rows].line)}
    for side, line in lines.items():
        assert np.allclose(line, next(iter(lines.values())), rtol=1e-6, atol=1e-6), (side, lines)


def table(found: Results, sizes: Sequence[int]) -> list[str]:
    """Return the table in Markdown: seconds by rows, the slope of cost against size, memory."""
    head = [f"10{_power(rows)}" for rows in sizes]
    lines = [
        f"| seconds for so many rows | {' | '.join(head)} | slope | memory |",
        f"|---|{'---:|' * (len(head) + 2)}",
    ]
    for side, at in found.items():
        cells = [f"{at[rows].seconds:.3g}{'' if at[rows].times > 1 else '¹'}" for rows in sizes]
        slope = _slope({rows: r.seconds for rows, r in at.items()})
        memory = at[max(sizes)].peak / 2**20
        lines.append(f"| {SIDES[side]} | {' | '.join(cells)} | {slope} | {memory:,.0f} MB |")
    return [*lines, "", "Slope: of log seconds against log rows from 10⁶ on. ¹ once."]


def _slope(seconds: dict[int, float]) -> str:
    large = {rows: s for rows, s in seconds.items() if rows >= 10**6}
    if len(large) < 2:
        return "–"
    return f"{np.polyfit(np.log(list(large)), np.log(list(large.values())), 1)[0]:.2f}"


def _power(rows: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in f"{math.log10(rows):.0f}")


def goals(found: Results, rows: int) -> list[str]:
    """Return what was aimed at and what came of it, at the largest size."""

    def over(left: str, right: str, what: str, most: float) -> list[str]:
        if left not in found or right not in found:
            return []
        ratio = found[left][rows].seconds / found[right][rows].seconds
        met = "met" if ratio <= most else "missed"
        return [f"- {what}: {ratio:.3g} (at most {most:g}, {met})"]

    lines = ["", f"At {rows:,} rows:", ""]
    lines += over("one_pass", "duckdb", "the pass over DuckDB", 1)
    lines += over("one_pass", "bare_read", "the pass over a bare read", 2)
    lines += over("our_stage", "article", "the whole stage over the article's loop", 0.01)
    lines += over("our_drawing", "plain_drawing", "drawing over numpy and Parquet", 1 / 0.9)
    if "our_epochs" in found:
        took = found["our_epochs"][rows].seconds
        met = "met" if took <= 0.5 else "missed"
        lines.append(f"- 1,000 epochs after the pass: {took:.2f} s (at most 0.5, {met})")
    if {"our_stage", "article"} <= found.keys():
        share = found["our_stage"][rows].peak / found["article"][rows].peak
        met = "met" if share <= 0.1 else "missed"
        lines.append(f"- its memory over the article's loop's: {share:.2f} (at most 0.1, {met})")
    return lines


def _told(result: Result) -> str:
    return f"{result.seconds:.4g} s (of {result.times}), {result.peak / 2**20:,.0f} MB"


def draw(found: Results, path: Path) -> None:
    """Draw seconds against rows, both logarithmic, one line a side, named where it ends."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from knownline.report import plots

    ours = {"one_pass": "-", "our_stage": "--", "our_epochs": ":"}
    theirs = {"bare_read": "-", "duckdb": "--", "polars": "-.", "scikit_learn": ":", "article": "-"}
    shown = [
        s for s in found if s not in ("first_pass", "first_stage", "our_drawing", "plain_drawing")
    ]
    with mpl.rc_context(plots._STYLE):
        figure = Figure(figsize=(8.4, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        ends = []
        for side in shown:
            at = found[side]
            sizes = sorted(at)
            color = plots.FITTED if side in ours else plots.FAINT
            axes.loglog(sizes, [at[r].seconds for r in sizes], color=color, marker=".",
                        linestyle=ours.get(side) or theirs[side],
                        linewidth=2.0 if side in ours else 1.2)  # fmt: skip
            ends.append((at[sizes[-1]].seconds, side, color))
        last = 0.0
        top = max(ends)[0]
        for seconds, side, color in sorted(ends):
            place = max(seconds, last * 1.9)
            last = place
            end = max(found[side])
            axes.annotate(SIDES[side], (end, seconds), (end * 2.2, place), va="center", fontsize=9,
                          color=color, annotation_clip=False,
                          arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7,
                                      "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 3})  # fmt: skip
        axes.set(title="What the rows cost", xlabel="rows", ylabel="seconds", ylim=(None, top * 3))
        figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
