"""Checks of the docs that run no command: links, options, totals and numbers."""

import io
import platform
import re
import shlex
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest
import yaml

from knownline import cli
from tests.conftest import ROOT, Workspace
from tests.screenshots import article_path

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def identifier(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    text = FENCED.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_links_resolve(page: Path) -> None:
    text = FENCED.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        wanted = (page.parent / file).resolve() if file else page
        assert wanted.exists(), target
        assert not anchor or anchor in anchors(wanted), target


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", page.read_text())
        waiting += [file.resolve() for name in targets if (file := page.parent / name).is_file()]
    guides = {page for page in PAGES if page.parent.name != "decisions"}
    assert guides <= seen


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_commands_and_options_exist(page: Path) -> None:
    helps: dict[str, str] = {}
    for language, block in FENCED.findall(page.read_text()):
        if language != "sh":
            continue
        for line in block.splitlines():
            words = shlex.split(line.replace("$(", " ").replace(")", " "), comments=True)
            if words[:1] == ["make"] and len(words) > 1:
                assert words[1] in {*TARGETS, ".venv/.ready"}, line
            if words[:1] == ["knownline"]:
                helps.setdefault(words[1], help_of(words[1]))
                assert helps[words[1]].startswith(f"usage: knownline {words[1]}"), line
                for option in (word for word in words[2:] if word.startswith("--")):
                    assert option in helps[words[1]], line


def help_of(command: str) -> str:
    """Return the help of a command as it is printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        cli.main([command, "--help"])
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_modules_named_by_path_exist(page: Path) -> None:
    bases = (ROOT, ROOT / "src", ROOT / "src/knownline")
    for name in re.findall(
        r"`([\w./-]+/[\w.-]+\.(?:py|css|yml))`", FENCED.sub("", page.read_text())
    ):
        assert any((base / name).is_file() for base in bases), name


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_modules_in_a_tree_exist(page: Path) -> None:
    for tree in re.findall(r"^```\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        for name in re.findall(r"\b\w+\.py\b", tree):
            assert any(list((ROOT / top).rglob(name)) for top in ("src", "samerun/src")), name


def test_every_page_is_short() -> None:
    for page in PAGES:
        assert len(page.read_text().splitlines()) <= 260, page


# docs/ml-test-score.md

SCORE = (ROOT / "docs/ml-test-score.md").read_text()


def parts() -> dict[str, list[list[str]]]:
    found = {}
    for title, body in re.findall(r"^## (.+?): [\d.]+\n(.*?)(?=^## |\Z)", SCORE, flags=re.M | re.S):
        lines = [line for line in body.splitlines() if line.startswith("|")][2:]
        found[title] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return found


def test_the_rubric_has_28_tests_and_its_totals_are_right() -> None:
    assert [len(rows) for rows in parts().values()] == [7, 7, 7, 7]
    sums = {title: sum(float(row[1]) for row in rows) for title, rows in parts().items()}
    for title, total in sums.items():
        assert f"| {title} | {total:g} |" in SCORE
        assert f"## {title}: {total:g}" in SCORE
    assert f"**{min(sums.values()):g}**" in SCORE


def test_a_score_above_0_names_a_test_that_exists() -> None:
    for rows in parts().values():
        for name, earns, why, by in rows:
            assert why, name
            assert earns in ("0", "0.5", "1"), name
            link = re.fullmatch(r"\[(test_\w+)\]\(\.\./((?:samerun/)?tests/[\w/]+\.py)\)", by)
            assert bool(link) == (earns != "0"), name
            assert not link or f"\ndef {link[1]}(" in (ROOT / link[2]).read_text(), name


# docs/why.md


def test_the_article_is_replayed_with_the_numbers_shown(built: Workspace) -> None:
    shown = built.knownline("article").stdout
    why = (ROOT / "docs/why.md").read_text()
    rows = {"loss 15": "loss at epoch 15", "loss 90": "loss at epoch 90", "w": "w", "b": "b"}
    for name, title in rows.items():
        line = next(x for x in shown.splitlines() if x.strip().startswith(f"{name} "))
        numbers = line.strip().removeprefix(name).split()
        assert f"| {title} | {' | '.join(numbers)} |" in why


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="another processor may round a pixel otherwise",
)
def test_the_picture_of_the_article_is_that_of_the_replay() -> None:
    assert (ROOT / "docs/pictures/article.png").read_bytes() == article_path()


# docs/make-it-yours.md


def test_the_changes_for_another_loss_apply_to_the_code() -> None:
    text = (ROOT / "docs/make-it-yours.md").read_text()
    blocks = dict(FENCED.findall(text))
    old = next(x[1:] for x in blocks["diff"].splitlines() if x.startswith("-"))
    assert (ROOT / "src/knownline/train/descent.py").read_text().count(f"{old}\n") == 1
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, keys in yaml.safe_load(blocks["yaml"]).items():
        assert set(keys) <= set(params[section])
