"""The workflows: their form, their security, and every line they run, run here.

`gh` is the one thing that is not real: a stand-in that keeps issues in a file.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.workspace import commit
from tests.conftest import ROOT, Workspace
from tests.pipeline.retraining import BAD_SENSOR, DRIFT, change_params
from tests.pipeline.test_readme import MAKE, with_environment

WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}

SCHEDULE = (ROOT / "docs/schedule.md").read_text()

GH = """#!/usr/bin/env python3
import json, sys
from pathlib import Path
store = Path(__file__).with_name("issues.json")
issues = json.loads(store.read_text()) if store.exists() else []
assert sys.argv[1] == "issue"
given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
if sys.argv[2] == "list":
    assert given == {"--state": "open", "--limit": "500", "--json": "title", "--jq": ".[].title"}
    print(*(issue["title"] for issue in issues), sep="\\n")
else:
    assert sys.argv[2] == "create"
    text = Path(given["--body-file"]).read_text()
    store.write_text(json.dumps([*issues, {"title": given["--title"], "text": text}]))
"""


def load(name: str) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return workflow


def steps(name: str, job: str) -> list[dict[str, Any]]:
    return list(load(name)["jobs"][job]["steps"])


def run_lines(name: str) -> list[str]:
    return [
        step["run"] for job in load(name)["jobs"].values() for step in job["steps"] if "run" in step
    ]


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_workflows_have_the_form_of_workflows() -> None:
    assert set(WORKFLOWS) == {"ci", "nightly", "retrain"}
    done = tool(
        "check-jsonschema", "--builtin-schema", "vendor.github-workflows",
        *map(str, WORKFLOWS.values()),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_linter_of_workflow_security_finds_nothing() -> None:
    done = tool("zizmor", "--offline", "--no-progress", *map(str, WORKFLOWS.values()))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_for_gitlab_has_its_form_and_the_same_words(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", SCHEDULE, flags=re.DOTALL)
    example = tmp_path / ".gitlab-ci.yml"
    example.write_text(text)
    done = tool("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(example))
    assert done.returncode == 0, done.stdout
    jobs = yaml.safe_load(text)
    asked = [line for job in jobs.values() if "script" in job for line in job["script"]]
    assert {line for line in asked if not line.startswith("git remote")} == {
        "make test", "make repro", "git diff --exit-code", "make retrain", "make prove",
    }  # fmt: skip


def test_every_file_and_target_the_guide_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", SCHEDULE):
        assert (ROOT / "docs" / target).exists(), target
    targets = set(re.findall(r"\bmake (?:--silent )?([a-z]+)", SCHEDULE))
    assert targets <= set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_and_jobs_have_least_rights_and_an_end(name: str) -> None:
    workflow = load(name)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= (120 if name == "nightly" else 60)
        assert job["permissions"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
    for line in re.findall(r"uses: (.*)", WORKFLOWS[name].read_text()):
        assert re.search(r" # v\d+\.\d+\.\d+$", line)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_step_runs_one_line_without_expressions(name: str) -> None:
    for line in run_lines(name):
        assert re.match(r"make |git diff|\.github/open-issue ", line)
        assert "\n" not in line
        assert "${{" not in line


class Runner:
    """Does the steps of a job in a clone, as a runner would; what they `use` is there already."""

    def __init__(self, origin: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "gh").write_text(GH)
        (self.bin / "gh").chmod(0o755)
        subprocess.run(["git", "clone", "--quiet", str(origin), str(folder / "work")], check=True)
        self.work = with_environment(Workspace(folder / "work"))

    def do(self, line: str, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a line as GitHub does: `bash -e`; the environment of .venv is there already."""
        line = re.sub(r"^make ", " ".join(MAKE) + " ", line)
        own = self.work.env(
            GITHUB_OUTPUT=str(self.folder / "output"),
            GITHUB_STEP_SUMMARY=str(self.folder / "summary.md"),
            MLFLOW_TRACKING_URI="",
            **env,
        )
        own["PATH"] = f"{self.bin}{os.pathsep}{own['PATH']}"
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", line],
            cwd=self.work.path, env=own, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ok:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def outputs(self) -> dict[str, str]:
        lines = (self.folder / "output").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def issues(self) -> list[dict[str, str]]:
        store = self.bin / "issues.json"
        return list(yaml.safe_load(store.read_text())) if store.exists() else []

    def retrain(self, seed: str = "", ok: bool = True) -> None:
        """Do the steps of the job `retrain`, those with a condition where it holds."""
        (self.folder / "output").unlink(missing_ok=True)
        first, *alerts = [step for step in steps("retrain", "retrain") if "run" in step]
        done = self.do(first["run"], ok=ok, SEED=seed)
        assert ok or done.returncode
        for alert in alerts:
            found = re.fullmatch(
                r"\$\{\{ !cancelled\(\) && steps\.retrain\.outputs\.(\w+) == '(\w+)' \}\}",
                alert["if"],
            )
            assert found, alert["if"]
            if self.outputs().get(found[1]) == found[2]:
                self.do(alert["run"])


