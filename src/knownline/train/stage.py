"""The stage `train`: data/train/ to models/line.json and reports/history.csv."""

from contextlib import nullcontext

from knownline.core.layout import DATA, TRAIN
from knownline.scan import torchrun
from samerun.core import files
from samerun.core.interrupts import importing

WORTH = range(1 << 26, 1 << 32)
"""Bytes of data that a process of its own reads while this one imports what it needs.

With less there is next to nothing to gain; with more, all cores read sooner what is left when the
import is done, and show how far they are.
"""


def main(*, pass_only: bool = False) -> int:
    """Fit the line, write it with its history, and leave a receipt that it was fitted."""
    count = torchrun.wanted()
    alone = count == 1 and not torchrun.under_torchrun()
    with importing():
        from knownline.scan import dataset, pool

    def read() -> None:
        """Leave one of several cores to the import: what others took of it, it would wait for."""
        dataset.known(TRAIN, hands=max(1, torchrun.threads() - 1))

    # What it finds is kept, or was before. Where it fails, `dataset.known` fails here too, and says
    # why.
    reading = pool.beside(read) if alone and files.size(TRAIN) in WORTH else nullcontext()
    with reading, importing():
        # Here, since the other process is to begin first: pydantic takes a fifth of a second, torch
        # more than one.
        from knownline.core import formatting
        from knownline.identity import provenance
        from knownline.params import Params
        from samerun.core import address
        from samerun.execution import streaming

        params = Params.read()
        begun = provenance.stage_inputs("train", params)
        files.check_made_with_params(DATA, params.used_by("generate"))
        streaming.delay()
        address.store_uri()  # where no run can ever be recorded, better said before than after
        from knownline.scan import torch_backend
        from knownline.train import fitting

        device = fitting.device_of(params)
    with torch_backend.memory_of(device):
        if torchrun.under_torchrun():
            with torchrun.joined(device.type) as team:
                known = dataset.known(TRAIN, team, arithmetic=torch_backend.on(team.device))
            if team.rank:
                return 0
        else:
            if not alone:
                dataset.check(TRAIN)
                if dataset.find(TRAIN) is None:
                    torchrun.start(count, torchrun.script(), "train", "--pass-only")
            known = dataset.known(TRAIN, arithmetic=torch_backend.on(str(device)))
        if pass_only:
            return 0
        assert known is not None  # a rule of generate
        line = fitting.fit(params, known.rows, TRAIN, device, begun)
    epochs = formatting.counted(params.train.epochs, "epoch")
    print(f"train: w = {line.w!r}, b = {line.b!r} after {epochs}")
    return 0
