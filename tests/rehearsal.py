"""A month of scheduled retrainings, simulated: real git and DVC remotes, a real MLflow server.

Each day runs `knownline retrain --date DAY --push` in a scratch clone. The truth drifts, bad data
arrives, the server is down, two retrainings start at once. Each verdict is compared with one that
numpy and scipy compute from the day's rows, and at the end nothing may be missing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from support.servers import Server, over_postgresql
from tests.conftest import ROOT, Workspace, checkout
from tests.reckoning import Points, Reckoning

BUILD = ROOT / "build"
FIRST = date(2026, 3, 1)
EVENTS = {  # by the least number of days: what happens on which day
    25: {10: "drift", 15: "bad data", 16: "mended", 20: "server down", 25: "two at once"},
    8: {3: "drift", 4: "bad data", 5: "mended", 6: "server down", 7: "two at once"},
    3: {2: "drift", 3: "bad data"},
}
BAD = "{kind: shared-integer, scale: 1000}"


@dataclass
class Day:
    """A day's result. p: of drift, None if there was no champion to drift from."""

    number: int
    event: str
    p: float | None
    verdict: str
    champion: int
    seconds: float
    note: str = ""
    w: float = float("nan")
    b: float = float("nan")

    def __str__(self) -> str:
        p = "" if self.p is None else f", drift p {self.p:.2g}"
        event = f", {self.event}" if self.event else ""
        return (
            f"day {self.number:2}: {self.verdict:8} champion {self.champion:2}{p}"
            f" ({self.seconds:.0f} s){event}"
        )


