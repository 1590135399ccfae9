"""The stream never holds up a training, and takes only a number of seconds."""

import subprocess
import sys
import time

import pytest

from samerun.core.errors import UsageError
from samerun.execution.streaming import PATIENCE, Stream


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "5 s"])
def test_a_time_that_is_no_time_is_refused_before_the_training(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", text)
    with pytest.raises(UsageError, match=r"KNOWNLINE_LIVE_AFTER must be seconds, 0 or more"):
        Stream({}, epochs=9)


@pytest.mark.parametrize("text", ["inf", "1e300"])
def test_never_is_a_time(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", text)
    with Stream({}, epochs=9) as stream:
        stream.add(0, 1.0, 2.0, 3.0)


@pytest.mark.parametrize("opening", [{}, {"more than a pipe takes": "x" * 1_000_000}])
def test_a_reader_that_hangs_is_ended_and_the_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, opening: dict[str, str]
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def hang() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return started[0]

    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", "0")
    monkeypatch.setattr(Stream, "_start", staticmethod(hang))
    with Stream(opening, epochs=9) as stream:
        stream.add(0, 1.0, 2.0, 3.0)
        deadline = time.monotonic() + 30
        while not started and time.monotonic() < deadline:
            time.sleep(0.01)
    assert started[0].wait(PATIENCE) == -9


def test_a_reader_that_cannot_be_started_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> subprocess.Popen[bytes]:
        raise OSError("no more processes")

    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", "0")
    monkeypatch.setattr(Stream, "_start", staticmethod(fail))
    with Stream({}, epochs=9):
        pass
    said = capsys.readouterr().err
    assert said == "knownline: warning: not shown while it runs: no more processes\n"
