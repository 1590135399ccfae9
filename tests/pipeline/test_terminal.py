"""What is shown while the pipeline works."""

import json
import os
import pty
import re
import subprocess
import termios
from pathlib import Path

import pytest

from samerun.core import progress
from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


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


AT_ONCE = """
import runpy, sys
from samerun.core import progress
progress.DELAY = 0.0
sys.argv = sys.argv[1:]
if sys.argv[0] == "samerun":
    from samerun.__main__ import main
    sys.exit(main())
sys.path.insert(0, sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A command that draws its bars at once, not after two seconds."""


def test_drawing_and_training_show_their_progress(fresh: Workspace) -> None:
    fresh.replace("params.yaml", "rows: 99", "rows: 3000000")
    shown = on_a_terminal(fresh, "python", "-c", AT_ONCE, "src/knownline", "generate", columns=100)
    assert re.search(r"generate: +\d+%.*rows/s", shown), shown
    shown = on_a_terminal(fresh, "python", "-c", AT_ONCE, "src/knownline", "train", columns=100)
    assert re.search(r"train: +\d+%.*epochs/s", shown), shown
    assert "train: w = " in shown


@pytest.mark.cold
def test_work_of_less_than_two_seconds_draws_nothing(built: Workspace) -> None:
    shown = on_a_terminal(built, "python", "src/knownline", "generate")
    assert re.fullmatch(r"generate: .*\r\n", shown)


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("reproduce", 2) as begin, progress.bar("train", "epochs", total=2) as bar:
        begin("fetch")
        bar.update()
        assert list(progress.track([1, 2], "record")) == [1, 2]
    assert capsys.readouterr() == ("", "")


@pytest.mark.cold
@pytest.mark.parametrize("command", ["summary", "--help", "article", "ui --help", "nonsense"])
def test_nothing_of_ours_is_coloured(built: Workspace, command: str) -> None:
    shown = on_a_terminal(built, "python", "src/knownline", *command.split())
    assert shown.strip()
    assert "\x1b" not in shown


def test_dvc_shows_metrics_and_plots(built: Workspace, tmp_path: Path) -> None:
    assert "gate.passed" in built.dvc("metrics", "show").stdout
    built.dvc("plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    for name in ("Loss by epoch", "reports/history.csv"):
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


@pytest.mark.cold
def test_reproducing_shows_its_steps(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    again = ("samerun", "reproduce", run.run_id)
    shown = on_a_terminal(workspace, "python", "-c", AT_ONCE, *again, columns=60)
    steps = re.findall(r"reproduce: ([a-z ]+), (\d) of \d \[\d\d:\d\d\]", shown)
    assert len(set(steps)) >= 2, shown
    assert [n for _, n in steps] == sorted(n for _, n in steps)
    drawn = [part for part in re.split(r"[\r\n]", shown) if part.startswith("reproduce: ")]
    assert max(map(len, drawn)) <= 60
    assert shown.rindex("reproduce: ") < shown.index("run 99 rows")  # wiped before the verdict
    assert re.search(r"\r +\rrun 99 rows", shown)


def test_an_encoding_without_our_signs_shows_a_question_mark(built: Workspace) -> None:
    done = built.run("python", "src/knownline", "summary", PYTHONIOENCODING="ascii:strict")
    assert "w = 20.0022 ? 0.0063" in done.stdout


@pytest.mark.cold
def test_a_closed_stream_is_no_error(workspace: Workspace) -> None:
    done = workspace.run("sh", "-c", "python src/knownline summary >&-")
    assert done.stderr == ""
    done = workspace.run("sh", "-c", "samerun doctor 2>&-")
    assert done.stdout == "doctor: healthy\n"
    done = workspace.run("sh", "-c", "python src/knownline nonsense 2>&-", ok=False)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_damaged_result_is_one_line(workspace: Workspace) -> None:
    for content in ("{", "{}", "[]"):
        (workspace.path / "reports/metrics.json").write_text(content)
        done = workspace.knownline("summary", ok=False)
        assert done.returncode == 2
        expected = "knownline: error: reports/metrics.json is damaged"
        assert done.stderr.startswith(expected)
        assert done.stderr.count("\n") == 1


def test_the_summary_names_no_other_run(workspace: Workspace) -> None:
    """After an experiment was undone: marker and note are of that one, the files are not."""
    workspace.dvc("exp", "run", "--set-param", "train.learning_rate=0.05")
    assert ": lr 0.05" in workspace.knownline("summary").stdout
    workspace.git("checkout", "params.yaml", "dvc.lock")
    workspace.dvc("checkout")
    shown = workspace.knownline("summary").stdout
    assert "w = 20.002" in shown
    assert "not recorded: run `dvc repro`" in shown
    workspace.dvc("repro")
    assert ": 99 rows, y~x, line, lr 0.25" in workspace.knownline("summary").stdout
