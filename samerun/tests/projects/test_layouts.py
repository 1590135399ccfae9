"""Forms and places of dvc.yaml: each layout is recorded once, as it ran."""

from pathlib import Path

import pytest

from projects.toy import ALL, FILES, flip, project
from support.workspace import commit

pytestmark = pytest.mark.usefixtures("warm")

RECORD = """
  record:
    cmd: samerun record
    outs:
      - mlruns/recorded.json: {cache: false, persist: true}
"""
"""The last stage of a project, without its dependencies and parameters, which come after it."""


def within(folder: str, files: dict[str, str], experiment: str = "toy") -> dict[str, str]:
    """Return the files of a project in a folder of a repository."""
    own = {f"{folder}/{name}": text for name, text in files.items() if name != ".dvcignore"}
    own[f"{folder}/dvc.yaml"] = files["dvc.yaml"].replace(
        "experiment: toy", f"experiment: {experiment}"
    )
    return own


def test_a_folder_of_a_repository_is_the_same_from_its_root_and_from_inside(
    tmp_path: Path,
) -> None:
    root = project(tmp_path / "root", within("sub", FILES))
    assert root.repro("sub/dvc.yaml") == [*ALL[:-1], "sub/dvc.yaml:record"]
    first = root.new_run([])
    marker = "sub/mlruns/recorded.json"
    assert first.tags["fingerprint"] == root.marker(marker)
    assert first.tags["git_dirty"] == "false"
    assert (first.artifacts / "reports/metrics.json").exists()
    assert root.repro(folder="sub") == []

    (root.path / marker).unlink()
    assert root.repro(folder="sub") == ["record"]
    assert root.runs() == [first]

    assert root.repro("--force", folder="sub") == ALL
    second = root.new_run([first])
    assert second.tags["fingerprint"] == first.tags["fingerprint"]
    assert "backfilled" not in second.tags
    assert not (root.path / "sub/mlruns/mlflow.db").exists()
    status = root.git("status", "--short", "--untracked-files=all")
    assert "mlflow.db" not in status
    assert "recorded.json" not in status


def test_dvc_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    root = project(tmp_path / "root", within("sub", FILES) | {"other.txt": "1\n"}, dvc="sub")
    assert root.repro(folder="sub") == ALL
    (first,) = root.runs("sub/mlruns/mlflow.db")
    assert first.tags["git_dirty"] == "false"
    commit(root, "results")
    root.append("other.txt", "no part of the pipeline\n")
    root.append("sub/code/fit/step.sh", "# a comment\n")
    assert root.repro(folder="sub") == ["fit", "record"]
    second = root.runs("sub/mlruns/mlflow.db")[-1]
    assert second.tags["git_dirty"] == "true"
    patch = second.artifacts / "changes.patch"
    assert "other.txt" not in patch.read_text()
    clone = root.clone()
    clone.git("apply", str(patch))
    assert clone.git("status", "--short").split() == ["M", "sub/code/fit/step.sh"]


def test_each_record_stage_of_a_repository_has_its_own_experiment(tmp_path: Path) -> None:
    files = within("a", FILES, "alpha") | within("b", FILES, "beta")
    root = project(tmp_path / "root", files)
    root.repro("a/dvc.yaml", "b/dvc.yaml")
    assert sorted(root.experiments().values()) == ["alpha", "beta"]
    first = root.runs()
    # A stage's name belongs to identity: no run of one project is taken for the other's.
    assert len({run.tags["fingerprint"] for run in first}) == 2
    # The second project was restored from the first one's run cache, whose receipts are not its.
    assert sorted(run.tags.get("backfilled", "false") for run in first) == ["false", "true"]
    assert root.repro("a/dvc.yaml", "b/dvc.yaml") == []
    root.replace("b/params.yaml", "rate: 0.5", "rate: 0.25")
    executed = root.repro("a/dvc.yaml", "b/dvc.yaml")
    assert executed == ["fit", "judge", "draw", "b/dvc.yaml:record"]
    assert root.experiments()[root.new_run(first).run_id] == "beta"


APART = {
    "data/dvc.yaml": """
stages:
  cut:
    cmd: samerun run -- sh -c 'echo cut >> "$TOY_LOG"; cp raw.csv cut.csv'
    deps: [raw.csv]
    outs: [cut.csv]
""",
    "dvc.yaml": """
stages:
  fit:
    cmd: samerun run -- sh -c 'echo fit >> "$TOY_LOG"; cp data/cut.csv model.txt'
    deps: [data/cut.csv]
    outs: [model.txt]
"""
    + RECORD
    + """
    deps: [data/raw.csv, model.txt]
""",
    "data/raw.csv": "1\n",
}


