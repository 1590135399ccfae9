"""The docs are true as far as can be told without running them: links, commands, sums, numbers."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from knownline.cli import COMMANDS
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
def test_links_lead_somewhere(page: Path) -> None:
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
def test_commands_are_there_with_their_options(page: Path) -> None:
    helps: dict[str, str] = {}
    for language, block in FENCED.findall(page.read_text()):
        if language != "sh":
            continue
        for line in block.splitlines():
            words = shlex.split(line.replace("$(", " ").replace(")", " "), comments=True)
            if words[:1] == ["make"] and len(words) > 1:
                assert words[1] in TARGETS, line
            if words[:1] == ["knownline"]:
                assert words[1] in COMMANDS, line
                helps.setdefault(words[1], helped(words[1]))
                for option in (word for word in words[2:] if word.startswith("--")):
                    assert option in helps[words[1]], line


def helped(command: str) -> str:
    import io
    from contextlib import redirect_stdout, suppress
    from importlib import import_module

    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        import_module(f"knownline.{command}").main(["--help"])
    return told.getvalue()


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


def test_the_rubric_has_its_28_tests_and_the_sums_are_right() -> None:
    assert [len(rows) for rows in parts().values()] == [7, 7, 7, 7]
    sums = {title: sum(float(row[1]) for row in rows) for title, rows in parts().items()}
    for title, total in sums.items():
        assert f"| {title} | {total:g} |" in SCORE
        assert f"## {title}: {total:g}" in SCORE
    assert f"**{min(sums.values()):g}**" in SCORE


def test_whatever_earns_something_names_a_test_that_is_there() -> None:
    for rows in parts().values():
        for name, earns, why, by in rows:
            assert why, name
            assert earns in ("0", "0.5", "1"), name
            link = re.fullmatch(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", by)
            assert bool(link) == (earns != "0"), name
            assert not link or f"\ndef {link[1]}(" in (ROOT / link[2]).read_text(), name


def test_the_files_of_a_third_coefficient_are_counted() -> None:
    count = len(files_of("named by mypy") | files_of("found by reading"))
    assert f"(make-it-yours.md#another-model) does: {count} files." in SCORE


# docs/why.md


def test_the_articles_numbers_are_those_of_the_replay(built: Workspace) -> None:
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
def test_the_articles_picture_is_that_of_the_replay() -> None:
    assert (ROOT / "docs/pictures/article.png").read_bytes() == article_path()


# docs/make-it-yours.md


def test_the_changes_it_tells_of_fit_the_code() -> None:
    text = (ROOT / "docs/make-it-yours.md").read_text()
    blocks = dict(FENCED.findall(text))
    old = next(x[1:] for x in blocks["diff"].splitlines() if x.startswith("-"))
    assert (ROOT / "src/knownline/train/descent.py").read_text().count(f"{old}\n") == 1
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, keys in yaml.safe_load(blocks["yaml"]).items():
        assert set(keys) <= set(params[section])
    tests = "".join((ROOT / f"tests/test_{x}.py").read_text() for x in ("training", "evaluation"))
    for name in re.findall(r"^- `(test_\w+)`", text, flags=re.MULTILINE):
        assert f"def {name}(" in tests


OURS = "make-it-yours.md"
ABOUT_BOTH = re.compile(r"""\.b\b|"b"|truth\.b|loss,w,b|\(w, b\)|\bb: (float|Finite)""")
"""How a module speaks of both coefficients."""


def files_of(table: str) -> set[str]:
    """Return the files in the first column of a table of docs/make-it-yours.md, by its heading."""
    text = (ROOT / "docs" / OURS).read_text()
    rows = text.partition(f"| {table} |")[2].partition("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([\w/.]+)`", row.split("|")[1])}


def test_mypy_names_the_files_of_the_first_table(tmp_path: Path) -> None:
    package = Path(shutil.copytree(ROOT / "src/knownline", tmp_path / "src/knownline"))
    line = package / "line.py"
    line.write_text(line.read_text().replace("    b: float\n", "    b: float\n    c: float\n", 1))
    done = subprocess.run(
        # Our own modules alone: to read torch and mlflow would take a minute.
        [sys.executable, "-m", "mypy", "--config-file=", "--no-incremental",
         "--follow-imports=skip", "--explicit-package-bases", *map(str, package.glob("*.py"))],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": "src"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = re.findall(r'^(\S+?):\d+: error: .* "c" in call to "Line"', done.stdout, flags=re.M)
    assert {Path(name).name for name in lines} == files_of("named by mypy"), done.stderr


def test_every_file_that_speaks_of_both_coefficients_is_in_a_table() -> None:
    told = files_of("named by mypy") | files_of("found by reading")
    modules = {path.name: path for path in (ROOT / "src/knownline").glob("*.py")}
    modules["src/served/line_model.py"] = ROOT / "src/served/line_model.py"
    found = {name for name, path in modules.items() if ABOUT_BOTH.search(path.read_text())}
    assert found - told == {"article.py"}  # which is the article's, and named beside replay.py
    assert told <= {*modules, "dvc.yaml"}
