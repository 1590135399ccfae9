"""The doors: help, wrong arguments, what is imported, and one line for a mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from knownline.completion import WORDS

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
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = helped(command, capsys)
    assert f"knownline {command}" in shown.partition("Example: ")[2]
    assert max(map(len, shown.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "50")
    *rest, example = helped(command, capsys).splitlines()
    assert max(map(len, rest)) <= 50
    assert example == shown.splitlines()[-1]  # in one piece, to be copied


CONTRACT = re.compile(r"knownline: error: \S.* must .+ \(got .+\)\n")

ESCAPES = "\x1b]0;x\x07\x9b31m\u202eabc"
"""A title for the terminal, a bell, red by C1, and what turns the direction of reading."""


def helped(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_arguments_are_one_line_and_exit_2(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every argument that the help tells of is called without, with a wrong, and with no value."""
    shown = helped(command, capsys)
    valued = re.findall(r"^  (--[a-z-]+) [A-Z]+", shown, flags=re.MULTILINE)
    alone = set(re.findall(r"^  (--[a-z-]+)", shown, flags=re.MULTILINE)) - {*valued}
    places = re.findall(
        r"^  (?:[a-z]+|\{[a-z,]+\}) ", shown.partition("arguments:")[2], re.MULTILINE
    )
    wrong = [["--no-such"], ["too", "many"], ["-x"], [ESCAPES, "--no-such"]]
    wrong += [[option] for option in valued] + [[option, "--help"[:3]] for option in valued]
    wrong += [[f"{option}=yes"] for option in alone] + [[f"{option}=it's"] for option in alone]
    wrong += [[f"{option}="] for option in valued] + [["", "--no-such"], ["", "", ""]]
    wrong += [[f"{option}={ESCAPES}"] for option in alone]
    wrong += [[]] if places or "required" in shown else []
    for arguments in wrong:
        assert main([command, *arguments]) == 2, arguments
        told = capsys.readouterr()
        assert told.out == ""
        assert CONTRACT.fullmatch(told.err), told.err
        assert told.err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            "ui --port -1",
            "--port must be a whole number from 0, any that is free, to 65535 (got -1)",
        ),
        ("ui --port 65536", "to 65535 (got 65536)"),
        ("ui --port 5e3", "to 65535 (got 5e3)"),
        ("ui --port", "--port must have a value (got nothing)"),
        ("retrain --seed x", "--seed must be 0 or more, whole and less than 2^63 (got x)"),
        ("retrain --seed -1", "whole and less than 2^63 (got -1)"),
        ("retrain --seed 9223372036854775808", "2^63 (got 9223372036854775808)"),
        ("retrain --date 1.1.2026", "--date must be YYYY-MM-DD (got 1.1.2026)"),
        ("retrain --seed=", "(got nothing)"),
        ("retrain --push=now", "--push must have no value (got now)"),
        ("rollback", "--reason must be given, see knownline rollback --help (got nothing)"),
        ("reproduce", "run must be given, see knownline reproduce --help (got nothing)"),
        ("reproduce ", "run must be an id, the beginning of one, a name or champion (got none)"),
        ("store", "direction must be given, see knownline store --help (got nothing)"),
        ("store psuh", "direction must be one of pull, push (got psuh)"),
        ("completion tcsh", "shell must be one of bash, zsh, fish (got tcsh)"),
        ("doctor --repiar", "knownline doctor must be called with the arguments of its --help"),
    ],
)
def test_a_wrong_argument_is_told_its_rule(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split(" ")) == 2
    assert says in capsys.readouterr().err


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrian"]) == 2
    assert capsys.readouterr().err == (
        f"knownline: error: the command must be one of {', '.join(COMMANDS)} (got retrian)\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_completed_is_what_the_help_lists(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = helped(command, capsys)
    listed = re.findall(r"^  (?:-h, )?(--[a-z-]+)", shown, flags=re.MULTILINE)
    fixed = re.search(r"^  \{([a-z,]+)\}", shown, flags=re.MULTILINE)
    wanted = {*listed, *(fixed[1].split(",") if fixed else [])}
    assert {"--help", *WORDS.get(command, ())} == wanted


def test_completion_imports_no_more_than_it_prints() -> None:
    code = IMPORTS.format(["completion", "bash"]) + "\nfinally: print('HEAVY', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.rpartition("HEAVY")[2].split())
    assert "knownline.completion" in loaded
    assert not {*HEAVY, "numpy", "pydantic", "dvc", "yaml"} & loaded


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("command", ["--help", "summary --help", "article", "summary"])
def test_what_a_full_disk_does_not_take_is_one_line(command: str, built: Workspace) -> None:
    line = f"python src/knownline {command} >/dev/full"
    done = built.run("bash", "-c", line, ok=False, PYTHONUNBUFFERED="")
    assert done.returncode == 2
    assert re.fullmatch(
        r"knownline: error: standard output must be writable \(got .*No space left.*\)\n",
        done.stderr,
    )


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
    assert "--port (make ui PORT=) must be free on 127.0.0.1 (got" in capsys.readouterr().err


def test_a_wrong_port_is_found_before_a_store_is_made(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.chdir(fresh.path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["ui", "--port", str(taken.getsockname()[1])]) == 2
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


ESCAPED = r"\x1b]0;x\x07\x9b31m\u202eabc"


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
