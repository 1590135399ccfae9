"""Networks: the same bits again, minibatches, weights in files, and what cannot be trained."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
import torch
import yaml
from torch import nn

from knownline.__main__ import main
from knownline.core import fits, network
from knownline.core.errors import ParamsError
from knownline.core.history import History
from knownline.core.kinds import Network
from knownline.core.layout import MODEL, WEIGHTS
from knownline.core.least_squares import LeastSquares
from knownline.core.model_file import Fitted
from knownline.core.moments import compress
from knownline.model import MLP
from knownline.params import Params, Train
from knownline.train import checkpoints, live, networks
from knownline.train.checkpoints import NAME, VARIABLE, Checkpoint, Checkpoints
from knownline.train.descent import ResumePoint, Step
from samerun.core.errors import DamagedError
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]

CPU = torch.device("cpu")


def settings(**more: Any) -> Train:
    how: dict[str, Any] = {
        "epochs": 6, "optimizer": "adam", "learning_rate": 0.01, "batch_size": 16,
        "standardize": True, "compress": True, "dtype": "float64", "device": "cpu", "seed": 0,
    }  # fmt: skip
    return Train(**(how | more))


def rows(count: int = 70, inputs: int = 2) -> tuple[list[Array], Array]:
    """Return inputs and y, (rows,) each, of a bent surface."""
    random = np.random.default_rng(4)
    columns = [random.uniform(-3, 5, count) * 10.0**index for index in range(inputs)]
    y = 7 + 3 * np.sin(columns[0]) + 0.1 * random.standard_normal(count)
    return columns, y


def dropping() -> Any:
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))


def normalising() -> Any:
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


DROPOUT = Network(("u", "v"), dropping)
NORM = Network(("u", "v"), normalising)


def fitted(
    kind: Network, columns: Sequence[Array], y: Array, *, how: Train | None = None, **more: Any
) -> tuple[History, bytes]:
    data = LeastSquares(kind.summarised, compress([(columns, y)]))
    return networks.fit(kind, data, columns, y, settings=how or settings(), device=CPU, **more)


# Bits


def test_a_seed_decides_every_bit() -> None:
    columns, y = rows()
    one, again, other = (fitted(DROPOUT, columns, y, how=settings(seed=seed)) for seed in (0, 0, 1))
    assert again[0].loss.tobytes() == one[0].loss.tobytes()
    assert again[1] == one[1]
    assert other[1] != one[1]
    assert one[0].names == ()
    assert one[0].values.shape == (0, 6)


@pytest.mark.parametrize("optimizer", ["gd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", [DROPOUT, NORM], ids=["dropout", "batch norm"])
def test_a_training_resumed_from_a_file_has_the_bits_of_one_without_a_break(
    optimizer: str, kind: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    store, kept = Checkpoints("d" * 64), list[bytes]()
    columns, y = rows()
    how = settings(optimizer=optimizer)

    def keep(step: Step) -> None:
        store.save(Checkpoint(*step.resume_point))
        kept.append((tmp_path / NAME).read_bytes())

    whole, weights = fitted(kind, columns, y, how=how, watch=keep)
    for content in kept[::2]:
        (tmp_path / NAME).write_bytes(content)
        loaded = store.load()
        assert loaded
        torch.rand(3)  # what is drawn in between does not matter
        start = ResumePoint(loaded.state, loaded.history)
        history, resumed = fitted(kind, columns, y, how=how, start=start)
        assert history.loss.tobytes() == whole.loss.tobytes()
        assert resumed == weights


SCRIPT = """
import sys, hashlib
from tests.train.test_networks import *
seed, dtype = int(sys.argv[1]), sys.argv[2]
columns, y = rows(5000)
how = settings(seed=seed, dtype=dtype, batch_size=512, epochs=3)
history, weights = fitted(MLP(("u", "v")), columns, y, how=how)
print(hashlib.sha256(history.loss.tobytes() + weights).hexdigest())
Path(sys.argv[3]).write_bytes(weights)
loaded = network.load(Path(sys.argv[3]), MLP(("u", "v")).build)
print(hashlib.sha256(loaded(columns).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_processes_and_any_number_of_threads_give_the_same_bits(
    dtype: str, tmp_path: Path
) -> None:
    def run(seed: int, threads: int) -> list[str]:
        more = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(seed), dtype, str(tmp_path / "w")],
            env=os.environ | more, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    one = run(0, 1)
    assert run(0, 2) == one
    assert not set(run(1, 2)) & set(one)


# Steps


def test_minibatches_are_permutations_that_differ_by_epoch_and_by_seed() -> None:
    batches = networks._Batches(23, 5, 3, CPU)
    orders = []
    for epoch in range(4):
        parts = [each for each in batches.of(epoch) if each is not None]
        assert [len(each) for each in parts] == [5, 5, 5, 5, 3]
        orders.append(torch.cat(parts).tolist())
        assert sorted(orders[-1]) == list(range(23))
    orders.append(
        torch.cat(
            [each for each in networks._Batches(23, 5, 4, CPU).of(0) if each is not None]
        ).tolist()
    )
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    again = [each for each in networks._Batches(23, 5, 3, CPU).of(2) if each is not None]
    assert torch.cat(again).tolist() == orders[2]
    assert list(networks._Batches(23, 23, 3, CPU).of(0)) == [None]
    assert list(networks._Batches(23, 999, 3, CPU).of(0)) == [None]


@pytest.mark.parametrize("batch", [None, 16])
def test_each_epoch_of_one_layer_is_that_of_numpy(batch: int | None) -> None:
    columns, y = rows()
    kind = Network(("u", "v"), lambda: nn.Linear(2, 1))
    how = settings(optimizer="gd", learning_rate=0.1, batch_size=batch, epochs=5)
    history, content = fitted(kind, columns, y, how=how)
    z = np.column_stack([(each - each.mean()) / each.std() for each in columns])
    target = (y - y.mean()) / y.std()
    torch.manual_seed(0)
    first = nn.Linear(2, 1)  # in float32, as every module begins
    w, b = first.weight.detach().numpy()[0].astype(float), float(first.bias.detach())
    losses = []
    for epoch in range(5):
        chosen = networks._Batches(70, batch or 70, 0, CPU).of(epoch)
        total = 0.0
        for part in chosen:
            own = np.arange(70) if part is None else part.numpy()
            left = z[own] @ w + b - target[own]
            total += float(np.sum(left**2))
            w = w - 0.1 * 2 * z[own].T @ left / len(own)
            b = b - 0.1 * 2 * float(np.mean(left))
        losses.append(total / 70 * y.var())
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
    tensors = safetensors.numpy.load(content)
    np.testing.assert_allclose(tensors["network.weight"][0], w, rtol=1e-10)
    np.testing.assert_allclose(tensors["network.bias"], [b], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(tensors["inputs.mean"], [each.mean() for each in columns])
    np.testing.assert_allclose(tensors["inputs.sd"], [each.std() for each in columns])
    np.testing.assert_allclose([tensors["y.mean"], tensors["y.sd"]], [y.mean(), y.std()])


def test_lbfgs_on_all_rows_of_one_layer_reaches_least_squares(tmp_path: Path) -> None:
    columns, y = rows()
    kind = Network(("u", "v"), lambda: nn.Linear(2, 1))
    how = settings(optimizer="lbfgs", learning_rate=1.0, batch_size=None)
    _, content = fitted(kind, columns, y, how=how)
    (tmp_path / "w").write_bytes(content)
    design = np.column_stack([*columns, np.ones_like(y)])
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    found = network.load(tmp_path / "w", kind.build)(columns)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


# The file of weights


class Tied(nn.Module):
    """Two layers that share a weight, which one of them has transposed: odd memory for a file."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.two = nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.odd = nn.Parameter(torch.ones(3, 2).t())

    def forward(self, x: Any) -> Any:
        return (self.two(torch.tanh(self.one(x))) @ self.odd).sum(dim=1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("build", [dropping, normalising, Tied])
def test_what_the_file_predicts_is_what_the_module_predicts(
    dtype: str, build: Callable[[], Any], tmp_path: Path
) -> None:
    columns, y = rows()
    made: list[Any] = []

    def building() -> Any:
        made.append(build())
        return made[-1]

    _, content = fitted(Network(("u", "v"), building), columns, y, how=settings(dtype=dtype))
    (tmp_path / "w").write_bytes(content)
    found = network.load(tmp_path / "w", build)(columns)
    module = made[0].eval()
    z = np.column_stack([(each - each.mean()) / each.std() for each in columns])
    with torch.no_grad():
        own = module(torch.as_tensor(z).to(getattr(torch, dtype))).reshape(-1).double().numpy()
    np.testing.assert_allclose(
        found, own * y.std() + y.mean(), rtol=1e-12 if dtype == "float64" else 1e-5
    )


def test_many_rows_are_predicted_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, y = rows()
    _, content = fitted(DROPOUT, columns, y)
    (tmp_path / "w").write_bytes(content)
    predict = network.load(tmp_path / "w", dropping)
    whole = predict(columns)
    monkeypatch.setattr(network, "_BATCH", 16)
    np.testing.assert_allclose(predict(columns), whole, rtol=1e-13)
    assert predict([np.array([]), np.array([])]).shape == (0,)
    assert predict([each[:1] for each in columns])[0] == pytest.approx(whole[0], rel=1e-13)


# The stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Return what writes a table and params.yaml, generates and trains in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(checkpoints.VARIABLE, raising=False)
    monkeypatch.delenv(live.VARIABLE, raising=False)
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("data/own").mkdir(parents=True)

    def run(**sections: Any) -> Params:
        columns, y = rows(120)
        table = np.column_stack([*columns, y])
        np.savetxt("data/own/a.csv", table, delimiter=",", header="u,v,y", comments="", fmt="%.17g")
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        content |= {"model": "mlp", "truth": None}
        content["generate"] |= {"table": "data/own/a.csv", "columns": {"x": ["u", "v"], "y": "y"}}
        content["train"] |= {"device": "cpu", "optimizer": "adam", "learning_rate": 0.01}
        content["train"] |= {"epochs": 5, "batch_size": 32}
        for section, changes in sections.items():
            content[section] |= changes
        Path("params.yaml").write_text(yaml.safe_dump(content))
        params = Params.read()
        assert main(["generate"]) == 0
        assert main(["train"]) == 0
        return params

    return run


def test_the_stage_writes_weights_and_names_them(
    stage: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    stage()
    written = Fitted.read(MODEL)
    assert written.parameters == {}
    assert json.loads(MODEL.read_text())["weights"] == written.weights
    assert f"a network with weights {written.weights[:12]}" in capsys.readouterr().out
    assert main(["evaluate"]) == 0


def flipped(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


def without(name: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        tensors = safetensors.numpy.load(content)
        del tensors[name]
        return bytes(safetensors.numpy.save(tensors))

    return change


def of_three_inputs(content: bytes) -> bytes:
    tensors = safetensors.numpy.load(content)
    tensors |= {name: np.ones(3) for name in ("inputs.mean", "inputs.sd")}
    return bytes(safetensors.numpy.save(tensors))


def of_another_architecture(content: bytes) -> bytes:
    tensors = safetensors.numpy.load(content)
    tensors["network.0.weight"] = np.ones((64, 2))
    return bytes(safetensors.numpy.save(tensors))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flipped,
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "no safetensors": lambda content: b"\x80\x04K\x01." * 9,
    "without a weight": without("network.2.bias"),
    "without a mean": without("y.mean"),
    "of three inputs": of_three_inputs,
    "of another architecture": of_another_architecture,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_weights_that_are_not_those_of_the_model_are_refused_in_one_line(
    damage: str, stage: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    params = stage()
    WEIGHTS.write_bytes(DAMAGE[damage](WEIGHTS.read_bytes()))
    capsys.readouterr()
    assert main(["evaluate"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("knownline: error: models/")
    assert told.count("\n") == 1
    # Even if its sum were right.
    if damage != "flipped":
        kind = params.kind
        assert isinstance(kind, Network)
        with pytest.raises(DamagedError, match=r"must be weights of the model in model\.py") as one:
            fits.predictor(kind)
        assert "\n" not in str(one.value)


def test_weights_that_are_gone_are_missed_in_one_line(
    stage: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    stage()
    WEIGHTS.unlink()
    capsys.readouterr()
    assert main(["evaluate"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("knownline: error: models/weights.safetensors is missing")
    assert told.count("\n") == 1


def test_another_model_leaves_no_weights_behind(stage: Callable[..., Params]) -> None:
    stage()
    assert WEIGHTS.exists()
    text = Path("params.yaml").read_text().replace("model: mlp", "model: plane")
    Path("params.yaml").write_text(text.replace("optimizer: adam", "optimizer: gd"))
    assert main(["generate"]) == main(["train"]) == main(["evaluate"]) == 0
    assert not WEIGHTS.exists()


# What cannot be trained


class Transposing(nn.Module):
    """Gives one number for each input, not for each row, except where there are two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x: Any) -> Any:
        return self.w * x.sum(dim=0)


class OnlyOnce(nn.Module):
    """Fails where it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x: Any) -> Any:
        if self.training:
            raise RuntimeError("cannot\ntrain")
        return self.w * x[:, 0]


class Centred(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows - rows.mean(0))


class Drawing(Centred):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(nn.functional.linear(rows, self.weight), training=True)


class MoreState(Centred):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


UNUSABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "two columns": (lambda: nn.Linear(2, 2), r"\(8, 2\) for 8 rows"),
    "no weights": (lambda: nn.Flatten(), "a module without weights"),
    "frozen": (lambda: nn.Linear(2, 1).requires_grad_(False), "a module without weights"),
    "raises": (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    "no module": (lambda: len, "builtin_function_or_method"),
    "other inputs": (lambda: nn.Linear(3, 1), "RuntimeError: mat1 and mat2"),
    "fails in training": (OnlyOnce, "RuntimeError: cannot train"),
    "by input": (Transposing, r"TypeError: \(2,\) for 8 rows"),
    "looks at other rows": (Centred, "whose prediction for a row depends on other rows"),
    "draws": (Drawing, "predictions change from call to call"),
    "more state": (MoreState, "a state that is not a tensor"),
    "ends the process": (lambda: sys.exit(0), "SystemExit: 0"),
    "a norm of one row": (normalising, "ValueError: Expected more than 1 value per channel"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_module_that_cannot_be_trained_is_refused_in_one_line(case: str) -> None:
    build, words = UNUSABLE[case]
    columns, y = rows(71)
    # Of 71 rows, the last minibatch of 14 or 10 is one row.
    with pytest.raises(ParamsError, match=words) as refused:
        fitted(Network(("u", "v"), build), columns, y, how=settings(batch_size=10))
    assert str(refused.value).startswith("model must build a torch.nn.Module that gives one number")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_y_that_is_the_same_in_every_row_is_learnt(dtype: str, tmp_path: Path) -> None:
    columns, _ = rows()
    kind = MLP(("u", "v"))
    how = settings(optimizer="lbfgs", learning_rate=1.0, batch_size=None, epochs=30, dtype=dtype)
    history, content = fitted(kind, columns, np.full(70, 4.5), how=how)
    assert np.all(np.isfinite(history.loss))
    (tmp_path / "w").write_bytes(content)
    np.testing.assert_allclose(network.load(tmp_path / "w", kind.build)(columns), 4.5, atol=5e-3)
