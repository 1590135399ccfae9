"""Reads a folder of data once: the moments that a squared loss depends on, and a sample of rows.

Rows are read on all cores and by all workers of torchrun; each worker checks the checksums of the
files it reads. The moments of every chunk are gathered in order and merged once, so the bits depend
on the data alone. The result is cached in mlruns/moments by the hash of data and code, outside
DVC's outputs, so a training with another learning rate reads no data (docs/decisions/0007).
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, folders, moments, parquet
from knownline.core.moments import Compressed, Moments, Pivot
from knownline.core.parquet import Span
from knownline.scan import pool, stat_cache, torchrun
from knownline.scan.numpy_backend import Begin, OnCpu
from knownline.scan.pieces import Piece, SampledChunks, Sampler, cut_pieces
from knownline.scan.stat_cache import FileStat, Stamps
from knownline.scan.torchrun import ALONE, ProcessGroup
from samerun.core import files, progress
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]

SAMPLE = 2_000
"""Largest sample kept for plots; longer data is thinned to every n-th row."""

SPAN_GROUPS = 8
"""Row groups in the smallest piece of work: half a million rows, 8 MB of the file."""

CODE = [
    *sorted(Path(__file__).parent.glob("*.py")),
    Path(moments.__file__),
    Path(parquet.__file__),
]
"""The files whose code determines a cached result; listed without importing torch."""

MAX_CACHED = 100
"""Cached results; beyond this number the oldest is removed."""


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The compressed rows of a folder and a sample of them.

    sample: x and y of every n-th row in order, (2, SAMPLE or fewer).
    """

    rows: Compressed
    sample: Array


def summarize(
    folder: Path,
    team: ProcessGroup = ALONE,
    *,
    reread: bool = False,
    arithmetic: Begin = OnCpu,
    hands: int | None = None,
) -> DataSummary | None:
    """Return the summary of a folder with checksums, or None if it has no rows.

    The rows are read unless the summary is cached. In a process group every process calls this;
    rank 0 gets the summary, the others None. reread: ignore the cache. arithmetic: the backend that
    calculates the moments, whose bits do not depend on it. hands: the most processes to read with,
    by default one per core.

    Raises: MissingError or DamagedError with the name of a file that does not match its checksum.
    """
    sums = checksums.below(folder.parent, folder)
    checksums.check_nothing_unlisted(sums, folder, folder.parent)
    cache, stamps = _Cache(sums), Stamps(sums)
    summary = None if reread or team.rank else cache.load()
    if team.told(np.array([float(summary is not None)]))[0]:
        if team.rank == 0:
            _check(sums, stamps)
        return summary
    summary = _read(sums, stamps, team, arithmetic, hands or torchrun.threads())
    if summary:
        cache.save(summary)
    return summary


def check(folder: Path) -> None:
    """Check the files of a folder by their checksums, unless their stats have not changed.

    Raises: MissingError or DamagedError with the file's name.
    """
    sums = checksums.below(folder.parent, folder)
    checksums.check_nothing_unlisted(sums, folder, folder.parent)
    _check(sums, Stamps(sums))


def find(folder: Path) -> DataSummary | None:
    """Return the cached summary of a folder, or None; reads no rows."""
    return _Cache(checksums.below(folder.parent, folder)).load()


def _check(sums: dict[Path, str], stamps: Stamps) -> None:
    """Check files by their checksums, several at a time."""
    with ThreadPoolExecutor(torchrun.threads()) as pool:
        stats = list(pool.map(stamps.check, sums.keys(), sums.values()))
    stamps.keep(dict(zip(sums.values(), stats, strict=True)))


