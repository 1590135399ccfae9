"""What counts as an uncommitted change of a retraining, and which changes make another run."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.workspace import commit
from tests.conftest import ROOT, Workspace
from tests.pipeline.retraining import DAY, aliases, expect, retrain, versions
from tests.pipeline.test_inputs import use
from tests.pipeline.test_readme import with_environment

pytestmark = pytest.mark.usefixtures("warm")

NEXT_DAY = "2026-11-02"
CSS = "src/knownline/report/page.css"


def append(workspace: Workspace, file: str, text: str) -> None:
    path = workspace.path / file
    path.write_text((path.read_text() if path.exists() else "") + text)


def test_what_the_pipeline_does_not_read_is_no_uncommitted_change(workspace: Workspace) -> None:
    append(workspace, "retrain.log", "the log of a schedule\n")
    append(workspace, "data/own/notes.csv", "customer\nAda\n")
    append(workspace, "data/own/forbes.csv", "212.5,30.1\n")  # the points are drawn
    append(workspace, CSS, "\nbody { color: navy }\n")
    append(workspace, "data/own/kept.csv", "a,b\n1,2\n")
    workspace.dvc("add", "data/own/kept.csv")
    expect(retrain(workspace), 0, "promoted: version 1")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"
    committed = workspace.git("diff", "--name-only", "HEAD", f"retrain/{DAY}").split()
    assert committed == ["dvc.lock", "params.yaml"]


@pytest.mark.parametrize("tracked", [True, False])
def test_of_the_tables_only_the_one_in_use_counts(workspace: Workspace, tracked: bool) -> None:
    """It is committed as it is now, so an edit of it does not stand in the way either."""
    append(workspace, "data/own/mine.csv", "a,b\n1,2\n2,3\n3,5\n4,6\n5,8\n")
    use(workspace, "./data/own/mine.csv", "a", "b")
    if tracked:
        commit(workspace, "my own table")
    else:
        workspace.git("commit", "--quiet", "--message", "my own table", "params.yaml")
    append(workspace, "data/own/mine.csv", "6,9\n")
    append(workspace, "data/own/forbes.csv", "212.5,30.1\n")
    expect(retrain(workspace), 0, "promoted: version 1")
    assert workspace.runs()[-1].tags["git_dirty"] == "false"
    committed = workspace.git("diff", "--name-only", "HEAD", f"retrain/{DAY}").split()
    assert committed == ["data/own/mine.csv", "dvc.lock"]
    fingerprint = workspace.runs()[-1].tags["fingerprint"]
    append(workspace, "data/own/mine.csv", "7,11\n")
    expect(retrain(workspace, NEXT_DAY), 0, "kept: ")
    assert workspace.runs()[-1].tags["fingerprint"] != fingerprint


def test_the_lines_for_cron_leave_a_log_and_the_tree_clean(pushing: Workspace) -> None:
    with_environment(pushing)
    (block,) = re.findall(
        r"## cron\n.*?```\n(.*?)```", (ROOT / "docs/schedule.md").read_text(), re.S
    )
    (line,) = (line for line in block.splitlines() if "knownline retrain" in line)
    command = re.sub(r"^(\S+ +){5}", "", line).replace("/srv/knownline", f"'{pushing.path}'")
    for outcome in ("promoted: version 1", "nothing new"):
        done = pushing.run("sh", "-c", command, ok=False)
        log = (pushing.path / "retrain.log").read_text()
        assert done.returncode == 0, log
        assert outcome in log


@pytest.fixture
def hook(tmp_path: Path) -> Workspace:
    """Another repository, in whose hook a command is started."""
    other = Workspace(tmp_path / "other")
    other.path.mkdir()
    other.git("init", "--quiet")
    (other.path / "file").write_text("a file of another repository\n")
    commit(other, "start")
    (other.path / "staged").write_text("not committed\n")
    other.git("add", "staged")
    return other


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_hook(other: Workspace) -> dict[str, str]:
    """Return the variables that git hands to a hook, with absolute paths."""
    git = str(other.path / ".git")
    return {"GIT_DIR": git, "GIT_INDEX_FILE": f"{git}/index", "GIT_WORK_TREE": str(other.path)}


def run_dvc(workspace: Workspace, **env: str) -> str:
    workspace.replace("params.yaml", "epochs: 100", "epochs: 90")
    workspace.dvc("repro", ok=True, **env)
    return workspace.git("rev-parse", "HEAD").strip()


def run_retrain(workspace: Workspace, **env: str) -> str:
    expect(retrain(workspace, **env), 0, "promoted: version 1")
    return workspace.git("rev-parse", f"retrain/{DAY}~1").strip()


@pytest.mark.parametrize("run", [run_dvc, run_retrain])
def test_the_repository_of_a_git_hook_is_neither_read_nor_written(
    workspace: Workspace, hook: Workspace, run: Callable[..., str]
) -> None:
    before = contents(hook.path)
    sha = run(workspace, **of_hook(hook))
    assert workspace.runs()[-1].tags["git_commit"] == sha
    assert contents(hook.path) == before


ANSWER = """
import sys, mlflow, pandas
mlflow.set_tracking_uri("sqlite:///mlruns/mlflow.db")
model = mlflow.pyfunc.load_model("models:/knownline@champion")
print("answer:", type(model.predict(pandas.DataFrame({"x": [1.0]}))).__name__)
"""


def test_the_next_retraining_serves_changed_code_of_the_served_model(promoted: Workspace) -> None:
    def answer() -> str:
        return promoted.run("python", "-c", ANSWER).stdout.partition("answer: ")[2].strip()

    assert answer() == "ndarray"
    promoted.git("checkout", "--quiet", "--", "params.yaml", "dvc.lock")
    promoted.replace(
        "src/knownline/serve.py", "return y if y.ndim", "return pd.Series(y) if y.ndim"
    )
    promoted.replace("params.yaml", "stale_after_days: 7", "stale_after_days: 1")
    commit(promoted, "the model answers with a Series")
    expect(retrain(promoted, DAY), 0, "kept: version 1 stays, version 2 was tried")
    assert answer() == "ndarray"
    report = (promoted.path / "reports/retrain.md").read_text()
    assert re.search(r"file or folder src/knownline/serve.py changed from \w{8}… to \w{8}…", report)
    expect(retrain(promoted, NEXT_DAY), 0, "promoted: version 3 is the champion", "stale")
    assert answer() == "Series"
    assert aliases(promoted)["champion"] == 3
    new, old = (run.tags["fingerprint"] for run in promoted.runs()[-2:])
    assert versions(promoted)[2]["fingerprint"] in (new, old)
    assert len({run.tags["fingerprint"] for run in promoted.runs()}) == 4


def test_a_changed_page_makes_no_run_and_is_added_to_the_one_that_it_shows(
    promoted: Workspace,
) -> None:
    before = promoted.runs()
    append(promoted, CSS, "\nbody { color: navy }\n")
    expect(retrain(promoted), 0, "nothing new")
    after = promoted.runs()
    assert [run.run_id for run in after] == [run.run_id for run in before]
    page = after[-1].artifacts / after[-1].tags["report"]
    assert page.read_bytes() == (promoted.path / "reports/report.html").read_bytes()
    assert "color: navy" in page.read_text()
    assert "color: navy" not in (after[-1].artifacts / "reports/report.html").read_text()
    assert subprocess.run(["git", "diff", "--quiet", "--", CSS], cwd=promoted.path).returncode == 1
