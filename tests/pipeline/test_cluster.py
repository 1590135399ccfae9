"""`generate` on real schedulers and workers: the same data as threads write, whatever fails."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samerun.core import files
from tests.conftest import Workspace
from tests.generate.cluster_processes import Cluster, running, until
from tests.pipeline.test_inputs import use

pytest.importorskip("distributed")

pytestmark = pytest.mark.usefixtures("warm")

ROWS = 11_000_000
"""Three shards, with a fifth of the rows held out."""

TABLE = "data/own/t.parquet"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers; nobody kills them."""
    with running(tmp_path_factory.mktemp("two")) as cluster:
        cluster.start_scheduler()
        cluster.start_worker()
        cluster.start_worker()
        yield cluster


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """Nothing is running yet."""
    (tmp_path / "cluster").mkdir()
    with running(tmp_path / "cluster") as cluster:
        yield cluster


def drawn(workspace: Workspace) -> Workspace:
    """Let a workspace draw three shards."""
    workspace.replace("params.yaml", "rows: 99", f"rows: {ROWS}")
    return workspace


def tabled(workspace: Workspace, bad_row: int | None = None) -> Workspace:
    """Give a workspace a table of three shards with row groups; one value may be no number."""
    x = np.arange(ROWS, dtype=np.float64)
    y = 3 * x + np.cos(x)
    if bad_row is not None:
        y[bad_row] = np.nan
    table = pa.table({"x": x, "y": y})
    pq.write_table(table, workspace.path / TABLE, row_group_size=100_000, use_dictionary=False)
    use(workspace, TABLE, "x", "y")
    return workspace


def content(workspace: Workspace) -> dict[str, str]:
    """Return every file and folder of data/, hidden ones too, and the hash of each file."""
    paths = sorted((workspace.path / "data").rglob("*"))
    return {str(path): files.sha256_of(path) if path.is_file() else "" for path in paths}


def by_threads(workspace: Workspace) -> dict[str, str]:
    """Return what data/ holds after threads wrote it."""
    workspace.knownline("generate")
    written = content(workspace)
    assert sum("/train/" in name for name in written) == 3
    return written


def generate(workspace: Workspace, address: str) -> None:
    """Write data/ anew on a cluster."""
    workspace.run("rm", "-r", "data/train", "data/holdout", "data/SHA256SUMS", "data/summary.json")
    workspace.knownline("generate", KNOWNLINE_SCHEDULER=address)


