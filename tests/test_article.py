"""The article run again, against what it printed and against float64."""

import numpy as np
import numpy.typing as npt
import pytest
from knownline.replay import Replay

from knownline import replay
from knownline.__main__ import main
from knownline.core.line import Line

PRINTED = {
    0: "1338702.5", 15: "7.9803", 30: "7.9686", 45: "7.9568", 60: "7.9450", 75: "7.9333",
    90: "7.9216",
}  # fmt: skip
"""The article's table, as it stands there."""

W, B = "20.115468978881836", "0.34108221530914307"
"""The weights it prints below."""

DRAWS = range(-10, 11)


@pytest.fixture(scope="module")
def runs() -> dict[int, Replay]:
    return {draw: replay.replay(draw) for draw in DRAWS}


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["article"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def in_float64(draw: int) -> tuple[npt.NDArray[np.float64], float, float]:
    """Return losses, w and b of the article's training without float32's rounding."""
    x = np.arange(1.0, 100.0)
    y = 20.0 * x + 5.0 + draw
    w = b = 0.0
    losses = []
    for _ in range(100):
        off = w * x + b - y
        losses.append(float(np.mean(off**2)))
        w, b = w - 1e-4 * 2 * float(np.mean(off * x)), b - 1e-4 * 2 * float(np.mean(off))
    return np.array(losses), w, b


@pytest.mark.parametrize("x", [5.0, 0.0, -2.5])
def test_autograd_gives_x_and_1(x: float) -> None:
    assert replay.gradients(x) == (x, 1.0)


def test_the_articles_first_gradients_are_5_and_1() -> None:
    assert replay.gradients(5.0) == (5.0, 1.0)


@pytest.mark.parametrize("draw", [-10, 0, 3])
def test_the_points_are_the_articles(draw: int) -> None:
    x, y = replay.points(draw)
    assert x.tolist() == list(range(1, 100))
    assert y.tolist() == [20 * k + 5 + draw for k in range(1, 100)]


@pytest.mark.parametrize("epoch", [epoch for epoch in PRINTED if epoch])
def test_the_losses_of_draw_1_are_those_printed(runs: dict[int, Replay], epoch: int) -> None:
    assert f"{runs[1].loss[epoch]:.4f}" == PRINTED[epoch]


def test_the_first_loss_of_draw_1_is_the_printed_one_to_float32() -> None:
    # Exactly, it is the mean of (20x + 6)² over 1..99.
    exact = sum((20 * k + 6) ** 2 for k in range(1, 100)) / 99
    quantum = float(np.spacing(np.float32(exact)))
    assert abs(replay.replay(1).loss[0] - exact) <= 4 * quantum
    assert abs(float(PRINTED[0]) - exact) <= 4 * quantum


def test_the_weights_of_draw_3_are_those_printed(runs: dict[int, Replay]) -> None:
    line = runs[3].line
    assert repr(line.w) == W
    assert abs(line.b - float(B)) <= float(np.spacing(np.float32(B)))


def test_the_losses_belong_to_draw_1_alone_and_the_weights_to_draw_3_alone(
    runs: dict[int, Replay],
) -> None:
    assert [draw for draw, run in runs.items() if run.has_printed_losses] == [1]
    assert [draw for draw, run in runs.items() if run.has_printed_line] == [3]


@pytest.mark.parametrize("draw", [-10, 0, 1, 3, 10])
def test_a_replay_is_the_articles_training_to_float32(draw: int, runs: dict[int, Replay]) -> None:
    losses, w, b = in_float64(draw)
    run = runs[draw]
    assert run.draw == draw
    assert run.loss == pytest.approx({epoch: losses[epoch] for epoch in PRINTED}, rel=1e-4)
    assert run.line.w == pytest.approx(w, rel=1e-6)
    assert run.line.b == pytest.approx(b, rel=1e-5)


def test_the_printed_numbers_are_of_two_runs_in_float64_too() -> None:
    losses, w, b = in_float64(1)
    assert [losses[e] for e in PRINTED] == pytest.approx([float(p) for p in PRINTED.values()], 1e-4)
    assert abs(w - float(W)) > 0.02
    losses, w, b = in_float64(3)
    assert losses[15] > 14
    assert w == pytest.approx(float(W), rel=1e-6)
    assert b == pytest.approx(float(B), rel=1e-5)


@pytest.mark.parametrize("draw", [-10, -1, 0, 1, 3, 10])
def test_trained_to_the_end_b_is_5_and_the_draw(draw: int) -> None:
    line = replay.finished(draw)
    assert line.w == pytest.approx(20.0, abs=1e-9)
    assert line.b == pytest.approx(5.0 + draw, abs=1e-9)


def test_a_replay_of_other_numbers_has_nothing_that_was_printed(runs: dict[int, Replay]) -> None:
    run = runs[1]
    other = Replay(1, {epoch: loss + 1e-3 for epoch, loss in run.loss.items()}, run.line)
    assert run.has_printed_losses
    assert not other.has_printed_losses
    assert not Replay(3, run.loss, run.line).has_printed_line
    w, b = float(W), float(B)
    assert Replay(3, run.loss, Line(w, b)).has_printed_line
    assert not Replay(3, run.loss, Line(w + 1e-6, b)).has_printed_line
    assert not Replay(3, run.loss, Line(w, b + 1e-6)).has_printed_line


# The command


def test_the_command_shows_what_was_printed_beside_the_replays(shown: str) -> None:
    for epoch, loss in PRINTED.items():
        (row,) = [line for line in shown.splitlines() if line.split()[:2] == ["loss", str(epoch)]]
        assert float(row.split()[2]) == float(loss)
        assert float(row.split()[3]) == pytest.approx(float(loss), abs=0.5 if epoch == 0 else 5e-5)
    (w,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["w"]]
    (b,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["b"]]
    assert (w[1], w[3]) == (W, W)
    assert b[1] == B
    assert float(b[3]) == pytest.approx(float(B), rel=1e-6)


def test_the_command_says_that_two_runs_were_printed_as_one(shown: str) -> None:
    assert "the printed losses belong to +1,\n" in shown
    assert "the printed weights to +3: two runs, printed as one." in shown


def test_the_command_shows_the_gradients_and_the_finished_lines(shown: str) -> None:
    assert "Autograd at x = 5: d(wx + b)/dw = 5, d(wx + b)/db = 1\n" in shown
    assert "draw +1:  w = 20.000000, b = 6.000000" in shown
    assert "draw +3:  w = 20.000000, b = 8.000000" in shown
