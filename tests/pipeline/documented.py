"""Type the commands that README and docs show, as they stand there, in a scratch project.

Every ```sh block of PAGES is typed by a test: its text goes to bash, block after block. Only this
differs from what a reader types:

- REPLACED: a placeholder gets a value, and a fixed port becomes a free one.
- SERVERS and WORKERS run until they are stopped. Each runs in the background until its block has
  been checked. The line after a server waits until its port accepts connections.
- NOT_TYPED lists the lines that no test can type, each with the reason.

A new block needs no entry anywhere: it is typed after the blocks above it, and its test fails if it
does not work.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from support.servers import free_port
from tests.conftest import ROOT, Workspace

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "samerun/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "samerun/docs").glob("*.md")),
]

NOT_TYPED = {
    "pytest tests/evaluate ": "runs tests; CI runs all of them",
    "mlflow server --backend-store-uri postgresql:": "needs a database:"
    " test_the_server_over_postgresql_works_as_shown types it",
    "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000 ": "the line after that one, same test",
    "python3 -m venv .venv": "takes minutes of downloads: .ci/run makes the environment, and"
    " test_the_guides_commands_without_make_are_those_of_the_makefile compares the lines",
    "pip install --requirement requirements.lock": "the same",
    "pip install --no-deps --editable ./samerun --editable .": "the same",
    'pip install "git+https://github.com/OWNER/knownline': "downloads from GitHub: with"
    " TESTS_INSTALL=1, test_the_example_from_git_clone_to_exact does so from a local repository",
}
"""What lines that are left out begin with, and why. A space at the end ends a word."""

TYPED_ELSEWHERE = {"samerun/docs/example.md": "test_the_example_from_git_clone_to_exact"}
"""Pages that a test of their own types from the first line to the last."""

SERVERS = ("make ui", "samerun ui", "mlflow server", "mlflow models serve", "dask scheduler")
WORKERS = ("dask worker",)

REPLACED = {
    "HOST": "127.0.0.1",
    "--nthreads N": "--nthreads 1",
    "$(date -u +%Y%m%d%H)": "2026110113",
}
"""Placeholders. The hour decides which rows are drawn, so it must not vary."""

PORTS = re.compile(r"\b(5000|5001|8786)\b")

FENCED = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)

Check = Callable[[Workspace, str, int], None]
"""Called with the workspace, the output of the block, and the port of its servers."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of every fenced block of a page, in order."""
    return FENCED.findall(page.read_text())


def has_commands(page: Path) -> bool:
    return any(language == "sh" for language, _ in blocks(page))


def type_page(
    workspace: Workspace, page: Path, checks: Mapping[str, Check], *, outputs: bool = False
) -> None:
    """Type the ```sh blocks of a page from top to bottom, and run its ```python blocks.

    checks: what to do after a block, while its servers run, by a text that the block contains;
        the block may have any language. outputs: whether a ```text block shows what the block
        before it printed.
    """
    shown = ""
    for language, text in blocks(page):
        here = [check for part, check in checks.items() if part in text]
        if language == "text" and outputs:
            assert_shown(text, shown)
        elif language == "python":
            shown = _type(workspace, f"python - <<'END'\n{text}END\n", here)
        else:
            shown = _type(workspace, text if language == "sh" else "", here)


def assert_shown(text: str, shown: str) -> None:
    """Assert that lines were printed, in their order; `…` stands for any text."""
    start = 0
    for line in text.splitlines():
        found = re.compile(re.escape(line.strip()).replace("…", ".*")).search(shown, start)
        assert found, f"{line!r} after\n{shown[start:]}"
        start = found.end()


def is_left_out(line: str) -> bool:
    return f"{line} ".startswith(tuple(NOT_TYPED))


def script(text: str, port: int) -> str:
    """Return what bash gets for a block."""
    lines = []
    for line in text.splitlines():
        if is_left_out(line):
            continue
        for placeholder, value in REPLACED.items():
            line = line.replace(placeholder, value)
        line = PORTS.sub(str(port), line)
        if line.startswith(SERVERS + WORKERS) and "--help" not in line:
            line = f"{re.sub(r' +#.*', '', line)} >>~/server.log 2>&1 &"
            if line.startswith(SERVERS):
                accepts = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null"
                line += f"\nuntil {accepts}; do kill -0 $!; sleep 0.1; done"
        lines.append(line)
    return "\n".join(lines)


def _type(workspace: Workspace, text: str, checks: list[Check]) -> str:
    """Type a block; return what it printed."""
    port = free_port()
    home = workspace.path.parent / "home"
    home.mkdir(exist_ok=True)
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    printed = home / "printed"
    with printed.open("wb") as stream:
        bash = subprocess.Popen(
            ["bash", "-euc", script(text, port)],
            cwd=workspace.path,
            env=workspace.env(
                HOME=str(home),
                XDG_CACHE_HOME=cache,
                PORT=str(port),
                MLFLOW_PORT=str(port),
                # MLflow's workers for jobs have a session of their own and would outlive the test.
                MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            ),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        status = bash.wait(timeout=900)  # a server that is not in SERVERS would never end
        shown = printed.read_text()
        log = home / "server.log"
        assert status == 0, f"{text}\n{shown}\n{log.read_text() if log.exists() else ''}"
        for check in checks:
            check(workspace, shown, port)
        return shown
    finally:
        with suppress(ProcessLookupError):  # nothing serves any more
            os.killpg(bash.pid, signal.SIGKILL)
