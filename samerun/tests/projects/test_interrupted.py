"""An interrupted stage loses no step, repeats none in its run, and resumes in the same run."""

import random
import re
import signal
import time
from pathlib import Path

import pytest

from projects.counting import FILES, STEPS, Counting, repro, wait_for
from projects.toy import project


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    """A project in which nothing ran yet."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    made = Counting(project(tmp_path / "work", FILES).path)
    made.allow(0)
    return made


GONE = "its process is gone"
NO_DVC = "the dvc that ran it is gone"

WAYS = [
    ("group", signal.SIGINT, "SIGINT", False),
    ("group", signal.SIGKILL, GONE, False),
    ("group", signal.SIGHUP, "SIGHUP", False),  # a terminal that is closed
    ("wrapper", signal.SIGKILL, GONE, True),
    ("dvc", signal.SIGKILL, NO_DVC, True),
    pytest.param("child", signal.SIGKILL, "SIGKILL", False, marks=pytest.mark.slow),
    pytest.param("wrapper", signal.SIGTERM, "SIGTERM", False, marks=pytest.mark.slow),
    pytest.param("child", signal.SIGTERM, "SIGTERM", False, marks=pytest.mark.slow),
    pytest.param("group", signal.SIGTERM, "SIGTERM", False, marks=pytest.mark.slow),
    pytest.param("dvc", signal.SIGTERM, NO_DVC, True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("target", "sent", "reason", "orphan"), WAYS)
def test_an_interrupted_stage_resumes_in_its_run(
    counting: Counting, target: str, sent: signal.Signals, reason: str, orphan: bool
) -> None:
    counting.allow(3)
    with repro(counting) as first:
        live = first.wait_for_run(steps=3)
        first.wait_for_step(2)
        first.send(target, sent)
        assert first.end()[0] != 0
        assert counting.receipts() == []
        assert not (counting.path / "mlruns/recorded.json").exists()
        if orphan:  # its program goes on: nobody else may write what it writes
            refused = counting.dvc("repro", ok=False)
            (line,) = (x for x in refused.stderr.splitlines() if x.startswith("samerun: "))
            assert "already runs this stage here" in line
            counting.allow(STEPS)
            wait_for(lambda: not counting.children() and not counting.wrappers(), "its end")
            assert counting.receipts() == []
        wait_for(lambda: not counting.wrappers(), "the end of the wrapper")
    (shown,) = counting.runs()
    if reason != GONE:
        assert shown.status == "KILLED", first.shown()
        assert reason in shown.tags["mlflow.note.content"]
    assert len(counting.scratch()) == 1
    counting.allow(STEPS)
    counting.dvc("repro")
    run = counting.assert_sound(finished=1)
    assert run.run_id == live.run_id
    assert [run.run_id for run in counting.runs()] == [live.run_id]
    done = STEPS if orphan else 3
    assert counting.starts() == ["count:0", f"count:{done}"]
    assert counting.scratch() == []
    count, judge = counting.receipts()
    assert run.tags["execution"] == count["execution"] == live.tags["execution"]
    assert count["recorded"]
    assert judge["recorded"]


OF_DVC = ("rwlock", "dvc.lock", "join() argument")
"""DVC's messages about its own files and folders that a kill left unfinished."""


@pytest.mark.parametrize("count", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_kills_at_random_moments(counting: Counting, count: int) -> None:
    """Whatever process is killed at any time: one complete run, none RUNNING, each step once."""
    seed = time.time_ns()
    print(f"seed {seed}")
    dice = random.Random(seed)
    counting.allow(STEPS)
    whole = 7.0
    kills = pipelines = 0
    while kills < count:
        pipelines += 1
        counting.replace("params.yaml", f"count: {pipelines}", f"count: {pipelines + 1}")
        for _ in range(min(6, count - kills)):
            began = time.monotonic()
            ended = killed(counting, dice, dice.uniform(0.2, 0.9 * whole))
            if ended:
                whole = time.monotonic() - began
                break
            kills += 1
        done = counting.dvc("repro", ok=False)
        if done.returncode and any(each in done.stderr.lower() for each in OF_DVC):
            shown = counting.samerun("doctor", "--repair", ok=False).stdout
            assert re.search("a kill (cut|left)", shown), (done.stderr, shown)
            done = counting.dvc("repro", ok=False)
        assert done.returncode == 0, done.stderr
        counting.git("add", "--all")
        counting.git("commit", "--quiet", "--message", "results")
        counting.assert_sound(finished=pipelines)
        assert counting.scratch() == []
    finished = [run for run in counting.runs() if run.status == "FINISHED"]
    assert len({run.tags["execution"] for run in finished}) == pipelines
    assert not [run for run in finished if "backfilled" in run.tags]
    assert counting.samerun("doctor").stdout == "doctor: healthy\n"


def killed(counting: Counting, dice: random.Random, after: float) -> bool:
    """Send a signal to some process of `dvc repro` after some seconds; return whether it was late.

    Whoever goes on by itself is waited for, since it would be refused to begin beside it.
    """
    shown = dice.choice(["0", "inf"])
    with repro(counting, TOY_PAUSE="0.2", SAMERUN_LIVE_AFTER=shown) as running:
        deadline = time.monotonic() + after
        while time.monotonic() < deadline:
            if running.dvc.poll() is not None:
                return True
            time.sleep(0.01)
        what = dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        target = dice.choice(["group", "group", "dvc", "wrapper", "child"])
        try:
            running.send(target, what)
        except ValueError:  # no such process at this moment
            running.send("group", what)
        running.dvc.wait(60)
        wait_for(lambda: not counting.wrappers() and not counting.children(), "the others' end")
    return False
