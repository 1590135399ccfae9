"""A process that starts with preloaded packages behaves like one that starts without them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.workspace import Workspace

pytestmark = pytest.mark.usefixtures("warm")

HEAVY = "print(sorted({'mlflow', 'dvc', 'samerun'} & set(sys.modules)))"

SEEN = """
import os, sys, tempfile
print(os.getcwd(), sys.argv, sys.stdin.read(), tempfile.gettempdir(), os.environ["WORD"], __name__)
print(os.getppid(), file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Workspace:
    (tmp_path / "src/mine").mkdir(parents=True)
    return Workspace(tmp_path)


def warm(folder: Workspace, **env: str) -> bool:
    """Return whether packages are there before anything is imported; ours never are."""
    shown = folder.run("python", "-c", f"import sys; {HEAVY}", ok=True, **env).stdout.strip()
    assert shown in ("[]", "['dvc', 'mlflow']")
    return shown != "[]"


def test_packages_are_there_and_ours_are_not(folder: Workspace) -> None:
    assert warm(folder) is (os.environ.get("TESTS_COLD") != "1")


@pytest.mark.cold
def test_a_test_marked_cold_starts_every_process_anew(folder: Workspace) -> None:
    assert not warm(folder)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES", "PYTHONHASHSEED"])
def test_what_is_read_at_the_start_is_read_at_the_start(folder: Workspace, name: str) -> None:
    assert not warm(folder, **{name: "1" if name != "NPY_DISABLE_CPU_FEATURES" else "AVX2"})


def test_a_process_sees_what_it_would(folder: Workspace) -> None:
    (folder.path / "t").mkdir()
    own = {"WORD": "ä=b\nc", "TMPDIR": str(folder.path / "t")}
    told = []
    for python in ("python", sys.executable):
        command = [python, "-c", SEEN, "one", "two words"]
        done = subprocess.run(
            command, cwd=folder.path, env=folder.env(**own), input="read", capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        told.append((done.stdout, done.stderr))
    assert told[0] == told[1]


def test_the_code_is_that_of_its_folder(folder: Workspace) -> None:
    (folder.path / "src/mine/__init__.py").write_text("HERE = 'this folder'\n")
    (folder.path / "src/mine/__main__.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        "sys.path[0] = str(Path(__file__).resolve().parent.parent)\n"
        "import mine\nprint(__name__, sys.argv, mine.HERE)\n"
    )
    shown = folder.run("python", "src/mine", "train").stdout
    assert shown == "__main__ ['src/mine', 'train'] this folder\n"


def test_samerun_is_the_one_that_is_installed_and_not_this_folders(
    folder: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As the console script has it; `python -m` looks into its folder first."""
    main = "import sys\nprint(__name__, sys.argv[1:], {!r})\n"
    installed = tmp_path_factory.mktemp("installed")
    for path in (installed, folder.path):
        (path / "samerun").mkdir()
        (path / "samerun/__init__.py").write_text("")
        (path / "samerun/__main__.py").write_text(main.format(path.name))
    env = {"PYTHONPATH": str(installed)}
    told = folder.run("samerun", "run", "--", "x y", ok=True, **env).stdout
    assert told == f"__main__ ['run', '--', 'x y'] {installed.name}\n"
    assert folder.path.name in folder.run("python", "-m", "samerun", ok=True, **env).stdout


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("raise SystemExit", 0, ""),
        ("import os; os._exit(7)", 7, ""),
        ("import atexit; atexit.register(print, 'at the end')", 0, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_an_end_is_seen_as_it_was(folder: Workspace, code: str, status: int, told: str) -> None:
    done = folder.run("python", "-c", code, ok=False)
    assert done.returncode == status
    assert done.stderr.endswith(told)
    assert done.stdout == ("at the end\n" if "atexit" in code else "")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_it(folder: Workspace, sent: signal.Signals) -> None:
    """This includes SIGKILL, which a process cannot pass on itself."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    process = subprocess.Popen(
        ["python", "-c", code],
        cwd=folder.path, env=folder.env(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout
    number = int(process.stdout.readline())
    process.send_signal(sent)
    assert process.stdout.read() == b""  # nobody holds it open any more
    assert process.wait() == -sent
    deadline = time.monotonic() + 60
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
