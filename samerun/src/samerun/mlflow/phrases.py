"""The name of a run, and the phrases that it is made of."""

from collections.abc import Iterable, Mapping

from samerun.config import DEFAULT_EXPERIMENT, experiment_of
from samerun.mlflow import content
from samerun.pipeline import Pipeline

_LONGEST_NAME = 120

_LONGEST_KEY = 13
"""The most characters of a parameter's name: MLflow's tables and legends show about twenty."""

_FEW = 3
"""How many parameters, if there are no more, name a run of a project without phrases."""


def run_name(pipeline: Pipeline, baseline: Mapping[str, str] | None, experiment: str | None) -> str:
    """Return the name of a run: what differs from the first run comes first.

    MLflow's tables and legends show about twenty characters. baseline: the parameters of the first
    run; None if this is the first. experiment: the name of the DVC experiment, which comes last.
    Before it comes what tells pipelines in one experiment apart.
    """
    values = content.params(pipeline)
    changed = {
        key for key, text in values.items() if baseline is not None and baseline.get(key) != text
    }
    wanted = [
        (phrase, {key for key in values if f"{{{key}}}" in phrase})
        for phrase in pipeline.config.name
    ]
    told = {key for _, keys in wanted for key in keys}
    first = [filled(phrase, values) for phrase, keys in wanted if keys & changed]
    others = [named(key, values) for key in sorted(changed - told)]
    last = [filled(phrase, values) for phrase, keys in wanted if not keys & changed]
    parts = [part for part in (*first, *others, *last) if part]
    label = _label(pipeline)
    if not parts and not experiment:
        parts = [named(key, values) for key in values if len(values) <= _FEW]
        parts = parts or ([] if label else [_place(pipeline)])
        parts += [] if baseline is None else [pipeline.fingerprint[:6]]  # other code or data
    name = ", ".join(part for part in (*parts, label, experiment) if part)
    return name[:_LONGEST_NAME]


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
    """Return a value as it fits into a name: of a path its last part."""
    return text.rpartition("/")[2][:40]
