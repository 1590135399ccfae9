"""Projects as their users have them: nothing of samerun is in them before `samerun init`.

What executed is what DVC says, since nothing counts in these programs.
"""

import csv
import importlib.util
import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from projects import dvclive_mlp, monorepo, sklearn_churn
from projects.toy import Toy, project
from support.workspace import Run, commit, needs

History = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class User(Toy):
    """A checkout of a user's project."""

    def executed_by(self, *arguments: str, folder: str = ".", **env: str) -> list[str]:
        """Run a command of DVC in a folder, which must succeed; return the stages that executed."""
        inside = ("sh", "-c", 'cd "$0" && exec dvc "$@"', folder)
        shown = self.run(*inside, *arguments, ok=True, **env).stdout
        lines = [line for line in shown.splitlines() if line.startswith("Running stage '")]
        return [line.split("'")[1] for line in lines]

    def wait_for_queue(self, count: int) -> None:
        """Wait until DVC's queue has no more to do; so many tasks must have succeeded."""
        deadline = time.monotonic() + 180
        while True:
            shown = self.dvc("queue", "status").stdout
            if "Queued" not in shown and "Running" not in shown:
                break
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)
        assert shown.count("Success") == count, shown

    def clone(self, name: str = "clone") -> "User":
        """Return a clone of what is committed."""
        return User(super().clone(name).path)

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Return what the store's own tables have."""
        with sqlite3.connect(f"file:{self.path / 'mlruns/mlflow.db'}?mode=ro", uri=True) as store:
            return store.execute(query, values).fetchall()


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of a project, by its files.

    stages: as DVC names them from the root. params: the files of parameters of which all count.
    metrics: files of numbers. steps: metric to the table that has it by step. kept: other files
    that are among a run's artifacts.
    """

    experiment: str
    stages: tuple[str, ...]
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A project, and what its user does with it.

    tracked: the files that `dvc add` takes. pipelines: by folder; the first one is worked on.
    parameter: in the first pipeline, as `dvc exp run -S` has it, then two other values.
    late: a parameter of the last stage alone, with another value. code: a file in which a comment
    changes no output.
    after_*: what executes then, besides the stage that records.
    """

    files: Mapping[str, str]
    pipelines: Mapping[str, Pipeline]
    parameter: tuple[str, str, str, str]
    late: tuple[str, str, str]
    after_parameter: tuple[str, ...]
    after_late: tuple[str, ...]
    code: str
    after_code: tuple[str, ...]
    tracked: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The folder of the pipeline that is worked on."""
        return next(iter(self.pipelines))

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that is worked on."""
        return self.pipelines[self.folder]

    @staticmethod
    def recorder(folder: str) -> str:
        """Return the stage of a folder that records, as DVC names it from the root."""
        return "record" if folder == "." else f"{folder}/dvc.yaml:record"

    @property
    def record(self) -> str:
        """The stage that records the pipeline that is worked on."""
        return self.recorder(self.folder)

    def own(self, runs: Iterable[Run]) -> Run:
        """Return the first run of the pipeline that is worked on."""
        name = Path(self.folder, "dvc.yaml").as_posix()
        return next(run for run in runs if run.tags["record"] == f"{name}:record")

    @property
    def params_file(self) -> str:
        """Its file of parameters."""
        return Path(self.folder, "params.yaml").as_posix()

    @property
    def marker(self) -> str:
        """Its marker."""
        return Path(self.folder, "mlruns/recorded.json").as_posix()

    def set_param(self, value: str) -> str:
        """Return the parameter with a value, as `dvc exp run --set-param` takes it."""
        file = "" if self.folder == "." else f"{self.params_file}:"
        return f"{file}{self.parameter[0]}={value}"


def _trees(*names: str) -> tuple[str, ...]:
    return tuple(f"trees/dvc.yaml:{name}" for name in names)


_FITS = ("fit@1-1", "fit@1-2", "fit@3-1", "fit@3-2")
_COUNTS = tuple(f"count@{text}-{case}" for text in ("harbour", "garden")
                for case in ("lower", "exact"))  # fmt: skip

