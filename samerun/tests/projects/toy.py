"""A small DVC project without our code. Each execution of a stage appends a line to a file.

prepare -> fit -> judge -> draw -> record: shell stages, of which `draw` only presents. The file is
outside the repository, named by TOY_LOG, so that counting executions changes nothing.
"""

import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from support.workspace import Run, Workspace, commit

ALL = ["prepare", "fit", "judge", "draw", "record"]

COMMON = """
ran() { echo "$1" >> "$TOY_LOG"; }
param() { sed -n "/^$1:/,/^[^ ]/s/^  $2: //p" params.yaml; }
"""

PREPARE = """
. code/common.sh
ran prepare
scale="$(param prepare scale)"
awk -F, -v scale="$scale" '{ print $1 "," scale * $2 }' data/raw.csv > data/table.csv
"""

FIT = """
. code/common.sh
ran fit
. code/fit/step.sh
mkdir -p models reports
sum="$(awk -F, '{ s += $2 } END { print s }' data/table.csv)"
descend "$sum" "$(param fit rate)" "$(param fit steps)" > reports/history.csv
echo "{\\"slope\\": $(tail -n 1 reports/history.csv | cut -d, -f 3)}" > models/fit.json
eval "${TOY_MEANWHILE:-}"
"""

STEP = """
descend() {
  awk -v to="$1" -v rate="$2" -v steps="$3" 'BEGIN {
    print "step,loss,slope"
    for (i = 0; i < steps; i++) { w += rate * (to - w); print i "," (to - w) ^ 2 "," w }
  }'
}
"""

JUDGE = """
. code/common.sh
ran judge
slope="$(sed 's/[^0-9.]//g' models/fit.json)"
sum="$(awk -F, '{ s += $2 } END { print s }' data/table.csv)"
awk -v slope="$slope" -v sum="$sum" -v limit="$(param judge limit)" 'BEGIN {
  error = sum - slope
  printf "{\\"slope\\": %s, \\"error\\": {\\"absolute\\": %s}, \\"passed\\": %s}\\n",
    slope, error, (error < limit) ? "true" : "false"
}' > reports/metrics.json
"""

DRAW = """
. code/common.sh
ran draw
echo "<svg fill='$(param draw color)'><!-- $(cat reports/metrics.json) --></svg>" \\
  > reports/picture.svg
"""

SERVE = """
import json
from pathlib import Path


def load(path):
    slope = json.loads(Path(path).read_text())["slope"]
    return lambda frame: frame["x"] * slope
"""

PARAMS = """
prepare:
  scale: 2
fit:
  rate: 0.5
  steps: 3
judge:
  limit: 100
draw:
  color: red
"""

META = """
      samerun:
        experiment: toy
        model: code/serve.py
        tags: {verdict: "reports/metrics.json:passed ? good : bad"}
        not_identity: [draw]
"""

PIPELINE = """
stages:
  prepare:
    cmd: samerun run -- sh -e code/prepare/main.sh
    params: [prepare]
    deps: [code/common.sh, code/prepare, data/raw.csv]
    outs: [data/table.csv]
  fit:
    cmd: samerun run -- sh -e code/fit/main.sh
    params: [fit]
    deps: [code/common.sh, code/fit, data/table.csv]
    outs: [models/fit.json]
    plots:
      - reports/history.csv: {x: step, y: loss}
  judge:
    cmd: samerun run -- sh -e code/judge/main.sh
    params: [judge]
    deps: [code/common.sh, code/judge, data/table.csv, models/fit.json]
    metrics: [reports/metrics.json]
  draw:
    cmd: samerun run -- sh -e code/draw/main.sh
    params: [draw]
    deps: [code/common.sh, code/draw, reports/metrics.json]
    outs: [reports/picture.svg]
  record:
    cmd: samerun record
    params: [prepare, fit, judge]
    deps:
      - code/common.sh
      - code/prepare
      - code/fit
      - code/judge
      - code/serve.py
      - data/raw.csv
      - models/fit.json
      - reports/history.csv
      - reports/metrics.json
      - reports/picture.svg
    outs:
      - mlruns/recorded.json: {cache: false, persist: true}
    meta: META
artifacts:
  fit:
    type: model
    path: models/fit.json
""".replace(" META", META.rstrip())

FILES = {
    "code/common.sh": COMMON,
    "code/prepare/main.sh": PREPARE,
    "code/fit/main.sh": FIT,
    "code/fit/step.sh": STEP,
    "code/judge/main.sh": JUDGE,
    "code/draw/main.sh": DRAW,
    "code/serve.py": SERVE,
    "data/raw.csv": "1,10\n2,20\n3,30\n",
    "params.yaml": PARAMS,
    "dvc.yaml": PIPELINE,
    ".dvcignore": "__pycache__/\n*.pyc\n.*.sw?\n",
}


