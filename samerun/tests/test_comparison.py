"""What differs between two files: where, by how much, and whether that is allowed."""

import json
import math
import pickle
from pathlib import Path

import pytest

from samerun.core.errors import WorkspaceError
from samerun.core.tolerance import limits
from samerun.proof.comparison import Change, change, same, values
from samerun.proof.files import between, same_form
from samerun.proof.tolerance import Tolerance


def changes(folder: Path, name: str, old: str | bytes, new: str | bytes) -> list[Change]:
    paths = []
    for side, content in (("old", old), ("new", new)):
        path = folder / side / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return list(between(*paths))


def cells(old: object, new: object) -> list[Change]:
    """Return what differs between two values; of texts, as in the cells of a table."""
    in_table = isinstance(old, str) and isinstance(new, str)
    return [change("", "", old, new)] if in_table else list(values(old, new))


def texts(folder: Path, name: str, old: str | bytes, new: str | bytes) -> list[str]:
    return [str(change) for change in changes(folder, name, old, new)]


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.csv", "a.bin"])
def test_equal_files_have_no_change(tmp_path: Path, name: str) -> None:
    assert changes(tmp_path, name, "{}\n", "{}\n") == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": {"b": 1.0}}, {"a": {"b": 1.5}}, ["a.b was 1.0, is 1.5 (0.5 away, "]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a.1 was 2, is 3 (1 away, "]),
        ({"a": [1, 2]}, {"a": [1]}, ["a had 2 entries, has 1"]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, ["a is gone", "c is new"]),
        ({"a": True}, {"a": 1}, ["a was True, is 1"]),
        ({"a": "0x1.8p+1"}, {"a": "0x1.4p+1"}, ["a was 0x1.8p+1, is 0x1.4p+1 (0.5 away"]),
        ({"a": 1}, {"a": 1.0}, ["a was 1, is 1.0 (0 away, 0 steps of float64)"]),
        ({"a": float("nan")}, {"a": 1.0}, ["a was nan, is 1.0"]),
        ({"a": None}, {"a": [1]}, ["a was None, is [1]"]),
        ([1, 2], [1, 3], ["1 was 2, is 3 (1 away"]),
        (1.0, 2.0, ["was 1.0, is 2.0 (1 away"]),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_keys_of_json_and_yaml(
    tmp_path: Path, name: str, old: object, new: object, expected: list[str]
) -> None:
    if name == "a.yaml" and "nan" in str(old):
        pytest.skip("YAML spells it otherwise")
    found = texts(tmp_path, name, json.dumps(old), json.dumps(new))
    assert len(found) == len(expected)
    for text, beginning in zip(found, expected, strict=True):
        assert text.startswith(beginning)


