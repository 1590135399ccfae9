"""The stream to MLflow never delays a training and never ends one."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from samerun.core.errors import UsageError
from samerun.execution.streaming import PATIENCE, Stream


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "5 s"])
def test_a_wrong_time_is_refused_before_the_training(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", text)
    with pytest.raises(UsageError, match=r"KNOWNLINE_LIVE_AFTER must be seconds, 0 or more"):
        Stream({}, epochs=9, live=["true"])


@pytest.mark.filterwarnings("error")  # an exception in the stream's thread is one
@pytest.mark.parametrize("text", ["inf", "1e300"])
def test_an_infinite_time_means_never(
    monkeypatch: pytest.MonkeyPatch, text: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", text)
    with Stream({}, epochs=9, live=["touch", str(tmp_path / "started")]) as stream:
        stream.add(0, 1.0, 2.0, 3.0)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("opening", [{}, {"more than a pipe takes": "x" * 1_000_000}], ids=len)
def test_a_reader_that_hangs_is_killed_and_the_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, opening: dict[str, str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", "0")
    file = tmp_path / "pid"
    hang = ["sh", "-c", f"echo $$ > '{file}.new' && mv '{file}.new' '{file}' && exec sleep 600"]
    with Stream(opening, epochs=9, live=hang) as stream:
        stream.add(0, 1.0, 2.0, 3.0)
        deadline = time.monotonic() + 30
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        ended = time.monotonic()
    assert time.monotonic() - ended < PATIENCE
    pid, killed = int(file.read_text()), 0
    with contextlib.suppress(ChildProcessError):  # the stream has waited for it already
        while not killed and time.monotonic() < ended + PATIENCE:
            killed, _ = os.waitpid(pid, os.WNOHANG)
        assert killed == pid


def test_a_reader_that_cannot_be_started_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KNOWNLINE_LIVE_AFTER", "0")
    with Stream({}, epochs=9, live=[str(tmp_path / "nothing")]):
        pass
    warning = capsys.readouterr().err
    assert warning.startswith("knownline: warning: not shown while it runs: ")
    assert warning.count("\n") == 1
