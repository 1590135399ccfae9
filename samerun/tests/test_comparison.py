"""What differs between two files: where, by how much, and whether that is allowed."""

import json
from pathlib import Path

import pytest

from samerun.core.errors import WorkspaceError
from samerun.proof.comparison import Change, between, same, values
from samerun.proof.tolerance import Tolerance


def changes(folder: Path, name: str, old: str | bytes, new: str | bytes) -> list[Change]:
    paths = []
    for side, content in (("old", old), ("new", new)):
        path = folder / side / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return list(between(*paths))


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
    ("old", "new", "expected"),
    [
        ("x,y\n1,2\n3,4\n", "x,y\n1,2\n3,5\n", "row 2, column y was 4, is 5 (1 away, "),
        ("x,y\n1,a\n", "x,y\n1,b\n", "row 1, column y was a, is b"),
        ("x,y\n1,2\n", "x,y\n1,2\n3,4\n", "row 2 is new"),
        ("x,y\n1,2\n3,4\n", "x,y\n1,2\n", "row 2 is gone"),
        ("x,y\n1,2\n", "x,z\n1,2\n", "the header was ['x', 'y'], is ['x', 'z']"),
        ("x,y\n1,2\n", "x,y\n1,2,3\n", "row 1 was ['1', '2'], is ['1', '2', '3']"),
        ("x,y\n1,2\n", 'x,y\n1,"2"\n', "has other bytes from byte 6 on (was 8 bytes, is 10)"),
    ],
)
def test_rows_and_columns(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert texts(tmp_path, "a.csv", old, new)[0].startswith(expected)
    tabs = [text.replace(",", "\t") for text in (old, new)]
    assert texts(tmp_path, "a.tsv", *tabs)[0].startswith(expected)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("a.bin", b"abc", b"abd", "has other bytes from byte 2 on (was 3 bytes)"),
        ("a.bin", b"abc", b"abcd", "has other bytes from byte 3 on (was 3 bytes, is 4)"),
        ("a.bin", b"x" * 3_000_000, b"x" * 2_999_999 + b"y",
         "has other bytes from byte 2,999,999 on (was 3,000,000 bytes)"),
        ("a.json", "{", "{}", "has other bytes from byte 1 on (was 1 bytes, is 2)"),
        ("a.json", "1", "1.", "has other bytes from byte 1 on (was 1 bytes, is 2)"),
        ("a.json", '{"a":1}', '{"a": 1}', "has other bytes from byte 5 on (was 7 bytes, is 8)"),
        ("a.csv", b"x\n\xff\n", b"x\n\xfe\n", "has other bytes from byte 2 on (was 4 bytes)"),
        ("a.csv", "", "x\n", "has other bytes from byte 0 on (was 0 bytes, is 2)"),
        ("a.yaml", "a: [", "a: ]", "has other bytes from byte 3 on (was 4 bytes)"),
    ],
)  # fmt: skip
def test_anything_else_is_bytes(
    tmp_path: Path, name: str, old: str | bytes, new: str | bytes, expected: str
) -> None:
    assert texts(tmp_path, name, old, new) == [expected]


def test_steps_count_the_floats_between(tmp_path: Path) -> None:
    (change,) = values(0.1 + 0.2, 0.3)
    assert change.text.endswith("(5.55e-17 away, 1 step of float64)")
    (change,) = values(-5e-324, 5e-324)
    assert change.text.endswith("(9.88e-324 away, 2 steps of float64)")
    assert not same(0.0, -0.0)
    assert same(float("nan"), float("nan"))


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
    ],
)
def test_the_most_exact_tolerance_counts(declared: dict[str, float], beyond: str | None) -> None:
    tolerance = Tolerance(declared)
    found = tolerance.first_beyond(
        "r/m.json", [Change("loss", "loss", "", 0.01), Change("rate", "rate", "", 0.005)]
    )
    assert (found.key if found else None) == beyond
    assert tolerance.reached == ({} if beyond else {"r/m.json": 0.01})


def test_what_is_no_number_is_never_within_a_tolerance() -> None:
    tolerance = Tolerance({"m.json": float("inf")})
    for distance in (None, float("nan")):
        assert tolerance.first_beyond("m.json", [Change("a", "a", "", distance)])
    assert not tolerance.first_beyond("m.json", [Change("a", "a", "", float("inf"))])


@pytest.mark.parametrize("wrong", ["1e-9", -1, True, None, float("nan")])
def test_a_tolerance_is_a_number(wrong: object) -> None:
    with pytest.raises(WorkspaceError, match=r"tolerance\.loss must be a number, 0 or more"):
        Tolerance({"loss": wrong})
