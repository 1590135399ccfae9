"""Every value of a pipeline is in its run or its artifacts, or `record` says that it is not.

The runs are read with MLflow's own client.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient

from projects.toy import Toy, project

pytestmark = pytest.mark.usefixtures("warm")

LONG = "é" * 7000

PARAMS = (
    """
nan: .nan
inf: -.inf
nothing: null
flag: true
mixed: [1, [2, .inf], {a: 1}]
empty: {map: {}, list: [], text: ""}
a.b: 1
a: {b: 2}
"": 3
"ü b@c": 4
"ü b#c": 5
big: 12345678901234567890123
quoted: "null"
"""
    + f"long: {LONG}\n{'k' * 300}: 1\n{'k' * 301}: 2\n"
)

METRICS = """{
"nan": NaN, "inf": Infinity, "negative": -Infinity, "none": null, "flag": true, "text": "abc",
"per_class": [0.5, 1, null_or_number], "curve": [CURVE], "rows": [{"a": 1}],
"exact": 9007199254740992, "big": 9007199254740993, "huge": 1000000000000000000000000,
"empty": {}, "a.b": 1, "a": {"b": 2}, "": 3, "acc@5": 0.125, "acc#5": 0.25, "shown": "in a tag"
}""".replace("null_or_number", "2").replace("CURVE", ", ".join(map(str, range(21))))

RUN = """
cat code/metrics.json > m.json
cat code/dates.yaml > dates.yaml
for name in steps fractions words; do cat code/$name.csv > $name.csv; done
cat code/late.json > late.json
echo '{"step": 0, "live": NaN}' >> "$SAMERUN_LIVE"
echo '{"step": 1, "live": 0.5}' >> "$SAMERUN_LIVE"
"""

FILES = {
    "params.yaml": PARAMS,
    "code/run.sh": RUN,
    "code/metrics.json": METRICS,
    "code/dates.yaml": "day: 2026-01-02\nlast: 1.5\n",
    # Backwards, negative, repeated, not a number, infinite, text in a column of numbers.
    "code/steps.csv": "step,loss,phase\n3,0.5,a\n-1,nan,b\n0,inf,\n3,0.75,c\n9,,\n",
    "code/fractions.csv": "epoch,half\n0,1\n0.5,2\n1,3\n",
    "code/words.csv": "epoch,word\nfirst,1\n",
    "code/late.json": '[{"step": 0, "early": 1}, {"step": 1, "early": 2, "late": 3}]',
    "dvc.yaml": """
stages:
  one:
    cmd: samerun run -- sh code/run.sh
    params: [params.yaml: ]
    deps: [code]
    metrics: [m.json: {cache: false}, dates.yaml: {cache: false}]
    plots:
      - steps.csv: {x: step}
      - fractions.csv: {cache: false}
      - words.csv
      - late.json: {x: step}
  record:
    cmd: samerun record
    params: [params.yaml: ]
    deps: [code, m.json, dates.yaml, steps.csv, fractions.csv, words.csv, late.json]
    outs: [mlruns/recorded.json: {cache: false, persist: true}]
    meta: {samerun: {tags: {said: "m.json:shown"}}}
