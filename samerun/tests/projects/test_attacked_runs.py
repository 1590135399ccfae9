"""What identifies a stage before and after it runs: parameters, commands, receipts, processes."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from projects.toy import Toy, project
from samerun.dvc import commands, hashing, quick
from samerun.dvc.identity import StageInputs, identity
from samerun.dvc.stage import Params
from samerun.execution import receipts
from samerun.execution.scratch import Scratch
from samerun.health import artifacts
from samerun.inputs import InputSnapshot
from samerun.run import Execution

RECORD = """
  record:
    cmd: samerun record
    deps: DEPS
    params: PARAMS
    outs:
      - mlruns/recorded.json: {cache: false, persist: true}
"""

TRAIN = """
ck=$SAMERUN_SCRATCH/ck
[ -f $ck ] || grep lr params.yaml | sed 's/[^0-9]//g' > $ck
[ -n "$DIE" ] && kill -9 $$
echo "{\\"trained_with_lr\\": $(cat $ck)}" > m.json
"""


def of(params: str, stages: str = "", deps: str = "[s.sh, m.json]") -> str:
    """Return a dvc.yaml with the stage `a` and one that records it."""
    first = stages or (
        "\n  a:\n    cmd: samerun run -- sh s.sh\n    deps: [s.sh]\n"
        f"    params: {params}\n    metrics: [m.json: {{cache: false}}]\n"
    )
    return "stages:" + first + RECORD.replace("DEPS", deps).replace("PARAMS", params)


def killed(tmp_path: Path, params: str, text: str) -> Toy:
    """Return a project whose stage was killed after it wrote its checkpoint."""
    files = {"dvc.yaml": of(params), "params.yaml": text, "s.sh": TRAIN}
    toy = project(tmp_path / "work", files)
    assert toy.dvc("repro", ok=False, DIE="1").returncode
    return toy


def trained_with(toy: Toy) -> int:
    return int(json.loads((toy.path / "m.json").read_text())["trained_with_lr"])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ("[lr, {params.yaml: [k]}]", "lr: 1\nk: 2\n"),
        ("[{params.yaml: [net.0, k]}]", "net: [{lr: 1}]\nk: 2\n"),
        ("[{params.yaml: [net.0.lr]}]", "net:\n- lr: 1\n"),
    ],
)
def test_a_checkpoint_of_another_parameter_is_not_taken_up(
    tmp_path: Path, params: str, text: str
) -> None:
    toy = killed(tmp_path, params, text)
    toy.replace("params.yaml", "lr: 1", "lr: 9")
    toy.dvc("repro")
    assert trained_with(toy) == 9


def test_a_comment_in_params_yaml_loses_no_checkpoint(tmp_path: Path) -> None:
    toy = killed(tmp_path, "[lr, k]", "lr: 1\nk: 2\n")
    ((checkpoint, _),) = [(ck, ck.write_text("7")) for ck in toy.path.glob(".dvc/tmp/**/ck")]
    toy.append("params.yaml", "# a comment\nother: 3\n")
    toy.dvc("repro")
    assert trained_with(toy) == 7
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("key", "old", "new", "same"),
    [
        ("a.b", "a: {b: 1}", "a: {b: 2}", False),
        ("a.b", "a: {b: 1}", "a: {b: 1} # x", True),
        ("a.b", "a: {b: 1}", "a: {b: '1'}", False),
        ("a.b", "a: {b: on}", "a: {b: true}", False),  # not the same in YAML 1.2, which DVC reads
        ("a.1", "a: [1, 2, 3]", "a: [1, 2, 4]", True),
        ("a.-1", "a: [1, 2, 3]", "a: [1, 2, 4]", False),
        ("a.b", "a.b: 1", "a.b: 2", False),
        ("a.b", "x: &x {b: 1}\na: {<<: *x}", "x: &x {b: 2}\na: {<<: *x}", False),
        ("", "a: 1", "a: 1 # x", True),
        ("", "a: [", "a: [ ", False),
    ],
)
def test_values_at_dotted_keys(tmp_path: Path, key: str, old: str, new: str, same: bool) -> None:
    found = []
    for text in (old, new):
        (tmp_path / "p.yaml").write_text(text)
        found.append(quick.values(str(tmp_path / "p.yaml"), [key] if key else None))
    assert (found[0] == found[1]) is same


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (["a", "b"], {"params.yaml": ["a", "b"]}),
        (["a", {"params.yaml": ["b"]}], {"params.yaml": ["a", "b"]}),
        ([{"./o.yaml": ["b"]}, {"o.yaml": ["c"]}], {"o.yaml": ["b", "c"]}),
        ([{"o.yaml": ["b"]}, {"o.yaml": None}, {"o.yaml": ["c"]}], {"o.yaml": None}),
    ],
)
def test_every_listed_parameter_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Any, expected: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a": {"cmd": "samerun run -- x", "params": params}})
    found = quick.read("a")
    assert found
    assert found.params == expected


def write(folder: Path, stages: dict[str, Any], **record: Any) -> None:
    recorder = {"cmd": "samerun record", "outs": ["marker"], **record}
    content = {"stages": {**stages, "record": recorder}}
    (folder / "dvc.yaml").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["no", "on", "1:30", "=", "1_0"])
def test_a_name_that_yaml_1_1_takes_for_a_value_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As DVC reads and writes it: data/no.dvc names the file `no`, and not false."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a": {"cmd": "samerun run -- x", "deps": [name, f"data/{name}"]}})
    (tmp_path / "data").mkdir()
    (tmp_path / f"data/{name}.dvc").write_text(f"outs:\n- md5: b\n  path: {name}\n")
    locked = f"{{cmd: x, outs: [{{path: {name}, md5: c}}]}}"
    (tmp_path / "dvc.lock").write_text(f"stages: {{b: {locked}}}")
    found = quick.read("a")
    assert found
    assert found.tracked == {name: "c", f"data/{name}": "b"}
    assert artifacts._outputs(artifacts._load(tmp_path / "dvc.lock"), {}) == {name: "c"}


@pytest.mark.parametrize("meta", ["text", {"samerun": "x"}, {"samerun": {"env": 5}}, ["x"]])
def test_odd_metadata_is_left_to_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meta: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a": {"cmd": "samerun run -- x"}}, meta=meta)
    assert quick.read("a") is None


def test_a_stage_that_only_names_the_command_is_no_recorder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    echo = {"cmd": "echo samerun record > told.txt", "outs": ["told.txt"]}
    write(tmp_path, {"a": {"cmd": "samerun run -- x"}, "tell": echo})
    found = quick.read("a")
    assert found
    assert found.markers == ["marker"]


@pytest.mark.parametrize(
    ("command", "records", "wrapped"),
    [
        ("samerun record", True, False),
        (["echo x", " samerun record"], True, False),
        ("echo x\nsamerun record\n", True, False),
        ("echo samerun record", False, False),
        ("samerun recorder", False, False),
        ("samerun run -- x", False, True),
        ("X=1 samerun run -- x", False, True),
        ('bash -c "samerun run -- x"', False, True),
        (["x", ".venv/bin/samerun run -- x"], False, True),
        ("my-samerun run x", False, False),
        ("samerun runs", False, False),
    ],
)
def test_what_a_command_is(command: str | list[str], records: bool, wrapped: bool) -> None:
    assert commands.records(command) is records
    assert commands.wrapped(command) is wrapped


def test_the_wrapper_does_not_belong_to_identity() -> None:
    def content(command: str | list[str]) -> Any:
        return identity([StageInputs("a", command, {}, {}, [])], made=[])

    assert content("samerun run -- x y") == content("x y")
    assert content("X=1 samerun run -- x") == content("X=1 x") != content("x")
    assert content(["samerun run -- x", "samerun run -- y"]) == content(["x", "y"])
    assert content("echo samerun run -- x") != content("echo x")


def test_two_wrapped_lines_of_a_stage_are_one_execution(tmp_path: Path) -> None:
    stage = """
  a:
    cmd: [samerun run -- sh s.sh 1, samerun run -- sh s.sh 2]
    deps: [s.sh]
    params: [lr]
    metrics: [m.json: {cache: false}]
