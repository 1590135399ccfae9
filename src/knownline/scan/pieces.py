"""The pieces in which a folder is read, and the rows of each that are sampled for plots.

Knows nothing of who reads a piece, nor of what is calculated from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline.core.parquet import Span

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a worker reads at a time: spans of a file, or none if the file only has to be hashed."""

    path: Path
    spans: tuple[Span, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The number of rows of each chunk."""
        return tuple(chain.from_iterable(span.rows for span in self.spans))


def cut_pieces(spans_by_file: dict[Path, list[Span]], known: Array) -> list[Piece]:
    """Return the pieces to read, by the spans of each file and whether its checksum is known.

    A piece is one span, but all spans of a file that has to be hashed: then one worker hashes and
    reads it, and the file comes from the disk once. known: (files,), 0 for a file to be hashed.
    """
    pieces: list[Piece] = []
    for (path, spans), to_hash in zip(spans_by_file.items(), known == 0, strict=True):
        if to_hash:
            pieces.append(Piece(path, tuple(spans)))
        else:
            pieces += [Piece(path, (span,)) for span in spans]
    return pieces


class Sampler:
    """Chooses the rows of each span that are in the sample: every n-th of all rows."""

    def __init__(self, spans: list[Span], limit: int) -> None:
        """limit: the largest sample."""
        self._start: dict[Span, int] = {}
        rows = 0
        for span in spans:
            self._start[span] = rows
            rows += sum(span.rows)
        self._every = -(-rows // limit)

    def count(self, span: Span) -> int:
        """Return how many rows of a span are in the sample."""
        start = self._start[span]
        return -(-(start + sum(span.rows)) // self._every) - -(-start // self._every)

    def slices(self, span: Span) -> Iterator[slice]:
        """Yield for each group of a span the slice of its rows that are in the sample."""
        start = self._start[span]
        for count in span.rows:
            yield slice(-start % self._every, None, self._every)
            start += count


class SampledChunks:
    """The chunks of a piece as they are read, and the sampled rows of them."""

    def __init__(self, piece: Piece, sampler: Sampler) -> None:
        self._spans, self._sampler = piece.spans, sampler
        self._samples = [np.empty((2, 0))]

    def chunks(self) -> Iterator[tuple[Array, Array]]:
        """Yield x and y of each chunk, (rows,) each."""
        for span in self._spans:
            for (x, y), chosen in zip(span.read(), self._sampler.slices(span), strict=True):
                self._samples.append(np.stack([x[chosen], y[chosen]]))
                yield x, y

    def sample(self) -> Array:
        """Return the sampled rows of the chunks that were read: (2, points)."""
        return np.concatenate(self._samples, axis=1)
