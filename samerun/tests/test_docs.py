"""Tests of README and docs: the example's commands run and print what it shows."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from samerun.config import Config
from support.workspace import QUIET, ROOT, inherited

ADDRESS = "https://github.com/OWNER/knownline"

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

INSTALL = os.environ.get("TESTS_INSTALL") == "1"
"""Whether the example makes its own environment from nothing, with pip, as a newcomer's does."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_the_reference_has_every_key_of_meta() -> None:
    text = (ROOT / "docs/reference.md").read_text().partition("## `meta.samerun`")[2]
    table = text.partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [
        each.name
        for each in sorted(fields(Config), key=lambda one: table.find(f"| `{one.name}` |"))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_one_screen() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 70
    assert len(text.split()) <= 750


def test_nothing_here_needs_knownline() -> None:
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        assert not re.search(r"^\s*(from|import) (knownline|tests)\b", path.read_text(), re.M), path


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A git repository that holds this distribution in a folder, as its users clone it."""
    folder = tmp_path / "knownline"
    names = ("src", "example", "README.md", "LICENSE", "pyproject.toml")
    for name in names:
        target = folder / "samerun" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(ROOT / name, target)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *command], cwd=folder, env={**inherited(), **QUIET}, check=True)
    return folder


@pytest.mark.long
def test_the_example_from_git_clone_to_exact(origin: Path, tmp_path: Path) -> None:
    """Each command of the page, literally; without pip, unless TESTS_INSTALL=1 asks for that."""
    script = ""
    for block in blocks("docs/example.md", "sh"):
        for line in block.splitlines():
            line = line.replace(ADDRESS, f"file://{origin}")
            if not INSTALL and "pip install" in line:
                continue
            if not INSTALL and "-m venv" in line:
                line = f"ln -s {Path(sys.executable).parent.parent} .venv"
            script += f"{line}\n"
    work = tmp_path / "work"
    work.mkdir()
    python = f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**inherited(), **QUIET, "PATH": python}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=work, env=env, capture_output=True, text=True, check=False
    )
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    at = 0
    for line in "".join(blocks("docs/example.md", "text")).splitlines():
        pattern = re.escape(line.strip()).replace("…", ".*")
        pattern = re.sub(r"\b[0-9a-f]{8,32}\b", "[0-9a-f]+", pattern)
        found = re.compile(pattern).search(shown, at)
        assert found, f"{line!r} after\n{shown[at:]}"
        at = found.end()
    if INSTALL:
        wine = work / "wine"
        listed = subprocess.run(
            [wine / ".venv/bin/python", "-m", "pip", "list"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert re.search(r"^samerun ", listed, flags=re.MULTILINE)
        assert not re.search(r"^(torch|knownline) ", listed, flags=re.MULTILINE)
