"""The drill: kill the pipeline, fill its disk, crowd its store, damage its files. `make drill`.

Every part works on checkouts of its own in a temporary folder, with real git, DVC and MLflow, and
prints one line with its figures. The first thing that is lost ends the drill with exit status 1.

    python -m tests.drill            every part (200 kills, 16 first users, 20 disks), hours
    python -m tests.drill --short    what CI runs, a minute or two; without `matrix`

What is killed is started with all of its processes anew, the rest by tests/warm.py.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import numpy as np
from pyarrow import parquet

from knownline.core import checksums
from knownline.core.history import History
from knownline.model import LINE
from knownline.train.checkpoints import NAME, VARIABLE, Checkpoint, Checkpoints
from samerun.core.errors import UserError
from support.warm import Warm
from support.workspace import QUIET, inherited
from tests import bits
from tests.conftest import Workspace, checkout
from tests.file_contents import check_sums
from tests.pipeline.training import EPOCHS, make_long

SOON = {"SAMERUN_LIVE_AFTER": "0.5"}


class LostError(Exception):
    """Something was lost, torn or doubled."""


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise LostError(what)


def long(folder: Path) -> Workspace:
    """Return a checkout whose training lasts seconds."""
    workspace = checkout(folder)
    make_long(workspace)
    workspace.git("commit", "-qam", "long")
    return workspace


def numbers(workspace: Workspace) -> dict[str, bytes]:
    """Return the outputs whose bytes must not depend on kills; temporary files aside."""
    return {k: v for k, v in workspace.outputs().items() if not Path(k).name.startswith(".")}


def killed(workspace: Workspace, after: float, *, force: bool = False) -> bool:
    """Run `dvc repro` and kill its whole group after some seconds; return whether it was killed."""
    log = workspace.path.parent / "log"
    cold = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["dvc", "repro", *(["--force"] if force else [])],
            cwd=workspace.path,
            env=workspace.env(PATH=cold, **SOON),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        code = process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    if code and cut_short(log.read_text()):
        repair(workspace)
        return killed(workspace, after, force=force)
    demand(code == 0, f"`dvc repro` failed: {log.read_text()[-3000:]}")
    return False


def cut_short(output: str) -> bool:
    """Whether DVC stumbles over a file of its own, which it writes in place."""
    return "RWLock-file" in output or "'./dvc.lock'" in output


def repair(workspace: Workspace) -> None:
    """Repair that as a user would."""
    output = workspace.samerun("doctor", "--repair", ok=False).stdout
    repaired = [line for line in output.splitlines() if line.startswith("repaired:")]
    demand("a kill truncated" in "".join(repaired), f"DVC's own file is not repaired: {output}")
    print(f"drill: `samerun doctor --repair`: {repaired}")


def repro(workspace: Workspace, *arguments: str) -> None:
    """Run `dvc repro` to its end."""
    done = workspace.dvc("repro", *arguments, ok=False, **SOON)
    if done.returncode and cut_short(done.stderr):
        repair(workspace)
        done = workspace.dvc("repro", *arguments, ok=False, **SOON)
    demand(done.returncode == 0, f"`dvc repro` failed: {(done.stdout + done.stderr)[-3000:]}")


def nothing_torn(workspace: Workspace) -> None:
    """Demand that every file can be read to its end, and that the store is sound.

    data/SHA256SUMS need not match: a kill between the files and their sums leaves a list that the
    next stage refuses.
    """
    for path in workspace.path.glob("*/**/*"):
        if any(part.startswith(".") for part in path.relative_to(workspace.path).parts):
            continue  # git's, DVC's, and temporary files, which nobody reads
        if path.is_relative_to(workspace.path / "mlruns/artifacts") or not path.is_file():
            continue  # a recording cut short sends them again
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".parquet":
                parquet.read_table(path)
            elif path.name == "SHA256SUMS":
                checksums.read(path.parent)
            elif path.name == "history.csv":
                History.read(path, LINE.names)
        except (ValueError, OSError, UserError) as error:
            raise LostError(f"{path} is torn: {error}") from error
    store_is_sound(workspace.path / "mlruns/mlflow.db")


def store_is_sound(database: Path) -> None:
    if not database.exists():
        return
    with sqlite3.connect(database, timeout=60) as store:
        demand(store.execute("pragma integrity_check").fetchone() == ("ok",), "the store is torn")
        doubled = store.execute(
            "select run_uuid, key, step from metrics group by 1, 2, 3 having count(*) > 1"
        ).fetchone()
        demand(doubled is None, f"a metric is doubled: {doubled}")


def nobody_runs(workspace: Workspace, finished: int) -> None:
    """Demand that `finished` runs are complete, with every epoch once, and that none is RUNNING."""
    deadline = time.monotonic() + 30
    while True:
        runs = workspace.runs()
        running = [
            (run.run_id, run.tags, {name: len(steps) for name, steps in run.steps.items()})
            for run in runs
            if run.status == "RUNNING"
        ]
        if not running or time.monotonic() > deadline:
            break
        time.sleep(0.2)  # the process that streamed a killed training is still writing
    demand(not running, f"still RUNNING: {running}")
    complete = [run for run in runs if run.status == "FINISHED"]
    demand(len(complete) == finished, f"{len(complete)} complete runs, not {finished}")
    every = list(range(EPOCHS))
    for run in complete:
        for name in ("loss", "w", "b"):
            demand(run.steps[name] == every, f"{name} of {run.run_id} has gaps or doubles")


def everything_is_recorded(workspace: Workspace) -> None:
    """Demand that each execution that succeeded is in a run, but those of the page's stage."""
    found = (workspace.path / ".dvc/tmp/samerun/receipts").glob("*.json")
    receipts = [json.loads(path.read_text()) for path in found]
    waiting = [each["stage"] for each in receipts if not each["recorded"]]
    demand(set(waiting) <= {"dvc.yaml:report"}, f"not recorded: {waiting}")


