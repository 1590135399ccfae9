"""`samerun reproduce RUN`: execute a recorded run again and compare the results, bit by bit."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from samerun.core import address, progress
from samerun.core.errors import ReproductionError, StoreError, UsageError, one_line
from samerun.dvc.paths import contains
from samerun.dvc.project import Project
from samerun.execution import environment
from samerun.mlflow import content, models
from samerun.mlflow.recorded import RecordedRun
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline
from samerun.proof import outputs, planned, scratch
from samerun.proof.outputs import Difference
from samerun.proof.page import Page, differences, model_differences
from samerun.proof.recorded import Recorded
from samerun.proof.sandbox import Sandbox
from samerun.proof.tolerance import UNUSED, Tolerance

EXACT, DIFFERS = 0, 1

_SHOWN_OUTPUTS = 5


@dataclass(slots=True)
class Outcome:
    """How a reproduction ended.

    difference: the first one, None if there is none. others: further outputs that differ.
    compared: what was compared. environment: how it differs from the run's, or "". within: which
    differences were within the tolerance, or "".
    """

    difference: str | None
    others: Sequence[Difference]
    compared: str
    environment: str
    within: str

    @property
    def verdict(self) -> str:
        """The verdict, as the run's tag `reproduced` has it."""
        if self.difference:
            return "differs"
        return "within tolerance" if self.within else "exact"


def main(
    *,
    run: str | None = None,
    stage: str | None = None,
    keep: bool = False,
    with_patch: bool = False,
) -> int:
    """Return 0 if the run is reproduced exactly or within the declared tolerance, 1 if it differs.

    run: the name of the run, its id, or the first characters of its id; the name of a DVC
    experiment; `champion`, or `NAME@champion` of another registered model than the experiment's;
    None for the run of the results in dvc.lock.
    stage: the only stage that is executed, with the inputs that the run had; None for all.
    keep: whether to keep the temporary checkout. with_patch: whether to apply the run's uncommitted
    changes even if its store is not the local one.

    Raises: ReproductionError if the run cannot be executed again.
    """
    if run is not None and not run.strip():  # every id starts with the empty text
        raise UsageError("RUN must be a run's name, its id or its first characters (got nothing)")
    pipeline, store, recorded_run = _find(Project(), run)
    tolerance = Tolerance(pipeline.config.tolerance)
    if recorded_run.status != "FINISHED":
        raise ReproductionError(
            f"run {recorded_run.run_id} has not finished: its status is {recorded_run.status}"
        )
    trusted = with_patch or address.local_store() is not None
    steps = (len(pipeline.deciding) if stage is None else 1) + 3
    with (
        scratch.folder(keep=keep) as folder,
        progress.steps("reproduce", steps) as begin,
    ):
        begin("fetch")
        recorded = Recorded.fetch(store, recorded_run, folder)
        recorded.check_trust(trusted)
        begin("check out")
        sandbox = Sandbox(folder, pipeline)
        sandbox.check_out(recorded.commit)
        reproduction = _Reproduction(store, recorded, sandbox, tolerance)
        outcome = reproduction.outcome(begin, trusted=trusted, only=stage)
    for line in _lines(recorded_run, outcome, stage):
        print(one_line(line))
    if keep:
        print(f"the checkout is in {sandbox.folder}")
    if stage is None:  # the tag is for the whole run
        _tag(store, recorded_run, outcome)
    return DIFFERS if outcome.difference else EXACT


def _find(project: Project, reference: str | None) -> tuple[Pipeline, Store, RecordedRun]:
    """Return the pipeline that recorded the run that a reference names, the store and the run.

    Raises: StoreError if no record stage of this folder has such a run.
    """
    errors: list[StoreError] = []
    recorders = project.recorders()
    for stage in recorders:
        pipeline = Pipeline(project, stage)
        try:
            store = Store(pipeline.config, create=False)
            run = store.find(reference) if reference else _current(store, pipeline)
        except StoreError as error:
            errors.append(error)
            continue
        own = next((one for one in recorders if one.name == run.tags.get("record")), stage)
        return Pipeline(project, own), store, run
    raise errors[0]


def _current(store: Store, pipeline: Pipeline) -> RecordedRun:
    """Return the run of the results in dvc.lock. Raises: StoreError if there is none."""
    run = store.find_complete(pipeline.fingerprint, pipeline.results)
    if run is None:
        raise StoreError(
            f"no run in {store.shown_uri} has the results in dvc.lock: run `dvc repro`, or name a"
            " run"
        )
    return run


