"""How a file looks: two contents never look the same, though their size and times be set alike."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from knownline.__main__ import main
from knownline.core import checksums
from knownline.scan import stat_cache
from knownline.scan.stat_cache import Clock, Stamps
from samerun.core.errors import DamagedError
from tests.conftest import ROOT


@pytest.mark.slow
def test_a_change_looks_different_however_soon_it_comes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    for number in range(200):
        file.write_bytes(b"%03d" % number)
        os.utime(file, (1e9, 1e9))
        found = stat_cache.settled(file)
        assert found is not None
        file.write_bytes(b"%03d" % (number + 1))
        os.utime(file, (1e9, 1e9))
        assert stat_cache.stat_of(file, Clock(found[0], time.time_ns() + 10**9)) != found


def test_a_file_of_the_present_tick_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a")
    seen = file.stat()
    assert stat_cache.stat_of(file, Clock(seen.st_dev, seen.st_ctime_ns)) is None
    assert stat_cache.stat_of(file, Clock(seen.st_dev, seen.st_ctime_ns + 1)) is not None


def test_on_another_file_system_a_tick_is_taken_to_last_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a")
    seen = file.stat()
    elsewhere = Clock(seen.st_dev + 1, seen.st_ctime_ns + 10**12)
    monkeypatch.setattr(time, "time_ns", lambda: seen.st_ctime_ns + 2 * 10**9)
    assert stat_cache.stat_of(file, elsewhere) is None
    monkeypatch.setattr(time, "time_ns", lambda: seen.st_ctime_ns + 2 * 10**9 + 1)
    assert stat_cache.stat_of(file, elsewhere) is not None


def test_where_no_file_can_be_made_there_is_no_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**where: Any) -> Any:
        raise PermissionError(where)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert stat_cache.clock(tmp_path) == Clock(-1, 0)


def test_a_clock_that_stands_still_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a")
    monkeypatch.setattr(stat_cache, "clock", lambda folder: Clock(tmp_path.stat().st_dev, 0))
    assert stat_cache.settled(file) is None


def test_asking_for_the_time_leaves_nothing_behind(tmp_path: Path) -> None:
    assert stat_cache.clock(tmp_path).device == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []


def test_looks_are_trusted_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    file = Path("data/train/a")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a")
    wrong = {file: "0" * 64}  # which it would be found to be, were it hashed
    Stamps(wrong).keep({"0" * 64: stat_cache.settled(file)})
    Stamps(wrong).check(file, "0" * 64)
    (kept,) = stat_cache.folder().iterdir()
    os.utime(kept, (0, time.time() - stat_cache.TRUSTED - 1))
    with pytest.raises(DamagedError):
        Stamps(wrong).check(file, "0" * 64)


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `generate` can run without the code beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_STAGE", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    Path("dvc.yaml").write_text("stages: {}\n")
    return tmp_path


def test_files_that_generate_hashed_are_known_until_they_change(generated: Path) -> None:
    assert main(["generate"]) == 0
    for folder in (Path("data/train"), Path("data/holdout")):
        sums = checksums.below(Path("data"), folder)
        assert all(Stamps(sums).known(file, expected) for file, expected in sums.items())
    (file,) = sums
    file.write_bytes(file.read_bytes())
    assert Stamps(sums).known(file, sums[file]) is None


def test_looks_that_cannot_be_kept_do_not_make_generate_fail(generated: Path) -> None:
    (generated / "mlruns").write_text("in the way of the folder")
    assert main(["generate"]) == 0
