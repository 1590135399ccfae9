"""The one pass over a folder of data: all that a squared loss can know of its rows, and a sample.

Rows are read once, on all cores and by all workers of torchrun; each checks the sums of what it
reads. The moments of every chunk are gathered in order and merged once, so the bits depend on the
data alone. What came of it is kept in mlruns/moments by the hash of data and code, in no output of
DVC: another learning rate reads no data (docs/decisions/0007).
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core import moments, parquet
from knownline.core.moments import Compressed, Moments, Pivot
from knownline.core.parquet import Span
from knownline.scan import pool, stat_cache, torchrun
from knownline.scan.numpy_backend import Begin, OnCpu
from knownline.scan.stat_cache import FileStat, Stamps
from knownline.scan.torchrun import ALONE, ProcessGroup
from samerun.core import files, progress
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]

SAMPLE = 2_000
"""Rows kept at most, for pictures; of more rows, every so-manieth."""

SPAN_GROUPS = 8
"""Row groups that workers share out: half a million rows, 8 MB of the file."""

CODE = [
    *sorted(Path(__file__).parent.glob("*.py")),
    *sorted(Path(moments.__file__).parent.glob("*.py")),
]
"""The modules that make what is kept; torch need not be imported to know them."""

KEPT = 100
"""Results kept; the oldest goes."""


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What is known of a folder's rows.

    sample: x and y of an even sample of the rows in order, (2, SAMPLE or fewer).
    """

    rows: Compressed
    sample: Array


def known(
    folder: Path,
    team: ProcessGroup = ALONE,
    *,
    reread: bool = False,
    arithmetic: Begin = OnCpu,
    hands: int | None = None,
) -> DataSummary | None:
    """Return what is known of a sealed folder, or None where it has no row; reads it if it must.

    In a team, every process calls it, and rank 0 has the answer; the others return None.
    reread: read the rows whatever is kept. arithmetic: what takes the moments, whose bits do
    not depend on it. hands: how many processes of this one read at once, at most: a core each where
    it is not said.

    Raises: MissingError or DamagedError with the name of a file that is not what was sealed.
    """
    sums = files.sums_below(folder.parent, folder)
    files.check_nothing_unlisted(sums, folder, folder.parent)
    kept, seen = _Kept(sums), Stamps(sums)
    found = None if reread or team.rank else kept.load()
    if team.told(np.array([float(found is not None)]))[0]:
        if team.rank == 0:
            _check(sums, seen)
        return found
    found = _read(sums, seen, team, arithmetic, hands or torchrun.threads())
    if found:
        kept.save(found)
    return found


def check(folder: Path) -> None:
    """Hold the files of a sealed folder against their sums, unless they look as they did.

    Raises: MissingError or DamagedError with the file's name.
    """
    sums = files.sums_below(folder.parent, folder)
    files.check_nothing_unlisted(sums, folder, folder.parent)
    _check(sums, Stamps(sums))


def find(folder: Path) -> DataSummary | None:
    """Return what is kept of a sealed folder, without a look at its rows."""
    return _Kept(files.sums_below(folder.parent, folder)).load()


def _check(sums: dict[Path, str], seen: Stamps) -> None:
    """Hold files against their sums, several at a time."""
    with ThreadPoolExecutor(torchrun.threads()) as pool:
        looks = list(pool.map(seen.check, sums.keys(), sums.values()))
    seen.keep(dict(zip(sums.values(), looks, strict=True)))


