"""`samerun reproduce RUN`: execute a recorded run again and compare the results bit by bit."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from samerun.core import address, progress
from samerun.core.errors import ReproductionError, StoreError, UsageError
from samerun.dvc.project import Project
from samerun.execution import environment
from samerun.mlflow import content, models
from samerun.mlflow.recorded import RecordedRun
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline
from samerun.proof import outputs, planned, scratch
from samerun.proof.page import Page, differences, model_differences
from samerun.proof.recorded import Recorded
from samerun.proof.sandbox import Sandbox
from samerun.proof.tolerance import Tolerance

EXACT, DIFFERS = 0, 1


@dataclass(slots=True)
class Outcome:
    """How a reproduction ended. difference: the first one, in words. compared: what is equal.

    environment: what differs in it from the run's, or "".
    """

    difference: str | None
    compared: str
    environment: str
    within: str

    @property
    def verdict(self) -> str:
        """The verdict in two words at most, as it is written on the run."""
        if self.difference:
            return "differs"
        return "within tolerance" if self.within else "exact"


def main(*, run: str, keep: bool = False, with_patch: bool = False) -> int:
    """Return 0 if the run is reproduced exactly or within the declared tolerance, 1 if it differs.

    run: the name of the run, its id, or the first characters of its id; or `champion`, or
    `NAME@champion` of another registered model than the experiment's.
    keep: whether the folder of the reproduction remains. with_patch: whether uncommitted changes
    are applied that another store than the local one keeps with the run.

    Raises: ReproductionError if the run cannot be executed again.
    """
    if not run.strip():  # every id starts with the empty text
        raise UsageError("run must be an id, the beginning of one, a name or champion (got none)")
    pipeline, store, found = _find(Project(), run)
    tolerance = Tolerance(pipeline.config.tolerance)
    if found.status != "FINISHED":
        raise ReproductionError(f"the run must have finished (got {found.run_id}: {found.status})")
    trusted = with_patch or address.local_store() is not None
    steps = len(pipeline.deciding) + 3
    with (
        scratch.folder(keep=keep) as folder,
        progress.steps("reproduce", steps) as begin,
    ):
        begin("fetch")
        recorded = Recorded.fetch(store, found, folder)
        recorded.check_trust(trusted)
        begin("check out")
        sandbox = Sandbox(folder, pipeline)
        sandbox.check_out(recorded.commit)
        reproduction = _Reproduction(store, recorded, sandbox, tolerance)
        outcome = reproduction.outcome(begin, trusted=trusted)
    _print(found, outcome)
    if keep:
        print(f"kept: {sandbox.folder}")
    _tag(store, found, outcome)
    return DIFFERS if outcome.difference else EXACT


def _find(project: Project, reference: str) -> tuple[Pipeline, Store, RecordedRun]:
    """Return the run that a reference names, its store, and the pipeline whose stage recorded it.

    Raises: StoreError if no stage of this folder that records has such a run.
    """
    errors: list[StoreError] = []
    recorders = project.recorders()
    for stage in recorders:
        pipeline = Pipeline(project, stage)
        try:
            store = Store(pipeline.config, create=False)
            run = store.find(reference)
        except StoreError as error:
            errors.append(error)
            continue
        own = next((one for one in recorders if one.name == run.tags.get("record")), stage)
        return Pipeline(project, own), store, run
    raise errors[0]


class _Reproduction:
    """A recorded run, executed again in a sandbox."""

    def __init__(
        self, store: Store, recorded: Recorded, sandbox: Sandbox, tolerance: Tolerance
    ) -> None:
        self._store, self._recorded, self._sandbox = store, recorded, sandbox
        self._tolerance = tolerance
        self._compared, self._root = "", sandbox.top

    def outcome(self, begin: Callable[[str], object], *, trusted: bool) -> Outcome:
        """Execute the run's stages, unless its inputs differ, and compare the results."""
        first = next(self._differences(begin, trusted), None)
        change = self._recorded.environment_change(self._root)
        reached = self._tolerance.reached.items()
        within = ", ".join(f"{file} by {largest:.3g} at most" for file, largest in reached)
        return Outcome(first, self._compared, change, within)

    def _differences(self, begin: Callable[[str], object], trusted: bool) -> Iterator[str]:
        """Yield what differs, in the order in which a run reads and makes it.

        Nothing is executed after the first difference of the inputs, since only the next one that
        is asked for is found.
        """
        recorded, sandbox = self._recorded, self._sandbox
        yield from recorded.identity_differences()
        before = planned.pipeline(recorded, sandbox, trusted=trusted)
        self._root = before.project.root
        yield from planned.differences(recorded, before, sandbox)
        planned.execute(recorded, before, sandbox, begin)
        begin("compare")
        after = sandbox.pipeline(recorded.environ)
        old = outputs.Old(recorded.artifacts, sandbox.users_cache)
        yield from outputs.differences(before, after, old, self._tolerance)
        given = {*content.declarations(after), *content.locks(after)}
        made = [name for name in content.files(after) if name not in given]
        yield from outputs.artifacts(after, made, recorded.artifacts)
        run_id, page = recorded.run.run_id, Page.of(after)
        for difference in differences(page, self._store, run_id):
            yield f"the run's page: {difference}"
        changed = recorded.environment_change(self._root)
        ignored = models.ENVIRONMENT_FILES if changed else ()
        for difference in model_differences(after, recorded.model, ignored):
            yield f"the run's model: {difference}"
        self._compared = _compared(after, page)


def _compared(pipeline: Pipeline, page: Page) -> str:
    """Return what was compared, in numbers."""
    count = len(list(pipeline.outputs()))
    values = sum(len(column) for column in page.history.values())
    shown = [
        _count(len(page.params), "parameter"),
        _count(len(page.metrics), "metric"),
        *([_count(values, "value") + " by step"] if values else []),
        *([_count(len(page.tags), "tag")] if page.tags else []),
        *(["the model"] if pipeline.config.model else []),
    ]
    return (
        f"{_count(count, 'output')} of {_count(len(pipeline.deciding), 'stage')}; on the run's page"
        f" {', '.join(shown[:-1])} and {shown[-1]}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _print(run: RecordedRun, outcome: Outcome) -> None:
    print(f"run {run.name} ({run.run_id}), commit {run.tags.get('git_commit', 'none')[:12]}")
    if outcome.difference:
        print(f"differs: {outcome.difference}")
        print(f"environment: {outcome.environment or 'the same packages and machine'}")
        return
    if outcome.within:
        print(f"within tolerance: {outcome.within}; otherwise equal: {outcome.compared}")
    else:
        print(f"exact: equal to the bit are {outcome.compared}")
    if outcome.environment:
        print(f"in another environment: {outcome.environment}")


def _tag(store: Store, run: RecordedRun, outcome: Outcome) -> None:
    """Note the outcome on the run; a store that fails costs a warning, not the outcome."""
    facts = environment.facts()
    tags = {
        "reproduced": outcome.verdict,
        "reproduced_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reproduced_on": f"{facts['host']}, {facts['cpu']}",
    }
    try:
        store.tag(run.run_id, tags)
    except StoreError as error:
        print(f"samerun: warning: the outcome is not on the run: {error}", file=sys.stderr)
