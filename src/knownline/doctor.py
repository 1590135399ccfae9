"""`knownline doctor`: what is wrong with this workspace and its store, a finding a line."""

import sqlite3
from collections.abc import Iterator

from knownline import carriage, checkup, door, location, storecheck, tracking
from knownline.errors import StoreError, one_line
from knownline.finding import Finding

HEALTHY, FINDINGS = 0, 1


def main(argv: list[str]) -> int:
    """Return 0 where nothing is wrong, 1 with findings; `--repair` mends what it safely can."""
    parser = door.Arguments(
        "doctor",
        "Look for what is wrong: store, runs, cache, files, packages, device. Exit: 0 healthy, 1"
        " findings.",
        "knownline doctor --repair",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="mend moved artifact paths, end runs whose process is gone, remove what kills left",
    )
    repair = parser.parse_args(argv).repair
    left = 0
    for finding in _findings(repair=repair):
        if repair and finding.mend:
            finding.mend()
            print(one_line(f"mended: {finding.where}: {finding.what}"))
        else:
            print(finding)
            left += 1
    print(f"doctor: {left} finding{'s' if left != 1 else ''}" if left else "doctor: healthy")
    return FINDINGS if left else HEALTHY


def _findings(*, repair: bool) -> Iterator[Finding]:
    """Yield findings one by one, so that one is mended before the next is looked for."""
    yield from checkup.tree()
    yield from checkup.outputs()
    cut = [*checkup.lock_of_dvc(), *checkup.results()]
    yield from cut
    damaged = list(checkup.cache())
    yield from damaged
    # `dvc status` removes a damaged object that it happens to look at, and wants its own files
    if not damaged and (repair or not cut):
        yield from checkup.pipeline()
    yield from checkup.leftovers()
    yield from checkup.packages()
    yield from checkup.device(_choose)
    yield from _store(repair=repair)


def _store(*, repair: bool) -> Iterator[Finding]:
    """Look at the store and at the runs; one that cannot be opened is a finding itself."""
    try:
        moved = list(storecheck.moved())
        yield from moved
        if moved and not repair:
            return  # every artifact would be missing
        nowhere = list(storecheck.absent(f"refs/remotes/*/{carriage.BRANCH}"))
        yield from nowhere
        if nowhere:
            return
        yield from storecheck.runs(tracking.Store(create=False, follow=False))
    except StoreError as error:
        yield Finding("store", str(error), "mend it, or bring back a copy")
    except sqlite3.Error as error:
        where = location.shown(location.store_uri())
        yield Finding("store", f"{where}: {error}", "mend it, or bring back a copy")


def _choose() -> object:
    from knownline import training

    wanted = door.read_params().train
    return training.choose_device(wanted.device, wanted.dtype)
