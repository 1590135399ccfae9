"""MLflow shows a stage while it runs, and its run shows how it ended.

A server that is down, hangs or fails delays no stage, and loses nothing.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from projects.counting import FILES, PIPELINE, STEPS, Counting, repro, wait_for
from projects.toy import project
from support.servers import Proxy, Server, deaf, free_port, over_sqlite
from support.workspace import Run

TWO = PIPELINE.replace(
    "  judge:\n",
    f"""  again:
    cmd: samerun run -- python -IS code/count.py again 200 {STEPS}
    deps: [code/count.py, out/count.json]
    outs: [out/again.json, out/again.csv]
  judge:
""",
).replace("out/count.json, out/count.csv, out/judge", "out/again.json, out/count.csv, out/judge")


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    """A project in which nothing ran yet."""
    made = Counting(project(tmp_path / "work", FILES).path)
    made.allow(0)
    return made


def test_a_long_stage_is_visible_with_its_steps_tags_and_parameters(counting: Counting) -> None:
    with repro(counting, SAMERUN_LIVE_AFTER="1") as running:
        counting.allow(3)
        live = running.wait_for_run(steps=3, tags=["device"])
        assert live.steps["value"] == live.steps["reported"] == [0, 1, 2]
        assert live.last["value"] == 102
        assert live.last["reported"] == 98
        assert live.params == {"count": "1"}
        assert live.tags["device"] == "abacus"
        assert live.tags["mlflow.note.content"] == "The stage count is running."
        assert live.name == "count …"
        counting.allow(5)
        running.wait_for_run(steps=5)
        counting.allow(STEPS)
        assert running.end()[0] == 0
    run = counting.assert_sound(finished=1)
    assert run.run_id == live.run_id
    assert run.tags["device"] == "abacus"
    assert run.tags["mood"] == "done"
    assert "is running" not in run.tags["mlflow.note.content"]
    assert not [name for name in run.steps if name.startswith("system/")]  # nobody asked
    assert not run.name.endswith("…")


def test_a_stage_that_fails_has_a_run_that_failed(counting: Counting) -> None:
    with repro(counting, TOY_STATUS="7") as running:
        counting.allow(3)
        running.wait_for_run()
        counting.allow(STEPS)
        status, shown = running.end()
        assert status != 0
        assert "exited with 7" in shown
    (run,) = counting.runs()
    assert run.status == "FAILED"
    assert "its process ended with status 7" in run.tags["mlflow.note.content"]
    assert run.tags["mood"] == "done"  # what it said last is there too
    assert counting.receipts() == []


def test_what_changes_while_a_stage_runs_fails_its_run_and_put_back_it_resumes(
    counting: Counting,
) -> None:
    with repro(counting) as running:
        counting.allow(3)
        live = running.wait_for_run(steps=3)
        counting.replace("params.yaml", "count: 1", "count: 2")
        counting.allow(STEPS)
        status, shown = running.end()
        assert status != 0
        assert "samerun: error: count in params.yaml changed while stage count ran" in shown
    (run,) = counting.runs()
    assert run.status == "FAILED"
    assert "count in params.yaml changed while" in run.tags["mlflow.note.content"]
    counting.git("checkout", "--", "params.yaml")
    counting.dvc("repro")
    run = counting.assert_sound(finished=1)
    assert run.run_id == live.run_id
    assert run.tags["git_dirty"] == "false"


def test_two_long_stages_of_one_dvc_share_a_run(tmp_path: Path) -> None:
    counting = Counting(project(tmp_path / "work", {**FILES, "dvc.yaml": TWO}).path)
    counting.allow(STEPS - 1)
    with repro(counting) as running:
        first = running.wait_for_run(steps=3)
        counting.allow(STEPS)
        wait_for(lambda: len(counting.starts()) == 2 or None, "the second stage")
        counting.allow(STEPS)
        assert running.end()[0] == 0
    run = counting.assert_sound(finished=1)
    assert [each.run_id for each in counting.runs()] == [run.run_id] == [first.run_id]
    executions = {receipt["stage"]: receipt["execution"] for receipt in counting.receipts()}
    assert run.tags["execution"] in executions.values()


def test_a_run_whose_processes_are_gone_is_closed_though_dvc_restores_everything(
    counting: Counting,
) -> None:
    counting.allow(STEPS)
    counting.dvc("repro", SAMERUN_LIVE_AFTER="inf")
    counting.replace("params.yaml", "count: 1", "count: 2")
    counting.allow(3)
    with repro(counting) as running:
        live = running.wait_for_run()
        running.send("group", signal.SIGKILL)
        running.end()
    assert [run.status for run in counting.runs()] == ["FINISHED", "RUNNING"]
    counting.git("checkout", "--", "params.yaml")
    done = counting.dvc("repro")
    assert "samerun run" not in done.stdout
    assert f"({live.run_id}) is KILLED: its process is gone" in done.stdout
    assert [run.status for run in counting.runs()] == ["FINISHED", "KILLED"]


def test_a_neighbour_leaves_a_run_alone_between_its_stage_and_its_record(
    counting: Counting, tmp_path: Path
) -> None:
    """There its process cannot be checked, but the dvc that will record it still runs."""
    neighbour = Counting(project(tmp_path / "neighbour", FILES).path)
    neighbour.allow(STEPS)
    store = f"sqlite:///{counting.path}/mlruns/mlflow.db"
    with repro(counting) as running:
        counting.allow(3)
        live = running.wait_for_run()
        running.send("dvc", signal.SIGSTOP)
        counting.allow(STEPS)
        wait_for(lambda: not counting.wrappers() or None, "the end of the stage")
        shown = neighbour.dvc("repro", SAMERUN_LIVE_AFTER="inf", MLFLOW_TRACKING_URI=store).stdout
        assert "KILLED" not in shown
        states = {run.run_id: run.status for run in counting.runs()}
        assert states.pop(live.run_id) == "RUNNING"
        running.send("dvc", signal.SIGCONT)
        assert running.end()[0] == 0
    assert {run.status for run in counting.runs()} == {"FINISHED"}
    assert len(counting.runs()) == 2


PRESENTS = PIPELINE.replace(
    "  record:\n",
    """  draw:
    cmd: samerun run -- sh -c 'sleep 4; cp out/judge.json out/picture.json'
    deps: [out/judge.json]
    outs: [out/picture.json]
  record:
