"""`train` as a process: what it reads, what it refuses, and how a signal ends it."""

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Workspace


def opened(folder: Path, action: Callable[[], object]) -> set[str]:
    """Return the names of the files in a folder that any process opened during an action."""
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(watch, os.fsencode(folder), 0x20)  # IN_OPEN
    action()
    try:
        events = os.read(watch, 1 << 20)
    except BlockingIOError:
        events = b""
    os.close(watch)
    names, at = set(), 0
    while at < len(events):
        _, _, _, size = struct.unpack_from("iIII", events, at)
        names.add(events[at + 16 : at + 16 + size].rstrip(b"\0").decode())
        at += 16 + size
    return names - {""}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_the_stages_after_generate_read_no_rows(workspace: Workspace) -> None:
    def run_stages() -> None:
        for stage in ("train", "evaluate", "report"):
            workspace.knownline(stage)

    assert opened(workspace.path / "data/train", run_stages) == set()
    assert opened(workspace.path / "data/holdout", run_stages) == set()


def test_row_by_row_a_damaged_file_is_one_line_with_its_name(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "compress: true", "compress: false")
    path = workspace.path / "data/train/part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    done = workspace.knownline("train", ok=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "data/train/part-00000.parquet is damaged" in done.stderr


SIGNAL_AT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("module", "sent"),
    [
        ("numpy.linalg", signal.SIGINT),
        pytest.param("torch._C", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("pydantic", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_in_the_middle_of_an_import_is_not_lost(
    workspace: Workspace, tmp_path: Path, module: str, sent: signal.Signals
) -> None:
    """Torch's own import of numpy swallows an exception that a handler raises there."""
    model = workspace.path / "models/model.json"
    model.unlink()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SIGNAL_AT_IMPORT.format(module=module, number=int(sent)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    done = workspace.knownline("train", ok=False, PYTHONPATH=str(site))
    assert (done.returncode, done.stderr) == (130, "knownline: interrupted\n")
    assert not model.exists()
