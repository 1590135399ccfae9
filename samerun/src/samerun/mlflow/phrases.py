"""The name of a run, and the phrases that it is made of."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from samerun.config import DEFAULT_EXPERIMENT, experiment_of
from samerun.mlflow import content
from samerun.mlflow.recorded import RecordedRun
from samerun.pipeline import Pipeline

SHOWN = 20
"""How many characters of a name MLflow's tables and legends show."""

_LONGEST_NAME = 120

_LONGEST_KEY = 13
"""The most characters of a parameter's name, so that its value is shown too."""

_FEW = 3
"""How many parameters, if there are no more, name the first run of a project without phrases."""

_GENERATED = re.compile("[a-z]{5}-[a-z]{4}")
"""The names that DVC makes up for experiments, such as tidal-orbs; they say nothing of a run."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a name, and the parameters that it shows."""

    text: str
    keys: frozenset[str] = frozenset()


def run_name(
    pipeline: Pipeline,
    baseline: RecordedRun | None,
    experiment: str | None,
    similar: Callable[[str], RecordedRun | None],
) -> str:
    """Return the name of a run: what differs from the first run, and nothing else.

    The first run has every phrase. MLflow's tables and legends show `SHOWN` characters, so the
    names of runs that differ in their inputs differ in these.

    baseline: the first run; None if this is the first. experiment: the name of the DVC experiment.
    similar: returns a run with other inputs whose name begins with the same `SHOWN` characters as
    a given name, or None.
    """
    values = content.params(pipeline)
    parts = _parts(pipeline, values, baseline)
    name = _joined(pipeline, parts, experiment)
    if other := similar(name):
        parts.sort(key=lambda part: all(other.params.get(k) == values.get(k) for k in part.keys))
        name = _joined(pipeline, parts, experiment)
        if similar(name):
            name = _joined(pipeline, [_Part(_inputs(pipeline)), *parts], experiment)
    return name[:_LONGEST_NAME]


def _parts(
    pipeline: Pipeline, values: Mapping[str, str], baseline: RecordedRun | None
) -> list[_Part]:
    """Return the parts of a name, those of the project's phrases first; nulls come last."""
    changed = {k for k, text in values.items() if baseline and baseline.params.get(k) != text}
    phrases = [
        _Part(filled(phrase, values), frozenset(key for key in values if f"{{{key}}}" in phrase))
        for phrase in pipeline.config.name
    ]
    if not changed:
        if baseline and baseline.tags.get("fingerprint") != pipeline.fingerprint:
            return [_Part(_inputs(pipeline))]
        few = [_Part(named(key, values)) for key in values if len(values) <= _FEW]
        return [part for part in phrases if part.text] or few
    others = changed.difference(*(part.keys for part in phrases))
    told = [part for part in phrases if part.text and part.keys & changed]
    ordered = sorted(others, key=lambda key: (values[key] == "null", key))
    return [*told, *(_Part(_fitting(key, values, changed), frozenset([key])) for key in ordered)]


def _fitting(key: str, values: Mapping[str, str], changed: Iterable[str]) -> str:
    """Return a changed parameter by name; by a shorter one if its value would not be shown.

    The shorter name is one that no other changed parameter has.
    """
    text = named(key, values)
    return text if len(text) <= SHOWN else named(key, {name: values[name] for name in changed})


def _inputs(pipeline: Pipeline) -> str:
    """Return what names a run whose code or data alone tell it from another."""
    return f"inputs {pipeline.fingerprint[:6]}"


def _joined(pipeline: Pipeline, parts: Iterable[_Part], experiment: str | None) -> str:
    """Return a name.

    An experiment's name comes first if a person gave it and all of it is shown there. After the
    parts comes what tells pipelines in one experiment of MLflow apart.
    """
    texts = [*(part.text for part in parts), _label(pipeline)]
    if experiment and len(experiment) <= SHOWN and not _GENERATED.fullmatch(experiment):
        texts.insert(0, experiment)
    elif experiment:
        texts.append(experiment)
    return ", ".join(filter(None, texts)) or _place(pipeline)


def _place(pipeline: Pipeline) -> str:
    """Return the experiment if the project names one, else the pipeline's folder."""
    own = pipeline.config.experiment
    return own if own != DEFAULT_EXPERIMENT else pipeline.folder.name


def _label(pipeline: Pipeline) -> str:
    """Return what tells a pipeline's runs from those of others in the same experiment, "" if none.

    It is the folder, or, if another pipeline has the same one, the record stage's name.
    """
    stages, own = pipeline.project.stages, pipeline.stage
    others = [stage for stage in stages if stage.records and stage.name != own.name]
    others = [stage for stage in others if experiment_of(stage) == pipeline.config.experiment]
    if any(stage.file == own.file for stage in others):
        return own.short
    folder = own.name.rpartition(":")[0].rpartition("/")[0]
    return folder if others else ""


def named(key: str, values: Mapping[str, str]) -> str:
    """Return a parameter by the last part of its name: "rate 0.5", or "no limit" if it is null.

    values: all parameters; where names of several end alike, as many parts as tell them apart.
    """
    parts = key.split(".")
    ends = (".".join(parts[start:]) for start in range(len(parts) - 1, 0, -1))
    alone = (end for end in ends if sum(f".{each}".endswith(f".{end}") for each in values) == 1)
    name = _short_key(next(alone, key), values)
    text = values[key]
    return f"no {name}" if text == "null" else f"{name} {_short(text)}"


def _short_key(name: str, values: Iterable[str]) -> str:
    """Return a long name by its beginning and its end, unless others would become the same."""
    if len(name) <= _LONGEST_KEY:
        return name
    for head in (6, 3, 9):
        start, end = name[:head], name[head - _LONGEST_KEY + 1 :]
        if sum(start in each and each.endswith(end) for each in values) == 1:
            return f"{start}…{end}"
    return name


def filled(phrase: str, values: Mapping[str, str]) -> str:
    """Return a phrase with its parameters filled in; empty if one of them is null.

    Of alternatives, as in "{table} | {rows} rows", the first that is not empty.
    """
    first, _, others = (part.strip() for part in phrase.partition("|"))
    return _one_filled(first, values) or (filled(others, values) if others else "")


def _one_filled(phrase: str, values: Mapping[str, str]) -> str:
    for key, text in values.items():
        if f"{{{key}}}" in phrase:
            if text == "null":
                return ""
            phrase = phrase.replace(f"{{{key}}}", _short(text))
    return phrase


def _short(text: str) -> str:
    """Return a value as it fits into a name: of a path its last part, a list as a+b+c."""
    with suppress(ValueError):
        if isinstance(values := json.loads(text), list):
            text = "+".join(map(str, values))
    return text.rpartition("/")[2][:40]
