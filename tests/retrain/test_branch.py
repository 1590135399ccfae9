"""The branch of a retraining, in the environment that a hook of another repository has."""

from pathlib import Path

import pytest

from knownline.retrain.branch import Branch
from support.repositories import in_a_hook, of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_a_hook(tmp_path, monkeypatch)


def test_a_retraining_in_a_hook_commits_to_its_own_repository(here: Path) -> None:
    other = here.parent / "other"
    before = of(other, "for-each-ref"), sorted((other / ".git/objects").rglob("*"))
    (here / "a.txt").write_text("retrained\n")
    sha = Branch("2026-01-01").commit(["a.txt"], "Retraining")
    assert of(here, "rev-parse", "refs/heads/retrain/2026-01-01") == sha
    assert before == (of(other, "for-each-ref"), sorted((other / ".git/objects").rglob("*")))