def kills(scratch: Path, dice: random.Random, count: int) -> str:
    """Kill whole pipelines at random moments; the next run ends with the same bits as ever."""
    reference = long(scratch / "reference")
    began = time.monotonic()
    demand(not killed(reference, 600), "a pipeline takes more than ten minutes")
    whole = time.monotonic() - began
    expected = numbers(reference)
    workspace = long(scratch / "killed")
    done = arrived = 0
    while done < count:
        force = arrived > 0
        for _ in range(min(6, count - done)):
            began = time.monotonic()
            if not killed(workspace, dice.uniform(0.3, 0.9 * whole), force=force):
                if force:  # the machine is quicker than it was
                    whole = min(whole, time.monotonic() - began)
                break
            force = False  # DVC goes on with what it had not done
            done += 1
            nothing_torn(workspace)
        repro(workspace)
        if workspace.git("status", "--short", "--", "dvc.lock").strip() or not arrived:
            workspace.git("add", "dvc.lock")
            workspace.git("commit", "-q", "--allow-empty", "-m", "results")
        arrived += 1
        print(f"drill: {done} kills over {arrived} pipelines so far", file=sys.stderr)
        everything_is_recorded(workspace)
        got = numbers(workspace)
        for name, content in expected.items():
            demand(got.get(name) == content, f"{name} differs after kills")
    store_is_sound(workspace.path / "mlruns/mlflow.db")
    runs = workspace.runs()
    return f"{done} kills over {arrived} pipelines of {whole:.0f} s, {len(runs)} runs" + complete(
        workspace
    )


def complete(workspace: Workspace) -> str:
    finished = len([run for run in workspace.runs() if run.status == "FINISHED"])
    demand(finished > 0, "no run is complete")
    nobody_runs(workspace, finished)
    return f", {finished} complete, 0 running, 0 torn, 0 doubled; bits equal"


