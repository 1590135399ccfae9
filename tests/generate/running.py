"""Runs the stage `generate` in the current folder, with the shipped parameters and changes."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import yaml

from knownline.__main__ import main
from knownline.core import summary
from knownline.generate import draw, holdout, parts, shards, source, tables
from tests.conftest import ROOT

PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def write_params(**values: Any) -> None:
    """Write params.yaml; `generate__x__low=1.0` sets generate.x.low."""
    mapping = copy.deepcopy(PARAMS)
    for name, value in values.items():
        *sections, key = name.split("__")
        section = mapping
        for each in sections:
            section = section[each]
        section[key] = value
    Path("params.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")


def generate(**values: Any) -> None:
    """Run the stage with these parameters, which must succeed."""
    write_params(**values)
    assert main(["generate"]) == 0


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of data/train and data/holdout, as pandas reads them."""
    return pd.read_parquet("data/train"), pd.read_parquet("data/holdout")


@contextmanager
def small_chunks(rows: int, per_shard: int, sample: int = 2_000) -> Iterator[None]:
    """Cut the data into chunks of so many rows, and into shards of so many chunks."""
    with ExitStack() as stack:
        for module in (draw, holdout, parts, shards, source):
            stack.enter_context(mock.patch.object(module, "CHUNK_ROWS", rows))
        stack.enter_context(mock.patch.object(tables, "_BATCH_ROWS", rows))
        stack.enter_context(mock.patch.object(shards, "SHARD_ROWS", per_shard * rows))
        stack.enter_context(mock.patch.object(summary, "SAMPLE", sample))
        yield
