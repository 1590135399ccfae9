"""The registry: a model for each problem, long tags, and what a version serves; in a real store."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knownline.core.kinds import Linear
from knownline.core.least_squares import LeastSquares
from knownline.core.model_file import Fitted
from knownline.core.moments import compress
from knownline.model import LINE, PLANE
from knownline.retrain import aliases
from knownline.retrain.drift import Sample
from knownline.retrain.problem import Problem
from knownline.retrain.registry import CHAMPION, Registry, Version
from knownline.retrain.served import DamagedModelError, Model, answers, are_alike, probe
from samerun.config import Config
from samerun.core.errors import StoreError
from samerun.mlflow.content import RunContent
from samerun.mlflow.model_files import ModelFiles
from samerun.mlflow.tracking import Store
from tests.conftest import ROOT

SOURCE = ROOT / "src/knownline"
POINTS = Problem("line", ("x",), "y", "drawn")
PRICES = Problem("plane", ("area", "rooms"), "price", "table")
LINE_FIT = Fitted("line", ("x",), {"w": 20.1, "b": 5.2})
PLANE_FIT = Fitted("plane", ("area", "rooms"), {"w_area": 3.3, "w_rooms": 10.1, "b": -0.7})
PLANE_KIND = PLANE(("area", "rooms"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before, folder = Path.cwd(), tmp_path_factory.mktemp("store")
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        yield Store(Config("knownline"))
    os.chdir(before)


def registered(store: Store, problem: Problem, fitted: Fitted, kind: Linear) -> Version:
    """Record a run with the model as the pipeline does, and register it."""
    folder = Path(f"{problem.model}-{len(store.runs())}").absolute()
    (folder / "artifacts").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "artifacts/a.json").write_text("{}")
    fitted.write(folder / "models/model.json")
    beside = (SOURCE / "model.py", SOURCE / "core/kinds.py", SOURCE / "core/network.py")
    files = ModelFiles(folder / "models", SOURCE / "serve.py", beside)
    content = RunContent(folder.name, "a run", {}, {}, 1, 2)
    run = store.record(content, model=files, artifacts=folder / "artifacts")
    tags = {"model": fitted.to_json(), "answers": answers(kind, fitted)}
    return Registry(store, problem).register(run.run_id, tags)


def test_each_problem_has_a_line_of_champions_of_its_own(store: Store) -> None:
    one = registered(store, POINTS, LINE_FIT, LINE)
    points = Registry(store, POINTS)
    assert points.champion_elsewhere() is None
    aliases.promote(points, one, None, "2026-11-01", "the first")
    other = registered(store, PRICES, PLANE_FIT, PLANE_KIND)
    prices = Registry(store, PRICES)
    assert (points.name, prices.name) == ("knownline", f"knownline-{PRICES.suffix()}")
    assert prices.by_alias(CHAMPION) is None
    elsewhere = prices.champion_elsewhere()
    assert elsewhere is not None
    assert (elsewhere[0].number, elsewhere[1]) == (one.number, POINTS.to_json())

    aliases.promote(prices, other, None, "2026-11-02", "its first")
    for registry, problem in ((points, POINTS), (prices, PRICES)):
        champion = registry.by_alias(CHAMPION)
        assert champion is not None
        assert (champion.model_name, champion.tags["problem"]) == (registry.name, problem.to_json())
    with pytest.raises(StoreError, match="is the first champion of"):
        aliases.roll_back(prices, "wrong")
    for name, version in (("champion", one), (f"{prices.name}@champion", other)):
        assert store.find(name).run_id == version.run_id

    rows = [np.array([50.0, 80.0]), np.array([2.0, 3.0])]
    assert np.array_equal(
        Model(other).predict(rows), PLANE_KIND.at(PLANE_FIT.parameters, rows)
    )  # by what it was registered with
    moved = replace(PLANE_FIT, parameters=PLANE_FIT.parameters | {"b": -0.71})
    changed = {"answers": answers(PLANE_KIND, moved)}
    with pytest.raises(DamagedModelError, match="does not predict what it did"):
        Model(replace(other, tags=other.tags | changed))
    foreign = replace(one, tags={})  # its inputs are known from its signature
    assert Model(foreign).predict([np.array([1.0])]).tolist() == [1.0 * 20.1 + 5.2]
    with pytest.raises(DamagedModelError, match="cannot predict"):
        Model(foreign, ["area", "rooms"])


def test_the_sample_of_a_wide_model_is_read_back_from_several_tags(store: Store) -> None:
    inputs = tuple(f"column{number}" for number in range(40))
    kind, draws = PLANE(inputs), np.random.default_rng(0)
    rows = compress([(list(draws.normal(size=(40, 200))), draws.normal(size=200))])
    sample = Sample.of("plane", LeastSquares(kind, rows))
    version = registered(store, POINTS, LINE_FIT, LINE)
    registry = Registry(store, POINTS)
    registry.register(version.run_id, {"sample": sample.to_json(), "empty": ""})
    registry.tag(version, {"settled": "true"})
    found = registry.by_number(version.number)
    assert found is not None
    stored = store.client.get_model_version(registry.name, version.number).tags
    assert {key.partition(".")[0] for key in stored} == {"registration", "settled"}
    assert max(map(len, stored.values())) <= 5_000 < len(sample.to_json())
    assert Sample.from_json(found.text("sample")) == sample
    assert (found.text("empty"), found.text("absent")) == ("", "")


def test_a_version_that_an_older_knownline_registered_is_read(store: Store) -> None:
    version, registry = registered(store, POINTS, LINE_FIT, LINE), Registry(store, POINTS)
    old = {"model": LINE_FIT.to_json(), "answers": answers(LINE, LINE_FIT), "data_sha256": "5a"}
    store.client.delete_model_version_tag(registry.name, version.number, "registration")
    registry.tag(version, old)
    found = registry.by_number(version.number)
    assert found is not None
    assert (found.fitted, found.tags) == (LINE_FIT, old)
    assert Model(found).predict([np.array([1.0])]).tolist() == [1.0 * 20.1 + 5.2]


def test_every_input_of_the_probe_has_other_values() -> None:
    columns = [tuple(column) for column in probe(12)]
    assert len(set(columns)) == 12


def test_a_term_that_is_not_defined_everywhere_is_asked_all_the_same() -> None:
    log = Linear(inputs=("x",), terms={"w": lambda x: np.log(x), "b": lambda x: 1.0})
    words = answers(log, Fitted("log", ("x",), {"w": 1.0, "b": 0.0})).split()
    assert words[:2] == ["nan", "-inf"]
    assert float.fromhex(words[-1]) == np.log(1e6)


def test_answers_that_another_processor_rounds_otherwise_are_alike() -> None:
    """numpy's powers and logarithms differ in the last digit by the width of SIMD."""
    values = [1.1, -2.3e5, 7e-9, 0.0]
    text = " ".join(value.hex() for value in values)
    near = " ".join(float(np.nextafter(value, np.inf)).hex() for value in values[:3])
    assert are_alike(text, f"{near} {(0.0).hex()}")
    assert are_alike("nan 0x1p+0", "nan 0x1p+0")
    assert not are_alike(text, text.replace("0x1.1", "0x1.2", 1))
    assert not are_alike(text, f"{text} 0x0p+0")
    assert not are_alike(text, "")
