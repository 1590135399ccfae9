"""Charts as SVG: scales, ticks, and marks at the right coordinates."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knownline.report import svg
from knownline.report.svg import Panel, Scale

NUMBERS = st.floats(-1e300, 1e300)


def parsed(panel: Panel) -> ET.Element:
    return ET.fromstring(f"<svg>{panel}</svg>")


def marks(panel: Panel, tag: str) -> list[ET.Element]:
    inner = parsed(panel).find("svg")
    assert inner is not None
    return list(inner.iter(tag))


def test_a_scale_has_a_margin_around_its_values() -> None:
    scale = Scale.over([0.0, 10.0], 5.0)
    assert (scale.low, scale.high) == (-0.5, 10.5)
    assert scale.at([-0.5, 5.0, 10.5]).tolist() == [0.0, 0.5, 1.0]


def test_a_log_scale_spans_decades() -> None:
    scale = Scale.over([0.03, 0.0, math.inf], 40.0, log=True)
    assert (scale.low, scale.high) == (0.01, 100.0)
    assert scale.at([0.01, 1.0, 100.0]).tolist() == [0.0, 0.5, 1.0]
    assert scale.at([0.0])[0] < 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 100.0, ["0", "20", "40", "60", "80", "100"]),
        (-0.5, 0.5, ["−0.4", "−0.2", "0.0", "0.2", "0.4"]),
        (1234567.0, 1234568.0, ["1234567.0", "1234567.2", "1234567.4", "1234567.6", "1234567.8"]),
    ],
)
def test_ticks_are_round_numbers_that_differ(low: float, high: float, expected: list[str]) -> None:
    assert [text for _, text in Scale(low, high).ticks()][: len(expected)] == expected


def test_log_ticks_are_powers_of_ten() -> None:
    words = [text for _, text in Scale(1e-9, 1e3, log=True).ticks()]
    assert words == ["10⁻⁹", "10⁻⁶", "10⁻³", "1", "1000"]


@settings(max_examples=100, deadline=None)
@example(-9.999999999999238e299, -9.999999999999244e299)
@example(1.0, 1.0 + 2**-52)
@given(NUMBERS, NUMBERS)
def test_ticks_of_any_range_lie_in_it_and_differ(one: float, other: float) -> None:
    scale = Scale.over([one, other])
    ticks = scale.ticks()
    assert len(ticks) <= 10
    assert all(scale.low <= value <= scale.high for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)
    assert np.all(np.isfinite(scale.at([one, other])))


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=9), st.lists(NUMBERS, min_size=2, max_size=9))
def test_a_panel_of_any_numbers_is_xml_without_nan(xs: list[float], ys: list[float]) -> None:
    count = min(len(xs), len(ys))
    panel = Panel(Scale.over(xs), Scale.over(ys), "x", "y")
    panel.line(xs[:count], ys[:count], "fitted")
    panel.dots(xs[:count], ys[:count], "points")
    parsed(panel)
    assert not re.search(r"nan|inf", str(panel))


PLOT = (svg.WIDTH - svg.LEFT - svg.RIGHT, svg.HEIGHT - svg.TOP - svg.BOTTOM)


def test_marks_are_drawn_at_their_coordinates() -> None:
    panel = Panel(Scale(0.0, 10.0), Scale(0.0, 1.0))
    panel.line([0.0, 10.0], [0.0, 1.0], "fitted")
    panel.dots([5.0], [0.5], "points")
    width, height = PLOT
    (line,), (dot,) = marks(panel, "polyline"), marks(panel, "path")
    assert line.get("points") == f"0,{height:g} {width:g},0"
    assert dot.get("d") == f"M{width / 2:g} {height / 2:g}h0"


def test_an_ellipse_is_the_image_of_the_unit_circle() -> None:
    panel = Panel(Scale(-2.0, 2.0), Scale(-3.0, 3.0))
    panel.ellipse((1.0, -1.0), (0.5, -0.25, 0.0, 2.0), "contour")
    (circle,) = marks(panel, "circle")
    a, b, c, d, e, f = map(float, re.findall(r"[-\d.e]+", circle.get("transform", "")))
    width, height = PLOT
    # The image of (0, 1) is (1, 1), that of (1, 0) is (1.5, -1.25).
    assert (c + e, d + f) == pytest.approx((width * 3 / 4, height * 2 / 6), abs=0.2)
    assert (a + e, b + f) == pytest.approx((width * 3.5 / 4, height * 4.25 / 6), abs=0.2)


def test_text_is_escaped() -> None:
    panel = Panel(Scale(0.0, 1.0), Scale(0.0, 1.0), "a<b", "c&d")
    assert {"a<b", "c&d"} <= {text.text for text in parsed(panel).iter("text")}


def test_rows_have_their_names_from_the_top_and_arrows_at_the_ends() -> None:
    rows = ["w", "a_name_of_many_letters", "b<"]
    panel = Panel(Scale(-1.0, 1.0), Scale(2.5, -0.5), rows=rows)
    panel.upright(0.0, "limit")
    panel.arrow(0.0, "arrow", right=False)
    panel.arrow(2.0, "arrow", right=True)
    beside = [text for text in parsed(panel).iter("text") if text.get("class") == "beside"]
    assert [text.text for text in beside] == ["w", "a_name_of_ma…", "b<"]
    heights = [float(text.get("y", "")) for text in beside]
    assert heights == sorted(heights)
    width, height = svg.WIDTH - panel.left - svg.RIGHT, PLOT[1]
    (line,), (left, right) = marks(panel, "polyline"), marks(panel, "path")
    assert line.get("points") == f"{width / 2:.1f},{height:g} {width / 2:.1f},0"
    assert str(left.get("d")).startswith(f"M0 {height / 6:.1f}l9 ")
    assert str(right.get("d")).startswith(f"M{width:.1f} {height * 5 / 6:.1f}l-9 ")


@pytest.mark.parametrize(
    "scale",
    [
        Scale(0.0, 1000.0, log=True, shift=1.0),
        Scale(0.0, 1000.0, whole=True),
        Scale(0.0, 99_999.0, log=True, shift=1.0),
        Scale.over([1_700_000_000.0, 1_700_259_200.0]),
        Scale.over([1_700_000_000.0, 1_700_000_000.001]),
        Scale.over([-1e-200, 1e-200]),
        Scale(0.0, 99.0, whole=True),
    ],
)
def test_labels_below_neither_touch_nor_leave_the_chart(scale: Scale) -> None:
    drawn = parsed(Panel(scale, Scale(0.0, 1.0), "x", "y"))
    under = [text for text in drawn.iter("text") if text.get("class") == "under"]
    assert len(under) >= 2
    sides = []
    for text in under:
        half = svg.LETTER * len(text.text or "") / 2
        sides += [float(text.get("x", "")) - half, float(text.get("x", "")) + half]
    assert all(after - before > 0 for before, after in pairwise(sides))
    assert sides[0] >= -0.1
    assert sides[-1] <= svg.WIDTH + 0.1


def test_a_log_scale_can_begin_with_0() -> None:
    scale = Scale(0.0, 999.0, log=True, shift=1.0)
    assert scale.at([0.0, 9.0, 999.0]).tolist() == pytest.approx([0.0, 1 / 3, 1.0])
    assert scale.ticks() == [(0.0, "0"), (10.0, "10"), (100.0, "100")]
