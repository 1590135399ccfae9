"""What the pictures show, in numbers."""

import numpy as np
import pytest

from knownline.core.kinds import Linear
from knownline.model import LINE
from knownline.report.views import View, axes_of_path, ellipses
from tests.report.fits import compressed, linear, plane

X = np.linspace(1.0, 99.0, 80)
Y = 20 * X + 5 + 1.5 * np.random.default_rng(1).standard_normal(80)
LOGARITHM = Linear(("x",), {"b": lambda x: 2.0, "w": np.log})


@pytest.mark.parametrize("kind", [LINE, LOGARITHM], ids=["line", "logarithm"])
def test_every_point_of_an_ellipse_has_the_same_loss_ten_times_the_next_ones_excess(
    kind: Linear,
) -> None:
    data = compressed(kind, [X], Y)
    axes = axes_of_path(kind)
    assert axes == ("w", "b")
    ols = data.solution
    excess = []
    for a, c, d in ellipses(data, (0.0, 25.0), (-3.0, 9.0)):
        angles = np.linspace(0.0, 6.0, 7)
        ws, bs = ols["w"] + a * np.cos(angles), ols["b"] + c * np.cos(angles) + d * np.sin(angles)
        least = np.mean((kind.at(ols, [X]) - Y) ** 2)
        losses = [
            np.mean((kind.at({"w": w, "b": b}, [X]) - Y) ** 2) - least
            for w, b in zip(ws, bs, strict=True)
        ]
        assert losses == pytest.approx([losses[0]] * 7, rel=1e-6)
        excess.append(losses[0])
    assert len(excess) == 7
    assert np.divide(excess[:-1], excess[1:]) == pytest.approx([10.0] * 6, rel=1e-6)
    corner = max(
        np.mean((kind.at({"w": w, "b": b}, [X]) - Y) ** 2) for w in (0.0, 25.0) for b in (-3.0, 9.0)
    )
    assert excess[0] == pytest.approx(corner, rel=1e-6)


def test_only_a_slope_and_a_constant_have_ellipses() -> None:
    assert axes_of_path(linear(plane(2))) is None
    assert axes_of_path(Linear(("x",), {"w": lambda x: x})) is None
    assert axes_of_path(Linear(("x",), {"c": lambda x: x * x, "w": lambda x: x})) is None


def test_a_curve_has_a_label_with_up_to_four_parameters() -> None:
    def labels(count: int) -> dict[str, str]:
        names = [f"p{power}" for power in range(count)]
        terms = {name: lambda x, power=power: x**power for power, name in enumerate(names, 1)}
        fitted = dict.fromkeys(names, 1.0)
        data = compressed(Linear(("x",), terms), [X], Y)
        return View.of(data, [X], Y, fitted, fitted, dict.fromkeys(names, 0.1)).labels

    assert labels(4)["true"] == "true: p0 = 1, p1 = 1, p2 = 1, p3 = 1"
    assert labels(5) == {"fitted": "fitted", "true": "true"}