@pytest.mark.parametrize(
    ("old", "new", "distance"),
    [("1e-06", "3e-06", 2e-06), ("010", "011", 1.0), ("1:30", "1:31", None), ("on", "true", None)],
)
def test_a_number_in_yaml_is_one_where_dvc_reads_one(
    tmp_path: Path, old: str, new: str, distance: float | None
) -> None:
    """DVC reads YAML 1.2, and writes 1e-06 for a number of `--set-param`."""
    (found,) = changes(tmp_path, "a.yaml", f"loss: {old}\n", f"loss: {new}\n")
    assert found.distance == (distance and pytest.approx(distance))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("x,y\n1,2\n3,4\n", "x,y\n1,2\n3,5\n", "row 2, column y was 4, is 5 (1 away, "),
        ("x,y\n1,a\n", "x,y\n1,b\n", "row 1, column y was a, is b"),
        ("x,y\n1,2\n", "x,y\n1,2\n3,4\n", "row 2 is new"),
        ("x,y\n1,2\n3,4\n", "x,y\n1,2\n", "row 2 is gone"),
        ("x,y\n1,2\n", "x,z\n1,2\n", "the header lost the column y, gained the column z"),
        (
            "x,y\n1,2\n",
            "y,x\n2,1\n",
            "the header has the columns in another order: column 1 was x, is y",
        ),
        ("x,x\n1,2\n", "x,x\n1,3\n", "row 1, column 2 x was 2, is 3"),
        (",x\n1,2\n", ",x\n2,2\n", "row 1, column 1 was 1, is 2"),
        ('x,y\n1,"a\nb"\n', 'x,y\n1,"a\nc"\n', "row 1, column y was a\nb, is a\nc"),
        ("x,y\n1,2\n", "x,y\n1,2,3\n", "row 1 was ['1', '2'], is ['1', '2', '3']"),
        ("x,y\n1,2\n", 'x,y\n1,"2"\n', 'line 2 was 1,2, is 1,"2"'),
    ],
)
def test_rows_and_columns(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert texts(tmp_path, "a.csv", old, new)[0].startswith(expected)
    if not expected.startswith("line"):
        tabs, other = ([text.replace(",", by) for text in (old, new)] for by in "\t;")
        assert texts(tmp_path, "a.tsv", *tabs)[0].startswith(expected)
        assert texts(tmp_path, "b.csv", *other)[0].startswith(expected)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("a.bin", b"\0bc", b"\0bd", "differs from byte 2 on (was 3 bytes)"),
        ("a.bin", b"\0bc", b"\0bcd", "differs from byte 3 on (was 3 bytes, is 4)"),
        ("a.bin", b"\0" * 3_000_000, b"\0" * 2_999_999 + b"y",
         "differs from byte 2,999,999 on (was 3,000,000 bytes)"),
        ("a.csv", b"x\n\xff\n", b"x\n\xfe\n", "differs from byte 2 on (was 4 bytes)"),
        ("a.txt", b"\xff", b"\xfe", "differs from byte 0 on (was 1 byte)"),
        ("a.pkl", pickle.dumps(1.5), pickle.dumps(2.5),
         "differs from byte 12 on (was 21 bytes); a pickle of equal objects may have other"
         " bytes"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_bytes(
    tmp_path: Path, name: str, old: bytes, new: bytes, expected: str
) -> None:
    assert texts(tmp_path, name, old, new) == [expected]


LONG = "a" * 100


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("a", "1\n2\n", "1\n3\n", "line 2 was 2, is 3"),
        ("a.md", "é\nü\n", "é\nö\n", "line 2 was ü, is ö"),
        ("a.log", "a\n", "a\nb\n", "line 2 is new: b"),
        ("a.log", "a\nb\n", "a\n", "line 2 is gone: b"),
        ("a.log", "a", "a\n", "line 1 was 'a', is 'a\\n'"),
        ("a.py", "a\r\n", "a\n", "line 1 was 'a\\r\\n', is 'a\\n'"),
        ("a.txt", "a  b\n", "a b\n", "line 1 was 'a  b', is 'a b'"),
        ("a.html", f"{LONG}b{LONG}", f"{LONG}c{LONG}",
         f"line 1 was …{'a' * 20}b{'a' * 39}…, is …{'a' * 20}c{'a' * 39}…"),
        ("a.json", "{", "{}", "line 1 was {, is {}"),
        ("a.json", '{"a":1}', '{"a": 1}', "line 1 was {\"a\":1}, is {\"a\": 1}"),
        ("a.csv", "", "x\n", "line 1 is new: x"),
        ("a.yaml", "a: [", "a: ]", "line 1 was a: [, is a: ]"),
        ("a.jsonl", "x\n", "y\n", "line 1 was x, is y"),
    ],
)  # fmt: skip
def test_a_text_has_lines(tmp_path: Path, name: str, old: str, new: str, expected: str) -> None:
    assert texts(tmp_path, name, old, new) == [expected]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{"a": {"b": 1}}\n{"c": 2}\n', '{"a": {"b": 1}}\n{"c": 3}\n',
         "line 2, key c was 2, is 3 (1 away, "),
        ('{"a": NaN}\n', '{"a": 1.0}\n', "line 1, key a was nan, is 1.0"),
        ("1\n", "2\n", "line 1 was 1, is 2 (1 away, "),
        ("1\n2\n", "1\n", "line 2 is gone"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["jsonl", "ndjson"])
def test_json_lines_have_keys(
    tmp_path: Path, suffix: str, old: str, new: str, expected: str
) -> None:
    assert texts(tmp_path, f"a.{suffix}", old, new)[0].startswith(expected)


def test_steps_count_the_floats_between(tmp_path: Path) -> None:
    (change,) = values(0.1 + 0.2, 0.3)
    assert change.text.endswith("(5.55e-17 away, 1 step of float64)")
    (change,) = values(-5e-324, 5e-324)
    assert change.text.endswith("(9.88e-324 away, 2 steps of float64)")
    assert not same(0.0, -0.0)
    assert same(float("nan"), float("nan"))