@dataclass(frozen=True)
class Toy(Workspace):
    """A checkout of a small project, with what tests do in it."""

    @property
    def log(self) -> Path:
        """The file to which each stage that is executed appends a line."""
        return self.path.parent / f"{self.path.name}.executions"

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of a user, in which stages find TOY_LOG."""
        return super().env(**{"TOY_LOG": str(self.log), **more})

    def executions(self) -> list[str]:
        """Return the stages executed so far, as their own programs logged them."""
        return self.log.read_text().split() if self.log.exists() else []

    def repro(self, *arguments: str, folder: str = ".", **env: str) -> list[str]:
        """Run `dvc repro`; return the stages executed, `record` according to DVC's output."""
        return self.executed_by("repro", *arguments, folder=folder, **env)

    def executed_by(self, *arguments: str, folder: str = ".", **env: str) -> list[str]:
        """Run a command of DVC in a folder, which must succeed; return what executed."""
        before = len(self.executions())
        inside = ("sh", "-c", 'cd "$0" && exec dvc "$@"', folder)
        shown = self.run(*inside, *arguments, ok=True, **env).stdout
        recorded = [
            name
            for line in shown.splitlines()
            if line.startswith("Running stage") and (name := line.split("'")[1]).endswith("record")
        ]
        return self.executions()[before:] + recorded

    def refused(self, *arguments: str, says: str, **env: str) -> None:
        """Run a command that fails with one line of error containing `says`, and records no run."""
        before = self.runs()
        done = self.run(*arguments, ok=False, **env)
        told = [line for line in done.stderr.splitlines() if line.startswith("samerun: error: ")]
        assert len(told) == 1, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert says in told[0], told[0]
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == 2 if arguments[0] == "samerun" else done.returncode != 0
        assert self.runs() == before

    def runs(self, database: str = "mlruns/mlflow.db") -> list[Run]:
        """Return the runs of the store, oldest first; none if there is no store."""
        return super().runs(database) if (self.path / database).exists() else []

    def new_run(self, known: list[Run]) -> Run:
        """Return the one complete run in the store that is not among the given ones."""
        ids = {run.run_id for run in known}
        (run,) = (run for run in self.runs() if run.run_id not in ids)
        assert run.status == "FINISHED"
        return run

    def experiments(self) -> dict[str, str]:
        """Return the name of each run's experiment, by the run's id."""
        with sqlite3.connect(f"file:{self.path / 'mlruns/mlflow.db'}?mode=rw", uri=True) as store:
            query = (
                "select run_uuid, e.name from runs join experiments e using (experiment_id)"
                " where runs.lifecycle_stage = 'active'"
            )
            return dict(store.execute(query).fetchall())

    def marker(self, path: str = "mlruns/recorded.json") -> str:
        """Return the fingerprint that the marker names."""
        content = json.loads((self.path / path).read_text())
        assert list(content) == ["fingerprint"]
        return str(content["fingerprint"])

    def append(self, file: str, text: str) -> None:
        """Add text to the end of a file."""
        with (self.path / file).open("a") as stream:
            stream.write(text)

    def set(self, name: str, value: object) -> None:
        """Set a parameter, such as fit.rate; each key of params.yaml is there once."""
        key = name.rpartition(".")[2]
        lines = (self.path / "params.yaml").read_text().splitlines()
        (old,) = (line for line in lines if line.startswith(f"  {key}: "))
        self.replace("params.yaml", old, f"  {key}: {value}")

    def clone(self, name: str = "clone") -> "Toy":
        """Return a clone of what is committed, as a colleague would have it."""
        target = self.path.parent / name
        self.git("clone", "--quiet", str(self.path), str(target))
        return Toy(target)


def project(path: Path, files: dict[str, str], *, dvc: str = "") -> Toy:
    """Return a new git repository with these files, committed, and DVC in one of its folders."""
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text.lstrip("\n"))
    toy = Toy(path)
    toy.git("init", "--quiet", "--initial-branch=main")
    toy.dvc("init", "--quiet", *(["--subdir", dvc] if dvc else []))
    commit(toy, "start")
    return toy


def flip(path: Path) -> None:
    """Change one byte of a file in its place, and leave its times and permissions as they were."""
    found, mode = path.stat(), path.stat().st_mode & 0o777
    content = bytearray(path.read_bytes())
    # A digit becomes another digit, so that what reads the file sees nothing amiss.
    place = next((i for i, byte in enumerate(content) if byte in b"0123456789"), 0)
    content[place] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(content)
    path.chmod(mode)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
