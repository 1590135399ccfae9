"""The stage `train`: data/train/ to models/line.json and reports/history.csv."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from knownline import door, onepass, provenance, shards, workers
from knownline.formatting import counted
from knownline.layout import TRAIN

WORTH = range(1 << 26, 1 << 32)
"""Bytes of data that a process of its own reads while this one imports torch.

With less, its start takes longer than it saves; with more, the import hardly counts, and what is
read here shows how far it is.
"""


def main(argv: list[str]) -> int:
    """Fit the line, write it with its history, and leave a receipt that it was fitted."""
    parser = door.Arguments(
        "train", "Fit the line to data/train/ by gradient descent.", "knownline train"
    )
    parser.add_argument(
        "--pass-only", action="store_true", help="read the data, keep what is known of it, stop"
    )
    only = parser.parse_args(argv).pass_only
    params = door.read_params()
    begun = provenance.made_with("train", params)
    count = workers.wanted()
    signal.signal(signal.SIGTERM, door.interrupt)
    if only:
        _read_as_a_worker()
        return 0
    alone = count == 1 and not workers.under_torchrun()
    with _reading(alone and shards.size(TRAIN) in WORTH), door.importing():
        from knownline import fitting

        device = fitting.device_of(params)
    if workers.under_torchrun():
        if _read_as_a_worker():
            return 0
    elif not alone:
        _read_in_workers(count)
    known = onepass.known(TRAIN)
    assert known is not None  # a rule of generate
    line = fitting.fit(params, known.rows, TRAIN, device, begun)
    print(f"train: w = {line.w!r}, b = {line.b!r} after {counted(params.train.epochs, 'epoch')}")
    return 0


def _read_as_a_worker() -> int:
    """Read this process's share of the data; return its rank."""
    with workers.joined() as team:
        onepass.known(TRAIN, team)
    return team.rank


@contextmanager
def _reading(wanted: bool) -> Iterator[None]:
    """Let another process read the data while the block runs, and wait for it.

    What it finds is kept. Where it fails, `onepass.known` fails here too, and says why.
    """
    if not wanted or onepass.find(TRAIN) is not None:
        yield
        return
    with workers.beside(workers.script(), "train", "--pass-only"):
        yield


def _read_in_workers(count: int) -> None:
    """Let torchrun's workers read the data, unless what is known of it is kept."""
    onepass.check(TRAIN)
    if onepass.find(TRAIN) is None:
        workers.start(count, workers.script(), "train", "--pass-only")
