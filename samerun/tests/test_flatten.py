"""Every leaf of nested mappings has a unique dotted name, whatever the keys."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param_name

from samerun.core.flatten import flatten
from samerun.core.keys import mlflow_keys

KEYS = st.text("ab._@/", max_size=4)
NESTED = st.recursive(
    st.integers(0, 3) | st.none() | st.floats(), lambda inner: st.dictionaries(KEYS, inner)
).filter(lambda value: isinstance(value, dict))


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return the dotted name and the text of each leaf, with those that are the same."""
    if isinstance(value, dict) and (value or not path):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    return [(".".join(path), repr(value))]


@given(NESTED)
def test_no_leaf_is_lost_and_its_name_is_the_dotted_one_with_underscores(nested: Any) -> None:
    found = flatten(nested)
    expected = leaves(nested)
    assert sorted(map(repr, found.values())) == sorted(text for _, text in {*expected})
    for name, value in found.items():
        assert any(
            name.startswith(plain) and set(name[len(plain) :]) <= {"_"} and text == repr(value)
            for plain, text in expected
        )
    assert {name for name, _ in expected} <= found.keys()  # the plain name is somebody's


@given(NESTED)
def test_names_do_not_depend_on_the_order(nested: Any) -> None:
    def turned(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: turned(value[key]) for key in reversed(list(value))}

    assert repr(sorted(flatten(turned(nested)).items())) == repr(sorted(flatten(nested).items()))


@given(st.lists(st.text(max_size=20) | st.text("ab@#/.", max_size=300), unique=True))
def test_mlflow_takes_every_key_and_no_two_are_the_same(names: list[str]) -> None:
    keys = mlflow_keys(names)
    assert len({*keys.values()}) == len(keys) == len(names)
    for key in keys.values():
        _validate_param_name(key)  # type: ignore[no-untyped-call]


def test_the_deepest_keeps_the_name() -> None:
    assert flatten({"a.b": 1, "a": {"b": 2}}) == {"a.b_": 1, "a.b": 2}
    assert flatten({"a": {"b": 2}, "a.b": 2}) == {"a.b": 2}
    assert flatten({1: {"x": {}}, "list": [1]}) == {"1.x": {}, "list": [1]}
