"""A long training is seen while it runs, says how it ended, and goes on where it was."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samerun.execution import processes
from tests.conftest import Run, Workspace
from tests.pipeline.servers import free_port

EPOCHS = 1_500
"""With 800,000 rows, not compressed, each takes milliseconds: a long training of few metrics."""


SOON = {"KNOWNLINE_LIVE_AFTER": "1"}


def make_long(workspace: Workspace, **changes: str) -> None:
    values = {"rows: 99": "rows: 800000", "epochs: 100": f"epochs: {EPOCHS}"}
    for old, new in {**values, "compress: true": "compress: false", **changes}.items():
        workspace.replace("params.yaml", old, new)


def start(workspace: Workspace, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=workspace.path,
        env=workspace.env(**SOON, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_live_run(workspace: Workspace) -> Run:
    """Wait until a run is RUNNING and has epochs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for run in workspace.runs():
            if run.status == "RUNNING" and len(run.steps.get("w", [])) > 50:
                return run
        time.sleep(0.2)
    pytest.fail("no live run appeared")


def trainer(workspace: Workspace) -> int:
    """Return the number of the process that trains in this workspace."""
    found = workspace.processes(lambda words: words[-3:-1] == [b"src/knownline", b"train"])
    assert found, "nothing trains"
    return found[0]


def wait_for_end(workspace: Workspace, run: Run, status: str) -> Run:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = next(r for r in workspace.runs() if r.run_id == run.run_id)
        if found.status == status:
            return found
        time.sleep(0.2)
    pytest.fail(f"{found.status}, not {status}")


def assert_every_epoch_once(run: Run) -> None:
    assert run.steps["loss"] == run.steps["w"] == run.steps["b"] == list(range(EPOCHS))


@pytest.mark.long
def test_a_killed_training_goes_on_in_its_run_to_the_same_bits(
    workspace: Workspace, fresh: Workspace
) -> None:
    make_long(workspace)
    process = start(workspace)
    live = wait_for_live_run(workspace)
    assert live.tags["mlflow.note.content"] == "Training."
    os.kill(trainer(workspace), signal.SIGKILL)
    process.communicate()
    killed = wait_for_end(workspace, live, "KILLED")
    assert "the training process was killed" in killed.tags["mlflow.note.content"]
    (checkpoint,) = (workspace.path / "mlruns/checkpoints").iterdir()
    assert checkpoint.name == live.tags["fingerprint"]

    workspace.dvc("repro")
    assert len(workspace.runs()) == 2
    done = workspace.runs()[-1]
    assert done.run_id == live.run_id
    assert done.status == "FINISHED"
    assert_every_epoch_once(done)
    assert "Gate passed" in done.tags["mlflow.note.content"]
    assert list((workspace.path / "mlruns/checkpoints").iterdir()) == []

    make_long(fresh)
    fresh.dvc("repro", "evaluate")  # in one piece
    theirs, ours = fresh.outputs(), workspace.outputs()
    for name in theirs:
        assert name == "dvc.lock" or theirs[name] == ours[name], name


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_says_so(workspace: Workspace, sent: signal.Signals) -> None:
    make_long(workspace)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    process = start(workspace)
    live = wait_for_live_run(workspace)
    os.kill(trainer(workspace), sent)
    _, told = process.communicate()
    assert "knownline: interrupted" in told
    assert "Traceback" not in told
    killed = wait_for_end(workspace, live, "KILLED")
    assert "interrupted" in killed.tags["mlflow.note.content"]
    assert len(list((workspace.path / "mlruns/checkpoints").iterdir())) == 1


def test_a_divergence_after_a_while_is_a_failed_run_with_its_reason(workspace: Workspace) -> None:
    make_long(workspace, **{"learning_rate: 0.25": "learning_rate: 1.15"})
    done = workspace.dvc("repro", ok=False, **SOON)
    assert "train.learning_rate must be less than 1 for this data (got 1.15)" in done.stderr
    run = workspace.runs()[-1]
    assert run.status == "FAILED"
    assert re.search(
        r"\*\*Failed\*\*: .*train\.learning_rate must be", run.tags["mlflow.note.content"]
    )
    assert not list((workspace.path / "mlruns/checkpoints").glob("*"))


