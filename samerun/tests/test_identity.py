"""What a fingerprint depends on, and what it does not: properties over random pipelines."""

import datetime
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from samerun.dvc.identity import StageInputs, as_json, fingerprint, identity

MADE = ("data/train", "models/model.json", "out/a/b.txt")

texts = st.text(max_size=8) | st.sampled_from(["ä", "\ud800", "\udcff.csv", "", "\x00", "🙂"])
names = st.text(min_size=1, max_size=8).filter(
    lambda name: "/" not in name and name not in (".", "..")
) | st.sampled_from(["data", "train", "ein ä", "\udcff.csv", "train2"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
hashes = st.text("0123456789abcdef", min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
stages = st.builds(
    StageInputs,
    name=texts.map("dvc.yaml:{}".format),
    command=texts | st.lists(texts, max_size=3),
    params=st.dictionaries(paths, st.dictionaries(texts, values, max_size=3), max_size=2),
    deps=st.dictionaries(paths, hashes | st.dictionaries(paths, hashes, max_size=3), max_size=3),
    outs=st.lists(st.sampled_from(MADE), unique=True),
)
pipelines = st.lists(stages, max_size=3, unique_by=lambda stage: stage.name)


def stage(**changes: Any) -> StageInputs:
    """Return a stage that is like another but for these fields."""
    return replace(
        StageInputs(
            name="dvc.yaml:train",
            command="python train.py",
            params={"params.yaml": {"train": {"rate": 0.5, "on": True, "steps": [1, 2]}}},
            deps={"code": "aa.dir", "raw.csv": "bb"},
            outs=["models/model.json"],
        ),
        **changes,
    )


def digest(*stages: StageInputs, made: tuple[str, ...] = MADE, **more: Any) -> str:
    return fingerprint(identity(stages, made=made, **more))


def with_rate(value: Any) -> str:
    return digest(stage(params={"params.yaml": {"train": {"rate": value}}}))


def shuffled(value: Any, data: st.DataObject) -> Any:
    """Return an equal value whose mappings have their keys in another order."""
    if isinstance(value, Mapping):
        keys = data.draw(st.permutations(list(value)))
        return {key: shuffled(value[key], data) for key in keys}
    return [shuffled(each, data) for each in value] if isinstance(value, list) else value


@given(pipelines)
def test_a_fingerprint_is_the_sha256_of_canonical_json(pipeline: list[StageInputs]) -> None:
    content = identity(pipeline, made=MADE)
    text = as_json(content)
    assert fingerprint(content) == hashlib.sha256(text.encode()).hexdigest()
    assert as_json(json.loads(text)) == text  # what a run's identity.json says can be checked


@given(pipelines, st.dictionaries(texts, texts | st.none()), st.dictionaries(paths, hashes),
       st.data())  # fmt: skip
def test_order_does_not_count(
    pipeline: list[StageInputs],
    env: dict[str, str | None],
    model: dict[str, str],
    data: st.DataObject,
) -> None:
    other = [
        replace(
            each,
            params=shuffled(each.params, data),
            deps=shuffled(each.deps, data),
            outs=data.draw(st.permutations(list(each.outs))),
        )
        for each in data.draw(st.permutations(pipeline))
    ]
    made = tuple(data.draw(st.permutations(MADE)))
    one = digest(*pipeline, env=env, model=model)
    assert digest(*other, made=made, env=shuffled(env, data), model=shuffled(model, data)) == one


def test_the_order_of_a_list_counts() -> None:
    assert with_rate([1, 2]) != with_rate([2, 1])
    assert digest(stage(command=["a", "b"])) != digest(stage(command=["b", "a"]))


@given(st.integers(-(2**53), 2**53))
def test_an_integral_float_is_its_integer(number: int) -> None:
    assert with_rate(number) == with_rate(float(number))
    assert with_rate([{"x": number}]) == with_rate([{"x": float(number)}])


def test_zero_has_no_sign() -> None:
    assert with_rate(0) == with_rate(0.0) == with_rate(-0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((1, True), (1.0, True), (0, False), (1, "1"), (1.5, "1.5"), (True, "true")),
        *((None, "null"), (None, ""), (None, "None"), (None, False), ([], None), ({}, None)),
        *((math.nan, "nan"), (math.nan, "NaN"), (math.nan, None), (math.inf, "inf")),
        *((math.inf, -math.inf), (math.inf, "Infinity"), (math.nan, math.inf)),
        *((1e300, 1.0000000000000002e300), (0.1, 0.1 + 2**-56), ([1], [[1]]), ([1], {"0": 1})),
        *(("ä", "a\u0308"), ("\udcff", "\\udcff"), ("\udcff", "ÿ"), ("\ud800", "?")),
        *((2**53, 2**53 + 1), (10**400, 10**400 + 1)),
    ],
)
def test_different_values_count_as_different(one: Any, other: Any) -> None:
    assert with_rate(one) != with_rate(other)
    assert with_rate([one]) != with_rate([other])


@given(values)
def test_any_value_has_a_fingerprint_that_stays(value: Any) -> None:
    """Also numbers that JSON does not have, and text that UTF-8 does not have."""
    assert with_rate(value) == with_rate(value)
    assert with_rate(value) == with_rate(json.loads(json.dumps(value)))


def test_keys_that_are_no_text_and_dates_have_a_fingerprint() -> None:
    """YAML and TOML have them."""
    day = datetime.date(2026, 1, 31)
    assert with_rate({1: "a", "b": day, False: 2, None: 3, 1.5: 4})
    assert with_rate(day) == with_rate(datetime.date(2026, 1, 31))
    assert with_rate(day) != with_rate(datetime.date(2026, 2, 1))
    assert with_rate({1: "a"}) != with_rate({2: "a"})


def canonical(value: Any) -> str:
    """Return a text that two values have in common where they should count as the same."""
    if isinstance(value, Mapping):
        inner = ((canonical(key), canonical(each)) for key, each in value.items())
        return f"map{sorted(inner)}"
    if isinstance(value, list):
        return f"list{[canonical(each) for each in value]}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{type(value).__name__} {value!a}"


@given(values, values)
def test_two_values_have_one_fingerprint_only_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (with_rate(one) == with_rate(other)) is (canonical(one) == canonical(other))


@pytest.mark.parametrize(
    "changed",
    [
        stage(name="dvc.yaml:fit"),
        stage(name="sub/dvc.yaml:train"),
        stage(name="dvc.yaml:train@a"),
        stage(command="python other.py"),
        stage(command=["python train.py", "python other.py"]),
        stage(params={}),
        stage(params={"other.yaml": {"train": {"rate": 0.5, "on": True, "steps": [1, 2]}}}),
        stage(params={"params.yaml": {"train": {"rate": 0.25, "on": True, "steps": [1, 2]}}}),
        stage(params={"params.yaml": {"train": {"rate": 0.5, "on": 1, "steps": [1, 2]}}}),
        stage(params={"params.yaml": {"train": {"rate": 0.5, "on": True, "steps": [1, 3]}}}),
        stage(params={"params.yaml": {"train": {"rate": 0.5, "on": True}}}),
        stage(deps={"code": "aa.dir"}),
        stage(deps={"code": "ab.dir", "raw.csv": "bb"}),
        stage(deps={"code": "bb", "raw.csv": "aa.dir"}),
        stage(deps={"code2": "aa.dir", "raw.csv": "bb"}),
    ],
)
def test_a_changed_name_command_parameter_or_dependency_counts(changed: StageInputs) -> None:
    assert digest(changed) != digest(stage())


@given(pipelines, st.data())
def test_any_changed_leaf_counts(pipeline: list[StageInputs], data: st.DataObject) -> None:
    assume(pipeline)
    number = data.draw(st.integers(0, len(pipeline) - 1))
    old = pipeline[number]
    path, value = data.draw(paths), data.draw(hashes)
    assume(not any(related(path, other) for other in (*MADE, *old.deps)))
    kinds: list[dict[str, Any]] = [
        {"name": old.name + "x"},
        {"deps": {**old.deps, path: value}},
        {"params": {**old.params, path: {"one more": value}}},
    ]
    changes = data.draw(st.sampled_from(kinds))
    assume(changes.get("params") != old.params)
    assume(changes.get("name") not in {each.name for each in pipeline})
    other = [*pipeline[:number], replace(old, **changes), *pipeline[number + 1 :]]
    assert digest(*other) != digest(*pipeline)


def related(one: str, other: str) -> bool:
    """Return whether two paths are equal, or one lies inside the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def test_a_stage_more_or_less_counts() -> None:
    assert digest() != digest(stage()) != digest(stage(), stage(name="dvc.yaml:evaluate"))


@pytest.mark.parametrize("command", ["python train.py", "sh -c 'a; b'", ""])
def test_a_leading_samerun_run_does_not_count(command: str) -> None:
    assert digest(stage(command=f"samerun run -- {command}")) == digest(stage(command=command))
    inner = f"echo samerun run -- {command}"
    assert digest(stage(command=inner)) != digest(stage(command=f"echo {command}"))


def test_a_leading_samerun_run_does_not_count_in_a_list_of_commands() -> None:
    wrapped = ["samerun run -- a", "b", "samerun run -- c"]
    assert digest(stage(command=wrapped)) == digest(stage(command=["a", "b", "c"]))


@given(st.sampled_from(MADE), hashes, hashes, st.sampled_from(["", "/x.csv", "/deep/ä.csv"]))
def test_what_a_stage_makes_is_no_input(made: str, one: str, other: str, inside: str) -> None:
    """Neither an output, nor a file inside one, also of a stage that is not among these."""
    deps = {"code": "aa.dir"}
    path = made + inside
    first = digest(stage(deps={**deps, path: one}))
    assert first == digest(stage(deps={**deps, path: other}))
    assert first == digest(stage(deps={**deps, path: {f"{path}/x": other}}))


@given(hashes, hashes)
def test_a_folder_around_an_output_counts_by_its_other_files(one: str, other: str) -> None:
    def of(files: str | dict[str, str]) -> str:
        return digest(stage(deps={"out": files}))

    assert of(one) == of(other)  # a hash over outputs and other files alike says nothing
    assert of({"out/a/b.txt": one, "out/c": "1"}) == of({"out/a/b.txt": other, "out/c": "1"})
    assert of({"out/a/b.txt": one, "out/c": "1"}) == of({"out/c": "1"})
    assert (of({"out/c": one}) == of({"out/c": other})) is (one == other)
    assert of({"out/c": one}) != of({"out/d": one})


def test_data_of_a_dvc_file_is_an_input() -> None:
    """A .dvc file has no command: what it makes is not in `made`."""
    assert digest(stage(deps={"data/raw": "a.dir"})) != digest(stage(deps={"data/raw": "b.dir"}))


@pytest.mark.parametrize(
    "path",
    ["data/train2", "data/train.csv", "data/train 2/x", "models/model.json5", "dat",
     "data/Train", "data\\train", "x/data/train", "train"],
)  # fmt: skip
def test_a_name_that_only_begins_like_an_output_is_an_input(path: str) -> None:
    assert digest(stage(deps={path: "a"})) != digest(stage(deps={path: "b"}))


def test_a_path_is_the_same_path_however_it_is_written() -> None:
    made = ("data/train/",)
    assert digest(stage(deps={"data/train": "a"}), made=made) == digest(
        stage(deps={"data/train": "b"}), made=made
    )


@given(st.dictionaries(paths, hashes, min_size=1))
def test_the_models_code_counts(model: dict[str, str]) -> None:
    path = next(iter(model))
    seen = {digest(stage(), model=each) for each in ({}, model, {**model, path: "changed"})}
    assert len(seen) == 3


def test_environment_variables_count_and_an_unset_one_is_not_an_empty_one() -> None:
    kinds: list[dict[str, str | None]] = [{}, {"A": None}, {"A": ""}, {"A": "None"}, {"B": ""}]
    seen = [digest(stage(), env=env) for env in kinds]
    assert len(set(seen)) == len(seen)


@given(pipelines)
def test_what_goes_in_is_left_as_it_was(pipeline: list[StageInputs]) -> None:
    before = repr(pipeline)
    content = identity(pipeline, made=MADE)
    digest(*pipeline)
    as_json(content)
    assert repr(pipeline) == before