@pytest.mark.parametrize(
    ("old", "new", "distance"),
    [
        (2**53, 2**53 + 1, 1.0),  # as float64 they are the same
        ("9007199254740993", "9007199254740992", 1.0),
        (float("nan"), float("nan"), None),  # no change at all
        ("nan", "NaN", 0.0),
        ("inf", "Infinity", 0.0),
        ("1.0", 1.0, "none"),
        (True, 1, "none"),
        ("a", "b", "none"),
        (1, "", "none"),
    ],
)
def test_the_distance_of_numbers_that_are_numbers(
    old: object, new: object, distance: float | str | None
) -> None:
    found = [one.distance for one in cells(old, new)]
    assert found == ([] if distance is None else [None if distance == "none" else distance])


@pytest.mark.parametrize(
    ("declared", "beyond"),
    [
        ({}, "loss"),
        ({"loss": 0.1}, "rate"),
        ({"loss": 0.1, "rate": 0.1}, None),
        ({"r/m.json": 0.1}, None),
        ({"r/m.json": 0.001}, "loss"),
        ({"r/m.json": 0.1, "r/m.json:rate": 0.001}, "rate"),
        ({"r/m.json": 0.001, "loss": 0.1}, "loss"),  # a file counts more than a name
        ({"r/m.json:loss": 0.01, "r/m.json:rate": 0.01}, None),
        ({"r": 0.1}, None),
        ({"r/": 0.1, "r/m.json": 0.001}, "loss"),
        ({"r/*.json": 0.1}, None),
        ({"*.json": 0.1, "r/*": 0.001, "r/m*": 0.1}, None),  # the longest one
        ({"r/*:loss": 0.1, "ra*": 0.1}, None),
        ({"m.loss": 0.1, "r/m.rate": 0.1}, None),  # as MLflow names them
        ({"lo": 0.1, "m": 0.1, "m.json": 0.1}, "loss"),
    ],
)
def test_the_most_exact_tolerance_counts(declared: dict[str, float], beyond: str | None) -> None:
    tolerance = Tolerance(limits("tolerance", declared))
    found = tolerance.first_exceeding(
        "r/m.json", [Change("loss", "loss", "", 0.01), Change("rate", "rate", "", 0.005)]
    )
    assert (found.key if found else None) == beyond
    assert str(tolerance).startswith("" if beyond else "r/m.json loss by 0.01 at most (allowed ")


@pytest.mark.parametrize(
    "name", ["w", "w.0.loss", "w.loss", "w.*.loss", "*loss", "a.json:w", "a.json:w.loss"]
)
def test_a_list_or_its_elements_may_be_named(name: str) -> None:
    tolerance = Tolerance(limits("tolerance", {name: 0.5}))
    assert not tolerance.first_exceeding(
        "a.json", values({"w": [{"loss": 1}]}, {"w": [{"loss": 1.5}]})
    )
    assert str(tolerance) == "a.json w.0.loss by 0.5 at most (allowed 0.5)"


@pytest.mark.parametrize(
    ("old", "new", "limit", "words"),
    [
        (100.0, 101.0, {"rel": 0.01}, "by 1 at most, 0.0099 of the value (allowed rel 0.01)"),
        (-100.0, -101.0, {"rel": 0.01}, "by 1 at most, 0.0099 of the value (allowed rel 0.01)"),
        (100.0, 102.0, {"rel": 0.01}, None),
        (0.0, 1e-9, {"rel": 0.1}, None),  # nothing is relatively near zero
        (0.0, 1e-9, {"rel": 0.1, "abs": 1e-9},
         "by 1e-09 at most (allowed rel 0.1, abs 1e-09)"),
        (1.0, 1.25, {"abs": 0.25}, "by 0.25 at most (allowed 0.25)"),
        (1.0, float("inf"), {"rel": 1}, None),
        (1.0, float("nan"), {"rel": 1, "abs": 1e300}, None),
        (1.0, "1.0", 1, None),
        ("nan", "NaN", 0, "by 0 at most (allowed 0)"),
        ([1], [1, 2], 9, None),
    ],
)  # fmt: skip
def test_a_relative_tolerance_is_that_of_isclose(
    old: object, new: object, limit: object, words: str | None
) -> None:
    tolerance = Tolerance(limits("tolerance", {"a.csv": limit}))
    beyond = tolerance.first_exceeding("a.csv", cells(old, new))
    assert (beyond is None) == (words is not None)
    assert str(tolerance) == (f"a.csv {words}" if words else "")
    if words and isinstance(old, float) and isinstance(new, float) and isinstance(limit, dict):
        assert math.isclose(old, new, rel_tol=limit.get("rel", 0), abs_tol=limit.get("abs", 0))


