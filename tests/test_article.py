"""The article's trainings again, against what it printed and against float64."""

import numpy as np
import numpy.typing as npt
import pytest

from knownline import article
from knownline.__main__ import main
from knownline.article import Replay
from tests.models import line

PRINTED = {
    0: "1338702.5", 15: "7.9803", 30: "7.9686", 45: "7.9568", 60: "7.9450", 75: "7.9333",
    90: "7.9216",
}  # fmt: skip
"""The losses of the article's table."""

W, B = "20.115468978881836", "0.34108221530914307"
"""The weights it prints below."""


@pytest.fixture(scope="module")
def replays() -> dict[int, Replay]:
    return {draw: article.replay(draw) for draw in range(-10, 11)}


def in_float64(draw: int) -> tuple[npt.NDArray[np.float64], float, float]:
    """Return losses, w and b of the article's training without float32's rounding."""
    x = np.arange(1.0, 100.0)
    y = 20.0 * x + 5.0 + draw
    w = b = 0.0
    losses = []
    for _ in range(100):
        residual = w * x + b - y
        losses.append(float(np.mean(residual**2)))
        w, b = w - 1e-4 * 2 * float(np.mean(residual * x)), b - 1e-4 * 2 * float(np.mean(residual))
    return np.array(losses), w, b


@pytest.mark.parametrize("x", [5.0, 0.0, -2.5])
def test_autograd_gives_x_and_1(x: float) -> None:
    assert article.gradients(x) == (x, 1.0)


@pytest.mark.parametrize("draw", [-10, 0, 1, 3, 10])
def test_a_replay_is_the_articles_training_to_float32(
    draw: int, replays: dict[int, Replay]
) -> None:
    losses, w, b = in_float64(draw)
    replay = replays[draw]
    assert replay.draw == draw
    assert replay.loss == pytest.approx({epoch: losses[epoch] for epoch in PRINTED}, rel=1e-4)
    assert replay.line["w"] == pytest.approx(w, rel=1e-6)
    assert replay.line["b"] == pytest.approx(b, rel=1e-5)


def test_the_losses_of_draw_1_are_those_printed(replays: dict[int, Replay]) -> None:
    for epoch, printed in list(PRINTED.items())[1:]:
        assert f"{replays[1].loss[epoch]:.4f}" == printed
    # The first is the mean of (20x + 6)² over 1..99, to float32.
    exact = sum((20 * k + 6) ** 2 for k in range(1, 100)) / 99
    quantum = float(np.spacing(np.float32(exact)))
    assert abs(replays[1].loss[0] - exact) <= 4 * quantum
    assert abs(float(PRINTED[0]) - exact) <= 4 * quantum


def test_the_weights_of_draw_3_are_those_printed(replays: dict[int, Replay]) -> None:
    found = replays[3].line
    assert repr(found["w"]) == W
    assert abs(found["b"] - float(B)) <= float(np.spacing(np.float32(B)))


def test_the_losses_are_those_of_draw_1_only_and_the_weights_those_of_draw_3_only(
    replays: dict[int, Replay],
) -> None:
    assert [draw for draw, replay in replays.items() if replay.has_printed_losses] == [1]
    assert [draw for draw, replay in replays.items() if replay.has_printed_line] == [3]


def test_other_numbers_are_not_those_printed(replays: dict[int, Replay]) -> None:
    losses, w, b = replays[1].loss, float(W), float(B)
    other = {epoch: loss + 1e-3 for epoch, loss in losses.items()}
    assert not Replay(1, other, replays[1].line).has_printed_losses
    assert Replay(3, losses, line(w, b)).has_printed_line
    assert not Replay(3, losses, line(w + 1e-6, b)).has_printed_line
    assert not Replay(3, losses, line(w, b + 1e-6)).has_printed_line


@pytest.mark.parametrize("draw", [-10, 0, 1, 3])
def test_a_finished_training_finds_5_and_the_draw_for_b(draw: int) -> None:
    found = article.finished(draw)
    assert found["w"] == pytest.approx(20.0, abs=1e-9)
    assert found["b"] == pytest.approx(5.0 + draw, abs=1e-9)


def test_the_command_shows_what_was_printed_beside_the_replays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["article"]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    rows = {" ".join(line.split()[:-3]): line.split()[-3:] for line in shown.splitlines() if line}
    for epoch, loss in PRINTED.items():
        printed, draw_1, _ = map(float, rows[f"loss {epoch}"])
        assert printed == float(loss)
        assert draw_1 == pytest.approx(float(loss), abs=0.5 if epoch == 0 else 5e-5)
    assert (rows["w"][0], rows["w"][2]) == (W, W)
    assert rows["b"][0] == B
    assert float(rows["b"][2]) == pytest.approx(float(B), rel=1e-6)
    assert "the printed losses belong to draw +1,\n" in shown
    assert "draw +3.\nSo the article printed two runs as one.\n" in shown
    assert "Autograd at x = 5: d(wx + b)/dw = 5, d(wx + b)/db = 1\n" in shown
    assert "draw +1:  w = 20.000000, b = 6.000000" in shown
    assert "draw +3:  w = 20.000000, b = 8.000000" in shown