def _read(
    sums: dict[Path, str], stamps: Stamps, team: ProcessGroup, begin: Begin, max_hands: int
) -> DataSummary | None:
    """Read this process's share of the rows; return in rank 0 the summary of all rows."""
    try:
        spans_by_file = {path: parquet.spans(path, SPAN_GROUPS) for path in sorted(sums)}
    except DamagedError:
        _check(sums, stamps)  # whose message is better
        raise
    spans = list(chain.from_iterable(spans_by_file.values()))
    if not spans:
        _check(sums, stamps)
        return None
    stats = {path: stamps.known(path, sha) for path, sha in sums.items()}
    pieces = cut_pieces(
        spans_by_file, team.least(np.array([float(bool(stats[path])) for path in spans_by_file]))
    )
    checked = {path for path, stat in stats.items() if stat}  # unchanged since their last check
    first, read_files = np.zeros(3), set()
    if team.rank == 0:
        path = spans[0].path
        if path not in checked:
            stats[path] = stamps.check(path, sums[path])
        checked.add(path)
        read_files.add(path)
        with moments.ignoring_overflow():
            first = np.array(astuple(moments.pivot_line(*next(spans[0].read()))))
    pivot = Pivot(*team.told(first).tolist())
    sampler = Sampler(spans, SAMPLE)
    total = sum(map(_rows, spans))
    # With less than a file each, a fork costs more than it saves.
    worthwhile_hands = -(-total // (team.size * parquet.SHARD_CHUNKS * spans[0].rows[0]))
    hands = min(max_hands, worthwhile_hands)
    arithmetic = begin(pivot, SPAN_GROUPS, spans[0].rows[0], hands)

    def work(piece: Piece, hand: int) -> tuple[FileStat | None, Any, Array]:
        """Read a piece; return the stat of its file, the result of its chunks, its sample."""
        path = piece.path
        stat = stats[path] if path in checked else stamps.check(path, sums[path])
        chunks = SampledChunks(piece, sampler)
        return stat, arithmetic.read(chunks.chunks(), piece.rows, hand), chunks.sample()

    samples: dict[int, Array] = {}
    turns = team.turns(len(pieces))
    with progress.bar("read", " rows", total=total if team.size == 1 else None) as bar:
        for index, (stat, result, samples[index]) in pool.over(
            work, pieces, arithmetic.hands, turns=turns
        ):
            arithmetic.take(index, result)
            stats[pieces[index].path] = stat
            read_files.add(pieces[index].path)
            bar.update(sum(pieces[index].rows))
    by_piece = arithmetic.moments()
    for path in read_files:  # a file may have changed while it was read
        stamps.check_again(path, sums[path], stats[path])
    stamps.keep({sums[path]: stat for path, stat in stats.items()})
    arrays = [[[index], by_piece[index].ravel(), samples[index].T.ravel()] for index in by_piece]
    gathered = team.gathered(np.concatenate([np.empty(0), *chain.from_iterable(arrays)]))
    if team.rank:
        return None
    return _merge_pieces(gathered, pieces, pivot, sampler)


def _rows(span: Span) -> int:
    return sum(span.rows)


def _merge_pieces(
    gathered: Array, pieces: list[Piece], pivot: Pivot, sampler: Sampler
) -> DataSummary:
    """Return the summary of all rows from the results of the processes, in any order.

    gathered: for each piece its index, the moments of its chunks and its sample, concatenated.
    """
    by_piece, samples, position = {}, {}, 0
    while position < len(gathered):
        index, position = int(gathered[position]), position + 1
        chunks = len(pieces[index].rows)
        points = sum(map(sampler.count, pieces[index].spans))
        middle, end = position + 6 * chunks, position + 6 * chunks + 2 * points
        by_piece[index] = gathered[position:middle].reshape(chunks, 6)
        samples[index] = gathered[middle:end].reshape(points, 2)
        position = end
    order = range(len(pieces))
    with moments.ignoring_overflow():
        merged = moments.merge(np.concatenate([by_piece[index] for index in order]))
    sample = np.ascontiguousarray(np.concatenate([samples[index] for index in order]).T)
    return DataSummary(Compressed(pivot, merged), sample)


class _Cache:
    """The cached summary of a folder, in a file in mlruns/moments."""

    def __init__(self, sums: dict[Path, str]) -> None:
        code = map(files.sha256_of, CODE)
        self._key = stat_cache.name_of(sums, *code)
        self._path = stat_cache.folder().parent / self._key

    def load(self) -> DataSummary | None:
        """Return the cached summary, or None if there is none or its file is damaged."""
        try:
            sha, _, body = self._path.read_bytes().partition(b"\n")
            if hashlib.sha256(body).hexdigest().encode() != sha:
                return None
            content = json.loads(body)
            pivot, moments = Pivot(*content["pivot"]), Moments(*content["moments"])
            if content["key"] != self._key:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return DataSummary(
            Compressed(pivot, moments), np.array(content["sample"], dtype=np.float64)
        )

    def save(self, summary: DataSummary) -> None:
        """Save a summary and remove the oldest ones; on a full disk, nothing is cached."""
        content = {
            "key": self._key,
            "pivot": astuple(summary.rows.pivot),
            "moments": astuple(summary.rows.moments),
            "sample": summary.sample.tolist(),
        }
        body = json.dumps(content).encode() + b"\n"
        sha = hashlib.sha256(body).hexdigest().encode()
        with suppress(OSError):
            files.write_bytes(self._path, sha + b"\n" + body)
            folders.keep_newest(self._path.parent, MAX_CACHED)
