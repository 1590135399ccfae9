"""The stage `train`: data/train/ to models/line.json and reports/history.csv."""

import signal
from contextlib import nullcontext

from knownline import door, files, workers
from knownline.layout import DATA, TRAIN

WORTH = range(1 << 26, 1 << 32)
"""Bytes of data that a process of its own reads while this one imports what it needs.

With less there is next to nothing to gain; with more, all cores read sooner what is left when the
import is done, and show how far they are.
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
    signal.signal(signal.SIGTERM, door.interrupt)
    count = workers.wanted()
    alone = count == 1 and not workers.under_torchrun()
    with door.importing():
        from knownline import onepass, spread

    def read() -> None:
        """Leave one of several cores to the import: what others took of it, it would wait for."""
        onepass.known(TRAIN, hands=max(1, workers.threads() - 1))

    # What it finds is kept, or was before. Where it fails, `onepass.known` fails here too, and says
    # why.
    reading = spread.beside(read) if alone and files.size(TRAIN) in WORTH else nullcontext()
    with reading, door.importing():
        # Here, since the other process is to begin first: pydantic takes a fifth of a second, torch
        # more than one.
        from knownline import formatting, location, provenance, streaming

        params = door.read_params()
        begun = provenance.made_with("train", params)
        files.check_made_for(DATA, params.used_by("generate"))
        streaming.after()
        location.store_uri()  # where no run can ever be recorded, better said before than after
        from knownline import accelerator, fitting

        device = fitting.device_of(params)
    with accelerator.memory_of(device):
        if workers.under_torchrun():
            with workers.joined(device.type) as team:
                known = onepass.known(TRAIN, team, arithmetic=accelerator.on(team.device))
            if team.rank:
                return 0
        else:
            if not alone:
                onepass.check(TRAIN)
                if onepass.find(TRAIN) is None:
                    workers.start(count, workers.script(), "train", "--pass-only")
            known = onepass.known(TRAIN, arithmetic=accelerator.on(str(device)))
        if only:
            return 0
        assert known is not None  # a rule of generate
        line = fitting.fit(params, known.rows, TRAIN, device, begun)
    epochs = formatting.counted(params.train.epochs, "epoch")
    print(f"train: w = {line.w!r}, b = {line.b!r} after {epochs}")
    return 0
