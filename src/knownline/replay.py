"""The article "AutoGrad and Simple Linear Regression", run again: what it printed, whose it is.

The article draws one integer, adds it to all of y = 20x + 5 for x = 1..99, and takes 100 steps of
gradient descent in float32 from w = b = 0 at learning rate 1e-4. Its seed was not recorded.
"""

from dataclasses import dataclass

import numpy as np
import torch

from knownline import compression, synthesis, training
from knownline.line import Line
from knownline.params import Spacing

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


def points(draw: int) -> tuple[synthesis.Array, synthesis.Array]:
    """Return the article's x = 1..99 and y, (99,) each, for one value of its draw."""
    spacing = Spacing(spacing="grid", low=1.0, high=float(ROWS))
    x = synthesis.grid(spacing, ROWS, 0, ROWS)
    return x, TRUTH.at(x) + draw


def replay(draw: int) -> Replay:
    """Train as the article did, on the data it had if its draw was `draw`."""
    x, y = points(draw)
    history = training.fit(
        x,
        y,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        dtype="float32",
        device=torch.device("cpu"),
    )
    return Replay(draw, {epoch: float(history.loss[epoch]) for epoch in PRINTED_LOSS}, history.line)


def finished(draw: int) -> Line:
    """Return the line the same data gives when the training arrives: standardised, float64."""
    x, y = points(draw)
    whole = compression.compress([(x, y)])
    scaling = training.Scaling(whole.mean_x, whole.sd_x)
    return training.fit(
        *whole.three_points(standardize=True),
        epochs=EPOCHS,
        learning_rate=0.25,
        dtype="float64",
        device=torch.device("cpu"),
        scaling=scaling,
    ).line
