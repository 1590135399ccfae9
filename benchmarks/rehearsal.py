"""A month of scheduled retrainings, simulated: real git and DVC remotes, a real MLflow server.

Every day is `knownline retrain --date DAY --push` in a scratch clone. The truth drifts, bad data
comes, the server is down, two start at once. Each verdict is held against one worked out here
again, from the day's rows with numpy and scipy, and at the end nothing may be lost.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

Array = npt.NDArray[np.float64]
Points = tuple[Array, Array]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
FIRST = date(2026, 3, 1)
EVENTS = {  # what happens on which day, in the long form and in the short one
    "long": {10: "drift", 15: "bad data", 16: "mended", 20: "server down", 25: "two at once"},
    "short": {3: "drift", 4: "bad data", 5: "mended", 6: "server down", 7: "two at once"},
}
BAD = "{kind: shared-integer, scale: 1000}"


@dataclass
class Day:
    """What came of a day. p: of drift, None where there was nobody to drift from."""

    number: int
    event: str
    p: float | None
    verdict: str
    champion: int
    seconds: float
    note: str = ""
    w: float = float("nan")
    b: float = float("nan")


@dataclass
class Expected:
    """Who should be champion by our own reckoning, and the rows he was fitted to."""

    rules: dict[str, Any]
    champion: int = 0
    since: int = 0
    rows: Points | None = None
    wrong: list[str] = field(default_factory=list)

    def day(
        self, number: int, version: int, train: Points, held: Points, *, good: bool
    ) -> tuple[str, float | None]:
        """Return the verdict and drift p of a day, and remember who is champion after it."""
        p = None
        if not good:
            verdict = "refused"
            if self.rows:
                p = self._drift(train, held)[0]
        elif self.rows is None:
            verdict = "promoted"
        else:
            p, drifted = self._drift(train, held)
            better, worse = self._scores(train, held)
            stale = number - self.since >= self.rules["stale_after_days"]
            promoted = better or (not worse and (drifted or stale))
            verdict = "promoted" if promoted else "kept"
        if verdict == "promoted":
            self.champion, self.since, self.rows = version, number, train
        return verdict, p

    def _drift(self, train: Points, held: Points) -> tuple[float, bool]:
        assert self.rows
        (x0, y0), (x1, y1) = self.rows, _joined(train, held)
        apart = _rss(x0, y0) + _rss(x1, y1)
        freedom = len(x0) + len(x1) - 4
        both = _rss(np.concatenate([x0, x1]), np.concatenate([y0, y1]))
        line = stats.f.sf((both - apart) / 2 / (apart / freedom), 2, freedom)
        ratio = (_rss(x1, y1) / (len(x1) - 2)) / (_rss(x0, y0) / (len(x0) - 2))
        noise = stats.f(len(x1) - 2, len(x0) - 2)
        least = min(line, 2 * min(noise.cdf(ratio), noise.sf(ratio)))
        p = float(1 - (1 - least) ** 2) if least > 1e-8 else float(2 * least)
        return p, p < self.rules["drift_level"]

    def _scores(self, train: Points, held: Points) -> tuple[bool, bool]:
        assert self.rows
        x, y = held
        old, new = ((np.polyval(np.polyfit(*rows, 1), x) - y) ** 2 for rows in (self.rows, train))
        level = self.rules["comparison_level"]
        better = stats.ttest_rel(old, new, alternative="greater").pvalue
        worse = stats.ttest_rel(old, new, alternative="less").pvalue
        return bool(better < level), bool(worse < level)


def _joined(*points: Points) -> Points:
    x, y = zip(*points, strict=True)
    return np.concatenate(x), np.concatenate(y)


def _rss(x: Array, y: Array) -> float:
    design = np.column_stack([x - x.mean(), np.ones_like(x)])
    return float(np.linalg.lstsq(design, y, rcond=None)[1][0])


class Scratch:
    """A clone with a bare git remote, a DVC remote folder and a server that can be taken down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.port = _free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
        self.env = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "A person", "GIT_AUTHOR_EMAIL": "person@example.org",
            "GIT_COMMITTER_NAME": "A person", "GIT_COMMITTER_EMAIL": "person@example.org",
        }  # fmt: skip

    def clone(self) -> None:
        """Clone this project and give it remotes."""
        origin = self.folder / "origin.git"
        self.run("git", "clone", "--quiet", "--no-tags", str(ROOT), str(self.work), at=self.folder)
        self.run("git", "checkout", "--quiet", "--detach")
        for name in self.run(
            "git", "for-each-ref", "--format=%(refname:short)", "refs/heads"
        ).stdout.split():
            self.run("git", "branch", "--quiet", "-D", name)
        self.run("git", "switch", "--quiet", "--create", "main")
        self.run("git", "init", "--quiet", "--bare", str(origin))
        self.run("git", "remote", "set-url", "origin", str(origin))
        self.run("dvc", "remote", "add", "--quiet", "--default", "store", str(self.folder / "dvc"))
        self.commit("remotes")

    def commit(self, message: str, replaced: dict[str, str] | None = None) -> None:
        """Commit a change of params.yaml to main, as a person would, the seed aside, and push."""
        self.run("git", "checkout", "--quiet", "--", "params.yaml", "dvc.lock")
        path = self.work / "params.yaml"
        text = path.read_text()
        for old, new in (replaced or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)
        self.run("git", "commit", "--quiet", "--allow-empty", "--all", "--message", message)
        self.run("git", "push", "--quiet", "origin", "main")

    def run(
        self, *command: str, ok: bool = True, at: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        done = subprocess.run(
            command, cwd=at or self.work, env=self.env, capture_output=True, text=True, check=False
        )
        if ok and done.returncode:
            raise SystemExit(f"rehearsal: {' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done

    def retrain(self, day: date) -> subprocess.Popen[str]:
        """Start a day's retraining."""
        return subprocess.Popen(
            ["python", "src/knownline", "retrain", "--date", day.isoformat(), "--push"],
            cwd=self.work, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def points(self, name: str) -> Points:
        """Return the rows of data/train or data/holdout."""
        table = pq.read_table(self.work / "data" / name)
        return table["x"].to_numpy(), table["y"].to_numpy()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def database(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield a name and the address of an empty database: PostgreSQL's where it can be had."""
    driver = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), None)
    programs = _programs()
    if driver is None or programs is None:
        missing = "no PostgreSQL driver" if programs else "no initdb"
        yield f"SQLite ({missing} here)", f"sqlite:///{folder}/server.db"
        return
    data, port = folder / "postgres", _free_port()
    data.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL will not run as root
        shutil.chown(data, "postgres", "postgres")
        folder.chmod(0o755)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    options = f"-p {port} -h 127.0.0.1 -k {data} -c fsync=off"
    for command in (
        ["initdb", "-D", str(data), "-A", "trust", "-U", "knownline", "-E", "UTF8"],
        ["pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start"],
    ):
        subprocess.run(
            [*as_user, str(programs / command[0]), *command[1:]],
            check=True, stdout=subprocess.DEVNULL, cwd=data,
        )  # fmt: skip
    try:
        yield "PostgreSQL", f"postgresql+{driver}://knownline@127.0.0.1:{port}/postgres"
    finally:
        stop = [str(programs / "pg_ctl"), "-D", str(data), "-m", "fast", "stop"]
        subprocess.run([*as_user, *stop], check=False, stdout=subprocess.DEVNULL, cwd=data)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    initdb = found[-1] if found else Path(on_path).resolve() if on_path else None
    return initdb.parent if initdb else None


class Server:
    """The MLflow server, which can be taken down and brought up again."""

    def __init__(self, scratch: Scratch, address: str) -> None:
        self.scratch = scratch
        self.command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address,
            "--artifacts-destination", str(scratch.folder / "artifacts"),
            "--host", "127.0.0.1", "--port", str(scratch.port), "--workers", "1",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start it and wait until it answers."""
        env = {k: v for k, v in self.scratch.env.items() if k != "MLFLOW_TRACKING_URI"}
        log = self.scratch.folder / "server.log"
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                self.command, cwd=self.scratch.folder, env=env, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while True:
            try:
                urlopen(f"http://127.0.0.1:{self.scratch.port}/health", timeout=2).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(f"rehearsal: no server\n{log.read_text()[-2000:]}") from None
                time.sleep(0.2)

    def down(self) -> None:
        """Kill it."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Rehearsal:
    """The days, one by one, and what was wrong with them."""

    def __init__(self, scratch: Scratch, server: Server, days: int) -> None:
        self.scratch, self.server, self.days = scratch, server, days
        self.events = EVENTS["long" if days >= 25 else "short"]
        params = yaml.safe_load((scratch.work / "params.yaml").read_text())
        self.noise = f"{{kind: normal, scale: {params['generate']['noise']['scale']}}}"
        self.truth = params["truth"]
        self.expected = Expected(params["retrain"])
        self.wrong: list[str] = []
        self.done: list[Day] = []
        self.truths: list[float] = []

    def day(self, number: int) -> Day:
        """Let a day happen and check it."""
        event = self.events.get(number, "")
        today = FIRST + timedelta(number - 1)
        self._happens(event)
        start = time.monotonic()
        note = ""
        if event == "server down":
            self.server.down()
            self._finish(number, [self.scratch.retrain(today)], [[2]])
            self.server.up()
            note = "exit 2, repeated when the server was back"
        if event == "two at once":
            both = [self.scratch.retrain(today), self.scratch.retrain(today)]
            codes = self._finish(number, both, [[0, 2], [0, 0]])
            note = f"exits {codes[0]} and {codes[1]}"
        else:
            code = 3 if event == "bad data" else 0
            self._finish(number, [self.scratch.retrain(today)], [[code]])
        found = self._check(number, event, today)
        found.seconds, found.note = time.monotonic() - start, note
        self.done.append(found)
        return found

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
        told = [process.communicate() for process in started]
        codes = sorted(process.returncode for process in started)
        if codes not in allowed:
            self._complain(number, f"exit {codes}, not {allowed}: {told}")
        return codes

    def _check(self, number: int, event: str, today: date) -> Day:
        """Hold what the registry says against our own reckoning."""
        tried = self._versions(today)
        if len(tried) != 1:
            self._complain(number, f"{len(tried)} versions for one day")
        version, tags = int(tried[-1].version), tried[-1].tags
        verdict, p = self.expected.day(
            number, version, self.scratch.points("train"), self.scratch.points("holdout"),
            good=event != "bad data",
        )  # fmt: skip
        champion = int(self.client.get_model_version_by_alias("knownline", "champion").version)
        told = float(tags["drift_p"]) if "drift_p" in tags else None
        if tags.get("verdict") != verdict:
            self._complain(number, f"{tags.get('verdict')}, not {verdict}: {tags.get('reason')}")
        if champion != self.expected.champion:
            self._complain(number, f"champion {champion}, not {self.expected.champion}")
        if (told is None) != (p is None) or (
            told and p and abs(told / p - 1) > 1e-3 and p > 1e-250
        ):
            self._complain(number, f"drift p {told}, not {p}")
        line = json.loads(self._line(champion))
        return Day(number, event, told, tags.get("verdict", "none"), champion, 0.0,
                   w=line["w"], b=line["b"])  # fmt: skip

    @property
    def client(self) -> Any:
        """MLflow's own client, imported late."""
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_LOGGING_LEVEL="WARNING")
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.scratch.env["MLFLOW_TRACKING_URI"])

    def _versions(self, today: date) -> list[Any]:
        query = f"name = 'knownline' and tag.retrained_on = '{today}'"
        return list(self.client.search_model_versions(query))

    def _line(self, champion: int) -> str:
        return str(self.client.get_model_version("knownline", str(champion)).tags["line"])

    def _complain(self, number: int, words: str) -> None:
        self.wrong.append(f"day {number}: {words}")

    def lost(self) -> None:
        """Complain of everything that should be there at the end and is not."""
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
        pushed = self.scratch.run("git", "ls-remote", "--heads", "origin", "retrain/*").stdout
        if sorted(pushed.split()[1::2]) != [f"refs/heads/retrain/{day}" for day in days]:
            self._complain(self.days, "a branch that is not at the git remote")
        other = self.scratch.folder / "other"
        self.scratch.run("git", "clone", "--quiet", "--branch", f"retrain/{days[-1]}",
                         str(self.scratch.folder / "origin.git"), str(other))  # fmt: skip
        if self.scratch.run("dvc", "pull", "--quiet", ok=False, at=other).returncode:
            self._complain(self.days, "outputs that are not at the DVC remote")
        proof = self.scratch.run("python", "src/knownline", "reproduce", "champion", ok=False)
        if proof.returncode:
            self._complain(self.days, f"the champion is not reproduced: {proof.stdout[-300:]}")


