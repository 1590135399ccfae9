"""Work spread over processes and threads: every result once, every failure told, nobody left."""

import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from knownline.core.errors import WorkersError
from knownline.scan import pool
from samerun.core.errors import DamagedError

Result = TypeVar("Result")

SRC = str(Path(pool.__file__).parents[2])

forking = pytest.mark.skipif(not pool.FORKS, reason="this system's processes do not fork")

both = pytest.mark.parametrize("fork", [pytest.param(True, marks=forking), False])


def over(
    work: Callable[[int, int], Result], pieces: range, count: int, *, fork: bool, **more: Any
) -> Iterator[tuple[int, Result]]:
    """Spread work over processes, or over threads as where processes cannot fork."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "FORKS", fork)
        yield from pool.over(work, pieces, count, **more)


def done(
    work: Callable[[int], object], pieces: int, count: int, *, fork: bool
) -> dict[int, object]:
    found = list(over(alone(work), range(pieces), count, fork=fork))
    assert len(found) == pieces
    return dict(found)


def alone(work: Callable[[int], Result]) -> Callable[[int, int], Result]:
    """Return work that does not ask whose hand does it."""
    return lambda piece, hand: work(piece)


@both
@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("pieces", [0, 1, 7, 40])
def test_every_piece_is_done_once(fork: bool, count: int, pieces: int) -> None:
    assert done(lambda n: n * n, pieces, count, fork=fork) == {n: n * n for n in range(pieces)}


@forking
def test_each_of_two_processes_does_some_and_neither_is_this_one() -> None:
    def work(piece: int) -> int:
        time.sleep(0.01)
        return os.getpid()

    found = set(done(work, 20, 2, fork=True).values())
    assert len(found) == 2
    assert os.getpid() not in found


@forking
def test_a_slow_piece_holds_up_no_other(tmp_path: Path) -> None:
    def work(piece: int) -> int:
        if piece == 0:
            while not flag.exists():
                time.sleep(0.005)
        return piece

    flag = tmp_path / "go on"
    found = []
    for number, _ in over(alone(work), range(12), 2, fork=True):
        found.append(number)
        if len(found) == 10:  # all but it and the one that waits behind it
            flag.touch()
    assert sorted(found) == list(range(12))
    assert 0 in found[10:]


@both
@pytest.mark.parametrize("count", [1, 2, 3])
def test_only_the_pieces_whose_turn_it_is_are_done_and_each_is_asked_for_late(
    fork: bool, count: int
) -> None:
    asked: list[int] = []

    def turns() -> Iterator[int]:
        for number in range(1, 20, 3):
            asked.append(number)
            yield number

    found = {}
    for number, value in over(
        lambda piece, hand: -piece, range(20), count, fork=fork, turns=turns()
    ):
        found[number] = value
        assert len(asked) <= len(found) + pool.AHEAD * count
    assert found == {number: -number for number in range(1, 20, 3)}


@forking
@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_of_few_pieces_each_hand_does_about_as_many(pieces: int) -> None:
    def work(piece: int, hand: int) -> int:
        time.sleep(0.1)
        return hand

    found = [hand for _, hand in over(work, range(pieces), 2, fork=True)]
    assert abs(found.count(0) - found.count(1)) <= 1


@both
def test_each_hand_has_a_number_of_its_own(fork: bool) -> None:
    def work(piece: int, hand: int) -> tuple[int, int, int]:
        time.sleep(0.01)
        return hand, os.getpid(), threading.get_ident()

    found = {value for _, value in over(work, range(20), 3, fork=fork)}
    assert {hand for hand, *_ in found} == {0, 1, 2}
    if fork:
        assert len(found) == 3


@forking
def test_what_a_hand_leaves_in_shared_memory_lies_there_until_it_is_looked_at() -> None:
    shared = mmap.mmap(-1, 3 * pool.AHEAD)
    turn: dict[int, int] = {}

    def work(piece: int, hand: int) -> int:
        place = pool.AHEAD * hand + turn.get(hand, 0) % pool.AHEAD
        turn[hand] = turn.get(hand, 0) + 1
        shared[place] = piece
        return place

    for piece, place in over(work, range(200), 3, fork=True):
        time.sleep(0.001)
        assert shared[place] == piece


@forking
def test_large_results_come_through() -> None:
    found = done(lambda n: bytes([n]) * 3_000_000, 6, 2, fork=True)
    assert found == {n: bytes([n]) * 3_000_000 for n in range(6)}


@both
def test_what_the_work_raises_is_raised_here(fork: bool) -> None:
    def work(piece: int) -> int:
        if piece == 3:
            raise DamagedError("data/train/part-00003.parquet must be whole")
        return piece

    with pytest.raises(DamagedError, match=r"^data/train/part-00003\.parquet must be whole$"):
        done(work, 9, 2, fork=fork)
    assert not multiprocessing.active_children()


@forking
def test_a_mistake_of_ours_comes_with_where_it_happened() -> None:
    def misled(piece: int) -> int:
        nothing: dict[int, int] = {}
        return nothing[piece]

    with pytest.raises(KeyError) as caught:
        done(misled, 3, 2, fork=True)
    assert "in misled" in caught.value.__notes__[0]


@forking
@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_is_one_clear_line(ended: signal.Signals) -> None:
    def work(piece: int) -> int:
        if piece == 5:
            os.kill(os.getpid(), ended)
            time.sleep(60)
        return piece

    with pytest.raises(WorkersError, match=rf"must come to its end.* \(got .* signal {ended:d}\)"):
        done(work, 20, 3, fork=True)
    assert not multiprocessing.active_children()


@both
def test_who_stops_listening_leaves_nobody_behind(fork: bool) -> None:
    before = threading.active_count()
    found = over(lambda n, hand: time.sleep(0.01), range(100), 3, fork=fork)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert threading.active_count() == before


@forking
@pytest.mark.parametrize("room", [0, 1, 2])
def test_where_no_more_can_be_forked_those_that_are_there_do_it(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fork
    forked: list[int] = []

    def fork() -> int:
        if len(forked) == room:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        forked.append(1)
        return real()

    monkeypatch.setattr(os, "fork", fork)
    assert done(lambda n: n * n, 20, 3, fork=True) == {n: n * n for n in range(20)}
    assert len(forked) == room


@forking
def test_want_of_memory_is_one_clear_line() -> None:
    def work(piece: int) -> int:
        raise MemoryError

    with pytest.raises(WorkersError, match=r"OMP_NUM_THREADS=1 .* \(got one without memory\)$"):
        done(work, 4, 2, fork=True)


SIGNALLED = """
import os, signal, sys
sys.path.insert(0, {src!r})
from knownline.scan import pool
from samerun.core import interrupts
signal.signal(signal.SIGTERM, interrupts.interrupt)
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), {number}))
try:
    print(sorted(pool.over(lambda n, hand: n, range(9), 3))[-1])
