"""Stores in folders whose names have special characters: the right files are written and read."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from samerun.config import Config
from samerun.core import address
from samerun.core.errors import StoreError
from samerun.mlflow import models, tracking
from samerun.mlflow.content import RunContent
from samerun.mlflow.model_files import ModelFiles
from samerun.mlflow.tracking import Store

CONFIG = Config("toy")

NAMES = [
    "my%20project", "a%2Fb", "100%", "a%25b", "what?", "a?b=c&d=e", "a#b", "#", "a+b;c@d:e=f",
    "~ [x] ü 日本", "a\nb\tc", "%", "C%3A", "a'b\"c\\d", "a%zz", "sqlite:", "..%2f..", "{x}$HOME",
]  # fmt: skip
"""Names of folders, each with characters that are special in some part of a URL."""


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store and nothing else; creating one takes seconds, copying none."""
    folder = tmp_path_factory.mktemp("empty")
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        Store(CONFIG)
    yield folder
    os.chdir(before)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file and folder below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def write_and_read(store: Store, folder: Path) -> str:
    """Log a run with an artifact and a model version, read them back, and return the run's id."""
    client = store.client
    run_id = str(client.create_run(store.experiment).info.run_id)
    client.log_text(run_id, "kept", "reports/a b.txt")
    client.log_metric(run_id, "loss", 0.5, step=1)
    assert [file.path for file in client.list_artifacts(run_id, "reports")] == ["reports/a b.txt"]
    read_back(store, run_id)
    run_uri = client.get_run(run_id).info.artifact_uri
    assert run_uri is not None
    assert (folder / "mlruns/artifacts" / run_id / "artifacts/reports/a b.txt").exists()
    if not client.search_registered_models():
        client.create_registered_model("odd")
    version = client.create_model_version("odd", f"{run_uri}/reports", run_id)
    uri = client.get_model_version_download_uri("odd", version.version)
    assert uri == f"{run_uri}/reports"
    return run_id


def read_back(store: Store, run_id: str) -> None:
    local = Path(store.client.download_artifacts(run_id, "reports"))
    assert [path.read_text() for path in local.iterdir()] == ["kept"]
    assert store.client.get_run(run_id).data.metrics == {"loss": 0.5}


@pytest.mark.parametrize("name", NAMES)
def test_a_store_is_in_its_own_folder_and_not_in_a_neighbour(
    name: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, decoded = tmp_path / name, unquote(name)
    shutil.copytree(empty_store, here)
    siblings = {name}
    if decoded != name and "/" not in decoded:
        neighbour = tmp_path / decoded
        shutil.copytree(empty_store, neighbour)
        siblings.add(decoded)
    before = {s: contents(tmp_path / s) for s in siblings - {name}}
    monkeypatch.chdir(here)
    store = Store(CONFIG)  # follows the move
    run_id = write_and_read(store, here)
    assert address.sqlite_file() == here / "mlruns/mlflow.db" == address.local_store()
    with sqlite3.connect(here / "mlruns/mlflow.db") as raw:
        assert raw.execute("select count(*) from runs").fetchone() == (1,)
    assert {path.name for path in tmp_path.iterdir()} == siblings
    assert {s: contents(tmp_path / s) for s in siblings - {name}} == before
    moved = tmp_path / "moved%41"
    here.rename(moved)
    monkeypatch.chdir(moved)
    read_back(Store(CONFIG, create=False), run_id)


def test_a_store_is_created_in_a_folder_with_an_odd_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "my%20project" / "a?b#c%2Fd"
    here.mkdir(parents=True)
    (tmp_path / "my project").mkdir()
    monkeypatch.chdir(here)
    write_and_read(Store(CONFIG), here)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my project", "my%20project"]
    assert not list((tmp_path / "my project").iterdir())
    assert [path.name for path in here.parent.iterdir()] == [here.name]


@pytest.mark.parametrize("name", ["my%20project", "a?b#c", "ü & [x]"])
@pytest.mark.parametrize("where", ["models/line.json", "models/my%20models/line.json"])
def test_a_model_is_logged_and_loaded_in_a_folder_with_an_odd_name(
    name: str, where: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / name
    shutil.copytree(empty_store, here)
    monkeypatch.chdir(here)
    (here / where).parent.mkdir(parents=True)
    (here / where).write_text("2.0")
    (here / "serve.py").write_text(
        "from pathlib import Path\n"
        "def load(path):\n    w = float(Path(path).read_text())\n    return lambda x: x * w\n"
    )
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "a.json").write_text("{}")
    store = Store(CONFIG)
    content = RunContent("e1", "a run", {}, {}, 1, 2)
    run = store.record(
        content,
        model=ModelFiles(here / where, here / "serve.py"),
        artifacts=artifacts,
    )
    store.client.create_registered_model("odd")
    (model,) = store.client.search_logged_models([store.experiment])
    store.client.create_model_version("odd", model.model_uri, run.run_id, model_id=model.model_id)
    for uri in (f"runs:/{run.run_id}/model", "models:/odd/1"):
        assert models.load(uri).predict(21.0) == 42.0
    store.fetch(run.run_id, tmp_path / "fetched")
    assert (tmp_path / "fetched/model/MLmodel").exists()
    assert (tmp_path / "fetched/a.json").exists()


def test_a_folder_whose_name_no_url_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow decodes what is not UTF-8 to question marks: it would write into another folder."""
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(StoreError, match=r"the folder .*caf.* must have a name in UTF-8"):
        tracking.Store(CONFIG)
    assert not list(here.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == [here.name]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:///runs%20here.db", "my%20project/runs here.db"),
        ("sqlite:///runs here.db", "my%20project/runs here.db"),
        ("sqlite:///100%.db", "my%20project/100%.db"),
        ("sqlite:///a%2520b.db", "my%20project/a%20b.db"),
        ("sqlite:///mlruns/mlflow.db", "my%20project/mlruns/mlflow.db"),
        ("sqlite:///new%20folder/what%3F%23.db", "my%20project/new folder/what?#.db"),
        ("sqlite:///{root}/my%20project/x.db", "my project/x.db"),
        ("sqlite:///{root}/my%2520project/x.db", "my%20project/x.db"),
        ("SQLITE:///{root}/a+b;c@d:e=f.db", "a+b;c@d:e=f.db"),
    ],
)
def test_the_users_own_address_is_a_url(
    uri: str,
    file: str,
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As SQLAlchemy and MLflow read it; a relative path is relative to the workspace."""
    here = tmp_path / "my%20project"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(root=tmp_path))
    assert address.sqlite_file() == tmp_path / file
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_store / "mlruns/mlflow.db", tmp_path / file)
    before = {path.name for path in tmp_path.iterdir()}
    Store(CONFIG).client.create_experiment("mine")
    with sqlite3.connect(tmp_path / file) as raw:
        assert raw.execute("select count(*) from experiments where name = 'mine'").fetchone()[0]
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("uri", ["sqlite:///a?b.db", "sqlite:///a#b.db", "sqlite:///a%00b.db"])
def test_options_and_fragments_are_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(StoreError, match="must be sqlite:/// and the path of a file"):
        address.store_uri()