""",
}


@pytest.fixture(scope="module")
def shown() -> list[str]:
    """What `record` printed."""
    return []


@pytest.fixture(scope="module")
def toy(_warm: Any, tmp_path_factory: pytest.TempPathFactory, shown: list[str]) -> Toy:
    with pytest.MonkeyPatch.context() as patch:
        if _warm:
            patch.setenv("TESTS_WARM", str(_warm.bin / "python"))
        toy = project(tmp_path_factory.mktemp("values") / "odd", FILES)
        shown += toy.dvc("repro", SAMERUN_LIVE_AFTER="inf").stdout.splitlines()
    return toy


@pytest.fixture(scope="module")
def client(toy: Toy) -> MlflowClient:
    return MlflowClient(f"sqlite:///{toy.path}/mlruns/mlflow.db")


@pytest.fixture(scope="module")
def run(client: MlflowClient) -> Any:
    (experiment,) = (e for e in client.search_experiments() if e.name == "samerun")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    return found


@pytest.fixture(scope="module")
def artifacts(client: MlflowClient, run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    return Path(client.download_artifacts(run.info.run_id, "", str(folder)))


def plain(value: Any) -> Any:
    """Return a value of identity.json as YAML has it."""
    if isinstance(value, dict):
        if list(value) == ["float"]:
            return float(value["float"])
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def test_the_parameters_can_be_rebuilt_from_the_artifacts(artifacts: Path) -> None:
    original = yaml.safe_load(PARAMS)
    assert repr(yaml.safe_load((artifacts / "params.yaml").read_text())) == repr(original)
    identity = json.loads((artifacts / "identity.json").read_text())
    rebuilt = plain(identity["stages"]["dvc.yaml:one"]["params"]["params.yaml"])
    assert yaml.safe_dump(rebuilt) == yaml.safe_dump(original)  # which sorts, and has nan


def test_every_parameter_is_on_the_page(run: Any) -> None:
    params = dict(run.data.params)
    long = params.pop("long")
    assert len(long) == 6000
    assert long.startswith("é" * 5900)
    assert long.endswith("… (all 7,000 characters are in identity.json)")
    assert sorted(value for key, value in params.items() if key.startswith("kkk")) == ["1", "2"]
    assert sorted(value for key, value in params.items() if key.startswith("ü b_c")) == ["4", "5"]
    assert {
        "nan": "NaN",
        "inf": "-Infinity",
        "nothing": "null",
        "quoted": "null",
        "flag": "true",
        "mixed": '[1, [2, Infinity], {"a": 1}]',
        "empty.map": "{}",
        "empty.list": "[]",
        "empty.text": "",
        "a.b": "2",
        "a.b_": "1",
        "_": "3",
        "big": "12345678901234567890123",
    }.items() <= params.items()
    assert len(params) == 17


def test_every_number_is_a_metric(run: Any) -> None:
    metrics = dict(run.data.metrics)
    assert math.isnan(metrics.pop("nan"))
    assert metrics.pop("inf") == -metrics.pop("negative") > 1.79e308  # no database has infinity
    assert {
        "exact": 2.0**53,
        "big": 2.0**53,
        "huge": 1e24,
        "a.b": 2.0,
        "a.b_": 1.0,
        "m": 3.0,
        "per_class.0": 0.5,
        "per_class.1": 1.0,
        "per_class.2": 2.0,
        "last": 1.5,
    }.items() <= metrics.items()
    assert sorted(x for key, x in metrics.items() if key.startswith("acc_5")) == [0.125, 0.25]


def test_what_is_no_metric_is_printed_and_in_a_tag_and_its_files_are_there(
    run: Any, artifacts: Path, shown: list[str], toy: Toy
) -> None:
    said = (
        "steps.csv: phase (3 times no number), 1 more of a step that was there;"
        " fractions.csv: all, since epoch is 0.5; words.csv: all, since epoch is first;"
        " m.json: inf (infinite), negative (infinite), none, flag, text, curve, rows,"
        " big (rounded), huge (rounded), empty; dates.yaml: day"
    )
    assert run.data.tags["only_in_files"] == said
    assert run.data.tags["said"] == "in a tag"
    lost = (
        said.replace(" none, flag, text,", "")
        .replace(" rows,", "")
        .replace(", empty", "")
        .replace("; dates.yaml: day", "")
    )
    assert [line for line in shown if "cannot show" in line] == [
        f"record: MLflow cannot show these as they are: {lost}"
    ]
    for name in ("m.json", "dates.yaml", "steps.csv", "fractions.csv", "words.csv", "late.json"):
        assert (artifacts / name).read_bytes() == (toy.path / name).read_bytes()


def test_steps_are_as_the_tables_have_them(client: MlflowClient, run: Any) -> None:
    def steps(name: str) -> dict[int, float]:
        return {m.step: m.value for m in client.get_metric_history(run.info.run_id, name)}

    loss = steps("loss")
    assert math.isnan(loss.pop(-1))
    assert loss.pop(0) > 1.79e308
    assert loss == {3: 0.5}
    assert steps("early") == {0: 1.0, 1: 2.0}
    assert steps("late") == {1: 3.0}
    assert math.isnan(steps("live")[0])
    assert steps("live")[1] == 0.5
    assert steps("half") == steps("word") == {}


def test_the_run_is_reproduced_by_a_name_that_a_person_would_choose(run: Any, toy: Toy) -> None:
    assert run.info.run_name == "odd"
    assert "exact" in toy.samerun("reproduce", "odd").stdout
