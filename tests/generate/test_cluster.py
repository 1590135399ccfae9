"""Real schedulers and workers on this machine: what they compute, and how each failure ends."""

import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.core.errors import ClusterError, TableError
from knownline.generate import cluster, shards
from knownline.generate.shards import Job
from knownline.generate.source import Source
from knownline.params import Params
from support.workspace import inherited, needs
from tests.conftest import ROOT
from tests.generate import cluster_tasks
from tests.generate.cluster_processes import Cluster, meanwhile, running, until
from tests.generate.cluster_tasks import Task

pytest.importorskip("distributed")


@pytest.fixture
def own(tmp_path: Path, shared: Path) -> Iterator[Cluster]:
    """Nothing is running yet."""
    with running(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler that cannot import our package, and two workers; nobody kills them."""
    folder = tmp_path_factory.mktemp("cluster")
    with running(folder) as cluster:
        cluster.start_scheduler(customized(folder / "without", WITHOUT + WITHOUT_NUMPY))
        cluster.start_worker()
        cluster.start_worker()
        yield cluster


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder for workers' files."""
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of seconds."""
    for name, value in (("CONNECT_S", 2), ("ANSWER_S", 3), ("WORKERS_S", 2), ("PROBE_S", 5)):
        monkeypatch.setattr(cluster, name, value)
    monkeypatch.setattr(cluster, "POLL_S", 0.2)


def customized(folder: Path, code: str) -> Path:
    """Return a folder in which Python finds code that it executes when it starts."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return folder


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{name}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""
WITHOUT = BLOCK.format(name="knownline")
WITHOUT_NUMPY = BLOCK.format(name="numpy")
COMMAND = "from tests.generate import cluster_tasks; cluster_tasks.main()"
OTHER_NUMPY = "import numpy\nnumpy.__version__ = '1.0.0'\n"
OTHER_PYTHON = "import platform\nplatform.python_version = lambda: '3.99.1'\n"


def tasks(count: int, folder: Path) -> list[Task]:
    return [Task(number, folder) for number in range(count)]


def starts(folder: Path) -> dict[int, list[int]]:
    """Return, by the task's number, the processes that started it."""
    found: dict[int, list[int]] = {}
    for path in folder.glob("started-*"):
        _, number, pid = path.name.split("-")
        found.setdefault(int(number), []).append(int(pid))
    return found


def refusal(address: str, folder: Path) -> str:
    """Return the one line with which a cluster is refused before any work."""
    with pytest.raises(ClusterError) as refused, cluster.connected(address, folder):
        pass
    assert list(folder.iterdir()) == []
    return str(refused.value)


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:8786", "tls://node-1:1", "tcp://[::1]:65535"])
def test_an_address_is_taken_as_it_is(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster.VARIABLE, value)
    assert cluster.address() == value


def job_of(rows: int, folder: Path) -> Job:
    """Return the job of a table with a row group for each row."""
    (folder / "data/own").mkdir(parents=True)
    table = pa.table({"x": np.arange(float(rows)), "y": np.arange(float(rows))})
    pq.write_table(table, folder / "data/own/t.parquet", row_group_size=1)
    params = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("table: null", "table: data/own/t.parquet"))
    return Job(Source.of(Params.read()), 0.2, 1, folder, folder)


def test_a_task_is_small_however_many_row_groups_a_table_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (task,) = shards.tasks(job_of(5000, tmp_path))
    assert len(pickle.dumps(task)) < 3000
    assert shards.write(task).train is not None