@pytest.mark.parametrize("experiment", ["toy", "another one"])
def test_a_move_is_followed_for_any_experiment(
    experiment: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not for artifacts that are elsewhere: on a server, in another place of the disk."""
    here = tmp_path / "here"
    shutil.copytree(empty_store, here)
    store = here / "mlruns/mlflow.db"
    elsewhere = ["s3://bucket/mlruns/artifacts", "file:///data/artifacts", "mlflow-artifacts:/x"]
    with sqlite3.connect(store) as raw:
        raw.execute("update experiments set name = ? where name = 'toy'", [experiment])
        for number, location in enumerate(elsewhere):
            raw.execute(
                "insert into experiments (name, artifact_location, lifecycle_stage, workspace)"
                " values (?, ?, 'active', 'default')",
                [f"e{number}", location],
            )
        raw.execute(
            "insert into experiments (name, artifact_location, lifecycle_stage, workspace)"
            " values ('older', 'file:///older/mlruns/artifacts', 'active', 'default')"
        )
    monkeypatch.chdir(here)
    assert address.moved_from(store)
    address.follow_move(store)
    assert address.moved_from(store) is None
    with sqlite3.connect(store) as raw:
        rows = dict(raw.execute("select name, artifact_location from experiments").fetchall())
    assert rows[experiment] == rows["older"] == (here / "mlruns/artifacts").as_uri()
    assert [rows[f"e{number}"] for number in range(3)] == elsewhere


def test_the_workspace_is_the_nearest_parent_with_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "repository" / "sub" / "folder"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert address.workspace() == inner
    (tmp_path / "repository" / ".dvc").mkdir()
    assert address.workspace() == tmp_path / "repository"
    (tmp_path / "repository/sub/.dvc").write_text("a file is no repository of DVC's")
    assert address.workspace() == tmp_path / "repository"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # of another project, whose stage calls DVC
    assert address.workspace() == tmp_path / "repository"
    disk = tmp_path / "disk"
    experiment = disk / "exps/tmp1"
    (experiment / ".dvc").mkdir(parents=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/tmp").symlink_to(disk)
    monkeypatch.chdir(experiment)
    assert address.workspace() == tmp_path


def test_a_temporary_folder_that_mlflow_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "my%20files"))
    with pytest.raises(StoreError, match=r"TMPDIR must be .* \(got .*my%20files\)"):
        Store(CONFIG)
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "abc"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", ""),
        ("MLFLOW_TRACKING_INSECURE_TLS", "yes"),
        ("MLFLOW_TRACKING_TOKEN", "secret\n"),
        ("MLFLOW_TRACKING_TOKEN", "sécret"),
    ],
)
def test_a_variable_that_mlflow_cannot_read_is_refused(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow raises a ValueError amid a call; of a token, an error that shows it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=f"^{name} must be") as refused:
        Store(CONFIG)
    assert "cret" not in str(refused.value)
