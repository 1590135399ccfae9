"""The plots show what they should, also for extreme numbers and odd names."""

import io
import zlib
from collections.abc import Callable
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from knownline.core.history import History
from knownline.core.kinds import Parameters
from knownline.model import LINE
from knownline.report import plots
from knownline.report.views import Reference, View
from tests.report.fits import TRUTH, compressed, drawn, plane, results

Array = npt.NDArray[np.float64]

X = np.linspace(1.0, 99.0, 80)
EXACT = 20 * X + 5
Y = EXACT + 1.5 * np.random.default_rng(1).standard_normal(80)
XY = ("x", "y")


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG, after checking their checksums: https://www.w3.org/TR/png/."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = [], 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        end = at + 12 + size
        assert int.from_bytes(png[end - 4 : end], "big") == zlib.crc32(kind + body)
        found.append((kind, body))
        at = end
    assert (found[0][0], found[-1]) == (b"IHDR", (b"IEND", b""))
    return found


def pixels(png: bytes) -> npt.NDArray[np.float32]:
    """Return the pixels of a valid PNG on which something is drawn: (height, width, rgba)."""
    chunks(png)
    shown: npt.NDArray[np.float32] = image.imread(io.BytesIO(png))
    height, width, _ = shown.shape
    assert min(height, width) >= 400
    assert 0.005 < float(np.mean(np.any(shown[..., :3] < 0.99, axis=2))) < 0.6
    assert np.all(shown[..., 3] == 1.0)
    return shown


def share_of(colour: str, png: bytes) -> float:
    """Return the share of pixels that have a colour, "#rrggbb"."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(np.mean(np.all(np.abs(pixels(png)[..., :3] - wanted) < 0.01, axis=2)))


def fit(
    x: Array = X,
    y: Array = Y,
    line: Parameters = TRUTH,
    truth: Parameters | None = TRUTH,
    names: tuple[str, str] = XY,
) -> bytes:
    errors = {"w": 0.01, "b": 0.1}
    return plots.fit(View.of(compressed(LINE, [x], y), [x], y, line, truth, errors, names), len(x))


def loss(*losses: float, least: float | None) -> bytes:
    return plots.loss(np.array(losses), None if least is None else least_squares(least))


def least_squares(loss: float) -> Reference:
    return Reference("least squares", loss)


def path(w: Any, b: Any, x: Array = X, y: Array = Y, truth: Parameters | None = None) -> bytes:
    history = History(("w", "b"), np.ones(len(w)), np.array([w, b], dtype=np.float64))
    png = plots.path(history, compressed(LINE, [x], y), truth)
    assert png is not None
    return png


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return a list to which every figure is added that is drawn from now on."""
    kept: list[Figure] = []
    print_png = FigureCanvasAgg.print_png

    def keep(canvas: FigureCanvasAgg, *args: Any, **more: Any) -> None:
        kept.append(canvas.figure)
        print_png(canvas, *args, **more)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(FigureCanvasAgg, "print_png", keep)
    return kept


# Nothing but the numbers


def test_earlier_drawings_change_no_byte_and_drawing_changes_no_setting() -> None:
    def settings() -> dict[str, object]:
        return {key: mpl.rcParams[key] for key in mpl.rcParams}

    before = settings()
    first = fit(), loss(3.0, 2.0, least=1.0)
    fit(X * 1e3, Y), path(X, Y)
    assert (fit(), loss(3.0, 2.0, least=1.0)) == first
    assert settings() == before


def test_pictures_hold_no_time_and_no_version() -> None:
    for png in (fit(), loss(3.0, 2.0, least=1.0), path(X, Y, truth=TRUTH)):
        assert {kind for kind, _ in chunks(png)} <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


# What is drawn


def test_the_points_the_fit_and_the_truth_are_drawn_in_their_colours() -> None:
    shifted = {"w": 18.0, "b": 300.0}
    assert share_of(plots.POINTS, fit(line=shifted, truth=None)) > 0.002
    assert share_of(plots.FITTED, fit(line=shifted)) > 0.002
    assert fit(truth=None) != fit()
    assert path([10.0], [1.0]) != path([10.0], [1.0], truth=TRUTH)
    assert fit(X[:-1], Y[:-1]) != fit()


