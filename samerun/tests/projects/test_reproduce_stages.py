"""`samerun reproduce` of a run of several stages: which one is it, and one stage alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from projects.test_reproduce import everything, exact, refused, reproduce
from projects.toy import Toy, project
from samerun.dvc.project import Project
from samerun.pipeline import Pipeline
from support.warm import Warm
from support.workspace import commit, copied

pytestmark = pytest.mark.usefixtures("warm")

MAKE = """
echo make >> "$TOY_LOG"
mkdir -p "out/deep er"
for i in $(cat data/sorted.csv); do echo "$i${MAKE:-}" > "out/deep er/ü$i.txt"; done
echo '{"size": 4, "by": 2}' > made.json
"""

LOOK = """
echo look >> "$TOY_LOG"
cat out/*/* > look.txt
printf '{"loss": 1.0%s}' "${LOOK:-}" > look.json
"""

EACH = """
echo "each $1" >> "$TOY_LOG"
echo "$1 of $(cat look.json)" > "each_$1.txt"
"""

FILES = {
    "make.sh": MAKE,
    "look.sh": LOOK,
    "each.sh": EACH,
    ".gitignore": "out\nlook.*\nmade.json\neach_*\nlast.txt\n!look.sh\n/data/*.csv\n",
    "dvc.yaml": """
stages:
  sort:
    cmd: sort data/raw.csv > data/sorted.csv
    deps: [data/raw.csv]
    outs: [data/sorted.csv]
  make:
    cmd: sh -e make.sh
    deps: [make.sh, data]
    outs: [out]
    metrics: [made.json: {cache: false}]
  look:
    cmd: sh -e look.sh
    deps: [look.sh, out]
    outs: [look.txt, look.json]
  each:
    matrix: {item: [x, y]}
    cmd: sh -e each.sh ${item.item}
    deps: [each.sh, look.json]
    outs: ["each_${item.item}.txt"]
  last:
    cmd: cat made.json each_x.txt > last.txt
    deps: [made.json, each_x.txt]
    outs: [last.txt]
  record:
    cmd: samerun record
    deps: [make.sh, look.sh, each.sh, data, made.json, look.txt, last.txt, each_y.txt]
    outs:
      - mlruns/recorded.json: {cache: false, persist: true}
    meta: {samerun: {experiment: steps}}
""",
}

ALONE = "only stage {}, with the inputs that the run had: no other stage is compared\n"

FOLLOWS = "perhaps as a consequence (check with --stage): "


@pytest.fixture(scope="module")
def _built(_warm: Warm | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        folder = tmp_path_factory.mktemp("steps")
        built = project(folder / "work", FILES)
        (built.path / "data").mkdir()
        (built.path / "data/raw.csv").write_text("3\n1\n2\n")
        built.dvc("add", "data/raw.csv")
        commit(built, "data")
        built.dvc("remote", "add", "--default", "here", str(folder / "remote"))
        built.repro()
        commit(built, "results")
        built.dvc("push")
        yield built


@pytest.fixture
def steps(_built: Toy, tmp_path: Path) -> Toy:
    """A project that ran once: sort -> make -> look -> each@x, each@y -> last; with a remote."""
    shutil.copytree(_built.path.parent / "remote", tmp_path / "remote")
    toy = Toy(copied(_built, tmp_path / "work").path)
    toy.dvc("remote", "modify", "here", "url", "../remote")
    return toy


def alone(toy: Toy, stage: str, *executed: str, **env: str) -> str:
    """Reproduce a stage of the run; assert that it is exact and that no other stage is executed."""
    (run,) = toy.runs()
    log = len(toy.executions())
    printed = exact(toy, run.run_id, "--stage", stage, **env)
    assert ALONE.format(stage) in printed
    assert " ".join(toy.executions()[log:]) == " ".join(executed)
    assert toy.runs() == [run]  # a part says nothing of the run: no tag
    return printed


def differs(toy: Toy, *arguments: str, **env: str) -> list[str]:
    """Reproduce the run with different results; return the printed lines."""
    done = reproduce(toy, toy.runs()[0].run_id, *arguments, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()[1:]


def test_a_stage_alone_has_the_inputs_of_the_run(steps: Toy) -> None:
    for name in ("look.json", "look.txt", "made.json"):  # of the workspace nothing is read
        (steps.path / name).write_text("other\n")
    for name in ("out", "data"):
        shutil.rmtree(steps.path / name)
    before = everything(steps.path)
    printed = alone(steps, "look", "look", MAKE="9")
    assert "exact: every bit is equal in 2 outputs of 1 stage\n" in printed
    printed = alone(steps, "each", "each x", "each y", LOOK="9")
    assert "exact: every bit is equal in 2 outputs of 2 stages\n" in printed
    alone(steps, "make", "make")
    assert everything(steps.path) == before


def test_a_stage_alone_differs_without_a_word_on_the_run(steps: Toy) -> None:
    first = "differs: stage look: look.json: loss was 1.0, is 1.05 (0.05 away, relative 0.048)"
    assert differs(steps, "--stage", "look", LOOK="5") == [
        ALONE.format("look").rstrip(),
        first,
        "environment: the same packages and machine",
    ]
    assert not [tag for tag in steps.runs()[0].tags if tag.startswith("reproduced")]


def test_inputs_come_from_the_remote_or_are_named(steps: Toy) -> None:
    (run,) = steps.runs()
    shutil.rmtree(steps.path / ".dvc/cache")
    alone(steps, "look", "look")
    assert not (steps.path / ".dvc/cache").exists()
    alone(steps, "last")  # what DVC does not keep is with the run, since it is a metric
    (run.artifacts / "made.json").unlink()
    made = "made.json, which stage last reads, is neither an artifact of the run nor in DVC's cache"
    refused(steps, made, run.run_id, "--stage", "last")
    shutil.rmtree(steps.path.parent / "remote")
    reason = "not in DVC's cache or remote: out, which stage look reads ("
    refused(steps, reason, run.run_id, "--stage", "look")


def test_a_damaged_input_is_refused(steps: Toy) -> None:
    (run,) = steps.runs()
    shutil.rmtree(steps.path / ".dvc/cache")
    for path in (steps.path.parent / "remote/files/md5").rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b'{"loss"'):
            path.chmod(0o644)
            path.write_text('{"loss": 2.0}')
    alone(steps, "look", "look")
    refused(steps, "not in DVC's cache or remote: look.json, which stage each@x reads", run.run_id,
            "--stage", "each@x")  # fmt: skip


def test_no_such_stage(steps: Toy) -> None:
    (run,) = steps.runs()
    reason = "--stage must be a stage of the run: sort, make, look, each@x, each@y, last (got eac)"
    log = steps.executions()
    refused(steps, reason, run.run_id, "--stage", "eac")
    refused(steps, "(got record)", run.run_id, "--stage", "record")
    assert steps.executions() == log


def test_the_first_stage_that_differs_is_named_first(steps: Toy) -> None:
    assert differs(steps, LOOK="5") == [
        "differs: stage look: look.json: loss was 1.0, is 1.05 (0.05 away, relative 0.048)",
        f"{FOLLOWS}each_x.txt (stage each@x), each_y.txt (stage each@y), last.txt (stage last)",
        "environment: the same packages and machine",
    ]
    assert differs(steps, MAKE="5", LOOK="5") == [
        "differs: stage make: out/deep er/ü1.txt: line 1 was 1, is 15; 2 more files differ in out",
        f"{FOLLOWS}look.txt (stage look), look.json (stage look),"
        " each_x.txt (stage each@x), each_y.txt (stage each@y), last.txt (stage last)",
        "environment: the same packages and machine",
    ]


def test_what_follows_from_a_tolerated_output_says_so(steps: Toy) -> None:
    text = (steps.path / "dvc.yaml").read_text()

    def tolerate(entries: str) -> None:
        wanted = f"{{experiment: steps, tolerance: {{{entries}}}}}"
        (steps.path / "dvc.yaml").write_text(text.replace("{experiment: steps}", wanted))

    tolerate("loss: {rel: 0.05}, los: 1")
    done = reproduce(steps, steps.runs()[0].run_id, LOOK="5")
    assert done.stdout.splitlines()[1:3] == [
        'differs: stage each@x: each_x.txt: line 1 was x of {"loss": 1.0}, is x of {"loss": 1.05};'
        " this stage read look.json, which differed within its tolerance",
        f"{FOLLOWS}each_y.txt (stage each@y), last.txt (stage last)",
    ]
    rule = "tolerance must name files, keys or columns that a stage makes"
    assert done.stderr == f"samerun: warning: {rule} (got los)\n"
    printed = reproduce(steps, steps.runs()[0].run_id, "--stage", "look", LOOK="5").stdout
    assert printed.splitlines()[2] == (
        "within tolerance: look.json loss by 0.05 at most, 0.0476 of the value (allowed rel 0.05);"
        " otherwise equal: 2 outputs of 1 stage"
    )


def test_a_tolerance_that_names_no_output_is_a_mistake(steps: Toy) -> None:
    right = "out, out/a.csv, 'out/*.json', made.json, 'made.json:size', loss, 'look.*'"
    wrong = ["mad.json", "outer/a.csv", "each_z.txt:a", "other/*.csv"]
    names = ", ".join([right, *(f"'{name}'" for name in wrong)])
    entries = ", ".join(f"{name}: 1" for name in names.split(", "))
    tolerance = f"{{experiment: steps, tolerance: {{{entries}}}}}"
    steps.replace("dvc.yaml", "{experiment: steps}", tolerance)
    found = Project(steps.path)
    assert Pipeline(found, found.record_stage()).mistakes() == [
        f"tolerance must name files that a stage makes, or keys of them (got {name})"
        for name in wrong
    ]


@pytest.mark.parametrize("absolute", [True, False])
def test_no_file_outside_the_repository_is_replaced(tmp_path: Path, absolute: bool) -> None:
    outside = tmp_path / "outside.txt"
    place = str(outside) if absolute else "../outside.txt"
    pipeline = f"""
stages:
  make:
    cmd: echo 1 > {place}
    outs: [{place}: {{cache: false}}]
  look:
    cmd: cat {place} > look.txt
    deps: [{place}]
    outs: [look.txt]
  record:
    cmd: samerun record
    deps: [look.txt]
    outs:
      - mlruns/recorded.json: {{cache: false, persist: true}}
"""
    toy = project(tmp_path / "work", {"dvc.yaml": pipeline, ".gitignore": "look.txt\n"})
    toy.repro()
    (run,) = toy.runs()
    outside.write_text("mine\n")
    refused(toy, "stage make writes ", run.run_id)
    reason = ", which is outside the repository: a reproduction would overwrite it"
    refused(toy, reason, run.run_id, "--stage", "look")
    assert outside.read_text() == "mine\n"


def test_an_uncached_output_outside_the_folder_of_dvc_yaml_is_found(tmp_path: Path) -> None:
    """It is among the run's artifacts, in repository/."""
    files = {
        "pipe/dvc.yaml": "stages:\n"
        "  only:\n    cmd: sh ../make.sh\n    deps: [../make.sh]\n"
        "    metrics:\n      - ../metrics.json: {cache: false}\n"
        "  record:\n    cmd: samerun record\n    deps: [../make.sh, ../metrics.json]\n"
        "    outs:\n      - mlruns/recorded.json: {cache: false, persist: true}\n"
        "    meta:\n      samerun: {tolerance: {loss: 1.0}}\n",
        "make.sh": 'echo "{\\"loss\\": 1.${DIGIT:-0}$BLANK}" > ../metrics.json\n',
    }
    toy = project(tmp_path / "mine", files)
    toy.run("sh", "-c", "cd pipe && dvc repro")
    shutil.rmtree(toy.path / ".dvc/cache")  # where DVC keeps it too, for its run cache
    again = ("sh", "-c", "cd pipe && samerun reproduce")
    done = toy.run(*again, DIGIT="5")
    assert "within tolerance: ../metrics.json loss by 0.5 at most (allowed 1)" in done.stdout
    done = toy.run(*again, ok=False, DIGIT="5", BLANK=" ")
    assert done.returncode == 1
    assert "../metrics.json: differs in more than its numbers" in done.stdout