class _Reproduction:
    """A recorded run, executed again in a sandbox."""

    def __init__(
        self, store: Store, recorded: Recorded, sandbox: Sandbox, tolerance: Tolerance
    ) -> None:
        self._store, self._recorded, self._sandbox = store, recorded, sandbox
        self._tolerance = tolerance
        self._compared, self._root = "", sandbox.top

    def outcome(
        self, begin: Callable[[str], object], *, trusted: bool, only: str | None
    ) -> Outcome:
        """Execute the run's stages, unless their inputs have changed, and compare the results."""
        first, others = self._compare(begin, trusted, only)
        change = self._recorded.environment_change(self._root)
        return Outcome(first, others, self._compared, change, str(self._tolerance))

    def _compare(
        self, begin: Callable[[str], object], trusted: bool, only: str | None
    ) -> tuple[str | None, Sequence[Difference]]:
        """Return the first difference, or None, and the other outputs that differ.

        The order is that in which a run reads its inputs and makes its outputs.
        """
        recorded, sandbox = self._recorded, self._sandbox
        if first := next(recorded.identity_differences(), None):
            return first, ()
        old = outputs.RecordedFiles(recorded.artifacts, sandbox.users_cache, sandbox.base)
        plan = planned.plan(recorded, sandbox, old, trusted=trusted, only=only)
        self._root = plan.pipeline.project.root
        if first := next(planned.differences(recorded, plan, sandbox), None):
            return first, ()  # results of other inputs cannot be compared
        planned.execute(recorded, plan, sandbox, begin)
        begin("compare")
        after = sandbox.pipeline(recorded.environ)
        changed = list(
            outputs.differences(plan.pipeline, after, plan.compared, old, self._tolerance)
        )
        if only is None:
            for name in self._tolerance.unused(outputs.files(after, plan.compared)):
                print(f"samerun: warning: {one_line(UNUSED.format(name))}", file=sys.stderr)
        if changed:
            return str(changed[0]), changed[1:]
        return next(self._beyond_outputs(plan, after), None), ()

    def _beyond_outputs(self, plan: planned.Plan, after: Pipeline) -> Iterator[str]:
        """Yield how the run's artifacts, page and model differ from the files they were made from.

        With --stage, only artifacts that are outputs of its stages are compared.
        """
        recorded = self._recorded
        inputs = {*content.declarations(after), *content.locks(after)}
        made = [name for name in content.files(after) if name not in inputs]
        own = [out.path for stage in plan.compared for out in stage.outs]
        if plan.only is not None:
            made = [name for name in made if any(contains(one, name) for one in own)]
        yield from outputs.artifacts(after, made, recorded.artifacts)
        counted = f"{_count(len(own), 'output')} of {_count(len(plan.compared), 'stage')}"
        if plan.only is not None:
            self._compared = counted
            return
        page = Page.of(after)
        for difference in differences(page, self._store, recorded.run.run_id):
            yield f"the run's page: {difference}"
        changed = recorded.environment_change(self._root)
        ignored = models.ENVIRONMENT_FILES if changed else ()
        for difference in model_differences(after, recorded.model, ignored):
            yield f"the run's model: {difference}"
        self._compared = f"{counted}; on the run's page {_shown(after, page)}"


def _shown(pipeline: Pipeline, page: Page) -> str:
    """Return how many entries of a run's page were compared."""
    values = sum(len(column) for column in page.history.values())
    shown = [
        _count(len(page.params), "parameter"),
        _count(len(page.metrics), "metric"),
        *([_count(values, "value") + " by step"] if values else []),
        *([_count(len(page.tags), "tag")] if page.tags else []),
        *(["the model"] if pipeline.config.model else []),
    ]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _lines(run: RecordedRun, outcome: Outcome, only: str | None) -> Iterator[str]:
    yield f"run {run.name} ({run.run_id}), commit {run.tags.get('git_commit', 'none')[:12]}"
    if only is not None:
        yield f"only stage {only}, with the inputs that the run had: no other stage is compared"
    if outcome.difference:
        yield f"differs: {outcome.difference}"
        for label, follows in (
            ("also different", False),
            ("perhaps as a consequence (check with --stage)", True),
        ):
            if others := [one for one in outcome.others if one.follows == follows]:
                yield f"{label}: {_named(others)}"
        yield f"environment: {outcome.environment or 'the same packages and machine'}"
        return
    if outcome.within:
        yield f"within tolerance: {outcome.within}; otherwise equal: {outcome.compared}"
    else:
        yield f"exact: every bit is equal in {outcome.compared}"
    if outcome.environment:
        yield f"in another environment: {outcome.environment}"


def _named(others: Sequence[Difference]) -> str:
    """Return the first of some outputs, and how many more there are."""
    names = [f"{one.name} (stage {one.stage})" for one in others[:_SHOWN_OUTPUTS]]
    more = len(others) - len(names)
    return ", ".join(names) + (f" and {_count(more, 'more output')}" if more else "")


def _tag(store: Store, run: RecordedRun, outcome: Outcome) -> None:
    """Tag the run with the outcome; if the store fails, only warn."""
    facts = environment.facts()
    tags = {
        "reproduced": outcome.verdict,
        "reproduced_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reproduced_on": f"{facts['host']}, {facts['cpu']}",
    }
    try:
        store.tag(run.run_id, tags)
    except StoreError as error:
        print(f"samerun: warning: the verdict was not written to the run: {error}", file=sys.stderr)
