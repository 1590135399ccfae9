"""`generate`, `train` and epochs at 10⁸ rows, compared with numpy and pyarrow in one thread.

Prints the time and memory of each side, and each goal with its result, as Markdown. Run it on a
machine that does nothing else.
"""

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import cluster
from benchmarks.measure import Run, Side, goal, in_turn, side, stage, workspace

FEW, TRAIN_FEW, TRAIN = "`generate`, 99 rows", "`train`, 99 rows", "`train`"
DRAWN, BY_ONE = "`generate`, 2 threads", "`generate`, 1 thread"
INSIDE, INSIDE_BY_ONE = f"{DRAWN}, without its start", f"{BY_ONE}, without its start"
SPLIT = f"{DRAWN}, a fifth held out"
NUMPY = "numpy, 1 thread, the same files"
TABLE, TABLE_SPLIT = f"{DRAWN}, from a table", f"{SPLIT}, from a table"
DEFAULTS = "pyarrow rewrites the table, 1 thread"
REWRITE = f"{DEFAULTS}, with our plain settings"
HASHED = f"{REWRITE}, and hashes it"
DASK = "`generate`, 2 Dask workers"
EPOCHS = "1,000 epochs, without the start"


def main() -> None:
    """Time the sides and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**8, help="rows (10⁸)")
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    parser.add_argument("--folder", type=Path, help="where the data goes (the system's)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        root = Path(scratch).resolve()
        runs = in_turn(_sides(root, given.rows), given.times)
        _check_files(root, runs[NUMPY])
    print("\n".join([*table(runs, given.rows), "", *goals(runs)]))


def _sides(root: Path, rows: int) -> dict[str, Side]:
    path, own = root / "table.parquet", "data/own/table.parquet"
    side("table", path, rows)
    few = workspace(root / "few", holdout=0)
    drawn = workspace(root / "drawn", rows=rows, holdout=0)
    split = workspace(root / "split", rows=rows)
    copied, copied_split = (
        workspace(root / "c", table=own, holdout=0),
        workspace(root / "s", table=own),
    )
    for folder in (copied, copied_split):
        (folder / own).symlink_to(path)

    def generate(folder: Path, threads: int = 2) -> Side:
        return partial(stage, "generate", folder, OMP_NUM_THREADS=str(threads))

    def peer(name: str, argument: object) -> Side:
        def run() -> Run:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                return side(name, folder, argument)

        return run

    sides: dict[str, Side] = {
        FEW: generate(few),
        DRAWN: generate(drawn),
        NUMPY: peer("draw", rows),
        BY_ONE: generate(drawn, 1),
        INSIDE: partial(side, "generate", drawn, OMP_NUM_THREADS="2"),
        INSIDE_BY_ONE: partial(side, "generate", drawn, OMP_NUM_THREADS="1"),
        SPLIT: generate(split),
        f"{NUMPY} but for PCG64 in place of Philox": peer("draw_pcg64", rows),
        "numpy, 1 thread, with pyarrow's defaults": peer("draw_defaults", rows),
        TABLE: generate(copied),
        REWRITE: peer("rewrite", path),
        TABLE_SPLIT: generate(copied_split),
        HASHED: peer("rewrite_hashed", path),
        DEFAULTS: peer("rewrite_defaults", path),
        TRAIN_FEW: partial(stage, "train", few),
        TRAIN: partial(stage, "train", drawn),
        EPOCHS: partial(side, "epochs"),
    }
    if cluster.AVAILABLE:
        sides[DASK] = partial(cluster.generate, workspace(root / "dask", rows=rows, holdout=0))
    return sides


def _check_files(root: Path, numpy: Run) -> None:
    """Fail unless numpy and Dask's workers wrote the same bytes."""
    lines = (root / "drawn/data/SHA256SUMS").read_text()
    train = [line.split()[0] for line in lines.splitlines() if "train/" in line]
    assert train == numpy.answer["sums"]
    assert not cluster.AVAILABLE or (root / "dask/data/SHA256SUMS").read_text() == lines


def table(runs: Mapping[str, Run], rows: int) -> list[str]:
    """Return the seconds and the memory of each side as a table in Markdown."""
    return [
        f"| {rows:,} rows | seconds | memory |",
        "|---|---:|---:|",
        *(f"| {n} | {r.seconds:.3f} | {r.peak / 2**20:,.0f} MB |" for n, r in runs.items()),
        *([] if DASK in runs else ["", "Dask is not installed, or `generate` does not use it."]),
    ]


def goals(runs: Mapping[str, Run]) -> list[str]:
    """Return each goal with its result as a table in Markdown."""
    s = {name: run.seconds for name, run in runs.items()}

    def more(name: str) -> float:
        return (runs[name].peak - runs[FEW].peak) / 2**20

    return [
        "| goal | measured | aim | |",
        "|---|---:|---|---|",
        goal("drawing, over numpy in 1 thread", s[DRAWN] / s[NUMPY], 0.55),
        goal("the same, a fifth held out", s[SPLIT] / s[NUMPY], 0.55),
        goal("from a table, over pyarrow in 1 thread", s[TABLE] / s[DEFAULTS], 1),
        goal("the same, over pyarrow with our plain settings", s[TABLE] / s[REWRITE], 1),
        goal("the same, and hashing as we do", s[TABLE] / s[HASHED], 1),
        goal("a fifth held out, over pyarrow in 1 thread", s[TABLE_SPLIT] / s[DEFAULTS], 1),
        goal("`train` over `train` at 99 rows", s[TRAIN] / s[TRAIN_FEW], 1.05),
        goal("2 threads, times as fast as 1", s[BY_ONE] / s[DRAWN], 1.8, least=True),
        goal("the same without the start", s[INSIDE_BY_ONE] / s[INSIDE], 1.8, least=True),
        goal("MB more than for 99 rows", more(DRAWN), 256),
        goal("the same, from a table, a fifth held out", more(TABLE_SPLIT), 256),
        goal("1,000 epochs, seconds", s[EPOCHS], 0.5),
    ]


if __name__ == "__main__":
    main()