"""
    script = (
        'echo "{\\"step\\": $1, \\"x\\": $1}" >> $SAMERUN_LIVE; sleep 1.5; echo "{}" > m.json\n'
    )
    files = {"dvc.yaml": of("[lr]", stage), "params.yaml": "lr: 1\n", "s.sh": script}
    toy = project(tmp_path / "work", files)
    toy.dvc("repro", SAMERUN_LIVE_AFTER="0")
    (run,) = toy.runs()
    assert run.status == "FINISHED"
    assert run.steps["x"] == [1, 2]
    (file,) = toy.path.glob(".dvc/tmp/samerun/receipts/*.json")
    assert json.loads(file.read_text())["seconds"] >= 3


@pytest.mark.parametrize("live", [False, True])
def test_receipts_of_one_dvc_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    first = receipts.Receipt("k", "a", "e1", 10.0, 2.0, {}, {"x": "1"}, pipeline="p", live=live)
    second = receipts.Receipt("k", "a", "e2", 20.0, 3.0, {"o": "1"}, {"y": "2"}, pipeline="p")
    receipts.write(first)
    receipts.write(second)
    found = receipts.read("k", "p")
    assert found
    assert (found.started, found.seconds, found.live) == (10.0, 5.0, live)
    assert (found.outs, found.tags) == ({"o": "1"}, {"x": "1", "y": "2"})
    assert found.execution == ("e1" if live else "e2")
    receipts.mark_recorded(found)
    receipts.write(second)  # forced to run again by the same dvc: nothing of it is recorded yet
    assert receipts.read("k", "p") == second


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("started", None),
        ("started", 1e400),
        ("facts", None),
        ("pipeline", 5),
        ("seconds", "x"),
        ("tags", "x"),
        ("outs", {"a": 5}),
        ("recorded", "no"),
    ],
)
def test_a_receipt_of_another_form_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    receipt = receipts.Receipt("k", "a", "e", 1.0, 2.0, {})
    receipts.write(receipt)
    assert receipts.unrecorded() == [receipt]
    file = receipts.path(receipt)
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    assert receipts.read("k", None) is None
    assert receipts.unrecorded() == []


@pytest.mark.parametrize("change", ["ln m.txt l.txt", "echo x >> m.txt"])
def test_what_a_stage_reads_is_refused_only_if_its_bytes_changed(
    tmp_path: Path, change: str
) -> None:
    stages = f"""
  make:
    cmd: samerun run -- sh -c 'echo 1 > m.txt'
    outs: [m.txt]
  a:
    cmd: samerun run -- sh -c 'chmod u+w m.txt; {change}; echo 1 > n.txt'
    deps: [m.txt]
    outs: [n.txt]
