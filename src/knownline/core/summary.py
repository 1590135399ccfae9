"""data/summary.json: moments and a sample of the rows, from `generate` while it writes them.

For a squared loss it replaces the rows: `train`, `evaluate` and `report` read it and no rows. Its
`sums` is the SHA-256 of data/SHA256SUMS, which ties it to those files.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, moments
from knownline.core.errors import damaged, missing
from knownline.core.formatting import counted
from knownline.core.kinds import Model
from knownline.core.moments import Compressed, Pivot
from knownline.core.parquet import TARGET
from samerun.core import files

Array = npt.NDArray[np.float64]

SAMPLE = 2_000
"""The largest sample of training rows that is kept for plots."""


def stride(rows: int) -> int:
    """Return the distance between sampled rows: the power of two that keeps SAMPLE or fewer.

    With powers of two, a sample can be thinned later, when the length of a table is known.
    """
    return 1 << max(0, -(-rows // SAMPLE) - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Summary:
    """The rows of data/train and data/holdout, compressed.

    inputs: the names of the columns before y. holdout: None if no row is held out. sample: the
    columns of every n-th training row in order, (inputs + 1, SAMPLE or fewer).
    """

    inputs: tuple[str, ...]
    train: Compressed
    holdout: Compressed | None
    sample: Array

    @property
    def all_rows(self) -> Compressed:
        """The rows of data/train and data/holdout together."""
        sets = [self.train, self.holdout] if self.holdout else [self.train]
        return moments.join((rows.pivot, np.array([rows.moments])) for rows in sets)

    def write(self, path: Path) -> None:
        """Write the summary beside the list of checksums, which must exist."""
        content = {
            "train": asdict(self.train),
            "holdout": asdict(self.holdout) if self.holdout else None,
            "sample": dict(zip((*self.inputs, TARGET), self.sample.tolist(), strict=True)),
            "sums": checksums.digest(path.parent),
        }
        files.write_text(path, json.dumps(content, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path, inputs: Sequence[str]) -> "Summary":
        """Read what `write` wrote, for a model with these inputs.

        Raises: MissingError if there is no file; DamagedError if it belongs to other data files
        than those listed beside it, or has other inputs.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            train, holdout = content["train"], content["holdout"]
            *names, _ = content["sample"]
            sample = np.array(list(content["sample"].values()), dtype=np.float64)
            held_out = _compressed(holdout) if holdout else None
            summary = cls(tuple(names), _compressed(train), held_out, sample)
            sums = content["sums"]
        except FileNotFoundError:
            raise missing(path) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise damaged(path, f"it holds no summary: {error}") from error
        if summary.inputs != tuple(inputs):
            raise damaged(path, f"it summarises other columns: {', '.join(summary.inputs)}")
        if sums != checksums.digest(path.parent):
            raise damaged(path, f"it summarises other files than {checksums.SUMS} lists")
        return summary

    @classmethod
    def of(cls, kind: Model, path: Path) -> "Summary":
        """Read what `write` wrote, for a model.

        Raises: MissingError or DamagedError as `read` does, and if the model has other terms.
        """
        summary = cls.read(path, kind.inputs)
        count = len(summary.train.pivot.terms)
        if count != len(kind.summarised.varying):
            raise damaged(path, f"it summarises another model, with {counted(count, 'term')}")
        return summary


def _compressed(content: dict[str, Any]) -> Compressed:
    pivot = content["pivot"]
    terms, slopes = tuple(map(float, pivot["terms"])), tuple(map(float, pivot["slopes"]))
    numbers = tuple(map(float, content["moments"]))
    size = len(terms) + 1
    if (len(slopes), len(numbers)) != (len(terms), 1 + size + size * (size + 1) // 2):
        raise ValueError(f"{len(numbers)} moments of {len(terms)} terms")
    return Compressed(Pivot(terms, float(pivot["y"]), slopes), numbers)
