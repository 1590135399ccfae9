"""The packages of a run are those that importlib reports, read faster."""

from importlib import metadata
from pathlib import Path

import pytest

from samerun.execution import environment


def test_the_packages_are_those_that_importlib_parses() -> None:
    parsed = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    assert environment.packages() == dict(sorted(parsed.items(), key=lambda x: x[0].lower()))


@pytest.mark.parametrize("file", ["a-1.dist-info/METADATA", "a.egg-info/PKG-INFO"])
def test_name_and_version_in_a_packages_description_are_ignored(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(
        "Metadata-Version: 2.1\nName: a\nVersion: 1\n\nVersion: 2\nName: b\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.packages()["a"] == "1"
    assert "b" not in environment.packages()


def test_the_first_of_two_versions_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "12":
        file = tmp_path / version / f"a-{version}.dist-info" / "METADATA"
        file.parent.mkdir(parents=True)
        file.write_text(f"Name: a\nVersion: {version}\n\n")
        monkeypatch.syspath_prepend(file.parent.parent)
    assert environment.packages()["a"] == "2" == metadata.version("a")