def test_stages_of_two_dvc_yaml_files_with_one_record(tmp_path: Path) -> None:
    toy = project(tmp_path / "apart", APART)
    assert toy.repro("--all-pipelines") == ["cut", "fit", "record"]
    first = toy.new_run([])
    assert "backfilled" not in first.tags
    assert toy.repro() == []

    # Its bytes are the same, so only the missing marker makes DVC execute `record`.
    assert toy.repro("--force", "cut", folder="data") == ["cut"]
    assert toy.repro() == ["record"]
    again = toy.new_run([first])
    assert again.tags["fingerprint"] == first.tags["fingerprint"]
    assert "backfilled" not in again.tags
    toy.append("data/raw.csv", "2\n")
    assert toy.repro() == ["cut", "fit", "record"]
    third = toy.new_run([first, again])
    assert third.tags["fingerprint"] != first.tags["fingerprint"]
    assert third.tags["git_dirty"] == "true"
    flip(toy.path / "data/cut.csv")
    toy.refused("samerun", "record", says="data/cut.csv")


GENERATED = (
    """
vars:
  - folder: out
  - settings.json
stages:
  cut:
    foreach: {a: 1, b: 2}
    do:
      cmd: >-
        samerun run -- sh -c
        'echo cut-${key} >> "$TOY_LOG"; echo ${factor}${item} > ${folder}/${key}.txt'
      deps: [code.sh]
      outs: ["${folder}/${key}.txt"]
  mix:
    matrix: {left: [a, b], right: [1, 2]}
    cmd: >-
      samerun run -- sh -c
      'echo mix-${item.left}-${item.right} >> "$TOY_LOG";
      cp ${folder}/${item.left}.txt ${folder}/${item.left}-${item.right}.txt'
    deps: ["${folder}/${item.left}.txt"]
    outs: ["${folder}/${item.left}-${item.right}.txt"]
  list:
    cmd:
      - samerun run -- sh -c 'echo list-1 >> "$TOY_LOG"; cat out/*-1.txt > out/first.txt'
      - samerun run -- sh -c 'echo list-2 >> "$TOY_LOG"; cat out/*-2.txt > out/second.txt'
    deps: [out/a-1.txt, out/a-2.txt, out/b-1.txt, out/b-2.txt]
    outs: [out/first.txt, out/second.txt]
"""
    + RECORD
    + """
    deps: [code.sh, out/first.txt, out/second.txt]
"""
)


def test_stages_of_foreach_matrix_variables_and_lists_of_commands(tmp_path: Path) -> None:
    files = {
        "dvc.yaml": GENERATED,
        "settings.json": '{"factor": 7}\n',
        "code.sh": "# nothing\n",
        "out/.gitignore": "*.txt\n",
    }
    toy = project(tmp_path / "generated", files)
    executed = toy.repro()
    cuts, mixes = ["cut-a", "cut-b"], ["mix-a-1", "mix-a-2", "mix-b-1", "mix-b-2"]
    assert sorted(executed) == [*cuts, "list-1", "list-2", *mixes, "record"]
    first = toy.new_run([])
    assert "backfilled" not in first.tags
    assert toy.experiments() == {first.run_id: "samerun"}
    assert toy.repro() == []

    # A variable changes a command, so the lock, so identity.
    toy.replace("dvc.yaml", "{a: 1, b: 2}", "{a: 1, b: 3}")
    executed = toy.repro()
    assert sorted(executed) == ["cut-b", "list-1", "list-2", "mix-b-1", "mix-b-2", "record"]
    second = toy.new_run([first])
    assert second.tags["fingerprint"] != first.tags["fingerprint"]
    toy.replace("settings.json", "7", "8")
    toy.repro()
    assert len({run.tags["fingerprint"] for run in toy.runs()}) == 3
    toy.replace("settings.json", "8", "7")
    toy.replace("dvc.yaml", "{a: 1, b: 3}", "{a: 1, b: 2}")
    assert toy.repro() == ["record"]
    assert len(toy.runs()) == 3


