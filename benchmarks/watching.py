"""The cost of streaming a training to MLflow, and of its checkpoints.

Streaming: the stage `train` runs in turn with and without it, on the same rows; the figure is the
ratio of the medians of the times in the receipts. Checkpoints: the share of a training's time that
is spent in `Checkpoints.save`. Run it on a machine that does nothing else.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Print one line for each cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    parser.add_argument("--epochs", type=int, default=3_000, help="of the training (3,000)")
    given = parser.parse_args()
    times = given.times
    with tempfile.TemporaryDirectory() as scratch:
        folder = _checkout(Path(scratch) / "work", given.epochs)
        watched, alone = [], []
        for _ in range(times):
            watched.append(_train(folder, live="5"))
            alone.append(_train(folder, live="inf"))
        ours, theirs = statistics.median(watched), statistics.median(alone)
        print(f"streamed: {ours:.2f} s, not: {theirs:.2f} s, {ours / theirs:.3f} (at most 1.05)")
        whole, saving, saves = _saving(folder)
        print(
            f"checkpoints: {saves} in {whole:.2f} s took {saving:.3f} s,"
            f" {saving / whole:.2%} (at most 2 %)"
        )


def _checkout(folder: Path, epochs: int) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    params = folder / "params.yaml"
    text = params.read_text()
    for old, new in (
        ("rows: 99", "rows: 800000"),
        ("epochs: 100", f"epochs: {epochs}"),
        ("compress: true", "compress: false"),
    ):
        assert old in text
        text = text.replace(old, new)
    params.write_text(text)
    _repro(folder, "generate", live="inf")
    return folder


def _repro(folder: Path, stage: str, live: str) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["dvc", "repro", "--quiet", "--force", "--single-item", stage],
        cwd=folder,
        env={**os.environ, "PATH": programs, "SAMERUN_LIVE_AFTER": live},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _train(folder: Path, live: str) -> float:
    """Return the seconds that a training took, according to its receipt."""
    _repro(folder, "train", live)
    found = (folder / ".dvc/tmp/samerun/receipts").glob("*.json")
    receipts = [json.loads(path.read_text()) for path in found]
    latest = max(receipts, key=lambda receipt: float(receipt["started"]))
    assert latest["stage"] == "dvc.yaml:train"
    return float(latest["seconds"])


def _saving(folder: Path) -> tuple[float, float, int]:
    """Return the seconds of a training, those inside `Checkpoints.save`, and how many saves."""
    os.chdir(folder)
    from knownline.train import stage
    from knownline.train.checkpoints import VARIABLE, Checkpoints

    os.environ[VARIABLE] = tempfile.mkdtemp(dir=folder)

    spent: list[float] = []
    save = Checkpoints.save

    def timed(self: Checkpoints, *arguments: Any) -> None:
        began = time.monotonic()
        save(self, *arguments)
        spent.append(time.monotonic() - began)

    Checkpoints.save = timed  # type: ignore[method-assign,assignment]
    began = time.monotonic()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        stage.main()
    return time.monotonic() - began, sum(spent), len(spent)


if __name__ == "__main__":
    main()