def _read(
    sums: dict[Path, str], seen: Stamps, team: ProcessGroup, begin: Begin, most: int
) -> DataSummary | None:
    """Read this process's share of the rows; return in rank 0 what is known of all."""
    try:
        cut = {path: parquet.spans(path, SPAN_GROUPS) for path in sorted(sums)}
    except DamagedError:
        _check(sums, seen)  # which says it better
        raise
    spans = list(chain.from_iterable(cut.values()))
    if not spans:
        _check(sums, seen)
        return None
    looks = {path: seen.known(path, sha) for path, sha in sums.items()}
    pieces = _pieces(cut, team.least(np.array([float(bool(looks[path])) for path in cut])))
    held = {path for path, look in looks.items() if look}  # of some a look says nothing
    first, read = np.zeros(3), set()
    if team.rank == 0:
        path = spans[0].path
        if path not in held:
            looks[path] = seen.check(path, sums[path])
        held.add(path)
        read.add(path)
        with moments.ignoring_overflow():
            first = np.array(astuple(moments.pivot_line(*next(spans[0].read()))))
    pivot = Pivot(*team.told(first).tolist())
    sampler = _Sampler(spans)
    total = sum(map(_rows, spans))
    # For less than a file each, to fork costs more than it saves.
    files_worth = -(-total // (team.size * parquet.SHARD_CHUNKS * spans[0].rows[0]))
    hands = min(most, files_worth)
    arithmetic = begin(pivot, SPAN_GROUPS, spans[0].rows[0], hands)

    def work(piece: _Piece, hand: int) -> tuple[FileStat | None, Any, Array]:
        """Read a piece; return how its file looked, what came of its chunks, its sample."""
        path = piece.path
        look = looks[path] if path in held else seen.check(path, sums[path])
        points = _Points(piece, sampler)
        return look, arithmetic.read(points.passed(), piece.rows, hand), points.taken()

    samples: dict[int, Array] = {}
    turns = team.turns(len(pieces))
    with progress.bar("read", " rows", total=total if team.size == 1 else None) as bar:
        for number, (look, told, samples[number]) in pool.over(
            work, pieces, arithmetic.hands, turns=turns
        ):
            arithmetic.take(number, told)
            looks[pieces[number].path] = look
            read.add(pieces[number].path)
            bar.update(sum(pieces[number].rows))
    by_piece = arithmetic.moments()
    for path in read:  # one that was changed meanwhile may have been read before or after
        seen.check_again(path, sums[path], looks[path])
    seen.keep({sums[path]: look for path, look in looks.items()})
    parts = [[[number], by_piece[number].ravel(), samples[number].T.ravel()] for number in by_piece]
    gathered = team.gathered(np.concatenate([np.empty(0), *chain.from_iterable(parts)]))
    if team.rank:
        return None
    return _merged(gathered, pieces, pivot, sampler)


def _rows(span: Span) -> int:
    return sum(span.rows)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a hand reads at a time: some spans of a file, or none where it only is to be hashed."""

    path: Path
    spans: tuple[Span, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of each chunk."""
        return tuple(chain.from_iterable(span.rows for span in self.spans))


def _pieces(cut: dict[Path, list[Span]], known: Array) -> list[_Piece]:
    """Return what is read at a time, by the spans of each file and by whether its sum is known.

    A span by itself; but of a file that is to be hashed all of them, by who hashes it: so that it
    comes from the disk once.
    """
    pieces: list[_Piece] = []
    for (path, spans), whole in zip(cut.items(), known == 0, strict=True):
        if whole:
            pieces.append(_Piece(path, tuple(spans)))
        else:
            pieces += [_Piece(path, (span,)) for span in spans]
    return pieces


def _merged(
    gathered: Array, pieces: list[_Piece], pivot: Pivot, sampler: "_Sampler"
) -> DataSummary:
    """Return what is known of all rows, from what the processes of a team found, in any order.

    gathered: of each piece its number, its chunks' moments and its sample, one after the other.
    """
    by_piece, samples, place = {}, {}, 0
    while place < len(gathered):
        number, place = int(gathered[place]), place + 1
        chunks = len(pieces[number].rows)
        points = sum(map(sampler.count, pieces[number].spans))
        middle, end = place + 6 * chunks, place + 6 * chunks + 2 * points
        by_piece[number] = gathered[place:middle].reshape(chunks, 6)
        samples[number] = gathered[middle:end].reshape(points, 2)
        place = end
    order = range(len(pieces))
    with moments.ignoring_overflow():
        merged = moments.merge(np.concatenate([by_piece[number] for number in order]))
    sample = np.ascontiguousarray(np.concatenate([samples[number] for number in order]).T)
    return DataSummary(Compressed(pivot, merged), sample)


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


class _Points:
    """The chunks of a piece as they are read, and of the sample the rows that lie in them."""

    def __init__(self, piece: _Piece, sampler: _Sampler) -> None:
        self._spans, self._sampler = piece.spans, sampler
        self._found = [np.empty((2, 0))]

    def passed(self) -> Iterator[tuple[Array, Array]]:
        """Yield x and y of each chunk, (rows,) each."""
        for span in self._spans:
            for (x, y), chosen in zip(span.read(), self._sampler.firsts(span), strict=True):
                self._found.append(np.stack([x[chosen], y[chosen]]))
                yield x, y

    def taken(self) -> Array:
        """Return the sample of the chunks that were passed: (2, points)."""
        return np.concatenate(self._found, axis=1)


class _Kept:
    """What is known of a folder, in a file of mlruns/moments."""

    def __init__(self, sums: dict[Path, str]) -> None:
        code = map(files.sha256_of, CODE)
        self._key = stat_cache.name_of(sums, *code)
        self._path = stat_cache.folder().parent / self._key

    def load(self) -> DataSummary | None:
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
        return DataSummary(Compressed(pivot, moments), np.array(found["sample"], dtype=np.float64))

    def save(self, found: DataSummary) -> None:
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
            files.keep_newest(self._path.parent, KEPT)
