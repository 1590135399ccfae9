"""Processes that start with slow packages already imported, for tests that start many.

Starting python, MLflow and DVC is nine tenths of what a small pipeline costs, and it is the
same each time. One process per worker of the tests imports them once (none of ours) and forks: each
`python FOLDER …`, `python FILE.py …`, `python -m dvc …`, `python -c …`, `dvc …` and `samerun …` of
a warm workspace is a process of its own all the same, with its own number, folder, environment,
standard streams and end, and it runs the code of the folder it stands in (`samerun`: the code that
is installed). Only the imports of other people's packages are inherited. What a process finds out
at its start (threads, SIMD, encodings) is started cold, as is everything of tests that are about
processes: those that do not use the fixture `warm`.
"""

import array
import atexit
import contextlib
import functools
import gc
import importlib
import os
import random
import re
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any

from support.workspace import QUIET, inherited

TESTS = Path(__file__).resolve().parent.parent

READ_AT_START = (
    *("ATEN_", "CUDA_", "KMP_", "LC_", "LD_", "MALLOC_", "MKL_", "NPY_", "OMP_", "OPENBLAS"),
    *("MLFLOW_LOGGING", "PYTHON", "TORCH_"),
)
"""What begins the names of variables that are read while packages load, or before."""

PACKAGES = """
torch numpy pandas pyarrow pyarrow.parquet pyarrow.csv pyarrow.compute pydantic yaml
ruamel.yaml filelock tqdm requests scipy.special scipy.stats networkx PIL.Image matplotlib
matplotlib.figure matplotlib.backends.backend_agg mlflow mlflow.pyfunc mlflow.models
mlflow.data.meta_dataset alembic.command mlflow.store.tracking.sqlalchemy_store
mlflow.store.tracking.sqlalchemy_workspace_store
mlflow.store.model_registry.sqlalchemy_store mlflow.utils.search_logged_model_utils
mlflow.tracing.processor.otel mlflow.tracing.processor.base_mlflow dvc.cli dvc.cli.parser
dvc.repo dvc.repo.reproduce dvc.repo.status dvc.repo.checkout dvc.repo.push dvc.repo.pull
dvc.repo.commit dvc.repo.add dvc.repo.artifacts dvc.repo.datasets dvc.repo.graph
dvc.repo.index dvc.repo.metrics dvc.repo.params dvc.repo.plots dvc.repo.stage
dvc.repo.trie dvc.cachemgr dvc.lock dvc.rwlock dvc.scm dvc.utils.strictyaml
dvc.stage.cache dvc.stage.run dvc.dvcfile dvc.output dvc.data_cloud dvc.commands.repro
dvc_data.hashfile.checkout dvc_data.hashfile.db.local dvc_data.index dvc_objects.fs.local
dvc_render.vega scmrepo.git dulwich.repo pygit2 dvc.api dvclive.live dvclive.plots.sklearn
safetensors.numpy safetensors.torch sklearn.linear_model sklearn.metrics sklearn.model_selection
sklearn.pipeline sklearn.preprocessing sklearn.tree
"""
"""Of other people, without which a stage works as well: it would only import them itself. What
is not installed is left out."""

CLIENT = """#!{real} -IS
import array, os, signal, socket, sys
real, place, prefixes, known = {real!r}, {place!r}, {prefixes!r}, {known!r}
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
words = ["-m", "dvc", *words] if name == "dvc" else words
words = ["-Pm", "samerun", *words] if name == "samerun" else words  # -P: not from this folder
ours = ("MLFLOW_LOGGING_LEVEL", "WARNING")  # as any command of ours leaves it to its children
now = {{k: v for k, v in os.environ.items() if k.startswith(prefixes) and (k, v) != ours}}
now.pop("PYTHONPATH", None)
warm = words[:1] == ["-c"] or words[:2] == ["-m", "dvc"]
warm = warm or bool(words) and os.path.isfile(words[0] + "/__main__.py")
warm = warm or bool(words) and words[0].endswith(".py")
warm = warm or words[1:2] == ["samerun"] and words[0] in ("-m", "-Pm")
if not warm or now != known:
    os.execv(real, [real, *words])
link = socket.socket(socket.AF_UNIX)
link.connect(place)
variables = [f"{{k}}={{v}}" for k, v in os.environ.items()]
head = [os.getcwd(), str(os.getppid()), str(len(words))]
sent = os.fsencode("\\0".join([*head, *words, *variables]))
fds = array.array("i", [0, 1, 2])
link.sendmsg([len(sent).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
link.sendall(sent)
number = int.from_bytes(link.recv(4), "big")
assert number, "the tests' process that forks is gone"
def pass_on(sent, _):
    os.kill(number, sent)
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, pass_on)
for each in (0, 1, 2):
    os.close(each)
ended = int.from_bytes(link.recv(4), "big", signed=True)
if ended < 0:
    signal.signal(-ended, signal.SIG_DFL) if -ended != signal.SIGKILL else None
    os.kill(os.getpid(), -ended)
os._exit(ended)
"""


