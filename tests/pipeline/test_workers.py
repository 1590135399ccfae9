"""torchrun's processes read the data together: the same bits, and never half a result."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import bits
from tests.conftest import Workspace

Stop = Callable[[], bool]


def readers(workspace: Workspace) -> list[int]:
    """Return the processes that read this workspace's data for torchrun."""
    return workspace.processes(
        lambda words: b"--pass-only" in words and b"torch.distributed.run" not in words
    )


def agents(workspace: Workspace) -> list[int]:
    """Return the processes of torchrun itself."""
    return workspace.processes(lambda words: b"torch.distributed.run" in words)


def start(workspace: Workspace, workers: int = 2) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "src/knownline", "train"],
        cwd=workspace.path,
        env=workspace.env(KNOWNLINE_WORKERS=str(workers)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(what: Callable[[], list[int]], process: subprocess.Popen[str]) -> list[int]:
    while process.poll() is None:
        if numbers := what():
            return numbers
        time.sleep(0.01)
    pytest.fail(f"it ended before: {process.communicate()}")


@pytest.fixture
def drawn(fresh: Workspace) -> Workspace:
    """A checkout with data and nothing else."""
    bits.configure(fresh)
    fresh.knownline("generate")
    return fresh


@pytest.fixture
def alone(drawn: Workspace) -> str:
    """The hash of what one process makes of these data; nothing of it is left."""
    drawn.knownline("train")
    digest = bits.of(drawn)
    clear(drawn)
    return digest


def clear(workspace: Workspace) -> None:
    for pattern in ("mlruns/moments/*", "mlruns/moments/stamps/*", "models/line.json"):
        for path in workspace.path.glob(pattern):
            if path.is_file():
                path.unlink()


@pytest.mark.slow
@pytest.mark.long
def test_workers_threads_and_simd_make_one_hash(fresh: Workspace) -> None:
    bits.configure(fresh)
    widths = bits.simd()
    matrix = [(1, 2, "widest"), (4, 1, "none")]
    digests = {
        (workers, threads, width): bits.made(
            fresh, workers=workers, threads=threads, **widths.get(width, {})
        )
        for workers, threads, width in matrix
    }
    assert len(set(digests.values())) == 1, digests


@pytest.mark.slow
def test_dvc_repro_with_two_workers_changes_nothing_in_the_lock(
    built: Workspace, fresh: Workspace
) -> None:
    fresh.dvc("repro", KNOWNLINE_WORKERS="2")
    assert fresh.outputs() == built.outputs()


@pytest.mark.slow
def test_a_killed_worker_is_started_anew_and_the_result_is_the_same(
    drawn: Workspace, alone: str
) -> None:
    process = start(drawn)
    first = wait_for(lambda: readers(drawn), process)
    os.kill(first[0], signal.SIGKILL)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert bits.of(drawn) == alone


LATE = """

_gathered = ProcessGroup.gathered


def _die(self, values):
    if self.rank == {rank} and int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < {times}:
        os.kill(os.getpid(), 9)
    return _gathered(self, values)


if under_torchrun():
    ProcessGroup.gathered = _die
"""


def die_late(workspace: Workspace, rank: int, times: int = 1) -> None:
    """Make a worker kill itself where it would share its results, in so many attempts."""
    code = workspace.path / "src/knownline/scan/torchrun.py"
    code.write_text(code.read_text() + LATE.format(rank=rank, times=times))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_killed_when_all_is_read_is_started_anew_too(
    drawn: Workspace, rank: int, tmp_path: Path
) -> None:
    """It has joined the others: those that are started anew must not look for the dead."""
    die_late(drawn, rank)
    drawn.knownline("train")
    alone = bits.of(drawn)
    clear(drawn)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = drawn.knownline("train", KNOWNLINE_WORKERS="2", TMPDIR=str(scratch))
    assert done.stderr == ""
    assert bits.of(drawn) == alone
    assert not list(scratch.iterdir())


@pytest.mark.slow
def test_a_worker_that_always_dies_costs_one_line_and_leaves_no_result(drawn: Workspace) -> None:
    die_late(drawn, rank=1, times=9)
    done = drawn.knownline("train", ok=False, KNOWNLINE_WORKERS="2")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    rule = "knownline: error: KNOWNLINE_WORKERS must be a number of processes"
    assert done.stderr.startswith(rule)
    assert "(got 2: after 3 restarts one ended with exit status -9)" in done.stderr
    assert not (drawn.path / "models/line.json").exists()
    assert not list((drawn.path / "mlruns/moments").glob("?" * 64))


@pytest.mark.slow
def test_torchrun_that_is_killed_itself_costs_one_line(drawn: Workspace) -> None:
    process = start(drawn)
    agent = wait_for(lambda: agents(drawn), process)
    wait_for(lambda: readers(drawn), process)
    os.kill(agent[0], signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.count("\n") == 1, errors
    assert errors.startswith("knownline: error: KNOWNLINE_WORKERS must be")
    assert not (drawn.path / "models/line.json").exists()
    for number in readers(drawn):
        os.kill(number, signal.SIGKILL)


@pytest.mark.slow
def test_an_interrupted_pass_leaves_no_process(drawn: Workspace) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    process = start(drawn)
    wait_for(lambda: readers(drawn), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "knownline: interrupted\n")
    assert readers(drawn) == agents(drawn) == []
    assert not (drawn.path / "models/line.json").exists()


def test_the_stage_command_works_under_torchrun(drawn: Workspace, alone: str) -> None:
    run = ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    run += ["--nnodes=1", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    done = drawn.run(sys.executable, *run, "src/knownline", "train", GLOO_SOCKET_IFNAME="lo")
    assert done.stdout.count("train: w = ") == 1
    assert bits.of(drawn) == alone


def test_a_wrong_number_of_workers_is_refused_before_anything_is_written(
    workspace: Workspace,
) -> None:
    before = workspace.outputs()
    for stage in ("generate", "train"):
        done = workspace.knownline(stage, ok=False, KNOWNLINE_WORKERS="two")
        assert done.returncode == 2
        assert done.stderr == (
            "knownline: error: KNOWNLINE_WORKERS must be a whole number from 1 to 1024 (got two)\n"
        )
    assert workspace.outputs() == before


@contextmanager
def two_hosts() -> Iterator[list[tuple[list[str], str, str]]]:
    """Yield two network namespaces joined by a cable: how to run there, address, interface."""
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    tag = f"kl{os.getpid()}"
    names = [f"{tag}a", f"{tag}b"]
    if ip is None or os.geteuid() or subprocess.run([ip, "netns", "add", names[0]]).returncode:
        pytest.skip("network namespaces are for root, on Linux with iproute2")

    def call(*arguments: str) -> None:
        subprocess.run([ip, *arguments], check=True)

    try:
        call("netns", "add", names[1])
        call("link", "add", names[0], "type", "veth", "peer", "name", names[1])
        hosts = []
        for number, name in enumerate(names, 1):
            address = f"10.213.77.{number}"
            call("link", "set", name, "netns", name)
            inside = ("-n", name)
            call(*inside, "address", "add", f"{address}/24", "dev", name)
            call(*inside, "link", "set", name, "up")
            call(*inside, "link", "set", "lo", "up")
            hosts.append(([ip, "netns", "exec", name], address, name))
        yield hosts
    finally:
        for name in names:
            subprocess.run([ip, "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
def test_two_hosts_with_one_folder_make_the_bits_of_one_process_though_a_worker_dies(
    drawn: Workspace,
) -> None:
    """Hosts as the network sees them: each has an address and a loopback of its own."""
    die_late(drawn, rank=3)
    drawn.knownline("train")
    alone = bits.of(drawn)
    clear(drawn)
    with two_hosts() as hosts:
        first = hosts[0][1]
        started = []
        for inside, address, interface in hosts:
            run = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
            run += ["--rdzv-backend=c10d", f"--rdzv-endpoint={first}:29513", "--rdzv-id=knownline"]
            # Both have the machine's name: torchrun cannot tell by it whose address it is.
            run += [f"--rdzv-conf=is_host={int(address == first)}", f"--local-addr={address}"]
            run += ["--max-restarts=3", "src/knownline", "train"]
            started.append(
                subprocess.Popen(
                    [*inside, sys.executable, *run],
                    cwd=drawn.path,
                    env=drawn.env(
                        GLOO_SOCKET_IFNAME=interface, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1"
                    ),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(outputs)
    assert "".join(outputs).count("train: w = ") == 1
    assert bits.of(drawn) == alone