def test_a_run_whose_processes_are_gone_is_swept_by_the_next_command(workspace: Workspace) -> None:
    make_long(workspace)
    process = start(workspace)
    live = wait_for_live_run(workspace)
    pid = trainer(workspace)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    streamers = [
        int(p.name)
        for p in Path("/proc").glob("[0-9]*")
        if (p / "cmdline").exists() and b"\0live\0" in (p / "cmdline").read_bytes()
        and f"PPid:\t{pid}\n" in (p / "status").read_text()
    ]  # fmt: skip
    assert streamers or children
    for number in streamers or [int(child) for child in children]:
        os.kill(number, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert wait_for_end(workspace, live, "RUNNING")
    workspace.git("checkout", "--", "params.yaml")
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.2")
    assert f"({live.run_id}) is KILLED: its process is gone" in workspace.dvc("repro").stdout
    statuses = {run.run_id: run.status for run in workspace.runs()}
    assert statuses.pop(live.run_id) == "KILLED"
    assert set(statuses.values()) == {"FINISHED"}


def test_a_live_neighbour_is_never_taken_to_be_gone() -> None:
    mine = processes.this_process()
    assert not processes.is_gone(mine)
    code = "from knownline import processes; print(processes.process())"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert processes.is_gone(other)
    host, machine, boot, namespace, pid, started = mine.split(" ")
    here = f"{host} {machine} {boot} {namespace} {pid}"
    assert processes.is_gone(f"{here} {int(started) + 1}")
    assert not processes.is_gone(f"other-host {machine} {boot} {namespace} {pid} 1")
    assert not processes.is_gone(f"{host} {machine} {boot} pid:[1] {pid} 1")
    assert not processes.is_gone("")
    assert not processes.is_gone("what nobody wrote")


@pytest.mark.parametrize("initial", [True, False])
def test_a_process_of_before_a_reboot_is_gone_unless_it_was_a_containers(
    monkeypatch: pytest.MonkeyPatch, initial: bool
) -> None:
    namespace = "pid:[4026531836]" if initial else "pid:[4026532000]"
    here = ("host", "machine", "boot", namespace)
    monkeypatch.setattr(processes, "_here", lambda: here)
    named = f"host machine earlier-boot {namespace} {os.getpid()} 17"
    assert processes.is_gone(named) is initial
    assert not processes.is_gone(named.replace("host", "other"))
    assert not processes.is_gone(named.replace("machine", "other"))
    monkeypatch.setattr(processes, "_here", lambda: ("host", "-", "boot", namespace))
    assert not processes.is_gone(named.replace("machine", "-"))


def test_a_dead_server_costs_a_long_training_one_warning(workspace: Workspace) -> None:
    make_long(workspace)
    uri = f"http://127.0.0.1:{free_port()}"
    done = workspace.dvc("repro", ok=False, MLFLOW_TRACKING_URI=uri, **SOON)
    lines = [line for line in done.stderr.splitlines() if line.startswith("knownline:")]
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("knownline: warning: not shown while it runs: ")
    assert lines[1].startswith("knownline: error: ")
    workspace.dvc("repro")
    run = workspace.runs()[-1]
    assert run.status == "FINISHED"
    assert_every_epoch_once(run)


@pytest.mark.parametrize("what", ["code", "parameter"])
def test_what_changes_while_a_training_runs_is_not_recorded_as_what_ran(
    workspace: Workspace, what: str
) -> None:
    """DVC notes code and parameters at the end of a stage, whichever it ran with."""
    make_long(workspace)
    workspace.git("commit", "-qam", "long")
    process = start(workspace)
    live = wait_for_live_run(workspace)
    if what == "code":
        workspace.replace(
            "src/knownline/train/descent.py", "w.sub_(learning_rate", "w.sub_(1 * learning_rate"
        )
        name = "src/knownline/train/descent.py"
    else:
        workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.2")
        name = "train in params.yaml"
    _, told = process.communicate()
    assert process.returncode
    wanted = f"knownline: error: {name} must not change while `train` runs: put it back, and"
    assert wanted in told
    failed = wait_for_end(workspace, live, "FAILED")
    assert f"{name} must not change" in failed.tags["mlflow.note.content"]
    workspace.git("checkout", "--", "src", "params.yaml")
    workspace.dvc("repro", ok=True, **SOON)
    (run,) = (run for run in workspace.runs() if run.run_id == live.run_id)
    assert run.status == "FINISHED"
    assert "backfilled" not in run.tags
    assert run.tags["git_dirty"] == "false"
    assert_every_epoch_once(run)
    assert len(workspace.runs()) == 2  # with that of the workspace as it came


def test_how_a_training_is_judged_may_change_before_it_is_recorded(workspace: Workspace) -> None:
    make_long(workspace)
    workspace.dvc("repro", "--single-item", "generate")
    workspace.dvc("repro", "--single-item", "train", ok=True, **SOON)
    (live,) = (run for run in workspace.runs() if run.status == "RUNNING")
    workspace.replace("params.yaml", "z: 4.0", "z: 5.0")
    workspace.dvc("repro")
    (run,) = (run for run in workspace.runs() if run.run_id == live.run_id)
    assert run.status == "FINISHED"
    assert run.params["evaluate.z"] == "5.0"
    assert "z 5" in run.name
    assert "backfilled" not in run.tags
    assert len(workspace.runs()) == 2


def test_a_training_done_again_before_it_was_recorded_is_one_run(workspace: Workspace) -> None:
    make_long(workspace)
    workspace.dvc("repro", "--single-item", "generate")
    workspace.dvc("repro", "--single-item", "train", ok=True, **SOON)
    workspace.dvc("repro", "--single-item", "--force", "train", ok=True, **SOON)
    assert "KILLED" not in workspace.dvc("repro").stdout
    _, run = workspace.runs()
    assert run.status == "FINISHED"
    assert_every_epoch_once(run)


@pytest.mark.long
def test_neighbours_in_a_queue_do_not_take_one_another_for_dead(workspace: Workspace) -> None:
    """Between its training and its record a run has no process of its own."""
    make_long(workspace, **{"learning_rate: 0.25": "learning_rate: 0.2"})
    workspace.git("commit", "-qam", "long")
    rates = "train.learning_rate=0.21,0.22,0.23,0.24"
    workspace.dvc("exp", "run", "--queue", "--set-param", rates)
    workspace.dvc("queue", "start", "--jobs", "2", ok=True, **SOON)
    deadline = time.monotonic() + 400
    while re.search("Queued|Running", status := workspace.dvc("queue", "status").stdout):
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert status.count("Success") == 4, status
    _, *swept = workspace.runs()
    assert len(swept) == 4
    for run in swept:
        assert run.status == "FINISHED"
        assert "Killed" not in run.tags["mlflow.note.content"]
        assert "pipeline" in run.tags
        assert_every_epoch_once(run)


def test_a_zombie_is_gone() -> None:
    """A process that was killed and that nobody has asked after, as in many a container."""
    with subprocess.Popen(["sleep", "600"]) as child:
        named = " ".join([*processes._here(), str(child.pid), str(processes._started(child.pid))])
        assert not processes.is_gone(named)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still there
        assert Path(f"/proc/{child.pid}").exists()
        assert processes.is_gone(named)


@pytest.mark.parametrize("shell", [False, True])
def test_the_pipeline_is_the_process_that_started_the_stage(shell: bool) -> None:
    code = "from knownline import processes; print(processes.pipeline())"
    command = [sys.executable, "-c", code]
    if shell:
        command = ["sh", "-c", f"{sys.executable} -c '{code}'; true"]

    def told(**env: str) -> str:
        own = {**os.environ, **env}
        return subprocess.run(command, env=own, capture_output=True, text=True, check=True).stdout

    assert told(DVC_STAGE="train").strip() == processes.this_process()
    assert told(DVC_STAGE="").strip() == "None"


def test_a_run_is_left_when_neither_its_process_nor_its_pipeline_is_there() -> None:
    here = processes.this_process()
    dead = here.rpartition(" ")[0] + " 1"
    assert processes.is_abandoned({"process": dead})
    assert processes.is_abandoned({"process": dead, "pipeline": dead})
    assert not processes.is_abandoned({"process": dead, "pipeline": here})
    assert not processes.is_abandoned({"process": here, "pipeline": dead})
    assert not processes.is_abandoned({"pipeline": dead})
    assert not processes.is_abandoned({})
