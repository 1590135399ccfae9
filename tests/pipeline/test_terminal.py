"""What is shown while the pipeline works."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from samerun.core import progress
from tests.conftest import Workspace

LONG = 120_000
"""Epochs that take longer than two seconds on anything that is sold today."""


def on_a_terminal(workspace: Workspace, *command: str, columns: int = 80, **env: str) -> str:
    """Return all that a command shows on a terminal that many columns wide."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    process = subprocess.Popen(
        command,
        cwd=workspace.path,
        env=workspace.env(TERM="xterm-256color", **env),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 65536):
            shown += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(controller)
    process.wait()
    return shown.decode()


@pytest.fixture
def long_training(fresh: Workspace) -> Workspace:
    fresh.replace("params.yaml", "epochs: 100", f"epochs: {LONG}")
    fresh.knownline("generate")
    return fresh


def test_a_long_training_shows_a_bar_on_a_terminal(long_training: Workspace) -> None:
    shown = on_a_terminal(long_training, "python", "src/knownline", "train", columns=100)
    assert "train:" in shown
    assert "epochs/s" in shown
    assert "train: w = " in shown


def test_nothing_is_drawn_where_there_is_no_terminal(long_training: Workspace) -> None:
    done = long_training.knownline("train")
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("command", ["summary", "--help", "article", "ui --help", "nonsense"])
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_nothing_of_ours_is_coloured(built: Workspace, command: str, env: dict[str, Any]) -> None:
    shown = on_a_terminal(built, "python", "src/knownline", *command.split(), **env)
    assert shown.strip()
    assert "\x1b" not in shown


def test_dvc_shows_metrics_and_plots(built: Workspace, tmp_path: Path) -> None:
    assert "gate.passed" in built.dvc("metrics", "show").stdout
    built.dvc("plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    for name in ("Loss by epoch", "w by epoch", "b by epoch"):
        assert name in page
    assert "loess" not in page  # DVC's own default, a smoothed curve
    assert page.count('"type": "log"') == 1


def test_dvc_tells_two_runs_apart(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.05")
    workspace.dvc("repro")
    changed = workspace.dvc("params", "diff").stdout.splitlines()[1:]
    assert [line.split()[1:] for line in changed] == [["train.learning_rate", "0.25", "0.05"]]
    table = workspace.dvc("metrics", "diff").stdout.splitlines()[1:]
    rows = {line.split()[1]: line.split()[2:] for line in table}
    assert rows["gate.passed"][:2] == ["True", "False"]
    assert rows["z.w"][1].startswith("0.26")
    assert not any(name.startswith(("truth", "ols", "se")) for name in rows)  # they did not change
    plots = json.loads(workspace.dvc("plots", "diff", "--json").stdout)["data"]
    (loss,) = plots["Loss by epoch"]
    points = loss["content"]["data"]["values"]
    assert {point["rev"] for point in points} == {"HEAD", "workspace"}
    assert len(points) == 200


def test_drawing_and_reading_show_how_far_they_are(fresh: Workspace) -> None:
    """A stage that is slowed down by as much as it takes; what is shown is its own."""
    fresh.replace("params.yaml", "rows: 99", "rows: 3000000")
    slow = """
import sys, time, runpy
sys.path.insert(0, "src")
from knownline import shards
class Slow(shards.ShardWriter):
    def append(self, *a): time.sleep(0.03); super().append(*a)
shards.ShardWriter = Slow
read = shards.Span.read
def slowly(self): time.sleep(1.2); return read(self)
shards.Span.read = slowly
sys.argv = ["knownline", sys.argv[1]]
runpy.run_module("knownline.__main__", run_name="__main__")
"""
    for stage, word in (("generate", "generate"), ("train", "read")):
        shown = on_a_terminal(fresh, sys.executable, "-c", slow, stage, columns=100)
        assert re.search(rf"{word}: +\d+%.*rows/s", shown), shown


def test_a_run_done_again_shows_which_step_it_is_at(built: Workspace) -> None:
    (run,) = built.runs()
    again = ("python", "src/knownline", "reproduce", run.run_id)
    shown = on_a_terminal(built, *again, columns=60)
    steps = re.findall(r"reproduce: ([a-z ]+), (\d) of 6 \[\d\d:\d\d\]", shown)
    assert len(set(steps)) >= 2, shown
    assert [n for _, n in steps] == sorted(n for _, n in steps)
    drawn = [part for part in re.split(r"[\r\n]", shown) if part.startswith("reproduce: ")]
    assert max(map(len, drawn)) <= 60
    assert shown.rindex("reproduce: ") < shown.index("run 99 rows")  # wiped before the verdict
    assert re.search(r"\r +\rrun 99 rows", shown)


def test_steps_are_quiet_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("reproduce", 2) as begin:
        begin("fetch")
        begin("compare")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_output_without_our_signs_shows_something_else(built: Workspace, encoding: str) -> None:
    done = built.run("python", "src/knownline", "summary", PYTHONIOENCODING=f"{encoding}:strict")
    assert "w = 20.002" in done.stdout


def test_a_closed_output_is_no_mistake(built: Workspace) -> None:
    done = built.run("sh", "-c", "python src/knownline summary >&-")
    assert done.stderr == ""


def test_a_closed_stderr_is_no_mistake_and_what_is_said_there_goes_nowhere(
    workspace: Workspace,
) -> None:
    done = workspace.run("sh", "-c", "python src/knownline doctor 2>&-")
    assert done.stdout == "doctor: healthy\n"
    done = workspace.run("sh", "-c", "python src/knownline nonsense 2>&-", ok=False)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_damaged_result_costs_one_line(workspace: Workspace, content: str) -> None:
    (workspace.path / "reports/metrics.json").write_text(content)
    done = workspace.knownline("summary", ok=False)
    assert done.returncode == 2
    assert done.stderr.startswith("knownline: error: reports/metrics.json must be what `evaluate`")
    assert done.stderr.count("\n") == 1


def test_the_summary_names_no_other_run(workspace: Workspace) -> None:
    """After an experiment was undone: marker and note are of that one, the files are not."""
    workspace.dvc("exp", "run", "--set-param", "train.learning_rate=0.05")
    assert "run recorded: lr 0.05" in workspace.knownline("summary").stdout
    workspace.git("checkout", "params.yaml", "dvc.lock")
    workspace.dvc("checkout")
    shown = workspace.knownline("summary").stdout
    assert "w = 20.002" in shown
    assert "not recorded: run `dvc repro`" in shown
    workspace.dvc("repro")
    assert "run recorded: 99 rows, lr 0.25" in workspace.knownline("summary").stdout
