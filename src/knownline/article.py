"""`knownline article`: the article "AutoGrad and Simple Linear Regression", run again.

The article draws one integer, adds it to all of y = 20x + 5 for x = 1..99, and takes 100 steps of
gradient descent in float32 from w = b = 0 at learning rate 1e-4. Its seed was not recorded.
"""

from dataclasses import dataclass

import numpy as np
import torch

from knownline.core import moments
from knownline.core.line import Line
from knownline.generate import draw
from knownline.params import Spacing
from knownline.train import descent

TRUTH = Line(20.0, 5.0)
ROWS, EPOCHS, LEARNING_RATE = 99, 100, 1e-4

PRINTED_LOSS = {
    0: 1338702.5, 15: 7.9803, 30: 7.9686, 45: 7.9568, 60: 7.9450, 75: 7.9333, 90: 7.9216,
}  # fmt: skip
"""The loss the article printed, by epoch: every 15th, to four decimals."""

PRINTED_LINE = Line(20.115468978881836, 0.34108221530914307)
"""The weights the article printed below that table."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The article's training for one value of its draw."""

    draw: int
    loss: dict[int, float]
    line: Line

    @property
    def has_printed_losses(self) -> bool:
        """Whether the losses are those printed: to four decimals, the first to float32 rounding."""
        first = abs(self.loss[0] - PRINTED_LOSS[0]) <= 4 * float(
            np.spacing(np.float32(self.loss[0]))
        )
        return first and all(round(self.loss[e], 4) == PRINTED_LOSS[e] for e in PRINTED_LOSS if e)

    @property
    def has_printed_line(self) -> bool:
        """Whether w is the printed one and b within one step of float32 of it."""
        step = float(np.spacing(np.float32(PRINTED_LINE.b)))
        return self.line.w == PRINTED_LINE.w and abs(self.line.b - PRINTED_LINE.b) <= step


def gradients(x: float) -> tuple[float, float]:
    """Return d(w*x + b)/dw and d(w*x + b)/db by autograd: x and 1, as the article shows first."""
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(1.0, requires_grad=True)
    (w * x + b).backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None
    assert b.grad is not None
    return w.grad.item(), b.grad.item()


def _points(drawn: int) -> tuple[draw.Array, draw.Array]:
    """Return the article's x = 1..99 and y, (99,) each, for one value of its draw."""
    spacing = Spacing(spacing="grid", low=1.0, high=float(ROWS))
    x = draw.grid(spacing, ROWS, 0, ROWS)
    return x, TRUTH.at(x) + drawn


def replay(drawn: int) -> Replay:
    """Train as the article did, on the data it had if its draw was `drawn`."""
    x, y = _points(drawn)
    history = descent.fit(
        x,
        y,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        dtype="float32",
        device=torch.device("cpu"),
    )
    return Replay(
        drawn, {epoch: float(history.loss[epoch]) for epoch in PRINTED_LOSS}, history.line
    )


def finished(drawn: int) -> Line:
    """Return the line the same data gives when the training arrives: standardised, float64."""
    x, y = _points(drawn)
    whole = moments.compress([(x, y)])
    scaling = descent.Scaling(whole.mean_x, whole.sd_x)
    return descent.fit(
        *whole.three_points(standardize=True),
        epochs=EPOCHS,
        learning_rate=0.25,
        dtype="float64",
        device=torch.device("cpu"),
        scaling=scaling,
    ).line


DRAWS = range(-10, 11)


def main() -> int:
    """Print the replay; every sentence of the verdict is computed, none is assumed."""
    runs = {drawn: replay(drawn) for drawn in DRAWS}
    losses = [drawn for drawn, run in runs.items() if run.has_printed_losses]
    lines = [drawn for drawn, run in runs.items() if run.has_printed_line]
    shown = sorted({*losses, *lines})
    slope, intercept = gradients(5.0)
    print(f"Autograd at x = 5: d(wx + b)/dw = {slope:g}, d(wx + b)/db = {intercept:g}\n")
    print("The article: x = 1..99, y = 20x + 5 + one integer drawn once, not seeded;")
    print("100 epochs at learning rate 1e-4 in float32, from w = b = 0.\n")
    _table([runs[drawn] for drawn in shown])
    print(
        f"\nOf the draws {DRAWS[0]} to +{DRAWS[-1]}, the printed losses belong to {_names(losses)},"
    )
    print(f"the printed weights to {_names(lines)}: {_verdict(losses, lines)}.\n")
    print("The same data, trained to the end (standardised, float64, learning rate 0.25):")
    for drawn in shown:
        line = finished(drawn)
        print(f"  draw {drawn:+d}:  w = {line.w:.6f}, b = {line.b:.6f}"
              f"   (the article's 100 epochs: b = {runs[drawn].line.b:.6f})")  # fmt: skip
    print("So its b was not 'somewhat close' to 5: it was an optimisation that had hardly begun,")
    print("towards a b that the one shared draw had moved, which no number of points can undo.")
    return 0


def _table(runs: list[Replay]) -> None:
    heads = "".join(f"{f'draw {run.draw:+d}':>22}" for run in runs)
    print(f"{'':>10}{'printed':>22}{heads}")
    for epoch, printed in PRINTED_LOSS.items():
        row = "".join(f"{run.loss[epoch]:>22.4f}" for run in runs)
        print(f"{f'loss {epoch}':>10}{printed:>22.4f}{row}")
    for name in ("w", "b"):
        row = "".join(f"{getattr(run.line, name)!r:>22}" for run in runs)
        print(f"{name:>10}{getattr(PRINTED_LINE, name)!r:>22}{row}")


def _names(draws: list[int]) -> str:
    return " and ".join(f"{drawn:+d}" for drawn in draws) or "none of them"


def _verdict(losses: list[int], lines: list[int]) -> str:
    if set(losses) & set(lines):
        return "one run"
    return "two runs, printed as one" if losses and lines else "no run that can be found"