def test_the_least_loss_is_drawn_if_there_is_one() -> None:
    assert share_of(plots.TRUE, loss(3.0, 2.0, least=1.0)) > 0.0002
    assert share_of(plots.TRUE, loss(3.0, 2.0, least=0.0)) == 0.0


@pytest.mark.parametrize(
    ("losses", "least", "scale"),
    [
        ([100.0, 10.0, 1.0], 0.5, "log"),
        ([100.0, 10.0, 1.0], 0.0, "log"),
        ([1.0, 0.0], 0.0, "linear"),
        ([0.0], 0.0, "linear"),
    ],
)
def test_the_loss_is_on_a_logarithmic_scale_unless_it_is_zero(
    losses: list[float], least: float, scale: str, figures: list[Figure]
) -> None:
    loss(*losses, least=least)
    assert [axes.get_yscale() for axes in figures[0].axes] == [scale]


def test_another_loss_is_not_called_the_mean_squared_error(figures: list[Figure]) -> None:
    loss(3.0, 2.0, least=None)
    loss(3.0, 2.0, least=1.0)
    other, squared = (figure.axes[0] for figure in figures)
    assert other.get_ylabel() == "the training's loss"
    assert squared.get_ylabel() == "mean squared error"
    assert len(other.lines) == 1


def test_a_curve_goes_through_its_points(figures: list[Figure]) -> None:
    params = drawn("quadratic", {"c": 0.1, "w": -3.0, "b": 5.0})
    found = results(params)
    fitted, truth, se = found.evaluation.fitted, found.evaluation.truth, found.evaluation.se
    pixels(plots.fit(View.of(found.data, found.inputs, found.y, fitted, truth, se), 79))
    (true, curve), (_, zero) = (axes.lines for axes in figures[0].axes)
    (x,) = found.inputs
    expected = np.polyval([fitted["c"], fitted["w"], fitted["b"]], x)
    at, heights = map(np.asarray, curve.get_data())
    assert np.interp(x, at, heights) == pytest.approx(expected, abs=0.01)
    assert not np.any(zero.get_ydata())
    assert true.get_label() == "true: c = 0.1, w = −3, b = 5"


def test_several_inputs_are_drawn_as_observed_against_fitted(figures: list[Figure]) -> None:
    params = plane(10)
    found = results(params)
    fitted = found.evaluation.fitted
    se, names = found.evaluation.se, ("?", "price")
    pixels(plots.fit(View.of(found.data, found.inputs, found.y, fitted, None, se, names), 79))
    above, below = figures[0].axes
    predicted = np.stack([*found.inputs, np.ones(79)], axis=1) @ list(fitted.values())
    for axes, y in ((above, found.y), (below, found.y - predicted)):
        shown = np.asarray(axes.collections[0].get_offsets())
        assert shown == pytest.approx(np.stack([predicted, y], axis=1), rel=1e-6, abs=1e-6)
    (diagonal,) = above.lines
    assert np.array_equal(*diagonal.get_data())
    assert below.get_xlabel() == "fitted price"
    assert "observed price" in {text.get_text() for text in above.texts}


def test_only_a_slope_and_a_constant_have_a_path_over_the_loss() -> None:
    for params in (plane(2), drawn("quadratic", {"c": 1.0, "w": 1.0, "b": 1.0})):
        found = results(params)
        assert plots.path(found.history, found.data, found.evaluation.truth) is None


# Extreme numbers


def approach(epochs: int) -> Array:
    return 1 - 0.5 ** np.arange(1.0, epochs + 1)


