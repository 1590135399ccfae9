"""Two strangers get the same bytes."""

from tests.conftest import ROOT, Workspace


def test_two_fresh_clones_give_the_same_bytes(built: Workspace, fresh: Workspace) -> None:
    fresh.dvc("repro")
    assert fresh.outputs() == built.outputs()
    assert fresh.path != built.path


def test_bytes_do_not_depend_on_threads_or_simd(built: Workspace, fresh: Workspace) -> None:
    fresh.dvc(
        "repro",
        OMP_NUM_THREADS="1",
        ATEN_CPU_CAPABILITY="default",
        NPY_DISABLE_CPU_FEATURES="AVX512F AVX512_SKX AVX512_ICL AVX512_SPR AVX2 FMA3",
    )
    ours, theirs = fresh.outputs(), built.outputs()
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different == set()


def test_the_committed_lock_is_what_the_code_gives(built: Workspace) -> None:
    assert (ROOT / "dvc.lock").read_bytes() == (built.path / "dvc.lock").read_bytes(), (
        "a stage's code changed: run `make repro` and commit dvc.lock"
    )
