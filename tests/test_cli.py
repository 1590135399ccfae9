"""The commands: help, wrong arguments, what is imported, and one line for a mistake."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from knownline import cli
from knownline.__main__ import main
from support.files import tree
from tests.conftest import ROOT, Workspace

STAGES = ("generate", "train", "evaluate", "report")
COMMANDS = (
    *STAGES,
    *("retrain", "champion", "rollback", "summary", "completion", "article"),
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
        ("retrain --seed x", "must be a whole number from 0 to 9223372036854775807 (got x)"),
        ("retrain --seed 5e3", "(got 5e3)"),
        ("retrain --seed -1", "(got -1)"),
        ("retrain --seed", "argument --seed: expected one argument"),
        ("retrain --seed 9223372036854775808", "(got 9223372036854775808)"),
        ("retrain --date 1.1.2026", "argument --date: must be YYYY-MM-DD (got 1.1.2026)"),
        ("retrain --seed=", "(got nothing)"),
        ("retrain --pus", "unrecognized arguments: --pus"),
        ("rollback", "the following arguments are required: --reason"),
        ("completion fsh", "argument shell: invalid choice: 'fsh': did you mean fish or zsh?"),
        ("rollback --reason x --psuh", "unrecognized arguments: --psuh (see knownline rollback"),
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
        ("knownline re", {"report", "retrain"}),
        ("knownline rollback --r", {"--reason"}),
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
    assert all(command in script for command in (*COMMANDS, "--reason" if shell == "zsh" else ""))


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {*cli.ANYWHERE}))
def test_outside_a_checkout_nothing_is_made(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--reason", "x"] if command == "rollback" else []
    assert main([command, *more]) == 2
    assert f"no dvc.yaml in {tmp_path}: change to the top folder" in capsys.readouterr().err
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


@pytest.mark.parametrize("stage", ["train", "evaluate", "report"])
def test_a_stage_says_which_of_its_inputs_is_missing(stage: str, fresh: Workspace) -> None:
    done = fresh.knownline(stage, ok=False)
    assert done.returncode == 2
    assert done.stderr.startswith("knownline: error: ")
    assert "data/summary.json is missing: run `dvc repro`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (fresh.path / "mlruns/mlflow.db").exists()


@pytest.fixture
def made(built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: params.yaml and every output of the stages, without their store."""
    for name in ("data", "models", "reports", "params.yaml", "dvc.yaml"):
        origin = built.path / name
        (shutil.copytree if origin.is_dir() else shutil.copy)(origin, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def foreign() -> None:
    path = Path("data/SHA256SUMS")
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first.translate(str.maketrans("0123456789abcdef", "123456789abcdef0")) + second)


SUMMARY = Path("data/summary.json")

DAMAGE: dict[str, tuple[Callable[[], object], str]] = {
    "no summary": (
        SUMMARY.unlink,
        "data/summary.json is missing: run `dvc repro`",
    ),
    "no list": (Path("data/SHA256SUMS").unlink, "data/SHA256SUMS is missing: run `dvc repro`"),
    "empty": (lambda: SUMMARY.write_text(""), "data/summary.json is damaged"),
    "cut short": (
        lambda: SUMMARY.write_bytes(SUMMARY.read_bytes()[:-9]),
        "data/summary.json is damaged",
    ),
    "of other files": (foreign, "(it summarises other files than SHA256SUMS lists)"),
}


@pytest.mark.parametrize("stage", ["train", "evaluate", "report"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_summary_that_is_damaged_or_of_other_files_is_refused_in_one_line(
    stage: str, damage: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = DAMAGE[damage]
    change()
    before = tree(made)
    capsys.readouterr()
    assert main([stage]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("knownline: error: data/")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert tree(made) == before


def test_without_any_row_the_other_stages_make_the_same_bytes(made: Path) -> None:
    def results() -> dict[str, bytes | None]:
        found = {**tree(made / "models"), **tree(made / "reports")}
        return {name: content for name, content in found.items() if not name.startswith(".")}

    before = results()
    for folder in ("data/train", "data/holdout", "models", "reports"):
        shutil.rmtree(folder)
    for stage in ("train", "evaluate", "report"):
        assert main([stage]) == 0
    assert results() == before
    assert {"model.json", "history.csv", "metrics.json", "report.html"} <= before.keys()
    assert not Path("data/train").exists()


def test_evaluate_says_which_result_of_train_is_missing_or_damaged(fresh: Workspace) -> None:
    for stage in ("generate", "train"):
        fresh.knownline(stage)
    for name in ("models/model.json", "reports/history.csv"):
        path = fresh.path / name
        content = path.read_bytes()
        path.unlink()
        for what in ("is missing: run `dvc repro`", "is damaged|must be"):
            done = fresh.knownline("evaluate", ok=False)
            assert done.returncode == 2
            assert re.match(f"knownline: error: {name} ({what})", done.stderr)
            assert done.stderr.count("\n") == 1
            path.write_text("x")
        path.write_bytes(content)
    assert not (fresh.path / "reports/metrics.json").exists()
    fresh.knownline("evaluate")


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
    assert "samerun is not installed for " in done.stderr


def test_an_unwritable_folder_is_one_line(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "data/train")

    monkeypatch.chdir(fresh.path)
    monkeypatch.setattr("pathlib.Path.mkdir", full)
    assert main(["generate"]) == 2
    assert "No space left on device" in capsys.readouterr().err


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


def test_summary_names_the_run_that_was_recorded(built: Workspace) -> None:
    (run,) = built.runs()
    assert f"run recorded: {run.name} ({run.run_id})" in built.knownline("summary").stdout
