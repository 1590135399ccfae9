"""The pictures: the same numbers give the same bytes, and odd numbers give a picture too."""

import io
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.report import plots
from knownline.report.plots import Names

Array = npt.NDArray[np.float64]

SRC = str(Path(pictures.__file__).parents[1])
"""Where processes of our own find what is tested here."""

TRUTH = Line(20.0, 5.0)
X = np.linspace(1.0, 99.0, 80)
Y = TRUTH.at(X) + 1.5 * np.random.default_rng(1).standard_normal(80)

THREE = """
import hashlib
import numpy as np
from knownline import plots
from knownline.core.moments import compress
from knownline.core.line import Line
x = np.arange(1.0, 100.0)
y = 20.0 * x + 5.0 + 1.5 * np.random.default_rng(1).standard_normal(99)
rows, truth = compress([(x, y)]), Line(20.0, 5.0)
left = 0.5 ** np.arange(1, 101)
for png in (
    plots.fit(x, y, line=rows.least_squares(), truth=truth, of=99, names=plots.Names()),
    plots.loss(2.25 + 1.3e6 * left**2, 2.25),
    plots.path(20.0 * (1 - left), 5.0 + 1000 * left, rows=rows, truth=truth),
):
    print(hashlib.sha256(png).hexdigest())
"""


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG, their checksums checked: https://www.w3.org/TR/png/."""
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


def drawn(png: bytes) -> npt.NDArray[np.float32]:
    """Return the pixels of a valid PNG on which something is drawn: (height, width, rgba)."""
    chunks(png)
    pixels: npt.NDArray[np.float32] = image.imread(io.BytesIO(png))
    height, width, _ = pixels.shape
    assert min(height, width) >= 400
    assert 0.005 < float(np.mean(np.any(pixels[..., :3] < 0.99, axis=2))) < 0.6
    assert np.all(pixels[..., 3] == 1.0)
    return pixels


