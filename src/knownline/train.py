"""The stage `train`: data/train/ to models/line.json and reports/history.csv."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from knownline import door, files, workers
from knownline.layout import DATA, TRAIN

WORTH = range(1 << 26, 1 << 32)
"""Bytes of data that a process of its own reads while this one imports what it needs.

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
    if only and not workers.under_torchrun():
        from knownline import onepass

        onepass.known(TRAIN, yielding=True)  # SIGTERM ends it at once: it has nothing to tidy up
        return 0
    signal.signal(signal.SIGTERM, door.interrupt)
    count = workers.wanted()
    alone = count == 1 and not workers.under_torchrun()
    with _reading(alone and files.size(TRAIN) in WORTH), door.importing():
        # Imported here, since the other process is to begin first: pydantic takes a fifth of a
        # second, torch more than one.
        from knownline import formatting, location, provenance, streaming

        params = door.read_params()
        begun = provenance.made_with("train", params)
        files.check_made_for(DATA, params.used_by("generate"))
        streaming.after()
        location.store_uri()  # where no run can ever be recorded, better said before than after
        from knownline import accelerator, fitting, onepass

        device = fitting.device_of(params)
    with accelerator.memory_of(device):
        if workers.under_torchrun():
            with workers.joined(device.type) as team:
                known = onepass.known(TRAIN, team, arithmetic=accelerator.on(team.device))
            if only or team.rank:
                return 0
        else:
            if not alone:
                onepass.check(TRAIN)
                if onepass.find(TRAIN) is None:
                    workers.start(count, workers.script(), "train", "--pass-only")
            known = onepass.known(TRAIN, arithmetic=accelerator.on(str(device)))
        assert known is not None  # a rule of generate
        line = fitting.fit(params, known.rows, TRAIN, device, begun)
    epochs = formatting.counted(params.train.epochs, "epoch")
    print(f"train: w = {line.w!r}, b = {line.b!r} after {epochs}")
    return 0


@contextmanager
def _reading(wanted: bool) -> Iterator[None]:
    """Let another process read the data while the block runs, and wait for it.

    What it finds is kept, or was before. Where it fails, `onepass.known` fails here too, and says
    why.
    """
    if not wanted:
        yield
        return
    with workers.beside(workers.script(), "train", "--pass-only"):
        yield