def test_a_worker_that_sees_another_table_under_that_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a link to a disk of its own."""
    monkeypatch.chdir(tmp_path)
    (task,) = shards.tasks(job_of(50, tmp_path))
    os.utime("data/own/t.parquet", (1, 1))
    with pytest.raises(TableError, match=r"^data/own/t\.parquet must be the same file for every"):
        shards.write(task)


@pytest.mark.parametrize("value", [None, ""])
def test_no_address_means_no_cluster(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cluster.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(cluster.VARIABLE, value)
    assert cluster.address() is None


@pytest.mark.parametrize(
    "value",
    [
        *("host", "host:8786", "tcp://host", "tcp://host:", "tcp://:8786", "tcp://host:0"),
        *("tcp://host:65536", "tcp://host:8786/", "http://host:8786", "tcp://::1:8786"),
        *(" tcp://host:8786", "tcp://host:8786\n", "inproc://1/2/3", "tcp://host:٨"),
    ],
)
def test_another_form_of_address_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster.VARIABLE, value)
    with pytest.raises(ClusterError, match="must be tcp://HOST:PORT or tls://HOST:PORT"):
        cluster.address()


def test_results_come_in_order_from_both_workers_and_the_folder_is_left_empty(
    two: Cluster, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "AHEAD", 7)
    with cluster.connected(two.address, shared) as mapper:
        results = list(mapper(cluster_tasks.powers, tasks(20, shared)))
        assert list(mapper(cluster_tasks.powers, [])) == []
    assert [result.number for result in results] == list(range(20))
    assert all((r.powers == np.array([1, r.number, r.number**2])).all() for r in results)
    assert {result.pid for result in results} == {process.pid for process in two.processes[1:]}
    assert list(shared.iterdir()) == []


def test_the_first_tasks_error_arrives_after_the_results_before_it(
    two: Cluster, shared: Path
) -> None:
    results: list[int] = []

    def work() -> None:
        with cluster.connected(two.address, shared) as mapper:
            results.extend(mapper(cluster_tasks.refuse, tasks(6, shared)))

    with pytest.raises(TableError, match=r"^data/own/t\.csv must have no line 3$"):
        work()
    assert results == [0, 1, 2]
    assert list(shared.iterdir()) == []


def test_an_error_that_cannot_be_pickled_arrives_with_its_traceback(
    two: Cluster, shared: Path
) -> None:
    with (
        pytest.raises(RuntimeError, match=r'raise OddError\("one", "two"\)'),
        cluster.connected(two.address, shared) as mapper,
    ):
        list(mapper(cluster_tasks.fail_oddly, tasks(1, shared)))


def test_a_worker_that_cannot_write_names_itself(two: Cluster, shared: Path) -> None:
    line = (
        rf"that can read and write {shared} \(got tcp://127\.0\.0\.1:[0-9]+: OSError \[Errno 28\]"
    )
    with (
        pytest.raises(ClusterError, match=line),
        cluster.connected(two.address, shared) as mapper,
    ):
        list(mapper(cluster_tasks.fill_disk, tasks(1, shared)))


def test_after_ctrl_c_pending_tasks_never_start(two: Cluster, shared: Path) -> None:
    def interrupt() -> None:
        until(lambda: len(starts(shared)) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    def work() -> None:
        with cluster.connected(two.address, shared) as mapper:
            list(mapper(cluster_tasks.wait_for_go, tasks(6, shared)))

    with meanwhile(interrupt, two), pytest.raises(KeyboardInterrupt):
        work()
    (shared / "go").touch()  # for the two that are running
    with cluster.connected(two.address, shared) as mapper:
        list(mapper(cluster_tasks.powers, tasks(4, shared)))
    assert len(starts(shared)) == 2


def test_a_closed_port_is_refused(shared: Path, short: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert f"must name a running Dask scheduler (got tcp://127.0.0.1:{port}: " in refusal(
        f"tcp://127.0.0.1:{port}", shared
    )


def test_a_server_that_never_answers_is_refused(shared: Path, short: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "no answer in 2 s)" in refusal(f"tcp://127.0.0.1:{port}", shared)


def test_without_dask_the_line_says_what_to_install(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'knownline[cluster]'" in refusal("tcp://127.0.0.1:1", shared)


def test_unfit_workers_are_refused_by_name(own: Cluster, shared: Path, short: None) -> None:
    own.start_scheduler()
    assert "with workers (got tcp://127.0.0.1:" in refusal(own.address, shared)
    copy = own.folder / "copy"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "knownline/core/errors.py").open("a") as file:
        file.write("#\n")
    workers = {
        "the same code of knownline, digest [0-9a-f]{12} \\(got none, No module named 'knownline": (
            customized(own.folder / "a", WITHOUT)
        ),
        "the same code of knownline, digest [0-9a-f]{12} \\(got [0-9a-f]{12} at": copy,
        "numpy [0-9.]+ \\(got 1.0.0 at": customized(own.folder / "b", OTHER_NUMPY),
        "Python 3.[0-9]+ \\(got 3.99 at": customized(own.folder / "c", OTHER_PYTHON),
    }
    for text, path in workers.items():
        own.start_worker(path)
        line = refusal(own.address, shared)
        assert re.search(text, line), line
        assert re.search("at tcp://127.0.0.1:[0-9]+: ", line), line
        own.stop_last()


def test_a_worker_that_imported_older_files_is_refused_until_it_is_restarted(
    own: Cluster, shared: Path
) -> None:
    copy = own.folder / "copy"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    old = (copy / "knownline/generate/draw.py").read_text()
    (copy / "knownline/generate/draw.py").write_text(f"{old}#\n")
    own.start_scheduler()
    own.start_worker(copy)
    assert "the same code" in refusal(own.address, shared)
    (copy / "knownline/generate/draw.py").write_text(old)
    assert "the same code" in refusal(own.address, shared)
    own.stop_last()
    own.start_worker(copy)
    with cluster.connected(own.address, shared):
        pass


def test_a_worker_with_another_folder_of_that_name_is_refused(own: Cluster, shared: Path) -> None:
    apart = ("unshare", "--map-root-user", "--mount")
    probe = subprocess.run([*apart, "true"], capture_output=True, check=False)
    needs(probe.returncode == 0, "this system lets nobody mount: sysctl, unprivileged namespaces")
    mount = f'mount -t tmpfs none {shared} && exec "$@"'
    own.start_scheduler()
    own.start_worker(before=(*apart, "sh", "-c", mount, "sh"))
    assert f"must name workers that share {shared} (got tcp://" in refusal(own.address, shared)


def test_a_worker_that_cannot_write_in_the_folder_is_refused(own: Cluster, shared: Path) -> None:
    apart = ("unshare", "--map-root-user", "--mount")
    probe = subprocess.run([*apart, "true"], capture_output=True, check=False)
    needs(probe.returncode == 0, "this system lets nobody mount: sysctl, unprivileged namespaces")
    mount = f'mount --bind {shared} {shared} && mount -o remount,bind,ro {shared} && exec "$@"'
    own.start_scheduler()
    own.start_worker(before=(*apart, "sh", "-c", mount, "sh"))
    assert "Read-only file system" in refusal(own.address, shared)


def test_a_worker_that_joins_later_is_checked_by_its_first_task(
    own: Cluster, shared: Path, short: None
) -> None:
    own.start_scheduler()
    own.start_worker()
    with cluster.connected(own.address, shared) as mapper:
        assert list(mapper(cluster_tasks.powers, tasks(1, shared)))
        own.stop_last()
        own.start_worker(customized(own.folder / "other", OTHER_NUMPY))
        with pytest.raises(ClusterError, match=r"numpy [0-9.]+ \(got 1\.0\.0 at tcp://127"):
            list(mapper(cluster_tasks.powers, tasks(1, shared)))


def test_a_killed_workers_task_runs_again_on_another(own: Cluster, shared: Path) -> None:
    own.start_scheduler()
    own.start_worker()
    own.start_worker()

    def kill() -> None:
        until(lambda: len(starts(shared)) == 2)
        (killed,) = starts(shared)[0]
        os.kill(killed, signal.SIGKILL)
        (shared / "go").touch()

    with meanwhile(kill, own), cluster.connected(own.address, shared) as mapper:
        assert list(mapper(cluster_tasks.wait_for_go, tasks(6, shared))) == list(range(6))
    assert len(starts(shared)[0]) == 2


def test_a_task_that_kills_its_workers_ends_the_work_and_is_named(
    own: Cluster, shared: Path
) -> None:
    own.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    own.start_worker()
    own.start_worker()
    with (
        pytest.raises(
            ClusterError, match=r"shard 1: killed 1 workers, probably for lack of memory"
        ),
        cluster.connected(own.address, shared) as mapper,
    ):
        list(mapper(cluster_tasks.kill_itself, tasks(2, shared)))


def test_a_worker_that_comes_in_time_goes_on_and_none_ends_the_work(
    own: Cluster, shared: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKERS_S", 20)
    own.start_scheduler()
    own.start_worker()

    def replace() -> None:
        until(lambda: starts(shared))
        own.stop_last()
        time.sleep(1)  # some polls see no worker
        own.start_worker()
        until(lambda: len(starts(shared).get(0, [])) == 2)
        monkeypatch.setattr(cluster, "WORKERS_S", 1)
        own.stop_last()

    def work() -> None:
        with cluster.connected(own.address, shared) as mapper:
            list(mapper(cluster_tasks.wait_for_go, tasks(1, shared)))

    expected = pytest.raises(ClusterError, match="none for 1 s; start dask worker tcp://")
    with meanwhile(replace, own), expected:
        work()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP, signal.SIGINT])
def test_a_scheduler_that_ends_or_stops_and_ctrl_c_leave_one_line(
    own: Cluster, shared: Path, end: signal.Signals
) -> None:
    scheduler = own.start_scheduler()
    own.start_worker()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, own.address, str(shared)],
        cwd=ROOT,
        env={**inherited(), "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: starts(shared))
        os.kill(process.pid if end == signal.SIGINT else scheduler, end)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    reason = "no answer in 2 s" if end == signal.SIGSTOP else "the connection broke"
    line = f"KNOWNLINE_SCHEDULER must name a scheduler that keeps running (got {own.address}: "
    if end == signal.SIGINT:
        assert (process.returncode, errors) == (130, "knownline: interrupted\n")
    else:
        assert process.returncode == 2
        assert errors.startswith(f"knownline: error: {line}{reason}")
        assert errors.count("\n") == 1
    assert output == ""
    assert [path.name for path in shared.iterdir() if path.name.startswith(".")] == []


def test_a_stopped_workers_task_runs_again_when_dask_gives_the_worker_up(
    own: Cluster, shared: Path, short: None
) -> None:
    own.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="3s")
    own.start_worker()
    own.start_worker()

    def stop() -> None:
        until(lambda: len(starts(shared)) == 2)
        os.kill(starts(shared)[0][0], signal.SIGSTOP)
        (shared / "go").touch()

    with meanwhile(stop, own), cluster.connected(own.address, shared) as mapper:
        assert list(mapper(cluster_tasks.wait_for_go, tasks(4, shared))) == list(range(4))
    assert len(starts(shared)[0]) == 2


def test_a_worker_that_does_not_answer_is_refused_by_name(
    own: Cluster, shared: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PROBE_S", 1)
    own.start_scheduler()
    os.kill(own.start_worker(), signal.SIGSTOP)
    assert "must name workers that answer in 1 s (got tcp://127.0.0.1:" in refusal(
        own.address, shared
    )
