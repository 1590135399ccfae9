"""The one pass over a folder of data: all that a squared loss can know of its rows, and a sample.

Rows are read once, on all cores and by all workers of torchrun; each checks the sums of what it
reads. The moments of every chunk are gathered in order and merged once, so the bits depend on the
data alone. What came of it is kept in mlruns/moments by the hash of data and code, in no output of
DVC: another learning rate reads no data (docs/decisions/0007).
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline import compression, files, progress, shards, spread, stamps, workers
from knownline.compression import ON_CPU, Arithmetic, Compressed, Moments, Pivot, Work
from knownline.errors import DamagedError
from knownline.shards import Span
from knownline.stamps import Look, Stamps
from knownline.workers import ALONE, Team

Array = npt.NDArray[np.float64]

SAMPLE = 2_000
"""Rows kept at most, for pictures; of more rows, every so-manieth."""

SPAN_GROUPS = 8
"""Row groups that workers share out: half a million rows, 8 MB of the file."""

CODE = ("accelerator.py", "compression.py", "onepass.py", "shards.py", "spread.py",
        "workers.py")  # fmt: skip
"""The modules that make what is kept; torch need not be imported to know them."""

KEPT = 100
"""Results kept; the oldest goes."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a folder's rows.

    sample: x and y of an even sample of the rows in order, (2, SAMPLE or fewer).
    """

    rows: Compressed
    sample: Array


def known(
    folder: Path,
    team: Team = ALONE,
    *,
    reread: bool = False,
    arithmetic: Arithmetic = ON_CPU,
    yielding: bool = False,
) -> Known | None:
    """Return what is known of a sealed folder, or None where it has no row; reads it if it must.

    In a team, every process calls it, and rank 0 has the answer; the others return None.
    reread: read the rows whatever is kept. arithmetic: where the moments are taken, whose bits do
    not depend on it. yielding: leave all cores but one to who wants them, since somebody waits for
    something else meanwhile.

    Raises: MissingError or DamagedError with the name of a file that is not what was sealed.
    """
    sums = files.sealed_in(folder.parent, folder)
    files.check_nothing_beside(sums, folder, folder.parent)
    kept, seen = _Kept(sums), Stamps(sums)
    found = None if reread or team.rank else kept.load()
    if team.told(np.array([float(found is not None)]))[0]:
        if team.rank == 0:
            _check(sums, seen)
        return found
    found = _read(sums, seen, team, arithmetic, yielding=yielding)
    if found:
        kept.save(found)
    return found


def check(folder: Path) -> None:
    """Hold the files of a sealed folder against their sums, unless they look as they did.

    Raises: MissingError or DamagedError with the file's name.
    """
    sums = files.sealed_in(folder.parent, folder)
    files.check_nothing_beside(sums, folder, folder.parent)
    _check(sums, Stamps(sums))


def find(folder: Path) -> Known | None:
    """Return what is kept of a sealed folder, without a look at its rows."""
    return _Kept(files.sealed_in(folder.parent, folder)).load()


def _check(sums: dict[Path, str], seen: Stamps) -> None:
    """Hold files against their sums, several at a time."""
    with ThreadPoolExecutor(workers.threads()) as pool:
        looks = list(pool.map(seen.check, sums.keys(), sums.values()))
    seen.keep(dict(zip(sums.values(), looks, strict=True)))


def _read(
    sums: dict[Path, str], seen: Stamps, team: Team, arithmetic: Arithmetic, *, yielding: bool
) -> Known | None:
    """Read this process's share of the rows; return in rank 0 what is known of all."""
    paths = sorted(sums)
    try:
        spans = list(chain.from_iterable(shards.spans(path, SPAN_GROUPS) for path in paths))
    except DamagedError:
        _check(sums, seen)  # which says it better
        raise
    if not spans:
        _check(sums, seen)
        return None
    looks: dict[str, Look | None] = {}
    first = np.zeros(3)
    if team.rank == 0:
        path = spans[0].path
        looks[sums[path]] = seen.check(path, sums[path])
        with compression.quiet():
            first = np.array(astuple(compression.pivot_line(*next(spans[0].read()))))
    pivot = Pivot(*team.told(first).tolist())
    sampler = _Sampler(spans)
    mine = [spans[i] for i in team.share(len(spans))]
    pieces = [list(its) for _, its in groupby(mine, key=lambda span: span.path)]
    checked, own = set(looks), threading.local()

    def work(its: list[Span]) -> tuple[Look | None, Array, Array]:
        """Read spans of one file; return how it looked, their moments and their sample."""
        if not hasattr(own, "take"):
            own.take = arithmetic.begin()
        path = its[0].path
        sha = sums[path]
        look = looks[sha] if sha in checked else seen.check(path, sha)
        return look, *_moments(its, pivot, sampler, own.take, arithmetic.at_once)

    parts: list[tuple[Array, Array]] = [(np.empty(0), np.empty(0))] * len(pieces)
    with progress.bar("read", " rows", total=sum(sum(span.rows) for span in mine)) as bar:
        done = spread.over(
            work, pieces, workers.threads(), fork=arithmetic.forks, yielding=yielding
        )
        for number, (look, *part) in done:
            looks[sums[pieces[number][0].path]] = look
            parts[number] = part[0], part[1]
            bar.update(sum(sum(span.rows) for span in pieces[number]))
    seen.keep(looks)
    shares = [[spans[i] for i in workers.share(len(spans), r, team.size)] for r in range(team.size)]
    chunks = [sum(len(span.groups) for span in share) for share in shares]
    points = [sum(sampler.count(span) for span in share) for share in shares]
    flat = np.concatenate(
        [np.empty(0), *(m.ravel() for m, _ in parts), *(p.T.ravel() for _, p in parts)]
    )
    gathered = team.gathered(flat, [6 * c + 2 * p for c, p in zip(chunks, points, strict=True)])
    if team.rank:
        return None
    moments = [x[: 6 * c].reshape(c, 6) for x, c in zip(gathered, chunks, strict=True)]
    sample = [x[6 * c :].reshape(-1, 2) for x, c in zip(gathered, chunks, strict=True)]
    with compression.quiet():
        merged = compression.merge(np.concatenate(moments))
    return Known(Compressed(pivot, merged), np.ascontiguousarray(np.concatenate(sample).T))


