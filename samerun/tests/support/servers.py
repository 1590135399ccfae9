"""Tracking servers for tests: real ones, over SQLite or PostgreSQL, and ones that misbehave.

Everything listens on 127.0.0.1 or in a private folder alone, and ends with its `with` block.
"""

import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

from support.workspace import QUIET, Run, needs, runs_in

POSTGRESQL = "needs PostgreSQL (Debian: apt-get install postgresql)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(port: int, server: subprocess.Popen[Any], path: str = "health") -> None:
    """Wait until a server answers, as long as it lives; the first answer may take a minute."""
    deadline = time.monotonic() + 90
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2).close()
            return
        except OSError:
            assert server.poll() is None, f"it ended with {server.returncode}"
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.2)


@contextmanager
def serving(folder: Path, command: list[str], port: int, **env: str) -> Iterator[int]:
    """Run a server of mlflow's until the block ends; its process group is what is yielded."""
    # Not in the folder: it may be a checkout that other tests copy and hold to be clean.
    log = Path(tempfile.gettempdir()) / f"tests-server-{port}.log"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    with log.open("ab") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            # Its workers for jobs, nine processes that nobody here asks for, cost seconds.
            env={**kept, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **env},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        try:
            wait_until_it_answers(port, server, "health" if command[0] == "server" else "ping")
        except AssertionError as error:
            raise AssertionError(f"{error}: {log.read_text()}") from error
        yield server.pid
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.unlink(missing_ok=True)
        _wait_until_free(port)


