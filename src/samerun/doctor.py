"""`knownline doctor`: what is wrong with this workspace and its store, a finding a line."""

import sqlite3
from collections.abc import Iterator

from knownline.params import Params
from samerun.core import address
from samerun.core.errors import StoreError, one_line
from samerun.health import store, workspace
from samerun.health.finding import Finding
from samerun.mlflow import store_sync, tracking

HEALTHY, FINDINGS = 0, 1


def main(*, repair: bool = False) -> int:
    """Return 0 where nothing is wrong, 1 with findings; `--repair` mends what it safely can."""
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
    yield from workspace.git_tree()
    yield from workspace.outputs()
    cut = [*workspace.dvc_rwlock(), *workspace.dvc_lock()]
    yield from cut
    damaged = list(workspace.cache())
    yield from damaged
    # `dvc status` removes a damaged object that it happens to look at, and wants its own files
    if not damaged and (repair or not cut):
        yield from workspace.pipeline()
    yield from workspace.leftovers()
    yield from workspace.packages()
    yield from workspace.device(_choose)
    yield from _store(repair=repair)


def _store(*, repair: bool) -> Iterator[Finding]:
    """Look at the store and at the runs; one that cannot be opened is a finding itself."""
    try:
        moved = list(store.moved())
        yield from moved
        if moved and not repair:
            return  # every artifact would be missing
        nowhere = list(store.absent(f"refs/remotes/*/{store_sync.BRANCH}"))
        yield from nowhere
        if nowhere:
            return
        yield from store.runs(tracking.Store(create=False, follow=False))
    except StoreError as error:
        yield Finding("store", str(error), "mend it, or bring back a copy")
    except sqlite3.Error as error:
        where = address.redacted(address.store_uri())
        yield Finding("store", f"{where}: {error}", "mend it, or bring back a copy")


def _choose() -> object:
    from knownline.train import descent

    wanted = Params.read().train
    return descent.choose_device(wanted.device, wanted.dtype)
