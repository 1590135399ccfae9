"""What DVC does not notice: a flipped byte, and what changes while a stage runs."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from projects.toy import Toy, flip, project
from support.warm import Warm
from support.workspace import commit, copied

pytestmark = pytest.mark.usefixtures("warm")

READERS = [
    ("prepare", "prepare.scale", "data/raw.csv"),
    ("fit", "fit.steps", "data/table.csv"),
    ("judge", "judge.limit", "data/table.csv"),
    ("judge", "judge.limit", "models/fit.json"),
    ("draw", "draw.color", "reports/metrics.json"),
]
"""A stage, one of its parameters, and its inputs from other stages and .dvc files."""

MADE = [
    *("data/table.csv", "models/fit.json", "reports/history.csv", "reports/metrics.json"),
    "reports/picture.svg",
]


@pytest.fixture(scope="session")
def _tracked(_toy: Toy, _warm: Warm | None, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    tracked = Toy(copied(_toy, tmp_path_factory.mktemp("tracked") / "work").path)
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        tracked.git("rm", "--quiet", "--cached", "data/raw.csv")
        tracked.dvc("add", "--quiet", "data/raw.csv")
        commit(tracked, "tracked by DVC")
    return tracked


@pytest.fixture
def toy(_tracked: Toy, tmp_path: Path) -> Toy:
    """A project that ran once, and whose raw data is tracked by a .dvc file."""
    return Toy(copied(_tracked, tmp_path / "work").path)


def cached(toy: Toy, file: str) -> Path:
    """Return the object of DVC's cache that holds a file."""
    md5 = hashlib.md5((toy.path / file).read_bytes()).hexdigest()
    return toy.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def damage_cache(toy: Toy, file: str) -> None:
    """Flip a byte of a file's object in the cache, and let DVC check it out."""
    path = toy.path / file
    sound, damaged = path.read_bytes(), cached(toy, file)
    flip(damaged)
    path.unlink()
    toy.dvc("checkout", "--quiet", file)
    assert path.read_bytes() == damaged.read_bytes() != sound
    assert "up to date" in toy.dvc("status").stdout  # DVC has not noticed


def damage_workspace(toy: Toy, file: str) -> None:
    """Flip a byte of a file in the workspace, and leave its times as they were."""
    assert "up to date" in toy.dvc("status").stdout  # DVC remembers size and times
    flip(toy.path / file)
    assert "up to date" in toy.dvc("status").stdout  # DVC has not noticed


def files(toy: Toy) -> dict[str, bytes]:
    """Return the files that stages make."""
    found = [path for path in toy.path.glob("[dmr]*/*") if path.parent.name != "mlruns"]
    return {str(path): path.read_bytes() for path in found if path.is_file()}


def assert_refused_by(toy: Toy, stage: str, parameter: str, file: str) -> None:
    """Change a parameter of a stage; `dvc repro` names the file, and nothing executes."""
    before, outputs = toy.executions(), files(toy)
    toy.set(parameter, 4)
    toy.refused("dvc", "repro", says=file)
    assert toy.executions() == before, stage
    assert files(toy) == outputs  # those of the stage that was refused are back


@pytest.mark.parametrize(("stage", "parameter", "file"), READERS)
def test_a_flipped_byte_in_the_workspace_is_not_read(
    toy: Toy, stage: str, parameter: str, file: str
) -> None:
    damage_workspace(toy, file)
    assert_refused_by(toy, stage, parameter, file)


@pytest.mark.parametrize(("stage", "parameter", "file"), READERS)
def test_a_flipped_byte_in_the_cache_is_not_read(
    toy: Toy, stage: str, parameter: str, file: str
) -> None:
    damage_cache(toy, file)
    assert_refused_by(toy, stage, parameter, file)


@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_a_flipped_byte_in_the_cache_is_not_read_through_links(toy: Toy, kind: str) -> None:
    stage, parameter, file = READERS[1]
    toy.dvc("config", "--local", "cache.type", kind)
    toy.dvc("checkout", "--quiet", "--relink")
    damage_cache(toy, file)
    assert (toy.path / file).is_symlink() is (kind == "symlink")
    assert_refused_by(toy, stage, parameter, file)


def test_a_flipped_byte_is_not_read_by_a_forced_stage(toy: Toy) -> None:
    damage_workspace(toy, "models/fit.json")
    before = toy.executions()
    toy.refused("dvc", "repro", "--force", "--single-item", "judge", says="models/fit.json")
    assert toy.executions() == before


@pytest.mark.parametrize("file", ["data/raw.csv", *MADE])
@pytest.mark.parametrize("damage", [damage_workspace, damage_cache])
def test_a_flipped_byte_is_not_recorded(
    toy: Toy, damage: Callable[[Toy, str], None], file: str
) -> None:
    damage(toy, file)
    toy.refused("samerun", "record", says=file)
    (toy.path / "mlruns/recorded.json").unlink()
    toy.refused("dvc", "repro", says=file)
    assert not (toy.path / "mlruns/recorded.json").exists()