"""
    text = of("[lr]", stages, "[m.txt, n.txt]")
    toy = project(tmp_path / "work", {"dvc.yaml": text, "params.yaml": "lr: 1\n"})
    if "echo" in change:
        toy.refused("dvc", "repro", says="m.txt changed while stage")
    else:
        toy.dvc("repro")
        assert len(toy.runs()) == 1


def test_no_signal_goes_to_a_process_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = InputSnapshot("a", {}, [], {}, [], [])
    execution = Execution(before, Scratch(str(tmp_path), "a", []), None)
    ended, sent = threading.Event(), list[int]()

    def learn() -> None:
        ended.wait()
        execution._error = ValueError("too late")
        execution._signal(signal.SIGTERM)
        execution._loaded.set()

    monkeypatch.setattr(execution, "_load", learn)
    monkeypatch.setattr(os, "kill", lambda pid, signum: sent.append(pid))
    known = execution._loaded.wait

    def wait() -> None:  # after the command has ended
        ended.set()
        known(10)

    monkeypatch.setattr(execution._loaded, "wait", wait)
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(ValueError, match="too late"):
            execution.run(["true"])
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert sent == []


class Handle:
    """What DVC says of parameters."""

    def __init__(self, now: dict[str, Any]) -> None:
        self.read_params = lambda: now

    def workspace_status(self) -> dict[str, str]:
        return {"params.yaml": "modified"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": [float("nan"), 1]}, {"a": [float("nan"), 1]}, []),
        ({"a": float("nan"), "b": 1}, {"a": float("nan"), "b": 2}, ["b in params.yaml"]),
        ({"a": {}}, {}, ["a in params.yaml"]),
    ],
)
def test_not_a_number_is_no_change(
    old: dict[str, Any], new: dict[str, Any], expected: list[str]
) -> None:
    assert Params("params.yaml", old, Handle(new)).changes() == expected


def test_a_link_to_nothing_in_the_scratch_folder_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = Scratch(str(tmp_path), "a", [])
    first.begin(0)
    (Path(first.folder) / "link").symlink_to("nothing")
    os.close(first._lock)
    assert Scratch(str(tmp_path), "a", []).execution == first.execution
    assert hashing.file_stat(str(Path(first.folder) / "link")) is None