FILES_OF_PARAMETERS = {
    "dvc.yaml": """
stages:
  one:
    wdir: part
    cmd: samerun run -- sh -c 'echo one >> "$TOY_LOG"; cat params.yaml ../more.json > out.txt'
    deps: [../code.sh]
    params:
      - first
      - ../more.json: [second, deep.key]
      - ../third.toml:
    outs: [out.txt]
"""
    + RECORD
    + """
    deps: [code.sh, part/out.txt]
    params:
      - part/params.yaml: [first]
      - more.json: [second, deep.key]
      - third.toml:
""",
    "code.sh": "# nothing\n",
    "part/params.yaml": "first: 1\nunused: 1\n",
    "more.json": '{"second": [1, "zwei"], "deep": {"key": 2.5, "unused": 1}}\n',
    "third.toml": 'on = true\n[table]\nname = "3"\n',
}


def test_a_working_folder_and_parameters_in_yaml_json_and_toml(tmp_path: Path) -> None:
    toy = project(tmp_path / "parameters", FILES_OF_PARAMETERS)
    assert toy.repro() == ["one", "record"]
    first = toy.new_run([])
    names = {name.rpartition(":")[2]: value for name, value in first.params.items()}
    assert (names["first"], names["deep.key"], names["table.name"]) == ("1", "2.5", "3")
    assert "unused" not in names
    assert "backfilled" not in first.tags
    for file in ("part/params.yaml", "more.json", "third.toml"):
        assert (first.artifacts / file).read_bytes() == (toy.path / file).read_bytes()

    fingerprints = [first.tags["fingerprint"]]
    for file, old, new in (
        ("part/params.yaml", "first: 1", "first: true"),  # 1 and true are the same to DVC
        ("part/params.yaml", "first: true", "first: 2"),
        ("more.json", "2.5", "2.75"),
        ("third.toml", '"3"', "3"),
    ):
        before = toy.runs()
        toy.replace(file, old, new)
        executed = toy.repro()
        if new == "first: true":
            assert toy.runs() == before
            continue
        assert executed == ["one", "record"]
        fingerprints.append(toy.new_run(before).tags["fingerprint"])
    assert len(set(fingerprints)) == 4
    before = toy.runs()
    toy.replace("part/params.yaml", "unused: 1", "unused: 2")
    assert toy.repro() == []
    assert toy.runs() == before


CONTAINED = {
    "dvc.yaml": """
stages:
  parts:
    cmd: >-
      samerun run -- sh -c
      'echo parts >> "$TOY_LOG"; mkdir -p parts; cp "OUTSIDE" parts/a.txt; echo b > parts/b.txt'
    deps: ["OUTSIDE"]
    outs: [parts]
  inside:
    cmd: >-
      samerun run -- sh -c
      'echo inside >> "$TOY_LOG"; { cat parts/a.txt; date +%N; } > results/made.txt'
    deps: [parts/a.txt]
    outs: [results/made.txt]
  around:
    cmd: >-
      samerun run -- sh -c
      'echo around >> "$TOY_LOG"; echo "{\\"lines\\": $(cat results/*.txt | wc -l)}" > "ein ä.json"'
    deps: [results]
    metrics:
      - ein ä.json: {cache: false}
"""
    + RECORD
    + """
    deps: ["OUTSIDE", results, ein ä.json]
""",
    "results/notes.txt": "written by hand\n",
    "results/.gitignore": "/made.txt\n",
}


def test_dependencies_outside_the_repository_inside_an_output_and_around_one(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "ein table.csv"
    outside.write_text("1\n2\n")
    files = CONTAINED | {"dvc.yaml": CONTAINED["dvc.yaml"].replace("OUTSIDE", str(outside))}
    toy = project(tmp_path / "contained", files)
    assert toy.repro() == ["parts", "inside", "around", "record"]
    first = toy.new_run([])
    assert toy.experiments() == {first.run_id: "samerun"}
    assert first.last["lines"] == 4
    assert first.tags["git_dirty"] == "false"
    assert "backfilled" not in first.tags
    assert toy.repro() == []

    # What stages make is not in identity, not even within a folder that another one depends on.
    made = (toy.path / "results/made.txt").read_bytes()
    assert toy.repro("--force") == ["parts", "inside", "around", "record"]
    again = toy.new_run([first])
    assert (toy.path / "results/made.txt").read_bytes() != made
    assert again.tags["fingerprint"] == first.tags["fingerprint"]

    with outside.open("a") as stream:
        stream.write("3\n")
    assert toy.repro() == ["parts", "inside", "around", "record"]
    assert toy.new_run([first, again]).last["lines"] == 5
    toy.append("results/notes.txt", "more\n")
    assert toy.repro() == ["around", "record"]
    runs = toy.runs()
    assert len({run.tags["fingerprint"] for run in runs}) == 3
    assert runs[-1].tags["git_dirty"] == "true"
    assert "backfilled" not in runs[-1].tags
