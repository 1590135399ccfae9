"""Every command of README and docs works as it stands there (how: tests/pipeline/documented.py)."""

import json
import re
import shutil
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from support.workspace import commit
from tests.conftest import ROOT, Workspace
from tests.pipeline import documented
from tests.pipeline.conftest import add_remotes
from tests.pipeline.documented import Check, type_page
from tests.pipeline.retraining import aliases
from tests.pipeline.test_readme import (
    predictions,
    the_champion_predicts,
    the_run_is_exact,
    the_sweep_runs_what_did_not_run_yet,
    with_environment,
)

OWN_TEST = {"README.md": "test_its_commands_work_from_top_to_bottom", **documented.TYPED_ELSEWHERE}
"""Pages that a test of their own types."""

SLOW = ("docs/guide.md", "docs/schedule.md")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


TYPED_HERE = [
    pytest.param(page, marks=[pytest.mark.slow] if name(page) in SLOW else [], id=name(page))
    for page in documented.PAGES
    if documented.has_commands(page) and name(page) not in OWN_TEST
]


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("page", TYPED_HERE)
def test_the_commands_of_a_page_work(page: Path, request: pytest.FixtureRequest) -> None:
    fixture, checks = PAGES.get(name(page), ("workspace", {}))
    workspace = request.getfixturevalue(fixture)
    assert all(part in page.read_text() for part in checks)
    type_page(with_environment(workspace), page, checks)


def test_lines_that_are_left_out_and_tests_that_are_named_exist() -> None:
    lines = [
        line
        for page in documented.PAGES
        for language, text in documented.blocks(page)
        if language == "sh"
        for line in text.splitlines()
    ]
    for start in documented.NOT_TYPED:
        assert any(f"{line} ".startswith(start) for line in lines), start
    tests = "\n".join(p.read_text() for p in ROOT.glob("**/tests/**/test_*.py"))
    for reason in (*documented.NOT_TYPED.values(), *OWN_TEST.values()):
        for test in re.findall(r"test_\w+", reason):
            assert f"def {test}(" in tests, test
    pages = {name(page) for page in documented.PAGES}
    assert {*OWN_TEST, *PAGES, *SLOW} <= pages


@pytest.mark.parametrize("page", documented.PAGES, ids=name)
def test_every_block_of_commands_is_found(page: Path) -> None:
    """An indented block, or one with another name for a shell, would not be typed."""
    found = [language for language, _ in documented.blocks(page)]
    assert found.count("sh") == len(re.findall("```(sh|bash|shell|console)", page.read_text()))


# docs/cluster.md


@pytest.fixture
def unlike(workspace: Workspace) -> Workspace:
    """A workspace whose next `dvc repro` draws other rows."""
    workspace.replace("params.yaml", "seed: 20200910", "seed: 20200911")
    return workspace


def the_workers_wrote_the_data(workspace: Workspace, shown: str, _: int) -> None:
    assert "Running stage 'generate'" in shown
    log = (workspace.path.parent / "home/server.log").read_text()
    assert "Receive client connection" in log
    sums = (workspace.path / "data/SHA256SUMS").read_bytes()
    workspace.knownline("generate")
    assert (workspace.path / "data/SHA256SUMS").read_bytes() == sums


# docs/guide.md


@pytest.fixture
def with_champion(promoted: Workspace) -> Workspace:
    """A workspace with a champion, and everything committed."""
    commit(promoted, "results")
    return promoted


def the_plots_are_drawn(workspace: Workspace, shown: str, _: int) -> None:
    assert "train.learning_rate" in shown
    assert (workspace.path / "dvc_plots/index.html").exists()


def the_remote_is_filled(workspace: Workspace, _: str, __: int) -> None:
    assert list((workspace.path.parent / "kept").rglob("*"))


# docs/schedule.md


@pytest.fixture
def scheduled(promoted: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with remotes, whose champion is older than `retrain.stale_after_days`."""
    promoted.git("checkout", "--quiet", "--", "params.yaml", "dvc.lock")
    return add_remotes(promoted, tmp_path)


def the_previous_champion_serves(workspace: Workspace, _: str, port: int) -> None:
    assert aliases(workspace)["champion"] == 1
    request = Request(
        f"http://127.0.0.1:{port}/invocations",
        b'{"inputs": {"x": [1.0]}}',
        {"Content-Type": "application/json"},
    )
    (answer,) = json.load(urlopen(request, timeout=60))["predictions"]
    assert answer == predictions(workspace)[0]


# samerun/README.md


@pytest.fixture
def example(tmp_path: Path) -> Workspace:
    """The example of samerun, in git and DVC, before `samerun init`."""
    workspace = Workspace(Path(shutil.copytree(ROOT / "samerun/example", tmp_path / "work")))
    workspace.git("init", "--quiet")
    workspace.dvc("init", "--quiet")
    commit(workspace, "start")
    return workspace


def a_run_is_recorded(workspace: Workspace, _: str, __: int) -> None:
    assert [run.status for run in workspace.runs()] == ["FINISHED"]


PAGES: dict[str, tuple[str, dict[str, Check]]] = {
    "docs/guide.md": (
        "with_champion",
        {
            "dvc queue start": the_sweep_runs_what_did_not_run_yet,
            "mlflow.pyfunc.load_model": the_champion_predicts,
            "dvc plots diff": the_plots_are_drawn,
            "samerun reproduce slow": the_run_is_exact,
            "dvc push": the_remote_is_filled,
        },
    ),
    "docs/cluster.md": ("unlike", {"dask worker": the_workers_wrote_the_data}),
    "docs/schedule.md": ("scheduled", {"rollback": the_previous_champion_serves}),
    "samerun/README.md": ("example", {"samerun init": a_run_is_recorded}),
}
"""By page: the fixture with the project that its commands are typed in, and what is checked."""
