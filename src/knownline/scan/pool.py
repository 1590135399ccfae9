"""One function over many pieces of work, on all cores: in forked processes, or in threads.

And one piece of work beside what this process does. Threads of one interpreter wait for its lock
between two steps of numpy; processes do not wait for each other. A forked one needs no start: what
is imported is there. Knows nothing of what the work is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from knownline.core.errors import WorkersError
from samerun.core.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

Piece = TypeVar("Piece")
Result = TypeVar("Result")

AHEAD = 2
"""Pieces that a process is given, of many, before it has done one: it never waits for the next."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_RULE = (
    "every process that reads the data must come to its end; where memory is short,"
    " OMP_NUM_THREADS=1 starts no second one"
)

FORKS = sys.platform == "linux"
"""Whether a process can be forked that goes on: on macOS the system's own libraries forbid it."""


def over(
    work: Callable[[Piece, int], Result],
    pieces: Sequence[Piece],
    count: int,
    *,
    turns: Iterable[int] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield the number of each piece and what `work` returns of it, as they get done.

    work: called with a piece and the number of the hand that does it, 0 to count - 1. In forked
    processes a hand begins with the piece after its next one when who iterates comes back for more,
    so what it leaves in memory that is shared may lie there until then.
    count: how many hands work at once, in forked processes where this system has them: what `work`
    returns or raises is pickled there.
    turns: the numbers of the pieces to do, each asked for when a hand is free; all where not given.

    Raises: what `work` raises, and WorkersError where a process is ended from without.
    """
    count = min(count, len(pieces))
    waiting = iter(range(len(pieces)) if turns is None else turns)
    if count < 2:
        for number in waiting:
            yield number, work(pieces[number], 0)
    elif FORKS:
        yield from _in_processes(work, pieces, count, waiting)
    else:
        yield from _in_threads(work, pieces, count, waiting)


def _in_threads(
    work: Callable[[Piece, int], Result],
    pieces: Sequence[Piece],
    count: int,
    waiting: Iterator[int],
) -> Iterator[tuple[int, Result]]:
    hands: SimpleQueue[int] = SimpleQueue()
    for hand in range(count):
        hands.put(hand)

    def one(number: int) -> Result:
        hand = hands.get()
        try:
            return work(pieces[number], hand)
        finally:
            hands.put(hand)

    given: dict[Future[Result], int] = {}
    with ThreadPoolExecutor(count) as pool:
        try:
            while True:
                for number in islice(waiting, AHEAD * count - len(given)):
                    given[pool.submit(one, number)] = number
                if not given:
                    return
                for done in wait(given, return_when=FIRST_COMPLETED).done:
                    yield given.pop(done), done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_processes(
    work: Callable[[Piece, int], Result],
    pieces: Sequence[Piece],
    count: int,
    waiting: Iterator[int],
) -> Iterator[tuple[int, Result]]:
    from multiprocessing import connection, get_context

    fork = get_context("fork")
    team: dict[Any, ForkProcess] = {}
    under_way = 0
    # Of few pieces nobody is given a second one before the others have one.
    ahead = min(AHEAD, max(1, len(pieces) // (AHEAD * count)))

    def give(to: Connection) -> None:
        """Tell a process which piece is next; where it is gone, what it says next will tell."""
        nonlocal under_way
        for number in islice(waiting, 1):
            under_way += 1
            with suppress(OSError):
                to.send(number)

    try:
        for hand in range(count):
            ours, its = fork.Pipe()
            process = fork.Process(
                target=_serve,
                args=(work, pieces, hand, its, [*team, ours]),
                daemon=True,
            )
            try:
                with _forking():
                    process.start()
                    team[ours] = process
            except OSError:  # the system has no room for one more: those that are there do it
                ours.close()
                break
            finally:
                its.close()
            for _ in range(ahead):
                give(ours)
        if not team:
            for number in waiting:
                yield number, work(pieces[number], 0)
            return
        while under_way:
            ready: Any
            for ready in connection.wait(list(team)):
                number, result = _told(ready, team[ready])
                under_way -= 1
                yield number, result
                give(ready)
    finally:
        for ours, process in team.items():
            process.terminate()
            ours.close()
        for process in team.values():
            process.join()


@contextmanager
def _forking() -> Iterator[None]:
    """Hold signals back from a process that is forked: it begins with our handlers.

    Who forks it may get them meanwhile, where a library has threads that hold none back.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with warnings.catch_warnings():
            # Of threads: no child of ours takes a lock of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forked() -> None:
    """Take the signals of a forked process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who forked it has it too, and ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _told(by: Connection, process: ForkProcess) -> tuple[int, Any]:
    """Return what a process says: a piece's number and result. Raises: what its work raised."""
    try:
        number, result, error = by.recv()
    except (EOFError, OSError):
        process.join()
        how = process.exitcode or 0
        told = f"signal {-how}" if how < 0 else f"exit status {how}"
        raise WorkersError(f"{_RULE} (got one ended by {told})") from None
    if isinstance(error, MemoryError):
        raise WorkersError(f"{_RULE} (got one without memory)") from error
    if error is not None:
        raise error
    return number, result


def _serve(
    work: Callable[[Piece, int], Result],
    pieces: Sequence[Piece],
    hand: int,
    its: Connection,
    others: Sequence[Connection],
) -> None:
    """Do what is asked for, in a forked process, until nobody is there to ask."""
    _forked()
    for other in others:  # else an end of ours would keep a pipe open that nobody holds any more
        other.close()
    with suppress(EOFError, OSError):
        while True:
            number = its.recv()
            try:
                told: tuple[int, Any, BaseException | None] = (
                    number,
                    work(pieces[number], hand),
                    None,
                )
            except Exception as error:
                if not isinstance(error, UserError):  # our mistake: where did it happen?
                    error.add_note(traceback.format_exc())
                told = number, None, error
            its.send(told)


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do some work in a forked process while the block runs, and wait for its end.

    It says nothing, whatever comes of it, and ends when this process or the block fails. Where none
    can be forked, nobody does it.
    """
    if not FORKS:
        yield
        return
    from multiprocessing import get_context

    fork = get_context("fork")
    its, ours = fork.Pipe(duplex=False)
    process = fork.Process(target=_do_quietly, args=(work, its, ours))
    try:
        with _forking():
            process.start()
    except OSError:  # the system has no room for one more
        ours.close()
        yield
        return
    finally:
        its.close()
    try:
        yield
        process.join()
    except BaseException:
        process.terminate()
        process.join()
        raise
    finally:
        ours.close()


def _do_quietly(work: Callable[[], object], its: Connection, ours: Connection) -> None:
    """Do the work in a forked process, which ends where nobody holds `ours` any more."""
    _forked()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for said in (1, 2):
        os.dup2(nowhere, said)
    ours.close()

    def watch() -> None:
        with suppress(EOFError, OSError):
            its.recv()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    work()