def share_of(colour: str, png: bytes) -> float:
    """Return the share of pixels that have a colour, "#rrggbb"."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(np.mean(np.all(np.abs(drawn(png)[..., :3] - wanted) < 0.01, axis=2)))


def fit(x: Array = X, y: Array = Y, line: Line = TRUTH, truth: Line | None = TRUTH) -> bytes:
    return plots.fit(x, y, line=line, truth=truth, of=len(x), names=Names())


# The same bytes


def hashes(cwd: Path, **env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", THREE],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": SRC, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    found = hashes(tmp_path_factory.mktemp("first"), PYTHONHASHSEED="1")
    assert len(set(found)) == 3
    return found


def test_pictures_are_the_same_bytes_in_another_process(first: list[str], tmp_path: Path) -> None:
    env = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "MPLBACKEND": "svg"}
    assert hashes(tmp_path, **env) == first


def test_pictures_do_not_depend_on_simd(first: list[str], tmp_path: Path) -> None:
    simd = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not simd:
        pytest.skip("numpy dispatches nothing on this CPU")
    assert hashes(tmp_path, NPY_DISABLE_CPU_FEATURES=" ".join(simd)) == first


def test_pictures_do_not_depend_on_the_users_matplotlibrc(first: list[str], tmp_path: Path) -> None:
    # matplotlib reads ./matplotlibrc, $MATPLOTLIBRC or the one in the user's home.
    (tmp_path / "matplotlibrc").write_text(
        "lines.linewidth: 5\nfigure.facecolor: black\nsavefig.dpi: 50\nlegend.fontsize: 20\n"
    )
    assert hashes(tmp_path) == first


def test_pictures_do_not_depend_on_what_was_drawn_before() -> None:
    before = fit(), plots.loss(np.array([3.0, 2.0]), 1.0)
    fit(X * 1e3, Y), plots.path(X, Y, rows=compress([(X, Y)]), truth=None)
    assert (fit(), plots.loss(np.array([3.0, 2.0]), 1.0)) == before


def test_pictures_hold_no_time_and_no_version() -> None:
    rows = compress([(X, Y)])
    drawn = (fit(), plots.loss(Y, 1.0), plots.path(X, Y, rows=rows, truth=TRUTH))
    for png in drawn:
        kinds = {kind for kind, _ in chunks(png)}
        assert kinds <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    def now() -> dict[str, object]:
        return {key: mpl.rcParams[key] for key in mpl.rcParams}

    before = now()
    fit()
    assert now() == before


# What is drawn


def test_the_points_the_fit_and_the_truth_are_drawn_in_their_colours() -> None:
    off = Line(18.0, 300.0)
    assert share_of(plots.POINTS, fit(line=off, truth=None)) > 0.002
    assert share_of(plots.FITTED, fit(line=off)) > 0.002


def test_a_truth_changes_the_picture() -> None:
    rows = compress([(X, Y)])
    assert fit(truth=None) != fit()
    w, b = np.array([10.0]), np.array([1.0])
    assert plots.path(w, b, rows=rows, truth=None) != plots.path(w, b, rows=rows, truth=TRUTH)


def test_the_least_loss_is_drawn_where_there_is_one() -> None:
    losses = np.array([3.0, 2.0])
    assert share_of(plots.TRUE, plots.loss(losses, 1.0)) > 0.0002
    assert share_of(plots.TRUE, plots.loss(losses, 0.0)) == 0.0


@pytest.mark.parametrize(
    ("losses", "least", "scale"),
    [
        ([100.0, 10.0, 1.0], 0.5, "log"),
        ([100.0, 10.0, 1.0], 0.0, "log"),
        ([1.0, 0.0], 0.0, "linear"),
        ([0.0], 0.0, "linear"),
    ],
)
def test_the_loss_is_on_a_logarithmic_scale_where_it_can_be(
    losses: list[float], least: float, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    png = pictures._png

    def kept(figure: Figure) -> bytes:
        figures.append(figure)
        return png(figure)

    monkeypatch.setattr(plots, "_png", kept)
    drawn(plots.loss(np.array(losses), least))
    assert [axes.get_yscale() for axes in figures[0].axes] == [scale]


def test_a_point_more_is_another_picture() -> None:
    assert fit(X[:-1], Y[:-1]) != fit()


# Odd numbers


def path(w: list[float], b: list[float], x: Array = X, y: Array = Y) -> bytes:
    return plots.path(np.array(w), np.array(b), rows=compress([(x, y)]), truth=None)


def descent(epochs: int) -> Array:
    return 1 - 0.5 ** np.arange(1.0, epochs + 1)


ODD: dict[str, Callable[[], bytes]] = {
    "fit without truth": lambda: fit(truth=None),
    "fit of three points": lambda: fit(X[:3], Y[:3]),
    "fit of constant y": lambda: fit(y=np.full(80, 7.0), line=Line(0.0, 7.0), truth=None),
    "fit of y 0": lambda: fit(y=np.zeros(80), line=Line(0.0, 0.0), truth=Line(0.0, 0.0)),
    "fit without noise": lambda: fit(y=TRUTH.at(X)),
    "fit far off": lambda: fit(line=Line(-1e9, 1e12)),
    "fit of many": lambda: fit(np.linspace(1, 99, 2000), np.linspace(25, 1985, 2000)),
    "fit of x and y far from 0": lambda: fit(X + 1e8, Y + 1e12, Line(20.0, 1e12 - 2e9), None),
    "loss of one epoch": lambda: plots.loss(np.array([1338702.5]), 2.0),
    "loss of one epoch, least 0": lambda: plots.loss(np.array([1338702.5]), 0.0),
    "loss 0 from the start": lambda: plots.loss(np.zeros(5), 0.0),
    "loss 0 at one epoch": lambda: plots.loss(np.zeros(1), 0.0),
    "loss that reaches 0": lambda: plots.loss(np.array([1.0, 0.1, 0.0]), 0.0),
    "loss that is least": lambda: plots.loss(np.full(9, 2.0), 2.0),
    "loss 0 above a least": lambda: plots.loss(np.zeros(5), 1e-30),
    "loss diverging": lambda: plots.loss(np.geomspace(1.0, 1e307, 100), 1.0),
    "loss over all float64": lambda: plots.loss(np.array([1e300, 1e-300]), 1e-300),
    "loss of 100,000 epochs": lambda: plots.loss(1.0 + np.exp(-np.arange(1e5) / 1e4), 1.0),
    "path of one epoch": lambda: path([3.0], [2.0]),
    "path that stays": lambda: path([0.0, 0.0], [0.0, 0.0], y=np.zeros(80)),
    "path for constant y": lambda: path([0.0, 0.0], [3.0, 7.0], y=np.full(80, 7.0)),
    "path without noise": lambda: path([10.0, 20.0], [2.0, 5.0], y=TRUTH.at(X)),
    "path of 100,000 epochs": lambda: plots.path(
        20 * descent(100_000), 5 * descent(100_000), rows=compress([(X, Y)]), truth=TRUTH
    ),
    "path with a truth out of sight": lambda: plots.path(
        20 * descent(9), 5 * descent(9), rows=compress([(X, Y)]), truth=Line(1e9, -1e9)
    ),
    "path for x far from 0": lambda: path([20.0], [-2e9], x=X + 1e8),
}  # fmt: skip
ODD |= {
    f"path diverging to {size:g}": lambda size=size: path([size, -size], [-2 * size, 2 * size])  # type: ignore[misc]
    for size in (1e100, 1e300)
}
ODD |= {
    f"{what} at {scale:g}": draw
    for scale in (1e-300, 1e150)
    for what, draw in {
        "fit of y": lambda k=scale: fit(y=Y * k, line=Line(20 * k, 5 * k), truth=None),
        "fit of x": lambda k=scale: fit(x=X * k, line=Line(20 / k, 5.0), truth=None),
        "loss": lambda k=scale: plots.loss(np.array([3.0, 2.0, 1.5]) * k, k),
        "loss, least 0": lambda k=scale: plots.loss(np.array([3.0, 2.0]) * k, 0.0),
        "path for y": lambda k=scale: path([10 * k, 20 * k], [k, 5 * k], y=Y * k),
    }.items()
}
ODD |= {
    f"path for x at {scale:g}": lambda k=scale: path([10 / k, 20 / k], [1.0, 5.0], x=X * k)  # type: ignore[misc]
    for scale in (1e-150, 1e150)
}


@pytest.mark.filterwarnings("error", "ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("draw", ODD.values(), ids=ODD)
def test_odd_numbers_give_a_picture(draw: Callable[[], bytes]) -> None:
    drawn(draw())


@pytest.mark.parametrize(
    "name",
    [
        "mass in kg",
        "US$ per A$",
        "$\\nosuch$",
        "$^$",
        "100 % {x_1^2} \\alpha µ",
        "",
        "a rather long name of a column, as they come out of a laboratory's database " * 2,
    ],
)
def test_a_column_of_any_name_can_be_drawn(name: str) -> None:
    drawn(plots.fit(X, Y, line=TRUTH, truth=TRUTH, of=80, names=Names(name, name)))


@pytest.mark.parametrize("name", ["mass", "W" * 40, "temperature_in_degrees_celsius_at_two_m…"])
def test_names_leave_neither_the_picture_nor_run_into_each_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []

    def kept(figure: Figure) -> bytes:
        figures.append(figure)
        figure.draw_without_rendering()
        return b""

    monkeypatch.setattr(plots, "_png", kept)
    plots.fit(X, Y, line=TRUTH, truth=TRUTH, of=80, names=Names(name, name))
    (figure,) = figures
    words = [text for text in figure.findobj(Text) if text.get_text().startswith(name)]
    assert len(words) == 3
    boxes = [text.get_window_extent() for text in [*words, *figure.findobj(Legend)]]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


def test_another_loss_is_not_called_the_squared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []

    def kept(figure: Figure) -> bytes:
        figures.append(figure)
        return b""

    monkeypatch.setattr(plots, "_png", kept)
    plots.loss(np.array([3.0, 2.0]), None)
    plots.loss(np.array([3.0, 2.0]), 1.0)
    other, squared = (figure.axes[0] for figure in figures)
    assert (other.get_ylabel(), squared.get_ylabel()) == (
        "the training's loss",
        "mean squared error",
    )
    assert len(other.lines) == 1


def test_a_columns_name_is_shown_as_it_is_and_not_as_mathematics() -> None:
    def named(name: str) -> bytes:
        return plots.fit(X, Y, line=TRUTH, truth=None, of=80, names=Names(name, "y"))

    assert named("$x$") != named(r"$\mathit{x}$")