EXTREME: dict[str, Callable[[], bytes]] = {
    "fit of three points": lambda: fit(X[:3], Y[:3], truth=None),
    "fit of constant y": lambda: fit(y=np.full(80, 7.0), line={"w": 0.0, "b": 7.0}, truth=None),
    "fit of y 0": lambda: fit(
        y=np.zeros(80), line={"w": 0.0, "b": 0.0}, truth={"w": 0.0, "b": 0.0}
    ),
    "fit without noise": lambda: fit(y=EXACT),
    "fit far off": lambda: fit(line={"w": -1e9, "b": 1e12}),
    "fit of many": lambda: fit(np.linspace(1, 99, 2000), np.linspace(25, 1985, 2000)),
    "fit of x and y far from 0": lambda: fit(X + 1e8, Y + 1e12, {"w": 20.0, "b": 1e12 - 2e9}, None),
    "loss of one epoch": lambda: loss(1338702.5, least=2.0),
    "loss of one epoch, least 0": lambda: loss(1338702.5, least=0.0),
    "loss 0 from the start": lambda: loss(0.0, 0.0, 0.0, least=0.0),
    "loss 0 at one epoch": lambda: loss(0.0, least=0.0),
    "loss that reaches 0": lambda: loss(1.0, 0.1, 0.0, least=0.0),
    "loss that is least": lambda: loss(2.0, 2.0, 2.0, least=2.0),
    "loss 0 above a least": lambda: loss(0.0, 0.0, least=1e-30),
    "loss diverging": lambda: plots.loss(np.geomspace(1.0, 1e307, 100), least_squares(1.0)),
    "loss over all float64": lambda: loss(1e300, 1e-300, least=1e-300),
    "loss of 100,000 epochs": lambda: plots.loss(
        1.0 + np.exp(-np.arange(1e5) / 1e4), least_squares(1.0)
    ),
    "path of one epoch": lambda: path([3.0], [2.0]),
    "path that stays": lambda: path([0.0, 0.0], [0.0, 0.0], y=np.zeros(80)),
    "path for constant y": lambda: path([0.0, 0.0], [3.0, 7.0], y=np.full(80, 7.0)),
    "path without noise": lambda: path([10.0, 20.0], [2.0, 5.0], y=EXACT),
    "path of 100,000 epochs": lambda: path(20 * approach(100_000), 5 * approach(100_000)),
    "path with a truth out of sight": lambda: path(
        20 * approach(9), 5 * approach(9), truth={"w": 1e9, "b": -1e9}
    ),
    "path for x far from 0": lambda: path([20.0], [-2e9], x=X + 1e8),
    "path diverging": lambda: path([1e300, -1e300], [-2e300, 2e300]),
}
for k in (1e-300, 1e150):
    EXTREME |= {
        f"fit of y at {k:g}": lambda k=k: fit(y=Y * k, line={"w": 20 * k, "b": 5 * k}, truth=None),  # type: ignore[misc]
        f"fit of x at {k:g}": lambda k=k: fit(x=X * k, line={"w": 20 / k, "b": 5.0}, truth=None),  # type: ignore[misc]
        f"loss at {k:g}": lambda k=k: loss(3.0 * k, 2.0 * k, 1.5 * k, least=k),  # type: ignore[misc]
        f"path for y at {k:g}": lambda k=k: path([10 * k, 20 * k], [k, 5 * k], y=Y * k),  # type: ignore[misc]
    }
for k in (1e-150, 1e150):
    EXTREME[f"path for x at {k:g}"] = lambda k=k: path([10 / k, 20 / k], [1.0, 5.0], x=X * k)  # type: ignore[misc]


@pytest.mark.filterwarnings("error", "ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("draw", EXTREME.values(), ids=EXTREME)
def test_extreme_numbers_give_a_picture_without_a_warning(draw: Callable[[], bytes]) -> None:
    pixels(draw())


# Names


@pytest.mark.parametrize(
    "name", ["US$ per A$", "$\\nosuch$", "$^$", "100 % {x_1^2} \\alpha µ", "", "a long name " * 12]
)
def test_a_column_of_any_name_can_be_drawn(name: str) -> None:
    pixels(fit(names=(name, name)))


def test_a_columns_name_is_shown_as_it_is_and_not_as_mathematics() -> None:
    assert fit(names=("$x$", "y")) != fit(names=(r"$\mathit{x}$", "y"))


@pytest.mark.parametrize("name", ["mass", "W" * 40, "temperature_in_degrees_celsius_at_two_m…"])
def test_names_neither_leave_the_picture_nor_overlap(name: str, figures: list[Figure]) -> None:
    fit(names=(name, name))
    (figure,) = figures
    texts = [text for text in figure.findobj(Text) if text.get_text().startswith(name)]
    assert len(texts) == 3
    boxes = [text.get_window_extent() for text in [*texts, *figure.findobj(Legend)]]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    for box in boxes:
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
