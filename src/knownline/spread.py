"""One function over many pieces of work, on all cores: in forked processes, or in threads.

Threads of one interpreter wait for its lock between two steps of numpy; processes do not wait for
each other. A forked one needs no start: what is imported is there. Knows nothing of what the work
is.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from knownline.errors import UserError, WorkersError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

Piece = TypeVar("Piece")
Result = TypeVar("Result")

AHEAD = 2
"""Pieces that a process is given before it has done the first: it never waits for the next."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_RULE = (
    "every process that reads the data must come to its end; where memory is short,"
    " OMP_NUM_THREADS=1 starts no second one"
)

FORKS = sys.platform == "linux"
"""Whether a process can be forked that goes on: on macOS the system's own libraries forbid it."""


def over(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    count: int,
    *,
    fork: bool,
    yielding: bool = False,
) -> Iterator[tuple[int, Result]]:
    """Yield the number of each piece and what `work` returns of it, as they get done.

    count: how many work at once. fork: in processes of their own, where this system has them;
    what `work` returns or raises is pickled there. yielding: all but the first of these take only
    what of the cores nobody else wants.

    Raises: what `work` raises, and WorkersError where a process is ended from without.
    """
    count = min(count, len(pieces))
    if count < 2:
        yield from enumerate(map(work, pieces))
    elif fork and FORKS:
        yield from _in_processes(work, pieces, count, yielding=yielding)
    else:
        yield from _in_threads(work, pieces, count)


def _in_threads(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], count: int
) -> Iterator[tuple[int, Result]]:
    with ThreadPoolExecutor(count) as pool:
        try:
            numbers = {pool.submit(work, piece): number for number, piece in enumerate(pieces)}
            for done in as_completed(numbers):
                yield numbers[done], done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_processes(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], count: int, *, yielding: bool
) -> Iterator[tuple[int, Result]]:
    from multiprocessing import connection, get_context

    fork = get_context("fork")
    team: dict[Any, ForkProcess] = {}
    waiting = iter(range(len(pieces)))
    left = len(pieces)
    try:
        for number in range(count):
            ours, its = fork.Pipe()
            process = fork.Process(
                target=_serve,
                args=(work, pieces, its, [*team, ours], yielding and number > 0),
                daemon=True,
            )
            try:
                with _unsignalled(), warnings.catch_warnings():
                    # Of threads: no child of ours takes a lock of theirs.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                    team[ours] = process
            except OSError:  # the system has no room for one more: those that are there do it
                ours.close()
                break
            finally:
                its.close()
            for piece in (next(waiting, None) for _ in range(AHEAD)):
                _give(ours, piece)
        if not team:
            yield from enumerate(map(work, pieces))
            return
        while left:
            ready: Any
            for ready in connection.wait(list(team)):
                number, result = _told(ready, team[ready])
                _give(ready, next(waiting, None))
                left -= 1
                yield number, result
    finally:
        for ours, process in team.items():
            process.terminate()
            ours.close()
        for process in team.values():
            process.join()


@contextmanager
def _unsignalled() -> Iterator[None]:
    """Hold signals back while a process forks: until it has handlers of its own, it has ours."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _give(to: Connection, piece: int | None) -> None:
    """Tell a process which piece is next; where it is gone, what it says next will tell."""
    if piece is not None:
        with suppress(OSError):
            to.send(piece)


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
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    its: Connection,
    others: Sequence[Connection],
    yielding: bool,
) -> None:
    """Do what is asked for, in a forked process, until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who forked it has it too, and ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for other in others:  # else an end of ours would keep a pipe open that nobody holds any more
        other.close()
    if yielding:
        os.nice(10)
    with suppress(EOFError, OSError):
        while True:
            number = its.recv()
            try:
                told: tuple[int, Any, BaseException | None] = number, work(pieces[number]), None
            except Exception as error:
                if not isinstance(error, UserError):  # our mistake: where did it happen?
                    error.add_note(traceback.format_exc())
                told = number, None, error
            its.send(told)