@pytest.fixture
def origin(built: Workspace, tmp_path: Path) -> Workspace:
    """A checkout with a current dvc.lock, whose git remote is bare, and with a DVC remote."""
    workspace = Workspace(tmp_path / "origin")
    built.git("clone", "--quiet", str(built.path), str(workspace.path))
    workspace.git("remote", "remove", "origin")
    workspace.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    commit(workspace, "remotes")
    workspace.git("clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    workspace.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    return workspace


@pytest.mark.slow
def test_every_line_of_ci_runs_on_a_fresh_clone(origin: Workspace, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "origin.git", tmp_path / "runner")
    assert [step["run"] for step in steps("ci", "test") if "run" in step] == ["make test"]
    assert "make test" in (ROOT / ".ci/run").read_text()  # which runs it; here it would never end
    for step in steps("ci", "repro"):
        if "run" in step:
            runner.do(step["run"])
    summary = (runner.folder / "summary.md").read_text()
    assert re.search(r"w = 20\.0\d+ ± 0\.00\d+ \(true 20\)", summary)


def test_an_issue_is_opened_once_also_without_a_report(origin: Workspace, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "origin.git", tmp_path / "runner")
    for words in ("", "this issue is open already: Drift"):
        assert words in runner.do(".github/open-issue Drift reports/retrain.md").stdout
    assert [issue["title"] for issue in runner.issues()] == ["Drift"]


@pytest.mark.slow
@pytest.mark.long
def test_every_line_of_retrain_runs_on_bare_runners(origin: Workspace, tmp_path: Path) -> None:
    """Retrain, drift, be refused twice, prove; each on a runner that has nothing of the others."""
    count = 0
    issues = "[]"

    def runner() -> Runner:
        nonlocal count
        count += 1
        made = Runner(tmp_path / "origin.git", tmp_path / f"runner {count}")
        (made.bin / "issues.json").write_text(issues)
        return made

    first = runner()
    first.retrain()
    assert first.outputs() == {"verdict": "promoted", "drift": "unknown"}
    assert first.issues() == []
    assert "is the champion" in (first.folder / "summary.md").read_text()

    def change_and_push(change: tuple[str, str]) -> None:
        change_params(origin, *change)
        origin.git("push", "--quiet", "origin", "main")

    change_and_push(DRIFT)
    drifted = runner()
    drifted.retrain(seed="7")
    assert drifted.outputs() == {"verdict": "promoted", "drift": "drifted"}
    assert [issue["title"] for issue in drifted.issues()] == ["The data has drifted"]
    assert "the line drifted" in drifted.issues()[0]["text"]
    issues = (drifted.bin / "issues.json").read_text()

    change_and_push(BAD_SENSOR)
    for seed in ("8", "9"):  # two days; the second opens nothing more
        refused = runner()
        refused.retrain(seed=seed, ok=False)
        assert refused.outputs()["verdict"] == "refused"
        issues = (refused.bin / "issues.json").read_text()
    assert sorted(issue["title"] for issue in refused.issues()) == [
        "The data has drifted",
        "The retraining was refused",
    ]

    (line,) = [step["run"] for step in steps("retrain", "prove") if "run" in step]
    assert "exact: " in runner().do(line).stdout


def test_an_injected_seed_is_no_command(origin: Workspace, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "origin.git", tmp_path / "runner")
    (line,) = [s["run"] for s in steps("retrain", "retrain") if s.get("id") == "retrain"]
    for seed in ('1"; touch injected; echo "$(touch injected2)', "$(shell touch injected3)"):
        done = runner.do(line, ok=False, SEED=seed)
        assert done.returncode
        assert "--seed" in done.stderr
    assert not list(runner.work.path.glob("injected*"))