def test_outputs_that_are_links_into_the_cache_are_recorded_as_files(toy: Toy) -> None:
    toy.dvc("config", "--local", "cache.type", "symlink")
    toy.dvc("checkout", "--quiet", "--relink")
    before = toy.runs()
    toy.set("fit.rate", 0.25)
    assert toy.repro() == ["fit", "judge", "draw", "record"]
    run = toy.new_run(before)
    assert (toy.path / "reports/history.csv").is_symlink()
    assert not any(path.is_symlink() for path in run.artifacts.rglob("*"))


MAKE = """
  parts:
    cmd: samerun run -- sh make.sh
    outs: [parts]
"""

READ = """
  all:
    cmd: samerun run -- sh -c 'echo all >> "$TOY_LOG"; cat parts/a.txt parts/b/c.txt > all.txt'
    params: [all]
    deps: [parts]
    outs: [all.txt]
  one:
    cmd: samerun run -- sh -c 'echo one >> "$TOY_LOG"; cat parts/b/c.txt > one.txt'
    params: [one]
    deps: [parts/b/c.txt]
    outs: [one.txt]
  record:
    cmd: samerun record
    params: [all, one]
    deps: [all.txt, one.txt, parts]
    outs:
      - mlruns/recorded.json: {cache: false, persist: true}
"""


@pytest.mark.parametrize("maker", ["a stage", "a .dvc file"])
@pytest.mark.parametrize(("stage", "parameter"), [("all", "all.x"), ("one", "one.y")])
def test_a_flipped_byte_of_a_file_in_a_folder_is_not_read(
    tmp_path: Path, maker: str, stage: str, parameter: str
) -> None:
    files = {
        "dvc.yaml": "stages:" + (MAKE if maker == "a stage" else "") + READ,
        "params.yaml": "all:\n  x: 1\none:\n  y: 1\n",
        "make.sh": "mkdir -p parts/b; echo 1 > parts/a.txt; echo 22 > parts/b/c.txt\n",
    }
    toy = project(tmp_path / "folder", files)
    if maker == "a .dvc file":
        toy.run("sh", "make.sh")
        toy.dvc("add", "--quiet", "parts")
    assert sorted(toy.repro()) == ["all", "one", "record"]
    damage_workspace(toy, "parts/b/c.txt")
    toy.refused("samerun", "record", says="parts/b/c.txt")
    assert_refused_by(toy, stage, parameter, "parts/b/c.txt")


MEANWHILE = {
    "code": ("echo '# x' >> code/fit/step.sh", "code/fit"),
    "shared code": ("echo '# x' >> code/common.sh", "code/common.sh"),
    "code, its time restored": (
        "touch -r code/fit/step.sh $TOY_LOG.time; tr w v < code/fit/step.sh > $TOY_LOG.new;"
        " cat $TOY_LOG.new > code/fit/step.sh; touch -r $TOY_LOG.time code/fit/step.sh",
        "code/fit",
    ),
    "added code": ("touch code/fit/new.sh", "code/fit"),
    "added code in a new folder": ("mkdir code/fit/more; touch code/fit/more/a.sh", "code/fit"),
    "removed code": ("rm code/fit/step.sh", "code/fit"),
    "parameter": ("sed -i 's/rate: .*/rate: 0.125/' params.yaml", "params.yaml"),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_changes_while_a_stage_runs_is_refused(toy: Toy, what: str) -> None:
    command, named = MEANWHILE[what]
    toy.set("fit.rate", 0.25)
    before = toy.executions()
    toy.refused("dvc", "repro", says=named, TOY_MEANWHILE=command)
    assert toy.executions()[len(before) :] == ["fit"]

    toy.git("checkout", "--", "code")
    toy.git("clean", "--quiet", "--force", "-d", "code")
    toy.set("fit.rate", 0.25)
    runs = toy.runs()
    assert toy.repro() == ["fit", "judge", "draw", "record"]
    assert "backfilled" not in toy.new_run(runs).tags


def test_what_python_and_editors_leave_beside_code_does_not_count(toy: Toy) -> None:
    (first,) = toy.runs()
    leave = (
        "mkdir code/fit/__pycache__; echo 1 > code/fit/__pycache__/step.cpython-311.pyc;"
        " echo 1 > code/fit/.step.sh.swp"
    )
    assert toy.repro("--force", "fit", TOY_MEANWHILE=leave)[-1] == "fit"
    assert toy.repro() == ["record"]
    run = toy.new_run([first])
    assert run.tags["fingerprint"] == first.tags["fingerprint"]
    assert run.tags["git_dirty"] == "false"
    assert not (run.artifacts / "changes.patch").exists()


def test_a_stage_that_fails_leaves_its_last_good_outputs_and_no_run(toy: Toy) -> None:
    before, outputs = toy.runs(), files(toy)
    toy.replace("code/fit/main.sh", "ran fit\n", "ran fit\nexit 7\n")
    done = toy.dvc("repro", ok=False)
    assert done.returncode != 0
    assert "exited with 7" in done.stderr
    assert toy.runs() == before
    assert files(toy) == outputs
    toy.git("checkout", "--", "code")  # nothing has happened, then: the marker alone is missing
    assert toy.repro() == ["record"]
    assert toy.runs() == before
