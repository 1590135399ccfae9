"""The epochs that a training shows while it runs: few, whole lines, and never in its way."""

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from knownline.core.errors import DivergedError
from knownline.train import live
from knownline.train.live import MOST_EPOCHS, VARIABLE, Live


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that SAMERUN_LIVE names."""
    path = tmp_path / "live.jsonl"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


class Clock:
    """A clock that a test sets, in place of time.monotonic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file; each must be complete."""
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


NAMES = ("c", "w", "b")
"""Of the parameters."""


def row(epoch: int) -> tuple[int, float, list[float]]:
    return epoch, 1 / (epoch + 1), [0.1 * epoch, -1e-300 * epoch, 2.0]


def test_each_line_has_an_epochs_numbers_to_the_last_bit(file: Path) -> None:
    with Live("cpu", NAMES) as shown:
        for epoch in range(3):
            shown.add(*row(epoch))
    device, *rows = lines(file)
    assert device == {"device": "cpu"}
    expected = [[epoch, loss, *values] for epoch, loss, values in map(row, range(3))]
    assert [list(entry.values()) for entry in rows] == expected
    assert [list(entry) for entry in rows] == [["step", "loss", *NAMES]] * 3


def test_an_error_of_the_users_is_the_last_line(file: Path) -> None:
    def diverge() -> None:
        with Live("cpu", NAMES) as shown:
            shown.add(*row(0))
            raise DivergedError("train.learning_rate must be less")

    with pytest.raises(DivergedError):
        diverge()
    assert [entry.get("step") for entry in lines(file)] == [None, 0, None]
    assert lines(file)[-1] == {"error": "train.learning_rate must be less"}


def test_nothing_is_written_where_nobody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    with Live("cpu", NAMES) as shown:
        shown.add(*row(0))
    monkeypatch.setenv(VARIABLE, "")
    with Live("cpu", NAMES) as shown:
        shown.add(*row(0))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_stays(file: Path) -> None:
    """A training that resumes appends to what the killed one left."""
    file.write_text('{"device": "cpu"}\n{"step": 0}\n')
    with Live("cuda", NAMES) as shown:
        shown.add(*row(1))
    assert [next(iter(entry.values())) for entry in lines(file)] == ["cpu", 0, "cuda", 1]


def test_there_is_one_write_per_interval_and_epochs_are_thinned_evenly(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [0]
    with Live("cpu", NAMES) as shown:
        sizes.append(len(lines(file)))
        for epoch in range(5000):
            clock.now += live.INTERVAL / 1000
            shown.add(*row(epoch))
            if (count := len(lines(file))) != sizes[-1]:
                sizes.append(count)
    written = [later - earlier for earlier, later in pairwise(sizes)]
    assert written[0] == 1
    assert len(written) == 6
    assert max(written) <= MOST_EPOCHS
    steps = [entry["step"] for entry in lines(file)[1:]]
    assert steps[-1] == 4999
    assert steps[:-1] == list(range(0, 5000, 4))


@pytest.mark.parametrize("epochs", [1, 2, 299, 300, 301, 1000, 1001])
def test_the_last_epoch_is_written_once(file: Path, clock: Clock, epochs: int) -> None:
    with Live("cpu", NAMES) as shown:
        for epoch in range(epochs):
            clock.now += live.INTERVAL / 300
            shown.add(*row(epoch))
    steps = [entry["step"] for entry in lines(file)[1:]]
    assert steps == sorted(set(steps))
    assert steps[-1] == epochs - 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x")])
def test_the_last_epoch_is_written_if_a_training_fails(file: Path, error: BaseException) -> None:
    def train() -> None:
        with Live("cpu", NAMES) as shown:
            for epoch in range(700):
                shown.add(*row(epoch))
            raise error

    with pytest.raises(type(error)):
        train()
    assert lines(file)[-1]["step"] == 699


def test_a_value_that_is_not_finite_is_left_out(file: Path) -> None:
    with Live("cpu", NAMES) as shown:
        shown.add(0, float("inf"), [1.0, float("nan"), -2.0])
    assert lines(file)[1:] == [{"step": 0, "c": 1.0, "b": -2.0}]


def test_a_disk_that_is_full_does_not_disturb_the_training(
    file: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    file.symlink_to("/dev/full")
    with Live("cpu", NAMES) as shown:
        for epoch in range(10):
            clock.now += live.INTERVAL
            shown.add(*row(epoch))
        file.unlink()  # there is room again
        clock.now += live.INTERVAL
        shown.add(*row(10))
    assert lines(file)[0] == {"device": "cpu"}
    assert [entry["step"] for entry in lines(file)[1:]] == [10]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("room", [0, 1, 17, 18, 19, 40, 60, 61, 100, 150])
def test_a_line_cut_short_by_a_full_disk_is_completed(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    free = [room]

    class Disk:
        """A disk with room for some bytes."""

        def __enter__(self) -> "Disk":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def write(self, content: bytes) -> int:
            count = min(len(content), free[0])
            if not count:
                raise OSError(28, "No space left on device")
            free[0] -= count
            written.append(content[:count])
            return count

    written: list[bytes] = []
    monkeypatch.setattr(Path, "open", lambda *_, **__: Disk())
    with Live("cpu", NAMES) as shown:
        for epoch in range(3):
            clock.now += live.INTERVAL
            shown.add(*row(epoch))
        free[0] = 1_000_000
        clock.now += live.INTERVAL
        shown.add(*row(3))
    device, *rows = [json.loads(line) for line in b"".join(written).splitlines()]
    assert device == {"device": "cpu"}
    assert [entry["step"] for entry in rows][-1] == 3


def test_a_file_that_cannot_be_made_does_not_disturb_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere" / "live.jsonl"))
    with Live("cpu", NAMES) as shown:
        shown.add(*row(0))
    assert list(tmp_path.iterdir()) == []
