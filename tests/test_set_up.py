"""What makes an environment: make with uv or pip, the commit hook, the container."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str, *variables: str, **env: str) -> list[str]:
    """Return the lines that make would run for a target, were nothing there yet."""
    # Not what a `make test` above hands down, nor a choice of the user's.
    others = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "UV", "PYTHON"))}
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target, *variables],
        cwd=ROOT, env={**others, **env}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def installs(lines: list[str]) -> list[str]:
    """Return the lines that make the virtual environment and install into it."""
    return [line for line in lines if re.search(r"\bvenv\b.* \.venv$| install ", line)]


PIP = [
    "python3 -m venv .venv",
    "python -m pip install --quiet --requirement requirements.lock",
    "python -m pip install --quiet --no-deps --editable ./samerun --editable .",
]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs that the Makefile calls while it is read, without uv."""
    folder = tmp_path / "a bin"
    folder.mkdir()
    for name in ("make", "sh"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
        (folder / name).symlink_to(found.stdout.strip())
    return folder


def test_without_uv_the_environment_is_made_by_pip(programs: Path) -> None:
    assert installs(recipe(".venv/.ready", PATH=str(programs))) == PIP


def test_uv_makes_the_same_environment_where_it_is_installed(programs: Path) -> None:
    uv = programs / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    venv, *others = installs(recipe(".venv/.ready", PATH=str(programs)))
    assert venv.startswith(f'"{uv}" venv ')
    into = f'"{uv}" pip install --python .venv/bin/python '
    assert others == [line.replace("python -m pip install ", into) for line in PIP[1:]]
    assert installs(recipe(".venv/.ready", "UV=", PATH=str(programs))) == PIP


def test_the_hook_of_a_commit_calls_make() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    (hook,) = repo["hooks"]
    assert hook["entry"] == "make --silent lint"
    committed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    checked = {name for name in committed if re.search(hook["files"], name)}
    assert {name for name in committed if name.endswith((".py", ".pyi"))} < checked
    assert {"pyproject.toml", "samerun/pyproject.toml", "requirements.lock"} < checked
    assert not {name for name in checked if name.endswith((".md", ".yaml", ".csv"))}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, continued lines as one."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
    parts = [line.partition(" ") for line in text.splitlines() if line]
    return [(word, " ".join(rest.split())) for word, _, rest in parts]


def test_the_container_runs_make_as_an_ordinary_user() -> None:
    lines = instructions()
    user = lines.index(("USER", "1000"))
    ran = [rest for word, rest in lines[user:] if word == "RUN"]
    assert ran[1:] == ["git reset --quiet --hard", "make .venv/.ready"]
    assert lines[-1] == ("CMD", '["make", "retrain"]')
    assert {"retrain", "lint"} <= set(re.findall(r"(?m)^([a-z-]+):", MAKEFILE))
    copied = [rest for word, rest in lines if word in ("COPY", "ADD")]
    assert copied == ["--chown=1000 .git .git"]


def test_nothing_that_is_not_committed_enters_the_image() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[:2] == ["*", "!.git"]
    assert ".git/config" in rules  # it may hold a remote's password
    assert not [rule for rule in rules[2:] if rule.startswith("!")]


def test_the_container_for_development_is_that_of_the_runner() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    settings: dict[str, Any] = json.loads(text)
    build = settings["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert ("FROM", f"python:3.11-slim AS {build['target']}") in instructions()
    assert settings["postCreateCommand"] == "make .venv/.ready"
    assert any(settings["remoteUser"] in rest for word, rest in instructions() if word == "RUN")
