"""The commands: help, wrong arguments, what is imported, and one line for a mistake."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from knownline import cli
from knownline.__main__ import main
from tests.conftest import ROOT, Workspace

STAGES = ("generate", "train", "evaluate", "report", "record")
COMMANDS = (
    *STAGES,
    *("reproduce", "doctor", "store", "ui", "retrain", "champion", "rollback", "summary"),
    *("completion", "article"),
)

IMPORTS = "import sys\nfrom knownline.__main__ import main\ntry: main({})"
HEAVY = ("torch", "mlflow", "pandas", "matplotlib", "pyarrow", "numpy", "pydantic", "dvc")

ESCAPES = "\x1b]0;x\x07\x9b31m\u202eabc"
"""A title for the terminal, a bell, red by C1, and what turns the direction of reading."""

ESCAPED = r"\x1b]0;x\x07\x9b31m\u202eabc"


def imported(arguments: list[str], cwd: Path) -> set[str]:
    """Return the heavy packages that a command imports."""
    code = IMPORTS.format(arguments) + (
        f"\nexcept SystemExit: pass\nprint('HEAVY', *[m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("HEAVY")[2].split())


def helped(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the help of a command."""
    assert main([command, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["--help"], set[str]()),
        (["completion", "bash"], set[str]()),
        (["summary"], set[str]()),
        (["generate"], {"pyarrow", "numpy", "pydantic"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_imports_no_more_than_it_needs(
    arguments: list[str], packages: set[str], built: Workspace, fresh: Workspace
) -> None:
    folder = built if arguments == ["summary"] else fresh
    assert imported(arguments, folder.path) == packages


def test_a_training_refused_for_its_parameters_does_not_import_mlflow(tmp_path: Path) -> None:
    assert "mlflow" not in imported(["train"], tmp_path)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert tuple(re.findall(r"^    ([a-z]+)(?:  |$)", shown, flags=re.MULTILINE)) == COMMANDS
    assert max(map(len, shown.splitlines())) <= 80
    assert main([]) == 2
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_with_arguments_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = helped(command, capsys)
    assert max(map(len, shown.splitlines())) <= 80
    if "--pass-only" in shown or not re.search(r"positional|^  --", shown, flags=re.MULTILINE):
        return
    assert shown.splitlines()[-1].startswith(f"Example: knownline {command} ")
    monkeypatch.setenv("COLUMNS", "50")
    example = helped(command, capsys).splitlines()[-1]
    assert example == shown.splitlines()[-1]  # in one piece, to be copied


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("ui --port -1", "argument --port: must be a whole number from 0 to 65535 (got -1)"),
        ("ui --port 65536", "to 65535 (got 65536)"),
        ("ui --port 5e3", "to 65535 (got 5e3)"),
        ("ui --port", "argument --port: expected one argument"),
        ("retrain --seed x", "must be a whole number from 0 to 9223372036854775807 (got x)"),
        ("retrain --seed -1", "(got -1)"),
        ("retrain --seed 9223372036854775808", "(got 9223372036854775808)"),
        ("retrain --date 1.1.2026", "argument --date: must be YYYY-MM-DD (got 1.1.2026)"),
        ("retrain --seed=", "(got nothing)"),
        ("retrain --pus", "unrecognized arguments: --pus"),
        ("rollback", "the following arguments are required: --reason"),
        ("reproduce", "the following arguments are required: run"),
        ("reproduce ", "run must be an id, the beginning of one, a name or champion (got none)"),
        ("store psuh", "argument direction: invalid choice: 'psuh': did you mean push?"),
        ("completion csh", "argument shell: invalid choice: 'csh'"),
        ("doctor --repiar", "unrecognized arguments: --repiar (see knownline doctor --help)"),
        ("summary too many", "unrecognized arguments: too many"),
        ("retrian", "argument COMMAND: invalid choice: 'retrian': did you mean retrain"),
        ("frobnicate", "argument COMMAND: invalid choice: 'frobnicate' (choose from"),
        (f"summary {ESCAPES}", ESCAPED),
        (f"train --pass-only={ESCAPES}", ESCAPES.encode("unicode_escape").decode()[-6:]),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(
    arguments: str, error: str, built: Workspace, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(built.path)
    assert main(arguments.split(" ")) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("knownline: error: ")
    assert error in printed.err
    assert printed.err.rstrip("\n").isprintable()


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
        ("knownline re", {"report", "record", "reproduce", "retrain"}),
        ("knownline doctor --r", {"--repair"}),
        ("knownline store p", {"pull", "push"}),
        ("knownline completion z", {"zsh"}),
    ],
)
def test_bash_completes_commands_and_options(for_bash: str, typed: str, offered: set[str]) -> None:
    words = typed.split()
    script = (
        f"{for_bash}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1};"
        ' COMPREPLY=(); _shtab_knownline; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_have_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in (*COMMANDS, "--repair" if shell == "zsh" else ""))


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {*cli.ANYWHERE}))
def test_outside_a_checkout_nothing_is_made(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"reproduce": ["x"], "store": ["pull"], "rollback": ["--reason", "x"]}.get(command, [])
    assert main([command, *more]) == 2
    assert "dvc.yaml must be in the current folder" in capsys.readouterr().err
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    if command in STAGES:
        assert main([command]) == 2
        assert "params.yaml must be in the current folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["dvc.yaml"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_closes_the_pipe_sees_no_error(fresh: Workspace, unbuffered: str) -> None:
    line = "(sleep 0.5; python src/knownline --help) | true"
    done = fresh.run("bash", "-c", line, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("command", ["--help", "summary --help", "article", "summary"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_a_full_disk_does_not_take_is_one_line(
    command: str, unbuffered: str, built: Workspace
) -> None:
    line = f"python src/knownline {command} >/dev/full"
    done = built.run("bash", "-c", line, ok=False, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert re.fullmatch(
        r"knownline: error: .*standard output must be .*writable \(got .*No space left.*\)\n",
        done.stderr,
    )


@pytest.mark.parametrize("stage", ["train", "evaluate", "report", "record"])
def test_a_stage_says_which_of_its_inputs_is_missing(stage: str, fresh: Workspace) -> None:
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


def test_the_ui_refuses_a_taken_port_before_it_makes_a_store(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(fresh.path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    assert "--port (make ui PORT=) must be free on 127.0.0.1 (got" in capsys.readouterr().err
    assert not (fresh.path / "mlruns/mlflow.db").exists()


def test_port_0_is_a_free_one_and_the_address_is_true(
    built: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    became: list[str] = []
    monkeypatch.chdir(built.path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def become(_: str, command: list[str]) -> int:
        became.extend(command)
        return 0

    monkeypatch.setattr("os.execv", become)
    assert main(["ui", "--port", "0"]) == 0
    port = became[became.index("--port") + 1]
    assert int(port) > 0
    assert capsys.readouterr().out.startswith(f"MLflow: http://127.0.0.1:{port}/#/")


@pytest.mark.parametrize("where", ["cell", "column", "parameter", "file", "unknown key"])
def test_what_would_steer_a_terminal_is_shown_as_text(
    where: str,
    fresh: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = fresh.path / "data/own/mine.csv"
    table.write_text(
        {"cell": f"x,y\n1,{ESCAPES}\n", "column": f"{ESCAPES},y\n1,2\n"}.get(where, "")
    )
    wanted = {"file": f"data/own/{ESCAPES}.csv", "parameter": f"{ESCAPES}"}
    params = yaml.safe_load((fresh.path / "params.yaml").read_text())
    params["generate"]["table"] = wanted.get(where, "data/own/mine.csv")
    params["generate"] |= {ESCAPES: 1} if where == "unknown key" else {}
    (fresh.path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(fresh.path)
    assert main(["generate"]) == 2
    line = capsys.readouterr().err
    assert ESCAPED in line
    assert line.rstrip("\n").isprintable()


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
