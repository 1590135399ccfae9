"""Maps a function over independent tasks on the workers of a Dask scheduler.

Workers must run the same code as this process and share a folder with it. Both are checked for
every worker at the start and again by every task, because workers may join later. The scheduler
needs neither knownline nor numpy: it does not unpickle the functions and tasks that it passes on.

Knows nothing of what the function does. Anyone who reaches the scheduler can run code on workers.
"""

import asyncio
import logging
import os
import pickle
import platform
import re
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from knownline.core.errors import ClusterError
from knownline.generate import worker as remote

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "KNOWNLINE_SCHEDULER"
"""The environment variable that names the scheduler."""

# Limits, in seconds.
CONNECT_S = 10.0  # for the scheduler to accept a connection
ANSWER_S = 30.0  # for it to answer later on
WORKERS_S = 60.0  # without a worker, at the start or while waiting for a result
PROBE_S = 60.0  # for a worker to answer the check, which imports our modules
CLOSE_S = 5.0  # for the connection to close
POLL_S = 2.0  # between two checks of the workers while waiting for a result

AHEAD = 1000
"""The most tasks that are submitted before the first result is there."""


class Mapper(Protocol):
    """Yields function(task) for each task, in the order of the tasks."""

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Map a function that workers can import; tasks and results are pickled."""


def address() -> str | None:
    """Return the scheduler's address, None if the variable is not set or is empty.

    Raises: ClusterError unless it has the form tcp://HOST:PORT or tls://HOST:PORT.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    parts = re.fullmatch(r"(?:tcp|tls)://(?:\[[0-9a-fA-F:.%]+\]|[^\s/:@\[\]]+):([0-9]{1,5})", value)
    if not parts or not 0 < int(parts[1]) < 65536:
        raise ClusterError(f"{VARIABLE} must be tcp://HOST:PORT or tls://HOST:PORT (got {value})")
    return value


@contextmanager
def connected(address: str, folder: Path) -> Iterator[Mapper]:
    """Yield a mapper for the workers of a scheduler; on exit, pending tasks are dropped.

    A running task continues even then, so its worker may still write files.
    folder: an existing folder, where workers write files that this process reads.
    Raises: ClusterError if the scheduler cannot be reached or a worker cannot be used.
    """
    token = folder.resolve() / f".knownline.tmp-{uuid.uuid4().hex}"
    client = _connect(address)
    try:
        token.touch()
        cluster = _Cluster(client, address, token)
        cluster.check()
        yield cluster.map
    finally:
        for path in token.parent.glob(f"{token.name}*"):
            path.unlink(missing_ok=True)
        with suppress(Exception):  # the scheduler may be gone
            client.close(timeout=CLOSE_S)


