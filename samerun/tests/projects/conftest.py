"""Small projects, built once and copied."""

from pathlib import Path

import pytest

from projects.toy import ALL, FILES, Toy, project
from support.warm import Warm
from support.workspace import commit, copied


@pytest.fixture(scope="session")
def _toy(_warm: Warm | None, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        toy = project(tmp_path_factory.mktemp("toy") / "work", FILES)
        assert toy.repro() == ALL
        commit(toy, "results")
    return toy


@pytest.fixture
def toy(_toy: Toy, tmp_path: Path) -> Toy:
    """A project in which `dvc repro` ran once and everything is committed."""
    return Toy(copied(_toy, tmp_path / "work").path)


@pytest.fixture
def new(tmp_path: Path) -> Toy:
    """The same project, in which nothing ran yet."""
    return project(tmp_path / "new", FILES)
