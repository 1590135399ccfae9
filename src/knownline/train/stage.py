"""The stage `train`: fits data/train/, writes models/line.json and reports/history.csv.

Knows nothing of the loop or of how rows are read; it decides in which process each happens.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from knownline.core.layout import TRAIN
from knownline.scan import torchrun
from samerun.core.interrupts import importing

if TYPE_CHECKING:
    from knownline.scan.dataset import DataSummary
    from knownline.train.descent import Device

WORTH = range(1 << 26, 1 << 32)
"""Bytes of data for which a second process begins to read while this one imports torch.

With less data the gain is negligible. With more, it is faster to import first and then to read on
all cores, which also shows progress.
"""


def main(*, pass_only: bool = False) -> int:
    """Fit the line and write it with its history."""
    count = torchrun.wanted()
    alone = count == 1 and not torchrun.under_torchrun()
    with importing():
        from knownline.scan import dataset, pool

    def read() -> None:
        """Read on all cores but one, which the import in this process needs."""
        dataset.summarize(TRAIN, hands=max(1, torchrun.threads() - 1))

    # The reader saves its result. If it fails, `dataset.known` fails below too, with a message.
    reading = pool.beside(read) if alone and _folder_size(TRAIN) in WORTH else nullcontext()
    with reading, importing():
        # Imported only now, after the reader has started: pydantic takes a fifth of a second, torch
        # more than one.
        from knownline.core import formatting
        from knownline.params import Params

        params = Params.read()
        from knownline.scan import torch_backend
        from knownline.train import fitting

        device = fitting.device_of(params)
    with torch_backend.memory_of(device):
        data = _data_summary(device, count, alone=alone)
        if data is None or pass_only:
            return 0
        line = fitting.fit(params, data.rows, TRAIN, device)
    epochs = formatting.counted(params.train.epochs, "epoch")
    print(f"train: w = {line.w!r}, b = {line.b!r} after {epochs}")
    return 0


def _folder_size(folder: Path) -> int:
    """Return the total size in bytes of the files directly in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def _data_summary(device: "Device", count: int, *, alone: bool) -> "DataSummary | None":
    """Return the summary of the training data, or None in a torchrun process that is not rank 0.

    count: how many processes are to read. alone: whether this process is the only one.
    """
    from knownline.scan import dataset, torch_backend

    if torchrun.under_torchrun():
        with torchrun.joined(device.type) as group:
            data = dataset.summarize(TRAIN, group, arithmetic=torch_backend.on(group.device))
        if group.rank:
            return None
    else:
        if not alone:
            dataset.check(TRAIN)
            if dataset.find(TRAIN) is None:
                torchrun.start(count, torchrun.script(), "train", "--pass-only")
        data = dataset.summarize(TRAIN, arithmetic=torch_backend.on(str(device)))
    assert data is not None  # `generate` leaves MIN_ROWS or more
    return data
