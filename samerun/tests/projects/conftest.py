"""Small projects, built once and copied."""

from pathlib import Path

import pytest

from projects.toy import ALL, FILES, Toy, project
from projects.users import CASES, Case, User, initialised, written
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


@pytest.fixture(scope="session")
def _user_project(
    _warm: Warm | None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, User]:
    """A project that `samerun init` was called in, and that was recorded and committed then."""
    name = request.param
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        user = written(name, tmp_path_factory.mktemp(name))
        initialised(CASES[name], user)
        recorders = [Case.recorder(folder) for folder in CASES[name].pipelines]
        assert user.repro(*CASES[name].targets) == recorders
        commit(user, "recorded")
    return name, user


@pytest.fixture
def case(_user_project: tuple[str, User]) -> Case:
    return CASES[_user_project[0]]


@pytest.fixture
def user(_user_project: tuple[str, User], tmp_path: Path) -> User:
    return copied(_user_project[1], tmp_path / _user_project[0])