def _connect(address: str) -> Any:
    """Return a distributed.Client; Dask's logs and warnings are discarded from now on.

    Raises: ClusterError if Dask is not installed or the scheduler does not answer.
    """
    try:
        from distributed import Client  # late: it takes half a second, and is an extra
    except ImportError as error:
        raise ClusterError(
            f"{VARIABLE} must be unset without Dask: pip install 'knownline[cluster]' (got {error})"
        ) from None
    except Exception as error:  # for example, its configuration is not YAML
        raise ClusterError(
            f"{VARIABLE} must be unset unless Dask can be imported (got {_text(error)})"
        ) from None

    class Unattended(Client):
        def __del__(self) -> None:
            """Do nothing: after a failed connection, closing would take 20 s and fail too."""

    roots = ("distributed", "tornado", "asyncio")
    for name in [*roots, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] in roots:
            logging.getLogger(name).handlers[:] = [logging.NullHandler()]
            logging.getLogger(name).propagate = False
    warnings.filterwarnings("ignore", module="distributed")
    connecting: Future[Any] = Future()

    def connect() -> None:
        try:
            client = Unattended(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
            connecting.set_result(client)
        except Exception as error:  # of many types: TLS, another kind of server
            connecting.set_exception(error)

    # In a thread, because Dask waits forever for a server that accepts and then says nothing.
    threading.Thread(target=connect, daemon=True).start()
    try:
        return connecting.result(CONNECT_S + 1)
    except Exception as error:
        reason = _text(error) if connecting.done() else f"no answer in {CONNECT_S:g} s"
        raise _error("must name a running Dask scheduler", address, reason) from None


class _Cluster:
    """A scheduler and its workers.

    token: a file here with a unique name, which workers must see.
    """

    def __init__(self, client: Any, address: str, token: Path) -> None:
        self._client = client
        self._address = address
        self._token = token
        self._execute = remote.by_value()
        packages = ("distributed", "numpy", "pyarrow")
        self._expected = {name: import_module(name).__version__ for name in packages}
        self._expected["knownline"] = remote.CODE

    def check(self) -> None:
        """Wait for a worker, then check the scheduler and every worker.

        Raises: ClusterError for the first of them that cannot be used.
        """
        since = time.monotonic()
        while not (workers := self._workers()):
            self._check_timeout(since)
            time.sleep(0.1)
        # Any Python can unpickle this function by its name. Our own code needs the same version.
        python = platform.python_version
        self._check_python(self._ask(lambda: self._client.run_on_scheduler(python)), self._address)
        for worker, version in zip(workers, self._run([(w, python) for w in workers]), strict=True):
            self._check_python(version, worker)
        paths = [Path(f"{self._token}-{number}") for number in range(len(workers))]
        calls = [
            (worker, self._execute, *self._arguments(remote.write_reply, path), worker)
            for worker, path in zip(workers, paths, strict=True)
        ]
        for worker, path, answer in zip(workers, paths, self._run(calls), strict=True):
            try:
                self._value(answer)
                path.read_bytes()
            except OSError as error:
                raise self._folder_error(
                    worker, f"its test file is not visible here: {error}"
                ) from None

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield function(task) for each task, in order; a killed worker's task is run again.

        Raises: what the function raises for the first task that fails; ClusterError if the cluster
        cannot do the work.
        """
        executor = self._client.get_executor(pure=False)
        pending: deque[Future[Any]] = deque()
        for number, task in enumerate(tasks):
            pending.append(executor.submit(self._execute, *self._arguments(function, task)))
            if len(pending) == AHEAD:
                yield self._result(pending.popleft(), number - AHEAD + 1)
        for number in range(len(tasks) - len(pending), len(tasks)):
            yield self._result(pending.popleft(), number)

    def _result(self, future: Future[Any], number: int) -> Any:
        """Return the result of the task `number` (from 0), waiting while there are workers."""
        from distributed.scheduler import KilledWorker

        since = time.monotonic()
        while not wait([future], timeout=POLL_S).done:
            if self._workers():
                since = time.monotonic()
            self._check_timeout(since)
        try:
            answer = future.result()
        except CancelledError:
            raise self._lost_error("the connection broke") from None
        except KilledWorker as error:
            rule = "must name workers with enough memory for every shard"
            killed = f"killed {error.allowed_failures + 1} workers, probably for lack of memory"
            raise _error(rule, f"shard {number}", killed) from None
        except Exception as error:  # from Dask; the function's own are in the answer
            raise self._lost_error(f"shard {number}: {_text(error)}") from None
        return self._value(answer)

    def _arguments(self, function: Callable[[T], R], task: T) -> tuple[dict[str, str], Path, bytes]:
        return self._expected, self._token, pickle.dumps((function, task))

    def _value(self, answer: tuple[str, ...]) -> Any:
        """Return the result that a worker sent, or raise the error that it sent."""
        kind, worker, *rest = answer
        if kind == "unfit":
            name, found = rest
            what = "the same code of knownline, digest" if name == "knownline" else name
            rule = f"must name workers with {what} {self._expected[name]}"
            raise _error(rule, f"{found} at {worker}", "install it there and restart the worker")
        if kind == "folder":
            raise self._folder_error(worker, rest[0])
        value = pickle.loads(rest[0])  # type: ignore[arg-type]
        if isinstance(value, OSError):  # a full disk, another user's folder, a stale mount
            rule = f"must name workers that can read and write {self._token.parent}"
            raise _error(rule, worker, _text(value))
        if kind == "error":
            raise value
        return value

    def _workers(self) -> list[str]:
        """Return the workers that accept or execute tasks: not those paused for lack of memory."""
        if self._client.status != "running":
            raise self._lost_error("the connection broke")
        workers = self._ask(self._client.scheduler.identity)["workers"]
        return sorted(
            address
            for address, state in workers.items()
            if state["status"] == "running" or state["metrics"]["task_counts"].get("executing")
        )

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return what a coroutine function of the client returns within ANSWER_S."""
        try:
            return self._client.sync(question, callback_timeout=ANSWER_S)
        except Exception as error:
            raise self._lost_error(f"no answer in {ANSWER_S:g} s: {_text(error)}") from None

    def _run(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the results of calls (worker, function, arguments…), which run concurrently.

        Raises: ClusterError for a worker that does not answer within PROBE_S.
        """

        async def run(worker: str, *call: Any) -> Any:
            answer = self._client.run(*call, workers=[worker], on_error="return")
            return (await asyncio.wait_for(answer, PROBE_S))[worker]

        async def run_all() -> list[Any]:
            return await asyncio.gather(*(run(*call) for call in calls), return_exceptions=True)

        answers: list[Any] = self._client.sync(run_all)
        for (worker, *_), answer in zip(calls, answers, strict=True):
            if isinstance(answer, BaseException):
                rule = f"must name workers that answer in {PROBE_S:g} s"
                raise _error(rule, worker, _text(answer))
        return answers

    def _check_python(self, version: str, machine: str) -> None:
        """Raise ClusterError unless a machine has the same minor version of Python."""
        wanted, found = (v.rpartition(".")[0] for v in (platform.python_version(), version))
        if found != wanted:
            rule = f"must name a scheduler and workers with Python {wanted}"
            raise _error(rule, f"{found} at {machine}", "start it from the same .venv")

    def _check_timeout(self, since: float) -> None:
        """Raise ClusterError if there has been no worker for WORKERS_S."""
        if time.monotonic() - since >= WORKERS_S:
            advice = f"none for {WORKERS_S:g} s; start dask worker {self._address}"
            raise _error("must name a scheduler with workers", self._address, advice)

    def _lost_error(self, reason: str) -> ClusterError:
        return _error("must name a scheduler that keeps running", self._address, reason)

    def _folder_error(self, worker: str, reason: str) -> ClusterError:
        return _error(f"must name workers that share {self._token.parent}", worker, reason)


def _error(rule: str, value: str, detail: str) -> ClusterError:
    return ClusterError(f"{VARIABLE} {rule} (got {value}: {detail})")


def _text(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()