class _Sampler:
    """Which rows of each span are in the sample: every so-manieth of the whole."""

    def __init__(self, spans: list[Span]) -> None:
        self._start: dict[Span, int] = {}
        seen = 0
        for span in spans:
            self._start[span] = seen
            seen += sum(span.rows)
        self._every = -(-seen // SAMPLE)

    def count(self, span: Span) -> int:
        """Return how many rows of a span are in it."""
        start = self._start[span]
        return -(-(start + sum(span.rows)) // self._every) - -(-start // self._every)

    def firsts(self, span: Span) -> Iterator[slice]:
        """Yield for each group of a span which of its rows are in it."""
        start = self._start[span]
        for count in span.rows:
            yield slice(-start % self._every, None, self._every)
            start += count


def _moments(
    spans: list[Span], pivot: Pivot, sampler: _Sampler, take: Work, at_once: int
) -> tuple[Array, Array]:
    """Read spans; return their chunks' moments, (chunks, 6), and their sample, (2, points)."""
    found, sample = [np.empty((0, 6))], [np.empty((2, 0))]
    waiting: list[tuple[Array, Array]] = []
    with compression.quiet():
        for span in spans:
            for (x, y), chosen in zip(span.read(), sampler.firsts(span), strict=True):
                if waiting and (len(waiting) == at_once or len(x) != len(waiting[0][0])):
                    found.append(take(waiting, pivot))
                    waiting = []
                waiting.append((x, y))
                sample.append(np.stack([x[chosen], y[chosen]]))
        if waiting:
            found.append(take(waiting, pivot))
    return np.concatenate(found), np.concatenate(sample, axis=1)


class _Kept:
    """What is known of a folder, in a file of mlruns/moments."""

    def __init__(self, sums: dict[Path, str]) -> None:
        code = (files.sha256_of(Path(__file__).with_name(name)) for name in CODE)
        self._key = stamps.name_of(sums, *code)
        self._path = stamps.folder().parent / self._key

    def load(self) -> Known | None:
        """Return what is kept, or None; a file that is not what was written counts as none."""
        try:
            sha, _, body = self._path.read_bytes().partition(b"\n")
            if hashlib.sha256(body).hexdigest().encode() != sha:
                return None
            found = json.loads(body)
            pivot, moments = Pivot(*found["pivot"]), Moments(*found["moments"])
            if found["key"] != self._key:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Known(Compressed(pivot, moments), np.array(found["sample"], dtype=np.float64))

    def save(self, found: Known) -> None:
        """Keep it whole, and forget what is oldest; where there is no room to, it is read again."""
        content = {
            "key": self._key,
            "pivot": astuple(found.rows.pivot),
            "moments": astuple(found.rows.moments),
            "sample": found.sample.tolist(),
        }
        body = json.dumps(content).encode() + b"\n"
        sha = hashlib.sha256(body).hexdigest().encode()
        with suppress(OSError):
            files.write_bytes(self._path, sha + b"\n" + body)
            files.forget_oldest(self._path.parent, KEPT)