except Exception as error:
    print(error)
"""


@forking
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "(8, 8)"), (signal.SIGTERM, "signal 15)")]
)
def test_a_signal_as_a_process_is_forked_is_its_own(number: signal.Signals, said: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", SIGNALLED.format(src=SRC, number=int(number))],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert found.stdout.rstrip().endswith(said)
    assert found.stderr == ""


ENDLESS = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts the tests may ignore it
sys.path.insert(0, {src!r})
from knownline.scan import pool
def work(piece, hand):
    time.sleep(0.05)
    return bytes(200_000)
for _ in pool.over(work, range(10**6), 3):
    print("going", flush=True)
    time.sleep({pause})
"""


@forking
@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_a_parent_that_is_killed_leaves_no_process_behind(pause: float) -> None:
    parent = started(pause)
    its = children(parent.pid)
    assert len(its) == 3
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(alive(pid) for pid in its) and time.monotonic() < until:
        time.sleep(0.05)
    left = [pid for pid in its if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@forking
def test_ctrl_c_for_all_of_them_is_told_by_one() -> None:
    parent = started(0.0)
    os.killpg(parent.pid, signal.SIGINT)
    _, said = parent.communicate(timeout=20)
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")


@forking
def test_ctrl_c_is_nothing_to_those_that_are_forked() -> None:
    parent = started(0.0)
    its = children(parent.pid)
    for pid in its:
        os.kill(pid, signal.SIGINT)
    assert parent.stdout
    try:
        assert [parent.stdout.readline() for _ in range(20)] == ["going\n"] * 20
        assert children(parent.pid) == its
    finally:
        parent.kill()
        parent.communicate()


def started(pause: float) -> "subprocess.Popen[str]":
    """Start a parent in a group of its own, and wait until its processes work."""
    parent = subprocess.Popen(
        [sys.executable, "-c", ENDLESS.format(src=SRC, pause=pause)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout
    assert parent.stdout.readline() == "going\n"
    return parent


def children(of: int) -> list[int]:
    """Return the processes that a process has forked and that are not gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == of and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


# Beside


BESIDE = """
import sys, threading, time
sys.path.insert(0, {src!r})
from knownline.scan import pool
def work():
    print("not to be heard", flush=True)
    print("nor this", file=sys.stderr, flush=True)
    {then}
{thread}
with pool.beside(work):
    print("going", flush=True)
    {block}
"""


@forking
def test_what_is_beside_is_done_when_the_block_ends(tmp_path: Path) -> None:
    def work() -> None:
        time.sleep(0.2)
        (tmp_path / "done").write_text(str(os.getpid()))

    with pool.beside(work):
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done").read_text() not in ("", str(os.getpid()))
    assert not multiprocessing.active_children()


@forking
@pytest.mark.parametrize("thread", ["pass", "threading.Thread.start = None"])
def test_what_fails_beside_is_silent(thread: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BESIDE.format(src=SRC, thread=thread, then="1 / 0", block="pass")],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("going\n", "")


@forking
def test_a_block_that_fails_ends_what_is_beside() -> None:
    with pytest.raises(DamagedError), pool.beside(lambda: time.sleep(1000)):
        raise DamagedError("x")
    assert not multiprocessing.active_children()


@forking
def test_what_is_beside_may_fork_itself(tmp_path: Path) -> None:
    def work() -> None:
        found = dict(pool.over(lambda n, hand: n * n, range(9), 3))
        (tmp_path / "done").write_text(str(sum(found.values())))

    with pool.beside(work):
        pass
    assert (tmp_path / "done").read_text() == str(sum(n * n for n in range(9)))


@pytest.mark.parametrize("forks", [pytest.param(True, marks=forking), False])
def test_where_nothing_can_be_forked_nothing_is_done_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(pool, "FORKS", forks)
    monkeypatch.setattr(os, "fork", fork)
    with pool.beside(lambda: (tmp_path / "done").touch()):
        pass
    assert not (tmp_path / "done").exists()


@forking
@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_a_parent_is_the_end_of_what_is_beside(ended: signal.Signals) -> None:
    endless = "while True: time.sleep(0.01)"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    with subprocess.Popen(
        [sys.executable, "-c", BESIDE.format(src=SRC, thread="pass", then=endless, block=endless)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout
        assert parent.stdout.readline() == "going\n"
        (its,) = children(parent.pid)
        os.kill(parent.pid, ended) if ended == signal.SIGKILL else os.killpg(parent.pid, ended)
        assert parent.stdout.read() == ""
    until = time.monotonic() + 20
    while alive(its) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(its)