def test_a_change_beyond_the_tolerance_says_what_is_allowed() -> None:
    change = Tolerance(limits("", {"a": 0.5})).first_exceeding("a.json", values({"a": 1}, {"a": 2}))
    assert str(change).endswith("(1 away, relative 0.5), more than the allowed 0.5")


def test_what_is_no_number_is_never_within_a_tolerance() -> None:
    tolerance = Tolerance(limits("", {"m.json": float("inf")}))
    for distance in (None, float("nan")):
        assert tolerance.first_exceeding("m.json", [Change("a", "a", "", distance)])
    assert not tolerance.first_exceeding("m.json", [Change("a", "a", "", float("inf"))])


def test_any_allows_bytes_too_and_a_number_says_that_it_does_not() -> None:
    change = Change("", "", "has other bytes")
    tolerance = Tolerance(limits("", {"model.pkl": "any", "other.pkl": 1.0}))
    assert tolerance.first_exceeding("model.pkl", [change]) is None
    assert str(tolerance) == "model.pkl (any difference is allowed)"
    beyond = tolerance.first_exceeding("other.pkl", [change])
    assert beyond
    assert beyond.text == "has other bytes; the tolerance 1 is for numbers, `any` for all"


@pytest.mark.parametrize(
    "wrong",
    ["1e-9", "all", -1, True, None, float("nan"), {}, [1], {"rel": "1"}, {"rel": -1},
     {"rel": float("inf")}, {"relative": 1}, {"rel": 1, "at": 1}],
)  # fmt: skip
def test_a_tolerance_is_a_number(wrong: object) -> None:
    with pytest.raises(WorkspaceError, match=r"tolerance\.loss must be a number, 0 or more, {rel"):
        limits("tolerance", {"loss": wrong})


def test_a_declared_name_that_nothing_has(tmp_path: Path) -> None:
    contents = {"a.csv": "x;y\n1;2\n", "b.json": '{"c": {"d": [1]}}', "e.jsonl": '{"f": 1}\n',
                "g.bin": "\0"}  # fmt: skip
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    files = [(f"out/{name}", tmp_path / name) for name in contents]
    right = ["x", "y", "c", "c.d", "c.d.0", "f", "out", "out/g.bin", "out/*.csv:y", "b.c.d"]
    declared = dict.fromkeys([*right, "z", "d", "out/a.csv:c", "outer"], 1)
    assert Tolerance(limits("", declared)).unused(files) == ["z", "d", "out/a.csv:c", "outer"]
    large = tmp_path / "large.json"
    large.write_text(" " * 300_000 + "{}")
    assert Tolerance(limits("", {"z": 1})).unused([*files, ("large.json", large)]) == []


def test_what_is_no_measurement_is_no_number(tmp_path: Path) -> None:
    """A version in JSON, and 007 for 7 in a table; a float to the bit is a number, as hex too."""

    def distances(name: str, old: str, new: str) -> list[float | None]:
        (tmp_path / "old").mkdir(exist_ok=True)
        first, second = tmp_path / "old" / name, tmp_path / name
        first.write_text(old)
        second.write_text(new)
        return [one.distance for one in between(first, second)]

    assert distances("m.json", '{"version": "1.0"}', '{"version": "1.5"}') == [None]
    assert distances("m.json", '{"w": "0x1.8p+0"}', '{"w": "0x1.0p+1"}') == [0.5]
    assert distances("ids.csv", "id\n007\n", "id\n7\n") == [None]
    assert distances("ids.csv", "x\n1.5\n", "x\n2.5\n") == [1.0]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('{"a": 1.5}', '{"a": 1.75e-3}', True),
        ('{"a": 1.5}', '{ "a": 1.75}', False),
        ("a,b\n1,2\n", "a,b\r\n1,2\n", False),
        ("a: 1\n", "a: 2  # more\n", False),
        ('{"w": "0x1.8p+0"}', '{"w": "0x1.ap+1"}', True),
        ("1\n", "1\n2\n", False),
        ("-inf nan", "1e9 -.5", True),
    ],
)
def test_a_tolerance_of_numbers_allows_no_other_form(
    tmp_path: Path, old: str, new: str, same: bool
) -> None:
    (tmp_path / "old").write_bytes(old.encode())
    (tmp_path / "new").write_bytes(new.encode())
    assert same_form(tmp_path / "old", tmp_path / "new") is same