def table(days: list[Day], store: str) -> str:
    """Return the days as Markdown."""
    lines = [f"{len(days)} days, MLflow on {store}.", "",
             "| day | what happened | drift p | verdict | champion | seconds | |",
             "|---:|---|---:|---|---|---:|---|"]  # fmt: skip
    lines += [
        f"| {d.number} | {d.event or '·'} | {'–' if d.p is None else format(d.p, '.2g')}"
        f" | {d.verdict} | version {d.champion} | {d.seconds:.0f} | {d.note} |"
        for d in days
    ]
    return "\n".join(lines) + "\n"


def picture(days: list[Day], truths: list[float], level: float) -> Figure:
    """Return the champion's slope against the true one, and the p-value of drift, by day."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    number = [d.number for d in days]
    above.step(number, truths, where="mid", color="#1f6f4a", lw=4, alpha=0.45, label="true w")
    above.step(number, [d.w for d in days], where="mid", color="#c4421a", label="champion's w")
    above.legend(frameon=False)
    above.set_ylabel("w")
    above.set_title("Who serves, day by day", loc="left", weight="bold")
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
    """Rehearse; 1 where a verdict is wrong or something is lost."""
    parser = argparse.ArgumentParser(description="Simulated days of scheduled retraining.")
    parser.add_argument("--days", type=int, default=30, help="8 is CI's short form (30)")
    days = parser.parse_args().days
    if days < 8:
        parser.error("--days must be 8 or more")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name, database(Path(name)) as (
        store, address,
    ):  # fmt: skip
        scratch = Scratch(Path(name))
        scratch.clone()
        server = Server(scratch, address)
        server.up()
        print(f"{days} days from {FIRST}, MLflow on {store}", flush=True)
        try:
            rehearsal = Rehearsal(scratch, server, days)
            for number in range(1, days + 1):
                d = rehearsal.day(number)
                p = "" if d.p is None else f", drift p {d.p:.2g}"
                print(f"day {d.number:2}: {d.verdict:8} champion {d.champion:2}{p}"
                      f" ({d.seconds:.0f} s){', ' + d.event if d.event else ''}", flush=True)  # fmt: skip
            rehearsal.lost()
        finally:
            server.down()
    BUILD.mkdir(exist_ok=True)
    (BUILD / "rehearsal.md").write_text(table(rehearsal.done, store))
    level = rehearsal.expected.rules["drift_level"]
    picture(rehearsal.done, rehearsal.truths, level).savefig(BUILD / "rehearsal.png", dpi=110)
    print("", table(rehearsal.done, store), sep="\n")
    for complaint in rehearsal.wrong:
        print(f"wrong: {complaint}")
    seconds = time.monotonic() - start
    said = "every verdict is right, nothing is lost" if not rehearsal.wrong else "NOT as it must be"
    print(f"{said}; {seconds:.0f} s; build/rehearsal.md, build/rehearsal.png")
    return 1 if rehearsal.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