""",
).replace(
    "out/judge.json]\n    outs: [mlruns", "out/judge.json, out/picture.json]\n    outs: [mlruns"
)


def test_a_stage_that_only_presents_is_not_shown(tmp_path: Path) -> None:
    meta = "    meta: {samerun: {not_identity: [draw]}}\n    outs: [mlruns"
    text = PRESENTS.replace("    outs: [mlruns", meta)
    counting = Counting(project(tmp_path / "work", {**FILES, "dvc.yaml": text}).path)
    counting.allow(STEPS)
    counting.dvc("repro")
    counting.replace("dvc.yaml", "sleep 4", "sleep 5")
    counting.dvc("repro")
    counting.assert_sound(finished=1)
    assert len(counting.runs()) == 1


# --- Servers that misbehave ---


def seconds(shown: str) -> float:
    """Return how long a stage took, by its own measure."""
    (found,) = re.findall(r"stage took ([\d.]+) s", shown)
    return float(found)


TIMED = PIPELINE.replace("samerun run -- python -IS", "sh code/timed.sh samerun run -- python -IS")
TIMER = """
start=$(date +%s.%N)
"$@"
status=$?
echo "stage took $(echo "$(date +%s.%N) - $start" | python -IS -c 'print(eval(input()))') s"
exit $status
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server, one for all tests of this module."""
    folder = tmp_path_factory.mktemp("server")
    with over_sqlite(folder) as running:
        yield running


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server) as running:
        yield running


@pytest.fixture
def timed(tmp_path: Path) -> Counting:
    """A project that prints how long its first stage took."""
    files = {**FILES, "dvc.yaml": TIMED, "code/timed.sh": TIMER}
    made = Counting(project(tmp_path / "work", files).path)
    made.allow(STEPS)
    return made


def recorded(counting: Counting, server: Server) -> list[Run]:
    """Return the runs of a server that executions of this project have."""
    own = {receipt["execution"] for receipt in counting.receipts()}
    return [run for run in server.runs() if run.tags.get("execution") in own]


@pytest.mark.parametrize(
    "how",
    [
        "down",
        "hang",
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("500", "503 later", "cut")),
    ],
)
def test_a_bad_server_delays_no_stage_and_the_next_repro_records_once(
    timed: Counting, server: Server, proxy: Proxy, how: str
) -> None:
    store = proxy.uri
    if how == "down":
        done = timed.dvc("repro", ok=False, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    else:
        proxy.turn(how)
        done = timed.dvc("repro", ok=False, MLFLOW_TRACKING_URI=store)
    assert done.returncode != 0
    assert seconds(done.stdout) < 3
    assert "Traceback" not in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("samerun: error: "))
    assert "the MLflow store http://127.0.0.1:" in error
    assert error.endswith(
        "the results are on disk but not recorded: `dvc repro` records them later"
    )
    assert recorded(timed, server) == []
    proxy.turn("")
    timed.dvc("repro", MLFLOW_TRACKING_URI=store)
    (run,) = recorded(timed, server)
    assert run.status == "FINISHED"
    assert run.steps["value"] == list(range(STEPS))
    assert "backfilled" not in run.tags
    assert timed.starts() == ["count:0"]
    timed.dvc("repro", MLFLOW_TRACKING_URI=store)
    assert len(recorded(timed, server)) == 1


@pytest.mark.parametrize("how", ["hang", pytest.param("lost", marks=pytest.mark.slow)])
def test_a_server_that_dies_while_a_stage_runs(
    counting: Counting, server: Server, proxy: Proxy, how: str
) -> None:
    store = proxy.uri
    counting.allow(3)
    known = {run.run_id for run in server.runs()}

    def live() -> Run | None:
        return next((r for r in server.runs() if r.run_id not in known and r.steps), None)

    with repro(counting, MLFLOW_TRACKING_URI=store) as running:
        shown = wait_for(live, "a run under way")
        proxy.turn(how)
        counting.allow(STEPS)
        status, text = running.end()
        assert status != 0
        assert "records them later" in text
    proxy.turn("")
    counting.dvc("repro", MLFLOW_TRACKING_URI=store)
    (run,) = recorded(counting, server)
    assert run.run_id == shown.run_id
    assert run.status == "FINISHED"
    assert run.steps["value"] == run.steps["reported"] == list(range(STEPS))


@pytest.mark.slow
def test_a_stage_that_fails_waits_a_little_for_a_server_that_hangs(timed: Counting) -> None:
    port = free_port()
    with deaf(port):
        store = f"http://127.0.0.1:{port}"
        done = timed.dvc("repro", ok=False, TOY_STATUS="7", MLFLOW_TRACKING_URI=store)
    assert "exited with 7" in done.stderr
    assert seconds(done.stdout) < 12


# --- Disks, crowds, moves ---


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_full_disk_for_the_store_is_one_line_and_recorded_later(counting: Counting) -> None:
    folder = counting.path / "mlruns"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        counting.allow(STEPS)
        with (folder / "ballast").open("wb") as stream:
            stream.write(b"\0" * (8 * 2**20 - 300_000))
        done = counting.dvc("repro", ok=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert len([x for x in done.stderr.splitlines() if x.startswith("samerun: error: ")]) == 1
        (folder / "ballast").unlink()
        counting.dvc("repro")
        counting.assert_sound(finished=1)
        assert counting.starts() == ["count:0"]
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_sixteen_first_users_of_one_store(tmp_path: Path) -> None:
    users = [Counting(project(tmp_path / f"user{i}", FILES).path) for i in range(16)]
    database = tmp_path / "one store" / "mlflow.db"
    started = []
    for user in users:
        user.allow(STEPS)
        env = user.env(MLFLOW_TRACKING_URI=f"sqlite:///{database}")
        started.append(
            subprocess.Popen(
                ["dvc", "repro"], cwd=user.path, env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
    for process in started:
        shown, _ = process.communicate()
        assert process.returncode == 0, shown[-1500:]
    runs = users[0].runs(str(database))
    assert [run.status for run in runs] == ["FINISHED"] * 16
    assert all(run.steps["value"] == list(range(STEPS)) for run in runs)


def test_moved_and_copied_projects_have_stores_of_their_own(
    counting: Counting, tmp_path: Path
) -> None:
    counting.allow(STEPS)
    counting.dvc("repro", SAMERUN_LIVE_AFTER="inf")
    moved = Counting(counting.path.rename(tmp_path / "moved"))
    copied = Counting(tmp_path / "copied")
    subprocess.run(["cp", "-r", str(moved.path), str(copied.path)], check=True)
    for each, value in ((moved, 2), (copied, 3)):
        each.allow(STEPS)
        each.replace("params.yaml", "count: 1", f"count: {value}")
        shown = each.dvc("repro", SAMERUN_LIVE_AFTER="inf")
        assert "samerun: the store has moved: its artifacts are in" in shown.stderr
        first, second = each.runs()
        for run in (first, second):
            assert run.artifacts.is_relative_to(each.path)
            assert (run.artifacts / "out/judge.json").exists()
        assert second.params["count"] == str(value)
        assert each.samerun("doctor", ok=False).stdout.count("\n") == 1 or value
    assert len(moved.runs()) == len(copied.runs()) == 2


def test_a_name_that_mlflow_refuses_is_written_in_another_way(counting: Counting) -> None:
    counting.replace("code/count.py", "reported=start", '**{"acc@5": 1.0}, reported=start')
    counting.replace("code/count.py", '"last": start', '"top(1)": 7, "last": start')
    counting.allow(STEPS)
    counting.dvc("repro", SAMERUN_LIVE_AFTER="inf")
    run = counting.assert_sound(finished=1)
    assert run.last["top_1_"] == 7
    assert run.steps["acc_5"] == list(range(STEPS))
    assert counting.samerun("reproduce", run.run_id).returncode == 0


def test_the_wrapper_takes_little_time(counting: Counting) -> None:
    words = (sys.executable, "-IS", "-c", "import time; time.sleep(1)")

    def run() -> float:
        began = time.monotonic()
        counting.run(
            "samerun", "run", "--", *words,
            DVC_STAGE="count", DVC_ROOT=str(counting.path), SAMERUN_LIVE_AFTER="inf",
        )  # fmt: skip
        return time.monotonic() - began

    assert min(run(), run()) < 2


RESUMED = """
stages:
  before:
    cmd: samerun run -- sh -c 'echo 1 > before.txt'
    deps: [code.sh]
    outs: [before.txt]
  long:
    cmd: samerun run -- sh code.sh
    deps: [code.sh, before.txt]
    metrics: [m.json: {cache: false}]
  record:
    cmd: samerun record
    deps: [code.sh, m.json]
    outs: [mlruns/recorded.json: {cache: false, persist: true}]
"""

KILLED_ONCE = """
if [ ! -f "$SAMERUN_SCRATCH/checkpoint" ]; then
  touch "$SAMERUN_SCRATCH/checkpoint"
  while [ ! -f ../go ]; do sleep 0.05; done
  kill -9 $$
fi
echo '{"m": 1}' > m.json
"""


def test_a_last_attempt_too_short_to_be_shown_completes_the_run_of_the_first(
    tmp_path: Path,
) -> None:
    toy = project(tmp_path / "resumed", {"dvc.yaml": RESUMED, "code.sh": KILLED_ONCE})
    with subprocess.Popen(
        ["dvc", "repro"], cwd=toy.path, env=toy.env(SAMERUN_LIVE_AFTER="0"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as dvc:  # fmt: skip
        store = toy.path / "mlruns/mlflow.db"
        wait_for(lambda: store.exists() and [r for r in toy.runs() if "stage" in r.tags], "a run")
        (tmp_path / "go").touch()
        assert dvc.wait() != 0
    (shown,) = toy.runs()
    toy.dvc("repro", ok=True, SAMERUN_LIVE_AFTER="inf")
    (run,) = toy.runs()
    assert (run.run_id, run.status) == (shown.run_id, "FINISHED")