def _wait_until_free(port: int) -> None:
    """Wait until the last of a server's processes has let go of its port."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return probe.bind(("127.0.0.1", port))
            except OSError:
                assert time.monotonic() < deadline, f"port {port} is still in use"
        time.sleep(0.1)


@dataclass
class Server:
    """An `mlflow server` that can be stopped, killed and started again on its port and store."""

    folder: Path
    store: str
    tables: Callable[[], Any]
    port: int = field(default_factory=free_port)
    _running: Any = None
    _group: int = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        kept = ["--artifacts-destination", str(self.folder / "kept"), "--workers", "1"]
        self._running = serving(
            self.folder, ["server", "--backend-store-uri", self.store, *kept], self.port
        )
        self._group = self._running.__enter__()

    def hang(self) -> None:
        """Stop every process of it: connections are accepted, nothing is answered."""
        os.killpg(self._group, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._group, signal.SIGCONT)

    def kill(self) -> None:
        if self._running:
            running, self._running = self._running, None
            running.__exit__(None, None, None)

    def runs(self) -> list[Run]:
        """Return its runs as its tables have them, oldest first."""
        with closing(self.tables()) as tables:
            return runs_in(tables)

    def run(self, execution: str) -> Run:
        """Return the one run of an execution."""
        (found,) = (run for run in self.runs() if run.tags.get("execution") == execution)
        return found

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(self.tables()) as tables:
            return cast("list[tuple[Any, ...]]", tables.execute(query, values).fetchall())


@contextmanager
def over_sqlite(folder: Path) -> Iterator[Server]:
    """Run an `mlflow server` whose store is a SQLite file in a folder."""
    database = folder / "server.db"
    server = Server(
        folder,
        f"sqlite:///{database}",
        lambda: sqlite3.connect(f"file:{database}?mode=ro", uri=True),
    )
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def over_postgresql(folder: Path) -> Iterator[Server]:
    """Run an `mlflow server` whose store is a PostgreSQL cluster of its own."""
    with postgresql() as (uri, tables):
        server = Server(folder, uri, tables)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def postgresql(port: int | None = None) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Run a cluster in a private folder, on a Unix socket there; yield its URI and a connector.

    port: where on 127.0.0.1 it listens too, and asks for a password; nowhere if None.
    """
    programs = _programs()
    needs(programs is not None, POSTGRESQL)
    assert programs is not None
    # Not below pytest's folder: PostgreSQL refuses to run as root, and its user cannot enter there.
    # And not deep: a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="tests-pg-", dir="/tmp"))
    as_user: list[str] = []
    owner = "tests"
    if os.geteuid() == 0:
        owner = "postgres"
        shutil.chown(folder, owner)
        as_user = ["runuser", "-u", owner, "--"]
    data, log = folder / "data", folder / "log"

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*as_user, str(programs / program), *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}"

    try:
        trust = ["--auth-local=trust", "--auth-host=scram-sha-256"]
        call("initdb", "-D", str(data), "-U", owner, *trust, "-E", "UTF8", "--no-locale")
        listen = f"'127.0.0.1' -c port={port}" if port else "''"
        options = f"-c listen_addresses={listen} -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "start", "-w", "-D", str(data), "-l", str(log), "-o", options)
        try:
            yield (
                f"postgresql://{owner}@/postgres?host={folder}&port={port or 5432}",
                lambda: _Connection(str(folder), owner, port or 5432),
            )
        finally:
            call("pg_ctl", "stop", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """Return the folder with initdb: Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve()] if on_path else []
    return found[-1].parent if found else None


class _Connection:
    """A connection to PostgreSQL that takes SQLite's queries."""

    def __init__(self, host: str, user: str, port: int) -> None:
        import psycopg

        # Each statement is its own transaction: CREATE DATABASE wants that.
        self._connection = psycopg.connect(
            host=host, user=user, port=port, dbname="postgres", autocommit=True
        )

    def execute(self, query: str, values: Any = ()) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(query.replace("?", "%s"), values)
        return cursor

    def close(self) -> None:
        self._connection.close()


class Proxy:
    """A proxy that passes requests on to a server, or misbehaves if told to.

    after: how many requests pass before `how` begins, counted from `turn`:
    - "500": each is answered 500 Internal Server Error.
    - "503 later": each is answered 503, come again in an hour.
    - "hang": none is answered.
    - "cut": the connection is closed instead of an answer.
    - "lost": the next is passed on, but its answer is not; after it, as "cut".
    - "blip": as "lost", but after it all is well again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.passed = 0
        self._how, self._after = "", 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.instead: Callable[[], None] = lambda: None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._handle(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listener.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def turn(self, how: str, *, after: int = 0, instead: Callable[[], None] | None = None) -> None:
        """Pass requests on ("") or misbehave after this many requests; then call `instead`."""
        with self._lock:
            self._how, self._after, self.passed = how, after, 0
            self.instead = instead or (lambda: None)

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown()
        self._listener.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            self.passed += 1
            late = self.passed - self._after if self._how else 0
            how, instead = self._how, self.instead
        if late == 1:
            instead()
        if late < 1 or how == "blip" or (how == "lost" and late == 1):
            answer = self._passed_on(request, body)
            if answer and late != 1:
                _answer(request, *answer)
                return
        elif how == "hang":
            self._ended.wait()
        elif how == "500":
            _answer(request, 500, b"no", {})
            return
        elif how == "503 later":
            _answer(request, 503, b"no", {"Retry-After": "3600"})
            return
        request.close_connection = True

    def _passed_on(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, bytes, dict[str, str]] | None:
        """Return status, body and headers, or None where the server does not answer."""
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self._server.port)) as way:
                headers = {k: v for k, v in request.headers.items() if k != "Connection"}
                way.request(request.command, request.path, body or None, headers)
                answer = way.getresponse()
                kept = {"Content-Type": answer.getheader("Content-Type") or "text/plain"}
                return answer.status, answer.read(), kept
        except (OSError, http.client.HTTPException):
            return None


def _answer(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
) -> None:
    try:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)
    except OSError:
        request.close_connection = True  # who asked is gone


@contextmanager
def deaf(port: int) -> Iterator[None]:
    """Listen and accept, and never answer."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        yield
