"""The doors: help, wrong arguments, what is imported, and one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from knownline.__main__ import STAGES, main
from knownline.cli import ANYWHERE, COMMANDS
from tests.conftest import ROOT, Workspace

IMPORTS = "import sys\nfrom knownline.__main__ import main\ntry: main({})"
HEAVY = ("torch", "mlflow", "pandas", "matplotlib", "pyarrow")


def imported(arguments: list[str], cwd: Path) -> set[str]:
    code = IMPORTS.format(arguments) + (
        f"\nexcept SystemExit: pass\nprint('HEAVY', *[m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("HEAVY")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["nonsense"], ["summary", "--help"]])
def test_what_needs_nothing_heavy_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(arguments, ROOT) == set()


def test_drawing_needs_neither_torch_nor_mlflow_nor_pandas(fresh: Workspace) -> None:
    assert imported(["generate"], fresh.path) == {"pyarrow"}


def test_summary_needs_nothing_heavy(built: Workspace) -> None:
    assert imported(["summary"], built.path) == set()


def test_a_refused_parameter_needs_no_more_than_its_stage(tmp_path: Path) -> None:
    assert "mlflow" not in imported(["train"], tmp_path)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"knownline {command}" in shown.partition("Example: ")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", [["--no-such"], ["too", "many"]])
def test_wrong_arguments_are_one_line_and_exit_2(
    command: str, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *wrong]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"knownline: error: {command}: ")
    assert told.err.count("\n") == 1


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrian"]) == 2
    assert capsys.readouterr().err == (
        f"knownline: error: the command must be one of {', '.join(COMMANDS)} (got retrian)\n"
    )


@pytest.fixture(scope="module")
def for_bash() -> str:
    """What `completion` prints for bash."""
    return subprocess.run(
        [sys.executable, "src/knownline", "completion", "bash"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("knownline re", ["record", "reproduce", "retrain"]),
        ("knownline doctor --r", ["--repair"]),
        ("knownline store p", ["pull", "push"]),
        ("knownline completion z", ["zsh"]),
    ],
)
def test_a_shell_completes_commands_and_options(
    for_bash: str, typed: str, offered: list[str]
) -> None:
    words = typed.split()
    asked = (
        f"{for_bash}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _knownline;"
        ' echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered


def test_other_shells_have_every_command_too() -> None:
    for shell, start in (("zsh", "autoload"), ("fish", "complete -c knownline")):
        done = subprocess.run(
            [sys.executable, "src/knownline", "completion", shell],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.startswith(start)
        assert done.stderr == ""
        assert all(command in done.stdout for command in COMMANDS)
        assert "repair" in done.stdout


def test_no_params_yaml_here_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate"]) == 2
    assert "params.yaml must be in the current folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {*STAGES, *ANYWHERE}))
def test_outside_a_checkout_nothing_is_made(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command]) == 2
    assert "dvc.yaml must be in the current folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_who_stops_reading_is_told_nothing(fresh: Workspace, unbuffered: str) -> None:
    line = "(sleep 0.5; python src/knownline --help) | true"
    done = fresh.run("bash", "-c", line, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == ""


@pytest.mark.parametrize("stage", ["train", "evaluate", "record"])
def test_a_stage_before_its_time_says_which_file_is_missing(stage: str, fresh: Workspace) -> None:
    done = fresh.knownline(stage, ok=False)
    assert done.returncode == 2
    assert done.stderr.startswith("knownline: error: ")
    assert "SHA256SUMS must be there: run `dvc repro`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (fresh.path / "mlruns/mlflow.db").exists()


def test_a_python_without_the_packages_is_told_what_to_do(fresh: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", "src/knownline", "generate"],
        cwd=fresh.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "use `make repro`, or put .venv/bin first on PATH" in done.stderr


def test_an_unwritable_folder_is_one_line(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "data/train")

    monkeypatch.chdir(fresh.path)
    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert main(["generate"]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_the_ui_refuses_a_port_that_is_taken(
    built: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    monkeypatch.chdir(built.path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    assert f"--port must be free on 127.0.0.1 (got {port}" in capsys.readouterr().err


def test_summary_is_what_the_files_say(built: Workspace) -> None:
    shown = built.knownline("summary").stdout
    metrics = json.loads((built.path / "reports/metrics.json").read_text())
    (run,) = built.runs()
    assert f"w = {metrics['w']:.4f} ± {metrics['se']['w']:.4f} (true 20)" in shown
    assert f"b = {metrics['b']:.2f} ± {metrics['se']['b']:.2f} (true 5)" in shown
    assert "gate passed" in shown
    assert all(reason in shown for reason in metrics["gate"]["reasons"])
    assert f"run recorded: {run.name}" in shown
    assert run.run_id in shown


def test_summary_does_not_claim_a_run_that_is_not_recorded(workspace: Workspace) -> None:
    (workspace.path / "mlruns/recorded.json").unlink()
    assert "not recorded: run `dvc repro`" in workspace.knownline("summary").stdout
