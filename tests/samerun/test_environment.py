"""What a run ran on: the packages are those that importlib knows, read faster."""

from importlib import metadata
from pathlib import Path

import pytest

from samerun.execution import environment


def test_the_packages_are_those_that_importlib_parses() -> None:
    slowly = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    assert environment.packages() == dict(sorted(slowly.items(), key=lambda x: x[0].lower()))


@pytest.mark.parametrize("kind", ["a-1.dist-info/METADATA", "a.egg-info/PKG-INFO"])
def test_a_description_that_names_a_version_is_none(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / kind
    file.parent.mkdir()
    file.write_text("Metadata-Version: 2.1\nName: a\nVersion: 1\n\nVersion: 2\nName: b\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.packages()["a"] == "1"
    assert "b" not in environment.packages()


def test_of_two_on_the_path_the_first_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "12":
        file = tmp_path / version / f"a-{version}.dist-info" / "METADATA"
        file.parent.mkdir(parents=True)
        file.write_text(f"Name: a\nVersion: {version}\n\n")
        monkeypatch.syspath_prepend(file.parent.parent)
    assert environment.packages()["a"] == "2" == metadata.version("a")