CASES = {
    "mlp": Case(
        files=dvclive_mlp.FILES,
        pipelines={
            ".": Pipeline(
                experiment="mlp",
                stages=("prepare", "train", "evaluate"),
                params=("params.yaml",),
                metrics=("evaluation/metrics.json", "dvclive/metrics.json"),
                steps={
                    "train.loss": "dvclive/plots/metrics/train/loss.tsv",
                    "train.accuracy": "dvclive/plots/metrics/train/accuracy.tsv",
                },
                kept=(
                    "model.safetensors",
                    "evaluation/plots/sklearn/roc.json",
                    "evaluation/plots/sklearn/confusion_matrix.json",
                ),
            )
        },
        parameter=("train.epochs", "4", "6", "5"),
        late=("evaluate.threshold", "0.5", "0.45"),
        after_parameter=("train", "evaluate"),
        after_late=("evaluate",),
        code="src/network.py",
        after_code=("train", "evaluate"),
    ),
    "sklearn": Case(
        files=sklearn_churn.FILES,
        tracked=sklearn_churn.TRACKED,
        pipelines={
            ".": Pipeline(
                experiment="sklearn",
                stages=("split", "train", "evaluate"),
                params=("params.yaml",),
                metrics=("metrics.json",),
                kept=("model.json", "predictions.csv"),
                data={"data/customers.csv": "data/customers.csv.dvc"},
            )
        },
        parameter=("train.C", "1.0", "0.01", "0.1"),
        late=("evaluate.threshold", "0.5", "0.7"),
        after_parameter=("train", "evaluate"),
        after_late=("evaluate",),
        code="code/common.py",
        after_code=("split", "train", "evaluate"),
    ),
    "monorepo": Case(
        files=monorepo.FILES,
        pipelines={
            "trees": Pipeline(
                experiment="monorepo-trees",
                stages=_trees(*_FITS, "best"),
                params=("trees/params.yaml",),
                metrics=("trees/best.json",),
            ),
            "words": Pipeline(
                experiment="monorepo-words",
                stages=tuple(f"words/dvc.yaml:{name}" for name in (*_COUNTS, "summary")),
                metrics=("words/summary.json",),
            ),
        },
        parameter=("fit.leaf", "2", "12", "8"),
        late=("best.by", "accuracy", "depth"),
        after_parameter=_trees(*_FITS, "best"),
        after_late=_trees("best"),
        code="trees/fit.py",
        after_code=_trees(*_FITS),
        targets=("trees/dvc.yaml", "words/dvc.yaml"),
    ),
}


each_project = pytest.mark.parametrize("_user_project", CASES, indirect=True, scope="session")
"""Runs a test, which has the fixtures `case` and `user`, once for each project."""


def begun(name: str, parent: Path) -> User:
    """Return a new project in which nothing ran yet, with a DVC remote."""
    case = CASES[name]
    if name == "mlp":
        needs(importlib.util.find_spec("torch") is not None, "needs PyTorch (pip install torch)")
    user = User(project(parent / name, dict(case.files)).path)
    for file, text in case.tracked.items():
        (user.path / file).write_text(text)
        user.dvc("add", "--quiet", file)
    user.dvc("remote", "add", "--quiet", "--default", "here", str(parent / "remote"))
    commit(user, "data")
    return user


def written(name: str, parent: Path) -> User:
    """Return a project that its user has run once and has committed."""
    user = begun(name, parent)
    user.repro(*CASES[name].targets)
    user.dvc("push", "--quiet")
    commit(user, "results")
    return user


def initialised(case: Case, user: User, *options: str) -> None:
    """Let a user call `samerun init` in each of the pipelines, and commit."""
    for folder in case.pipelines:
        user.run("sh", "-c", 'cd "$0" && samerun init "$@"', folder, *options)
    commit(user, "samerun")


def flat(values: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted name."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, values


def loaded(path: Path) -> dict[str, Any]:
    """Return the values of a YAML or JSON file by dotted name."""
    return dict(flat(yaml.safe_load(path.read_text())))


def numbers(path: Path) -> dict[str, float]:
    """Return the numbers of a JSON file by dotted name."""
    found = dict(flat(json.loads(path.read_text())))
    return {name: float(value) for name, value in found.items() if not isinstance(value, str)}


def table(path: Path) -> list[tuple[int, float]]:
    """Return the steps of one of DVCLive's tables, and their values."""
    rows = list(csv.reader(path.read_text().splitlines(), delimiter="\t"))[1:]
    return [(int(step), float(value)) for step, value in rows]


def history(run: Run, rows: Iterable[tuple[Any, ...]]) -> History:
    """Return the metrics of a run that have more than one step, by step."""
    found: History = {}
    for key, step, value in rows:
        found.setdefault(key, []).append((int(step), float(value)))
    return {key: values for key, values in found.items() if len(run.steps[key]) > 1}
