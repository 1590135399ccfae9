"""The cost of recording with samerun, compared with calls of MLflow in the stages.

The project is samerun/example, in three forms: as it is; with the stage that `samerun init` adds;
and with `mlflow.log_*` in `train` and `evaluate`, as MLflow's tutorials have them. All sides run in
turn in one process, each with its own folder, cache and store. The figures are medians. Part of
`make bench`.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.whole_run import ROOT, call, repro

TRACKED = {
    "train.py": (
        '    losses.append(-np.log(probabilities(x)[y == 1]).mean())\n',
        '    losses.append(-np.log(probabilities(x)[y == 1]).mean())\n'
        '    mlflow.log_metric("log_loss", losses[-1], step=len(losses))\n',
    ),
}  # fmt: skip
"""Where the tutorial's call for each epoch goes."""

START = """
import mlflow

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("wine")
"""

TRAIN = f"""{START}
run = mlflow.start_run()
Path("run_id.txt").write_text(run.info.run_id)
mlflow.log_params(params)
"""

EVALUATE = f"""{START}
with mlflow.start_run(run_id=Path("run_id.txt").read_text()):
    mlflow.log_metrics(metrics)
    mlflow.log_artifact("metrics.json")
    mlflow.log_artifact("model.json")
    mlflow.log_artifact("history.csv")
"""


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="repetitions a side (5)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sides: dict[str, Callable[[Path], None]] = {
            "samerun": _with_samerun,
            "samerun, wrapped": lambda path: _with_samerun(path, "--wrap"),
            "mlflow.log_*": _with_calls,
            "neither": lambda path: None,
        }
        first: dict[str, list[float]] = {name: [] for name in sides}
        again: dict[str, list[float]] = {name: [] for name in sides}
        for i in range(times):
            for number, (name, adopt) in enumerate(sides.items()):
                path = folder / f"{number}-{i}"
                _project(path)
                adopt(path)
                first[name].append(repro(path))
        for _ in range(times):
            for number, name in enumerate(sides):
                again[name].append(repro(folder / f"{number}-0"))
    _print("a first run", first, "mlflow.log_*", "at most 1.0")
    _print("nothing to do", again, "neither", "at most 1.2")


def _project(folder: Path) -> None:
    call(folder.parent, "cp", "-r", str(ROOT / "samerun/example"), str(folder))
    call(folder, "git", "init", "--quiet")
    call(folder, "dvc", "init", "--quiet")
    _commit(folder)


def _commit(folder: Path) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    call(folder, "git", "add", "--all")
    call(folder, "git", *identity, "commit", "--quiet", "--message", "one more")


def _with_samerun(folder: Path, *options: str) -> None:
    call(folder, "samerun", "init", *options)
    _commit(folder)


def _with_calls(folder: Path) -> None:
    """Put the calls of MLflow into the stages, and the file that passes on the run's id."""
    for name, (old, new) in TRACKED.items():
        _replace(folder / name, old, new)
    _replace(folder / "train.py", "losses = []\n", f"losses = []\n{TRAIN}")
    _replace(folder / "train.py", '    "history.csv", index=False\n)\n',
             '    "history.csv", index=False\n)\nmlflow.end_run()\n')  # fmt: skip
    path = folder / "evaluate.py"
    path.write_text(path.read_text() + EVALUATE)
    _replace(folder / "dvc.yaml", "outs: [model.json]", "outs: [model.json, run_id.txt]")
    _replace(folder / "dvc.yaml", "[evaluate.py, model.json, data/test.csv]",
             "[evaluate.py, model.json, data/test.csv, run_id.txt]")  # fmt: skip
    _commit(folder)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def _print(what: str, sides: dict[str, list[float]], peer: str, goal: str) -> None:
    medians = {name: statistics.median(seconds) for name, seconds in sides.items()}
    for name in ("samerun", "samerun, wrapped"):
        print(
            f"{what}: {name} {medians[name]:.2f} s, {peer} {medians[peer]:.2f} s, ratio"
            f" {medians[name] / medians[peer]:.2f} ({goal}; medians of {len(sides[name])})"
        )


if __name__ == "__main__":
    main()
