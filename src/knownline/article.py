"""`knownline article`: replays the article "AutoGrad and Simple Linear Regression".

The article draws one integer, adds it to all of y = 20x + 5 for x = 1..99, and takes 100 steps of
gradient descent in float32 from w = b = 0 at learning rate 1e-4. It sets no seed, so the replay
tries every integer that it may have drawn.
"""

from dataclasses import dataclass

import numpy as np
import torch

from knownline.core import moments
from knownline.core.kinds import Parameters
from knownline.core.least_squares import LeastSquares
from knownline.generate import draw
from knownline.model import LINE
from knownline.params.data import Spacing
from knownline.train import descent

TRUTH = {"w": 20.0, "b": 5.0}
ROWS, EPOCHS, LEARNING_RATE = 99, 100, 1e-4

PRINTED_LOSS = {
    0: 1338702.5, 15: 7.9803, 30: 7.9686, 45: 7.9568, 60: 7.9450, 75: 7.9333, 90: 7.9216,
}  # fmt: skip
"""The losses that the article printed, by epoch: every 15th, to four decimals."""

PRINTED_LINE = {"w": 20.115468978881836, "b": 0.34108221530914307}
"""The weights that the article printed below its losses."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The article's training for one value of the integer it drew."""

    draw: int
    loss: dict[int, float]
    line: Parameters

    @property
    def has_printed_losses(self) -> bool:
        """Whether all losses are the printed ones, to four decimals; the first within rounding."""
        first_matches = abs(self.loss[0] - PRINTED_LOSS[0]) <= 4 * float(
            np.spacing(np.float32(self.loss[0]))
        )
        return first_matches and all(
            round(self.loss[epoch], 4) == PRINTED_LOSS[epoch] for epoch in PRINTED_LOSS if epoch
        )

    @property
    def has_printed_line(self) -> bool:
        """Whether w is the printed one and b is within one float32 step of the printed one."""
        step = float(np.spacing(np.float32(PRINTED_LINE["b"])))
        near = abs(self.line["b"] - PRINTED_LINE["b"]) <= step
        return self.line["w"] == PRINTED_LINE["w"] and near


def gradients(x: float) -> tuple[float, float]:
    """Return d(w*x + b)/dw and d(w*x + b)/db by autograd, as the article begins: x and 1."""
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(1.0, requires_grad=True)
    (w * x + b).backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None
    assert b.grad is not None
    return w.grad.item(), b.grad.item()


def _points(drawn: int) -> tuple[draw.Array, draw.Array]:
    """Return the article's x = 1..99 and y, (99,) each, for one value of the integer."""
    spacing = Spacing(spacing="grid", low=1.0, high=float(ROWS))
    x = draw.grid(spacing, ROWS, 0, ROWS)
    return x, LINE.at(TRUTH, [x]) + drawn


def replay(drawn: int) -> Replay:
    """Train as the article did, on the data that it had if it drew `drawn`."""
    x, y = _points(drawn)
    history = descent.fit(
        [x],
        y,
        kind=LINE,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        dtype="float32",
        device=torch.device("cpu"),
    )
    return Replay(
        drawn, {epoch: float(history.loss[epoch]) for epoch in PRINTED_LOSS}, history.parameters()
    )


def finished(drawn: int) -> Parameters:
    """Return the line that a converged training finds for the same data: standardised, float64."""
    x, y = _points(drawn)
    data = LeastSquares(LINE, moments.compress([([x], y)]))
    return descent.fit(
        *data.points(standardize=True),
        kind=LINE,
        epochs=EPOCHS,
        learning_rate=0.25,
        dtype="float64",
        device=torch.device("cpu"),
        scaling=data.scaling,
    ).parameters()


DRAWS = range(-10, 11)
"""The integers to try."""


def main() -> int:
    """Print the replay and what it shows; both are computed."""
    runs = {drawn: replay(drawn) for drawn in DRAWS}
    by_loss = [drawn for drawn, run in runs.items() if run.has_printed_losses]
    by_line = [drawn for drawn, run in runs.items() if run.has_printed_line]
    candidates = sorted({*by_loss, *by_line})
    dw, db = gradients(5.0)
    print(f"Autograd at x = 5: d(wx + b)/dw = {dw:g}, d(wx + b)/db = {db:g}\n")
    print("The article adds one integer, drawn once without a seed, to y = 20x + 5 for x = 1..99.")
    print("It trains for 100 epochs at learning rate 1e-4 in float32, from w = b = 0.\n")
    _print_table([runs[drawn] for drawn in candidates])
    print(f"\nOf the draws {DRAWS[0]} to +{DRAWS[-1]}:")
    print(f"  the printed losses belong to draw {_list_draws(by_loss)},")
    print(f"  the printed weights belong to draw {_list_draws(by_line)}.")
    print(f"{_verdict(by_loss, by_line)}.\n")
    print("The same data, trained until it converges (standardised, float64, learning rate 0.25):")
    for drawn in candidates:
        line = finished(drawn)
        print(f"  draw {drawn:+d}:  w = {line['w']:.6f}, b = {line['b']:.6f}"
              f"   (the article's 100 epochs: b = {runs[drawn].line['b']:.6f})")  # fmt: skip
    print(
        "So the article's b was not 'somewhat close' to 5: its optimisation had hardly begun. And"
    )
    print("it would not have ended at 5: the one draw shifts b, however many points there are.")
    return 0


def _print_table(runs: list[Replay]) -> None:
    header = "".join(f"{f'draw {run.draw:+d}':>22}" for run in runs)
    print(f"{'':>10}{'printed':>22}{header}")
    for epoch, printed in PRINTED_LOSS.items():
        row = "".join(f"{run.loss[epoch]:>22.4f}" for run in runs)
        print(f"{f'loss {epoch}':>10}{printed:>22.4f}{row}")
    for name in ("w", "b"):
        row = "".join(f"{run.line[name]!r:>22}" for run in runs)
        print(f"{name:>10}{PRINTED_LINE[name]!r:>22}{row}")


def _list_draws(draws: list[int]) -> str:
    return " and ".join(f"{drawn:+d}" for drawn in draws) or "none"


def _verdict(by_loss: list[int], by_line: list[int]) -> str:
    if set(by_loss) & set(by_line):
        return "So the article printed one run"
    if by_loss and by_line:
        return "So the article printed two runs as one"
    return "So no run can be found for what the article printed"