def kills_of_record(scratch: Path, dice: random.Random, count: int) -> str:
    """Kill `record` at random moments; each execution ends as one complete run."""
    workspace = long(scratch / "recording")
    workspace.replace("params.yaml", "rows: 400000", "rows: 99")
    workspace.dvc("repro", "report")
    began = time.monotonic()
    demand(not killed(workspace, 600), "record takes more than ten minutes")
    lasts = time.monotonic() - began
    done, executions = 0, 1
    while done < count:
        repro(workspace, "--force", "--single-item", "train")  # the same bytes: a new execution
        executions += 1
        for _ in range(min(8, count - done)):
            began = time.monotonic()
            if not killed(workspace, dice.uniform(0.6, 0.9 * lasts)):
                lasts = min(lasts, time.monotonic() - began)  # the machine is quicker than it was
                break
            done += 1
            nothing_torn(workspace)
        repro(workspace)
        nobody_runs(workspace, executions)
    return f"{done} kills of record over {executions} executions" + complete(workspace)


def first_users(scratch: Path, dice: random.Random, count: int) -> str:
    """Let many use one empty store at once, each from a checkout of its own."""
    database = scratch / "one store" / "mlflow.db"
    users = [checkout(scratch / f"user {number}") for number in range(count)]
    started = [
        subprocess.Popen(
            ["dvc", "repro"],
            cwd=user.path,
            env=user.env(MLFLOW_TRACKING_URI=f"sqlite:///{database}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for user in users
    ]
    for process in started:
        output, _ = process.communicate()
        demand(process.returncode == 0, f"a first user failed: {output[-600:]}")
    store_is_sound(database)
    runs = users[0].runs(str(database))
    demand([run.status for run in runs] == ["FINISHED"] * count, f"{len(runs)} runs of {count}")
    return f"{count} first users of an empty store: {len(runs)} complete runs"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_full(scratch: Path, dice: random.Random, count: int) -> str:
    """Fill the disk at random points of a pipeline; with space again it ends with the same bits."""
    reference = checkout(scratch / "reference")
    reference.replace("params.yaml", "rows: 99", "rows: 40000")
    reference.dvc("repro")
    expected = numbers(reference)
    refused = 0
    try:
        for number in range(count):
            with small_disk(scratch / f"disk {number}", 24) as disk:
                workspace = checkout(disk / "work")
                workspace.dvc("repro")
                before = numbers(workspace)
                workspace.replace("params.yaml", "rows: 99", "rows: 40000")
                free = shutil.disk_usage(disk).free
                # It writes more than 2 MB: one point in each equal part of that.
                space = int(2_000_000 * (number + dice.random()) / count)
                ballast = disk / "ballast"
                with ballast.open("wb") as stream:
                    stream.write(b"\0" * max(0, free - space))
                done = workspace.dvc("repro", ok=False)
                if done.returncode:
                    refused += 1
                    ours = [x for x in done.stderr.splitlines() if x.startswith("Traceback")]
                    demand(not ours, f"a full disk ends in a traceback: {done.stderr[-1500:]}")
                nothing_torn(workspace)
                ballast.unlink()
                workspace.dvc("repro")
                got = numbers(workspace)
                for name, content in expected.items():
                    demand(got.get(name) == content, f"{name} differs after a full disk")
                demand(before.keys() <= got.keys(), "an output is gone")
                states = [run.status for run in workspace.runs()]
                demand(states == ["FINISHED"] * 2, f"runs after a full disk: {states}")
    except PermissionError as error:
        return f"disk full: skipped, {error}"
    demand(refused > 0, "no disk was full")
    return (
        f"{count} disks filled in the middle ({refused} refused, without a traceback): nothing lost"
    )


def flipped(scratch: Path, dice: random.Random, count: int) -> str:
    """Flip every byte of the data, of its list of sums and of a checkpoint, one at a time."""
    workspace = checkout(scratch / "flipped")
    workspace.dvc("repro")
    tried = 0
    here = Path.cwd()
    os.chdir(workspace.path)
    try:
        data = Path("data")

        def check() -> None:
            for name in ("train", "holdout"):
                check_sums(data, only=data / name)

        for path in [*checksums.read(data), data / checksums.SUMS]:
            tried += each_byte(path, dice, count, check)
        os.environ[VARIABLE] = str(scratch)
        checkpoints = Checkpoints("f" * 64)
        checkpoints.save(Checkpoint({"raw": np.array([3.0, 4.0])}, np.ones((3, 50))))
        path = scratch / NAME

        def load() -> None:
            if checkpoints.load() is None:
                raise UserError(str(path))

        with Path(os.devnull).open("w") as null, redirect_stderr(null):
            tried += each_byte(path, dice, count, load)
    finally:
        os.chdir(here)
        os.environ.pop(VARIABLE, None)
    return f"{tried:,} flipped bytes, all refused with the file's name"


def each_byte(path: Path, dice: random.Random, most: int, check: Callable[[], None]) -> int:
    """Flip a bit of every byte of a file, of `most` bytes at most; return how many were tried."""
    whole = path.read_bytes()
    places = range(len(whole))
    chosen = places if len(places) <= most else sorted(dice.sample(places, most))
    for place in chosen:
        changed = bytearray(whole)
        changed[place] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        try:
            check()
        except UserError as error:
            demand(_named(path, str(error)), f"byte {place} of {path}: {error}")
        else:
            raise LostError(f"byte {place} of {path} was flipped and nobody noticed")
    path.write_bytes(whole)
    return len(chosen)


def _named(path: Path, message: str) -> bool:
    """Whether an error names the file; if a sum changed, it names the file of that sum."""
    return path.name == checksums.SUMS or str(path) in message


def matrix(scratch: Path, dice: random.Random, count: int) -> str:
    """Draw and fit with every number of threads on every width of SIMD: one hash.

    Each once undisturbed, and once killed and repeated; on three points, and row by row.
    """
    cases = [
        (compress, threads, width)
        for compress in (True, False)
        for threads in (1, 2, 3, 4, 8)
        for width in bits.simd()
    ]
    chosen = cases if count >= len(cases) else dice.sample(cases, count)
    found: dict[bool, dict[str, str]] = {True: {}, False: {}}
    kills = 0
    for compress in (True, False):
        workspace = checkout(scratch / f"compress-{compress}")
        bits.configure(workspace, compress=compress)
        for _, threads, width in (case for case in chosen if case[0] == compress):
            name, env = f"{threads} x {width}", bits.simd()[width]
            found[compress][name] = bits.made(workspace, threads=threads, **env)
            found[compress][f"{name}, killed"], more = bits.made_after_kills(
                workspace, dice, threads=threads, **env
            )
            kills += more
            demand(len(set(found[compress].values())) == 1, f"not one hash: {found[compress]}")
    return (
        f"{len(chosen)} of compressed or not x threads x SIMD {list(bits.simd())}:"
        f" one hash, {kills} kills included"
    )


Part = Callable[[Path, random.Random, int], str]

PARTS: list[tuple[Part, int, int]] = [
    # what, how many in the short form, how many in the whole
    (flipped, 300, 1_000_000),
    (kills_of_record, 2, 60),
    (kills, 2, 140),
    (first_users, 4, 16),
    (disk_full, 1, 20),
    (matrix, 0, 30),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--short", action="store_true", help="what CI runs")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    parser.add_argument("--only", choices=[part.__name__ for part, _, _ in PARTS])
    wanted = parser.parse_args()
    print(f"drill: seed {wanted.seed}", flush=True)
    dice = random.Random(wanted.seed)
    with tempfile.TemporaryDirectory(prefix="knownline-warm-") as folder:
        warm = Warm(Path(folder), {**inherited(), **QUIET})
        os.environ["TESTS_WARM"] = str(warm.bin / "python")
        try:
            for part, few, many in PARTS:
                count = few if wanted.short else many
                if wanted.only in (None, part.__name__) and count and not run(part, dice, count):
                    return 1
        finally:
            warm.end()
    used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(f"drill: {used:.0f} core-seconds")
    return 0


def run(part: Part, dice: random.Random, count: int) -> bool:
    """Run a part in a folder of its own; return whether nothing was lost."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="knownline-drill-") as scratch:
        try:
            result = part(Path(scratch), dice, count)
        except LostError as lost:
            print(f"drill: LOST in {part.__name__}: {lost}")
            return False
    print(f"drill: {result} ({time.monotonic() - began:.0f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
