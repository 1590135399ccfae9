"""`knownline doctor`: prints what is wrong with this workspace and its store, a line each."""

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
    """Return 0 if nothing is wrong, else 1; `--repair` applies the fixes that cannot lose data."""
    remaining = 0
    for finding in _findings(repair=repair):
        if repair and finding.repair:
            finding.repair()
            print(one_line(f"mended: {finding.place}: {finding.problem}"))
        else:
            print(finding)
            remaining += 1
    plural = "s" if remaining != 1 else ""
    print(f"doctor: {remaining} finding{plural}" if remaining else "doctor: healthy")
    return FINDINGS if remaining else HEALTHY


def _findings(*, repair: bool) -> Iterator[Finding]:
    """Yield findings one by one, so that one can be repaired before the next check."""
    yield from workspace.git_tree()
    yield from workspace.outputs()
    truncated = [*workspace.dvc_rwlock(), *workspace.dvc_lock()]
    yield from truncated
    damaged = list(workspace.cache())
    yield from damaged
    # `dvc status` needs its own files, and removes a damaged object that it comes across.
    if not damaged and (repair or not truncated):
        yield from workspace.pipeline()
    yield from workspace.leftovers()
    yield from workspace.packages()
    yield from workspace.device(_choose_device)
    yield from _store(repair=repair)


def _store(*, repair: bool) -> Iterator[Finding]:
    """Check the store and its runs; a store that cannot be opened is a finding too."""
    try:
        moved = list(store.location())
        yield from moved
        if moved and not repair:
            return  # every artifact would be missing
        absent = list(store.presence(f"refs/remotes/*/{store_sync.BRANCH}"))
        yield from absent
        if absent:
            return
        yield from store.runs(tracking.Store(create=False, follow=False))
    except StoreError as error:
        yield Finding("store", str(error), "mend it, or bring back a copy")
    except sqlite3.Error as error:
        uri = address.redacted(address.store_uri())
        yield Finding("store", f"{uri}: {error}", "mend it, or bring back a copy")


def _choose_device() -> object:
    """Choose the device for params.yaml. Raises: UserError if that is not possible here."""
    from knownline.train import descent

    params = Params.read().train
    return descent.choose_device(params.device, params.dtype)
