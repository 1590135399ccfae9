"""`reads`: of a folder, only the file that a parameter names belongs to a run."""

from pathlib import Path

import pytest

from projects.toy import Toy, project
from support.workspace import commit

PIPELINE = """
stages:
  sum:
    cmd: samerun run -- sh sum.sh
    wdir: WDIR
    params: [table]
    deps: [tables, sum.sh]
    outs: [total.json]
  record:
    cmd: samerun record
    wdir: WDIR
    params: [table]
    deps: [tables, sum.sh, total.json]
    outs:
      - recorded.json: {cache: false, persist: true}
    meta:
      samerun:
        reads: {FOLDER: table}
"""

SUM = """
echo "{\\"lines\\": $(wc -l < "$(sed -n 's/^table: //p' params.yaml)")}" > total.json
"""


def files(folder: str, wdir: str, named: str) -> dict[str, str]:
    inside = f"{folder}/{wdir}".replace("./", "").strip("/.")
    prefix = f"{inside}/" if inside else ""
    tables = f"{wdir}/tables".removeprefix("./")
    pipeline = PIPELINE.replace("WDIR", wdir).replace("FOLDER", tables)
    return {
        f"{folder}/dvc.yaml": pipeline,
        f"{prefix}sum.sh": SUM,
        f"{prefix}params.yaml": f"table: {named}\n",
        f"{prefix}tables/used.csv": "1\n2\n",
        f"{prefix}tables/other.csv": "3\n",
    }


@pytest.mark.parametrize(
    ("folder", "wdir", "named"),
    [
        (".", ".", "tables/used.csv"),
        (".", ".", "./tables/used.csv"),
        ("part", ".", "tables/used.csv"),
        ("part", "inner", "tables/used.csv"),
    ],
)
def test_of_a_folder_only_the_file_that_a_parameter_names_counts(
    tmp_path: Path, folder: str, wdir: str, named: str
) -> None:
    toy: Toy = project(tmp_path / "work", files(folder, wdir, named))
    here = (toy.path / folder / wdir / "tables").relative_to(toy.path)
    toy.repro(folder=folder)
    (first,) = toy.runs()
    assert first.tags["git_dirty"] == "false"

    (toy.path / here / "notes.txt").write_text("never read\n")
    toy.append(f"{here}/other.csv", "4\n")
    toy.repro(folder=folder)
    second = toy.new_run([first])  # DVC does execute the stage: its dependency is the folder
    assert second.tags["fingerprint"] == first.tags["fingerprint"]
    assert second.tags["git_dirty"] == "false"

    toy.append(f"{here}/used.csv", "3\n")
    toy.repro(folder=folder)
    third = toy.new_run([first, second])
    assert third.tags["fingerprint"] != first.tags["fingerprint"]
    assert third.tags["git_dirty"] == "true"
    patch = (third.artifacts / "changes.patch").read_text()
    assert "used.csv" in patch
    assert "other.csv" not in patch


def test_a_file_of_dvc_that_is_not_the_one_that_is_read_does_not_count(tmp_path: Path) -> None:
    toy: Toy = project(tmp_path / "work", files(".", ".", "tables/used.csv"))
    toy.git("rm", "--quiet", "--cached", "tables/used.csv")
    toy.dvc("add", "tables/used.csv")
    commit(toy, "DVC keeps the table")
    (toy.path / "tables/more.csv").write_text("5\n")
    toy.dvc("add", "tables/more.csv")
    toy.repro()
    (first,) = toy.runs()
    assert first.tags["git_dirty"] == "false"
    toy.append("tables/used.csv", "6\n")
    toy.dvc("add", "tables/used.csv")
    toy.repro()
    assert toy.new_run([first]).tags["git_dirty"] == "true"
