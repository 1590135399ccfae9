"""Fixtures of every test that starts processes: whether they begin with packages imported."""

import pytest

from support.warm import Warm, started


@pytest.fixture(scope="session")
def _warm() -> Warm | None:
    return started()


@pytest.fixture
def warm(
    _warm: Warm | None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Start what this test's workspaces run with other people's packages already imported.

    Unless it is marked `cold`, or TESTS_COLD=1 asks for every process to be started anew.
    """
    if _warm and not request.node.get_closest_marker("cold"):
        monkeypatch.setenv("TESTS_WARM", str(_warm.bin / "python"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that at the end no worker waits for one that began late."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
