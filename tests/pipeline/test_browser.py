"""MLflow's pages and the report in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.warm import Warm
from support.workspace import copied
from tests.conftest import Workspace
from tests.pipeline.browser import chromium, opened, serving_ui, sweep

SECONDS = 60_000
"""Milliseconds that a page may take to show something, on a machine with other things to do."""


@dataclass
class Visit:
    """A page, the addresses outside this machine that it asked for, and its console."""

    page: Any
    outside: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def swept(
    _built: Workspace, _warm: Warm | None, tmp_path_factory: pytest.TempPathFactory, browser: Any
) -> Workspace:
    """Four runs: as shipped, one that has not converged, one that diverged, and an own table."""
    workspace = copied(_built, tmp_path_factory.mktemp("swept") / "work")
    own = [
        ("truth: {w: 20.0, b: 5.0}", "truth: null"),
        ("table: null", "table: data/own/forbes.csv"),
        ("columns: {x: x, y: y}", "columns: {x: boiling_point_f, y: pressure_inhg}"),
    ]
    rates = [[("learning_rate: 0.25", f"learning_rate: {rate}")] for rate in ("0.05", "1.5")]
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        sweep(workspace, [*rates, own])
    return workspace


@pytest.fixture(scope="module")
def ui(swept: Workspace) -> Iterator[str]:
    """The address that `samerun ui` prints, while it serves."""
    with serving_ui(swept) as address:
        yield address


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    with opened(browser) as page:
        visit = Visit(page)
        inside = ("http://127.0.0.1", "data:", "blob:", "file:")
        page.on(
            "request",
            lambda r: None if r.url.startswith(inside) else visit.outside.append(r.url),
        )
        page.on("console", lambda message: visit.console.append(message.text))
        page.on("pageerror", lambda error: visit.console.append(str(error)))
        page.set_default_timeout(SECONDS)
        yield visit


def names(workspace: Workspace) -> list[str]:
    return [run.name for run in workspace.runs()]


def base(ui: str) -> str:
    return ui.partition("/#/")[0]


# MLflow's pages


def test_the_runs_table_says_at_a_glance_what_varied_and_how_it_went(
    ui: str, swept: Workspace, visit: Visit
) -> None:
    visit.page.set_viewport_size({"width": 2100, "height": 900})  # MLflow draws what is in sight
    visit.page.goto(ui)
    visit.page.get_by_text("matching runs").wait_for()
    for name in names(swept):
        visit.page.get_by_text(name).first.wait_for()
    heads = visit.page.locator("[role=columnheader]").evaluate_all(
        "heads => heads.map(head => [head.getBoundingClientRect().left, head.innerText.trim()])"
    )
    shown = list(dict.fromkeys(text for _, text in sorted(heads)))
    metrics = ["holdout.rmse", "optimiser_error", "holdout.r2", "train.rmse"]
    expected = ["gate", "z", *metrics, "Dataset"]
    assert [name for name in shown if name in expected] == expected
    assert not any("generate" in name or "noise" in name for name in shown)
    cells = visit.page.locator("[role=gridcell]").all_inner_texts()
    diverged = swept.runs()[2]
    numbers = {f"{diverged.last[name]:.17g}"[-4:] for name in metrics}
    assert all(any(cell.endswith(end) for cell in cells) for end in numbers)  # e+33 and the like
    rounded = ", ".join(f"{name} {diverged.last[f'z.{name}']:.3g}" for name in ("w", "b"))
    assert {"passed", "failed", rounded} <= set(cells)
    cut = visit.page.locator(".ag-cell-value").evaluate_all(
        "cells => cells.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    )
    assert [text for text in cut if re.match(r"-?[0-9]|w ", text)] == []
    assert visit.page.get_by_text("share key").count() == 0
    assert visit.outside == []


def test_the_first_letters_of_a_name_tell_runs_apart(swept: Workspace) -> None:
    assert names(swept) == [
        "99 rows, y~x, line, lr 0.25, 100 epochs",
        "lr 0.05",
        "lr 1.5",
        "forbes.csv, pressure_inhg~boiling_point_f, no truth",
    ]


@pytest.mark.slow
def test_three_runs_side_by_side_show_what_differs(ui: str, swept: Workspace, visit: Visit) -> None:
    ids = ",".join(f"%22{run.run_id}%22" for run in swept.runs()[:3])
    visit.page.goto(f"{base(ui)}/#/compare-runs?runs=%5B{ids}%5D&experiments=%5B%221%22%5D")
    visit.page.get_by_text("Parallel Coordinates Plot").wait_for()
    visit.page.locator(".js-plotly-plot").first.wait_for()
    chosen = visit.page.locator(".js-plotly-plot .axis-title").all_text_contents()
    assert {"train.learning_rate", "holdout.rmse"} <= set(chosen)


@pytest.mark.slow
def test_the_charts_show_curves_of_loss_w_and_b(ui: str, visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1500, "height": 4000})
    visit.page.goto(f"{ui}&compareRunsMode=CHART")
    for name in ("loss", "w", "b"):
        card = visit.page.locator("[data-testid='experiment-view-compare-runs-card']").filter(
            has=visit.page.get_by_text(name, exact=True)
        )
        card.locator(".scatterlayer path.js-line").first.wait_for(state="attached")
        assert card.locator(".scatterlayer path.js-line").count() >= 3, name


@pytest.mark.slow
def test_a_runs_page_shows_the_result_table(ui: str, swept: Workspace, visit: Visit) -> None:
    run = swept.runs()[0]
    visit.page.goto(f"{base(ui)}/#/experiments/1/runs/{run.run_id}")
    visit.page.get_by_text("Gate passed").first.wait_for()
    table = visit.page.locator("table").filter(has_text="distance in standard errors")
    table.wait_for(state="attached")
    assert f"{run.last['w']:.6g}" in table.inner_text()


@pytest.mark.slow
def test_artifacts_open(ui: str, swept: Workspace, visit: Visit) -> None:
    run = swept.runs()[0]
    visit.page.goto(f"{base(ui)}/#/experiments/1/runs/{run.run_id}/artifacts")
    visit.page.get_by_text("reports", exact=True).click()
    visit.page.get_by_text("report.html", exact=True).click()
    visit.page.frame_locator("iframe").get_by_role("heading", name="Gate passed").wait_for()
    visit.page.get_by_text("history.csv", exact=True).click()
    visit.page.get_by_text("Previewing the first").wait_for()
    visit.page.get_by_text("metrics.json", exact=True).click()
    visit.page.get_by_text("optimiser_error").first.wait_for()
    visit.page.get_by_text("plots", exact=True).click()
    visit.page.get_by_text("fit.png", exact=True).click()
    picture = visit.page.locator("img[src^='blob:'], img[src^='data:'], .plotly image").first
    picture.wait_for(state="attached")
    assert visit.outside == []


# The report


@pytest.fixture(params=["drawn", "own"])
def report(request: pytest.FixtureRequest, swept: Workspace) -> str:
    run = swept.runs()[0 if request.param == "drawn" else 3]
    return (run.artifacts / "reports/report.html").as_uri()


OUTSIDE_THEIR_PICTURE = """() => [...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
  const frame = svg.getBoundingClientRect()
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect()
    return box.left < frame.left - 1 || box.right > frame.right + 1
      || box.top < frame.top - 1 || box.bottom > frame.bottom + 1
  }).map(text => text.textContent)
})"""

OVERLAPPING = """() => [...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')]
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()])
  const apart = (a, b) => a.left >= b.right - 1 || b.left >= a.right - 1
    || a.top + 3 >= b.bottom - 3 || b.top + 3 >= a.bottom - 3
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
    .filter(([_, b]) => !apart(a, b)).map(([other, _]) => one + ' / ' + other))
})"""


ALONE = """() => [...document.querySelectorAll('.columns')].flatMap(all => {
  const parts = [...all.children].map(one => one.getBoundingClientRect())
  const last = parts.at(-1), first = parts[0]
  const columns = parts.filter(one => one.top == first.top).length
  const right = Math.max(...parts.map(one => one.right))
  return columns > 1 && right - last.right > 1 ? [last.top] : []
})"""
"""Sections whose last row of charts and tables is not full."""


def test_the_report_fits_every_width_in_light_and_dark_and_asks_for_nothing(
    report: str, visit: Visit
) -> None:
    page = visit.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report)
    assert page.get_by_role("heading", level=1).inner_text().startswith("Gate passed")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(ground.removeprefix("rgb(").split(",")[0])
        assert (red > 200) == (scheme == "light")
    for width in (320, 900, 1280, 1400):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OUTSIDE_THEIR_PICTURE) == []
        assert page.evaluate(OVERLAPPING) == []
        assert page.evaluate(ALONE) == []
    assert asked == [report]
    assert visit.console == []


SPACED = """() => {
  const path = document.querySelector('path.points[d*="h0M"]')
  const size = path.ownerSVGElement.ownerSVGElement
  const scale = size.getBoundingClientRect().width / size.viewBox.baseVal.width
  const at = path.getAttribute('d').match(/[-0-9.]+ [-0-9.]+/g).map(p => p.split(' ').map(Number))
  at.sort((a, b) => a[0] - b[0])
  const gaps = at.slice(1).map((p, i) => Math.hypot(p[0] - at[i][0], p[1] - at[i][1]) * scale)
  return [Math.min(...gaps), parseFloat(getComputedStyle(path).strokeWidth)]
}"""


def test_points_on_a_line_are_seen_one_by_one(swept: Workspace, visit: Visit) -> None:
    visit.page.goto((swept.runs()[0].artifacts / "reports/report.html").as_uri())
    for width in (320, 360, 800, 1400):
        visit.page.set_viewport_size({"width": width, "height": 700})
        gap, size = visit.page.evaluate(SPACED)
        assert gap > size, width


def test_the_report_is_read_with_a_keyboard(report: str, visit: Visit) -> None:
    page = visit.page
    page.goto(report)
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.tagName, document.activeElement.innerText]"
        )
        if focused == ["SUMMARY", "Every parameter"]:
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    else:
        pytest.fail("the parameters cannot be reached with a keyboard")
    assert not page.get_by_text("The values in params.yaml.").is_visible()
    page.keyboard.press("Enter")
    assert page.get_by_text("The values in params.yaml.").is_visible()


def test_the_report_says_its_pictures_to_a_screen_reader(report: str, visit: Visit) -> None:
    visit.page.goto(report)
    spoken = visit.page.locator("main").aria_snapshot()
    charts = visit.page.locator("figure").count()
    assert len(re.findall(r"""- ["']?img .+""", spoken)) == charts >= 7
    assert "rowheader" in spoken
    assert "columnheader" in spoken