@contextmanager
def generating(workspace: Workspace, address: str) -> Iterator[subprocess.Popen[str]]:
    """Run `generate` on a cluster while the block runs."""
    process = subprocess.Popen(
        ("python", "src/knownline", "generate"),
        cwd=workspace.path,
        env=workspace.env(KNOWNLINE_SCHEDULER=address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_writing(pid: int) -> bool:
    """Return whether a process has a temporary file open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if ".parquet.tmp-" in str(link.readlink()):
                return True
    return False


def is_stopped(pid: int) -> bool:
    """Return whether a process is suspended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stopped_writer(workers: list[int]) -> int:
    """Stop one of the workers in the middle of a file, and return its id."""
    stopped: list[int] = []

    def stop() -> bool:
        for pid in workers:
            if is_writing(pid):
                os.kill(pid, signal.SIGSTOP)
                until(partial(is_stopped, pid))
                if is_writing(pid):
                    stopped.append(pid)
                    return True
                os.kill(pid, signal.SIGCONT)
        return False

    until(stop)
    return stopped[0]


@pytest.mark.parametrize("source", [drawn, tabled])
def test_two_workers_write_what_threads_write(
    source: Callable[[Workspace], Workspace], fresh: Workspace, two: Cluster
) -> None:
    expected = by_threads(source(fresh))
    generate(fresh, two.address)
    assert content(fresh) == expected


@pytest.mark.parametrize("more", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_one_worker_and_more_write_what_threads_write(
    more: int, fresh: Workspace, own: Cluster
) -> None:
    expected = by_threads(drawn(fresh))
    own.start_scheduler()
    for _ in range(more):
        own.start_worker()
        generate(fresh, own.address)
        assert content(fresh) == expected


def test_a_worker_killed_while_it_writes_leaves_no_trace(fresh: Workspace, own: Cluster) -> None:
    expected = by_threads(drawn(fresh))
    own.start_scheduler()
    workers = [own.start_worker(), own.start_worker()]
    with generating(fresh, own.address) as process:
        os.kill(stopped_writer(workers), signal.SIGKILL)
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert content(fresh) == expected


@pytest.mark.slow
def test_a_suspended_worker_that_wakes_afterwards_changes_nothing(
    fresh: Workspace, own: Cluster
) -> None:
    drawn(fresh).dvc("repro", "generate")
    expected = content(fresh)
    own.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="3s")
    workers = [own.start_worker(), own.start_worker()]
    with generating(fresh, own.address) as process:
        suspended = stopped_writer(workers)
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert content(fresh) == expected
    os.kill(suspended, signal.SIGCONT)
    until(lambda: not is_writing(suspended))
    assert content(fresh) == expected
    assert "up to date" in fresh.dvc("status", "generate").stdout


@pytest.mark.cold  # Python's end too, where Dask could complain
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_scheduler_and_ctrl_c_leave_data_as_it_was(
    end: signal.Signals, fresh: Workspace, own: Cluster
) -> None:
    fresh.knownline("generate")
    before = content(fresh)
    drawn(fresh)
    scheduler = own.start_scheduler()
    worker = own.start_worker()
    with generating(fresh, own.address) as process:
        stopped_writer([worker])
        os.kill(process.pid if end == signal.SIGINT else scheduler, end)
        errors = process.communicate()[1]
    if end == signal.SIGINT:
        assert (process.returncode, errors) == (130, "knownline: interrupted\n")
    else:
        assert process.returncode == 2
        assert errors.startswith(
            "knownline: error: KNOWNLINE_SCHEDULER must name a scheduler that keeps running (got "
        )
        assert errors.count("\n") == 1
    assert content(fresh) == before
    os.kill(worker, signal.SIGCONT)
    until(lambda: own.processes[1].poll() is not None or not is_writing(worker))
    assert content(fresh) == before


@pytest.mark.cold
def test_without_workers_any_more_data_stays_as_it_was(fresh: Workspace, own: Cluster) -> None:
    fresh.knownline("generate")
    before = content(fresh)
    drawn(fresh).replace("src/knownline/generate/cluster.py", "WORKERS_S = 60.0", "WORKERS_S = 1.0")
    own.start_scheduler()
    workers = [own.start_worker(fresh.path / "src") for _ in range(2)]
    with generating(fresh, own.address) as process:
        stopped_writer(workers)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        errors = process.communicate()[1]
    assert process.returncode == 2
    assert errors == (
        f"knownline: error: KNOWNLINE_SCHEDULER must name a scheduler with workers (got"
        f" {own.address}: none for 1 s; start dask worker {own.address})\n"
    )
    assert content(fresh) == before


@pytest.mark.cold
def test_a_bad_row_gives_the_line_that_threads_give(fresh: Workspace, two: Cluster) -> None:
    tabled(fresh, bad_row=ROWS - 5)
    before = content(fresh)
    alone = fresh.knownline("generate", ok=False)
    done = fresh.knownline("generate", ok=False, KNOWNLINE_SCHEDULER=two.address)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", alone.stderr)
    assert f"row {ROWS - 4}" in done.stderr.replace(",", "")
    assert done.stderr.count("\n") == 1
    assert content(fresh) == before


def test_a_csv_table_is_read_here_and_needs_no_scheduler(fresh: Workspace) -> None:
    (fresh.path / "data/own/t.csv").write_text("x,y\n1,2\n2,4\n3,5\n4,9\n")
    use(fresh, "data/own/t.csv", "x", "y")
    fresh.knownline("generate", KNOWNLINE_SCHEDULER="tcp://127.0.0.1:1")
    written = content(fresh)
    fresh.knownline("generate")
    assert content(fresh) == written


def test_dvc_repro_on_a_cluster_changes_no_hash(workspace: Workspace, two: Cluster) -> None:
    lock = (workspace.path / "dvc.lock").read_bytes()
    workspace.dvc("repro", "--force", "generate", KNOWNLINE_SCHEDULER=two.address)
    assert (workspace.path / "dvc.lock").read_bytes() == lock
    assert "up to date" in workspace.dvc("status", "generate").stdout


@pytest.mark.cold
def test_a_connection_that_fails_costs_one_line(fresh: Workspace, two: Cluster) -> None:
    """Dask refuses both before it connects; its client then used to hang when the process ended."""
    before = content(fresh)
    config = fresh.path.parent / "dask.yaml"
    config.write_text("{")
    for rule, env in {
        "must name a running Dask scheduler": {
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"
        },
        "must be unset unless Dask can be imported": {"DASK_CONFIG": str(config)},
    }.items():
        done = fresh.knownline("generate", ok=False, KNOWNLINE_SCHEDULER=two.address, **env)
        assert done.returncode == 2
        assert done.stderr.startswith(f"knownline: error: KNOWNLINE_SCHEDULER {rule} (got ")
        assert done.stderr.count("\n") == 1
        assert content(fresh) == before
