"""A stage that is interrupted loses nothing, doubles nothing, and resumes in the same run."""

import signal
from pathlib import Path

import pytest

from tests.samerun.projects.counting import FILES, STEPS, Counting, repro, wait_for
from tests.samerun.projects.toy import project


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
            assert line.startswith("samerun: error: a stage must not run twice at once")
            counting.allow(STEPS)
            wait_for(lambda: not counting.children() and not counting.wrappers(), "its end")
            assert counting.receipts() == []
    if sent != signal.SIGKILL or target == "child":
        wait_for(lambda: not counting.wrappers(), "the end of the wrapper")
    (shown,) = counting.runs()
    if reason != GONE:
        assert shown.status == "KILLED"
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