class Scratch:
    """A checkout with a bare git remote, a DVC remote folder and a tracking server."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri
        self.here = checkout(folder / "work")
        self.here.git(
            "init", "--quiet", "--bare", "--initial-branch=main", str(folder / "origin.git")
        )
        self.here.git("remote", "add", "origin", str(folder / "origin.git"))
        self.here.dvc("remote", "add", "--quiet", "--default", "store", str(folder / "dvc"))
        self.commit("remotes")

    def commit(self, message: str, replaced: dict[str, str] | None = None) -> None:
        """Commit a change of params.yaml to main, without the day's seed, and push."""
        self.here.git("checkout", "--quiet", "--", "params.yaml", "dvc.lock")
        for old, new in (replaced or {}).items():
            self.here.replace("params.yaml", old, new)
        self.here.git("commit", "--quiet", "--allow-empty", "--all", "--message", message)
        self.here.git("push", "--quiet", "origin", "main")

    def retrain(self, day: date) -> subprocess.Popen[str]:
        """Start a day's retraining."""
        return subprocess.Popen(
            ["python", "src/knownline", "retrain", "--date", day.isoformat(), "--push"],
            cwd=self.here.path,
            env=self.here.env(MLFLOW_TRACKING_URI=self.uri),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def points(self, name: str) -> Points:
        """Return the rows of data/train or data/holdout."""
        table = pq.read_table(self.here.path / "data" / name)
        return table["x"].to_numpy(), table["y"].to_numpy()


class Rehearsal:
    """The days, one by one, and every complaint about them."""

    def __init__(self, scratch: Scratch, server: Server, client: Any, days: int) -> None:
        self.scratch, self.server, self.client, self.days = scratch, server, client, days
        self.events = next(events for least, events in EVENTS.items() if days >= least)
        params = yaml.safe_load((scratch.here.path / "params.yaml").read_text())
        self.noise = f"{{kind: normal, scale: {params['generate']['noise']['scale']}}}"
        self.truth = params["truth"]
        self.expected = Reckoning(params["retrain"])
        self.wrong: list[str] = []
        self.done: list[Day] = []
        self.truths: list[float] = []

    def day(self, number: int) -> Day:
        """Simulate a day and check it."""
        event = self.events.get(number, "")
        today = FIRST + timedelta(number - 1)
        self._happens(event)
        start = time.monotonic()
        note = ""
        if event == "server down":
            self.server.kill()
            self._finish(number, [self.scratch.retrain(today)], [[2]])
            self.server.start()
            note = "exit 2, repeated when the server was back"
        if event == "two at once":
            both = [self.scratch.retrain(today), self.scratch.retrain(today)]
            codes = self._finish(number, both, [[0, 2], [0, 0]])
            note = f"exits {codes[0]} and {codes[1]}"
        else:
            code = 3 if event == "bad data" else 0
            self._finish(number, [self.scratch.retrain(today)], [[code]])
        day = self._check(number, event, today)
        day.seconds, day.note = time.monotonic() - start, note
        self.done.append(day)
        return day

    def _happens(self, event: str) -> None:
        if event == "drift":
            self.truth["w"] += 0.2
            was = f"truth: {{w: {self.truth['w'] - 0.2:g}.0"
            self.scratch.commit("the truth has moved", {was: f"truth: {{w: {self.truth['w']:g}"})
        elif event == "bad data":
            self.scratch.commit("a sensor went wrong", {self.noise: BAD})
        elif event == "mended":
            self.scratch.commit("the sensor is mended", {BAD: self.noise})
        self.truths.append(self.truth["w"])

    def _finish(
        self, number: int, started: list[subprocess.Popen[str]], allowed: list[list[int]]
    ) -> list[int]:
        outputs = [process.communicate() for process in started]
        codes = sorted(process.returncode for process in started)
        if codes not in allowed:
            self._complain(number, f"exit {codes}, not {allowed}: {outputs}")
        return codes

    def _check(self, number: int, event: str, today: date) -> Day:
        """Compare what the registry says with our own reckoning."""
        tried = self._versions(today)
        if len(tried) != 1:
            self._complain(number, f"{len(tried)} versions for one day")
        version, tags = int(tried[-1].version), self.client.get_run(tried[-1].run_id).data.tags
        verdict, p = self.expected.day(
            number, version, self.scratch.points("train"), self.scratch.points("holdout"),
            good=event != "bad data",
        )  # fmt: skip
        champion = int(self.client.get_model_version_by_alias("knownline", "champion").version)
        tagged = float(tags["drift_p"]) if "drift_p" in tags else None
        if tags.get("verdict") != verdict:
            self._complain(number, f"{tags.get('verdict')}, not {verdict}: {tags.get('reason')}")
        if champion != self.expected.champion:
            self._complain(number, f"champion {champion}, not {self.expected.champion}")
        if (tagged is None) != (p is None) or (
            tagged and p and abs(tagged / p - 1) > 1e-3 and p > 1e-250
        ):
            self._complain(number, f"drift p {tagged}, not {p}")
        line = json.loads(self._model(champion))["parameters"]
        return Day(number, event, tagged, tags.get("verdict", "none"), champion, 0.0,
                   w=line["w"], b=line["b"])  # fmt: skip

    def _versions(self, today: date) -> list[Any]:
        query = f"name = 'knownline' and tag.retrained_on = '{today}'"
        return list(self.client.search_model_versions(query))

    def _model(self, champion: int) -> str:
        tags = self.client.get_model_version("knownline", str(champion)).tags
        return str(json.loads(tags["registration"])["model"])

    def _complain(self, number: int, words: str) -> None:
        self.wrong.append(f"day {number}: {words}")

    def lost(self) -> None:
        """Complain about everything that is missing at the end."""
        days = [(FIRST + timedelta(n)).isoformat() for n in range(self.days)]
        client = self.client
        experiment = client.get_experiment_by_name("knownline").experiment_id
        runs = client.search_runs([experiment])
        if len(runs) != self.days or {run.info.status for run in runs} != {"FINISHED"}:
            self._complain(self.days, f"{len(runs)} runs, of {self.days} days")
        if any(run.data.tags["git_dirty"] != "false" for run in runs):
            self._complain(self.days, "a run that is not of a clean tree")
        versions = client.search_model_versions("name = 'knownline'")
        if sorted(v.tags.get("retrained_on") for v in versions) != days or any(
            v.tags.get("settled") != "true" or not v.description for v in versions
        ):
            self._complain(self.days, "a day without a version, or one without its end")
        pushed = self.scratch.here.git("ls-remote", "--heads", "origin", "retrain/*")
        if sorted(pushed.split()[1::2]) != [f"refs/heads/retrain/{day}" for day in days]:
            self._complain(self.days, "a branch that is not at the git remote")
        other = Workspace(self.scratch.folder / "other")
        here = self.scratch.here
        here.git("clone", "--quiet", "--branch", f"retrain/{days[-1]}",
                 str(self.scratch.folder / "origin.git"), str(other.path))  # fmt: skip
        if other.dvc("pull", "--quiet", ok=False).returncode:
            self._complain(self.days, "outputs that are not at the DVC remote")
        proof = here.samerun(
            "reproduce", "champion", ok=False, MLFLOW_TRACKING_URI=self.scratch.uri
        )
        if proof.returncode:
            self._complain(self.days, f"the champion is not reproduced: {proof.stdout[-300:]}")


def table(days: list[Day]) -> str:
    """Return the days as Markdown."""
    lines = [f"{len(days)} days, MLflow on PostgreSQL.", "",
             "| day | what happened | drift p | verdict | champion | seconds | |",
             "|---:|---|---:|---|---|---:|---|"]  # fmt: skip
    lines += [
        f"| {d.number} | {d.event or '·'} | {'–' if d.p is None else format(d.p, '.2g')}"
        f" | {d.verdict} | version {d.champion} | {d.seconds:.0f} | {d.note} |"
        for d in days
    ]
    return "\n".join(lines) + "\n"


def picture(days: list[Day], truths: list[float], level: float) -> Figure:
    """Return a figure of the champion's slope, the true one and the drift p-value, by day."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    number = [d.number for d in days]
    above.step(number, truths, where="mid", color="#1f6f4a", lw=4, alpha=0.45, label="true w")
    above.step(number, [d.w for d in days], where="mid", color="#c4421a", label="champion's w")
    above.legend(frameon=False)
    above.set_ylabel("w")
    above.set_title("The champion, day by day", loc="left", weight="bold")
    tested = [d for d in days if d.p is not None]
    shown = {"kept": "#8fa6bd", "promoted": "#1f6f4a", "refused": "#c4421a"}
    for verdict, colour in shown.items():
        those = [d for d in tested if d.verdict == verdict]
        p = [max(d.p or 0.0, 1e-12) for d in those]
        below.semilogy([d.number for d in those], p, "o", color=colour, label=verdict)
    below.axhline(level, color="#7b8794", ls="--", label=f"drift below {level:g}")
    below.set_xlabel("day")
    below.set_ylabel("drift p (1e-12 or less)")
    below.legend(frameon=False, ncols=2)
    return figure


def main() -> int:
    """Rehearse; return 1 if a verdict is wrong or something is lost."""
    parser = argparse.ArgumentParser(description="Simulated days of scheduled retraining.")
    parser.add_argument(
        "--days", type=int, default=30, help="3 is CI's form, 8 has every event in short (30)"
    )
    days = parser.parse_args().days
    if days < min(EVENTS):
        parser.error(f"--days must be {min(EVENTS)} or more")
    start = time.monotonic()
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_LOGGING_LEVEL="WARNING")
    from mlflow.tracking import MlflowClient

    with (
        tempfile.TemporaryDirectory(prefix="knownline-rehearsal-") as name,
        over_postgresql(Path(name)) as server,
    ):
        print(f"{days} days from {FIRST}, MLflow on PostgreSQL", flush=True)
        scratch = Scratch(Path(name), server.uri)
        rehearsal = Rehearsal(scratch, server, MlflowClient(server.uri), days)
        for number in range(1, days + 1):
            print(rehearsal.day(number), flush=True)
        rehearsal.lost()
    BUILD.mkdir(exist_ok=True)
    (BUILD / "rehearsal.md").write_text(table(rehearsal.done))
    level = rehearsal.expected.rules["drift_level"]
    picture(rehearsal.done, rehearsal.truths, level).savefig(BUILD / "rehearsal.png", dpi=110)
    print("", table(rehearsal.done), sep="\n")
    for complaint in rehearsal.wrong:
        print(f"wrong: {complaint}")
    seconds = time.monotonic() - start
    outcome = "FAILED" if rehearsal.wrong else "every verdict is right, nothing is lost"
    print(f"{outcome}; {seconds:.0f} s; build/rehearsal.md, build/rehearsal.png")
    return 1 if rehearsal.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
