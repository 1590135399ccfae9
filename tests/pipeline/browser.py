"""A sweep of runs to show, and the system's Chromium to show them, driven by Playwright."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.servers import free_port, wait_until_it_answers
from support.workspace import needs
from tests.conftest import Workspace

CHROMIUM = "needs Chromium (Debian: apt-get install chromium)"

Changes = list[tuple[str, str]]

RATES: list[Changes] = [
    [("learning_rate: 0.25", f"learning_rate: {rate}")]
    for rate in ("0.01", "0.02", "0.05", "0.1", "0.2", "0.4", "0.9")
]
TEN: list[Changes] = [
    *RATES,
    [("epochs: 100", "epochs: 20")],
    [("scale: 1.5", "scale: 15")],
    [("rows: 99", "rows: 999")],
]
"""Ten runs that differ from the defaults in one number each; some do not converge."""


def sweep(workspace: Workspace, changes: list[Changes]) -> None:
    """Run the pipeline once for each set of changes to params.yaml, which is then restored."""
    params = workspace.path / "params.yaml"
    before = params.read_bytes()
    for one in changes:
        for old, new in one:
            workspace.replace("params.yaml", old, new)
        workspace.dvc("repro")
        params.write_bytes(before)


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser; the test is skipped if there is none."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    needs(program is not None and Path(program).exists(), CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, which CI is, Chromium needs --no-sandbox. It opens only our own pages.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, *, width: int = 1500, height: int = 950) -> Iterator[Any]:
    """Yield a page with a local storage of its own; MLflow's assistant stays closed there."""
    context = browser.new_context(viewport={"width": width, "height": height})
    context.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
    )
    try:
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def serving_ui(workspace: Workspace) -> Iterator[str]:
    """Run `samerun ui` until the block ends, and yield the address it prints."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "samerun", "ui", "--port", str(port)],
        cwd=workspace.path,
        env=workspace.env(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout
        printed = server.stdout.readline()
        address = next(word for word in printed.split() if word.startswith("http"))
        wait_until_it_answers(port, server)
        yield address
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