def serve(place: str) -> None:
    """Import the packages, then fork once for each client, until standard input ends."""
    calls = (
        TESTS.parent / "src/samerun/mlflow/errors.py"
    ).read_text()  # sets what mlflow's import reads
    for name, value in re.findall(r'"(MLFLOW_\w+)"(?:, |\] = )"(\w+)"', calls):
        os.environ.setdefault(name, value)
    for name in PACKAGES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert not {"knownline", "samerun"} & set(sys.modules)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen(64)
    ways = selectors.DefaultSelector()
    ways.register(listener, selectors.EVENT_READ, None)
    ways.register(0, selectors.EVENT_READ, None)
    print("ready", flush=True)
    while True:
        for key, _ in ways.select():
            if key.fileobj == 0:
                os._exit(0)
            elif key.fileobj is listener:
                _begin(ways, listener)
            else:
                _end(ways, key)


def _begin(ways: selectors.BaseSelector, listener: socket.socket) -> None:
    """Fork for the client that waits."""
    link, _ = listener.accept()
    fds = array.array("i")
    head, given, _, _ = link.recvmsg(8, socket.CMSG_SPACE(3 * fds.itemsize))
    if len(head) < 8:
        link.close()
        return
    fds.frombytes(given[0][2])
    text, size = b"", int.from_bytes(head, "big")
    while len(text) < size and (part := link.recv(size - len(text))):
        text += part
    number = os.fork()
    if number == 0:
        for key in list(ways.get_map().values()):
            if key.data:
                os.close(key.fd)
        link.close()
        listener.close()
        _become(os.fsdecode(text), list(fds))
    for each in fds:
        os.close(each)
    ended = os.pidfd_open(number)
    ways.register(ended, selectors.EVENT_READ, (number, link, ended))
    ways.register(link, selectors.EVENT_READ, (number, link, ended))
    try:
        link.sendall(number.to_bytes(4, "big"))
    except OSError:
        os.kill(number, signal.SIGKILL)


def _end(ways: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Tell a client how its process ended; end the process of a client that was killed."""
    number, link, ended = key.data
    if key.fileobj is link:
        ways.unregister(link)
        os.kill(number, signal.SIGKILL)
        return
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    ways.unregister(ended)
    os.close(ended)
    if link in ways.get_map():
        ways.unregister(link)
        with contextlib.suppress(OSError):  # it was killed in this moment
            link.sendall(status.to_bytes(4, "big", signed=True))
    link.close()


def _become(text: str, fds: list[int]) -> None:
    """Become the process that was asked for, until it ends."""
    folder, parent, count, *rest = text.split("\0")
    words, variables = rest[: int(count)], rest[int(count) :]
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    status, interrupted = 1, False
    try:
        os.chdir(folder)
        # The parent that the client has; 1 once it is gone, as the kernel would say.
        os.getppid = lambda: int(parent) if Path(f"/proc/{parent}").exists() else 1
        os.environ.clear()
        os.environ.update(dict(pair.split("=", 1) for pair in variables))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tempfile.tempdir = None
        random.seed()
        sys.executable = sys._base_executable = os.environ["TESTS_WARM"]  # type: ignore[attr-defined]
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
        gc.unfreeze()
        try:
            _run(words)
            status = 0
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
            if left.code is not None and not isinstance(left.code, int):
                print(left.code, file=sys.stderr)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            interrupted = isinstance(error, KeyboardInterrupt)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or 120
        if interrupted:  # as python ends since 3.8
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(status & 0xFF)


def _run(words: list[str]) -> None:
    """Do what the Python interpreter does with these arguments."""
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    own = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:0] = own
    as_module: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    if words[0] == "-Pm":
        sys.argv = words[1:]
        as_module(words[1])
    elif words[0] == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    elif words[0] == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv = words[1:]
        as_module(words[1])
    elif words[0].endswith(".py"):
        sys.path.insert(0, str(Path(words[0]).parent.absolute()))
        sys.argv = words
        main.__dict__["__file__"] = words[0]
        exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), main.__dict__)
    else:
        sys.path.insert(0, words[0])
        sys.argv = words
        as_module("__main__", False)


class Warm:
    """The process that forks, and the folder whose `python`, `dvc` and `samerun` ask it to."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        place = str(folder / "place")
        known = {k: v for k, v in env.items() if k.startswith(READ_AT_START) and k != "PYTHONPATH"}
        client = CLIENT.format(
            real=sys.executable, place=place, prefixes=READ_AT_START, known=known
        )
        for name in ("python", "dvc", "samerun"):
            (self.bin / name).write_text(client)
            (self.bin / name).chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from support.warm import serve; serve({place!r})"],
            cwd=TESTS,
            env={**env, "MPLBACKEND": "agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"

    def end(self) -> None:
        """End it; what it forked ends by itself."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@functools.cache
def started() -> Warm | None:
    """Return this process's own, which ends with it; None if TESTS_COLD=1 asks for none."""
    if os.environ.get("TESTS_COLD") == "1":
        return None
    # Not deep: a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="tests-warm-"))
    warm = Warm(folder, {**inherited(), **QUIET})
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(warm.end)
    return warm
