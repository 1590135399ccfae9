"""Names that MLflow refuses are written in another way."""

import pytest
from mlflow.utils.validation import _validate_metric_name

from samerun.core.keys import mlflow_key, mlflow_keys


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train.loss", "train.loss"),
        ("a/b c:d-e_f", "a/b c:d-e_f"),
        ("größe", "größe"),
        ("acc@5", "acc_5"),
        ("loss (train)", "loss _train_"),
        ("a//b/", "a__b_"),
        ("/a", "_a"),
        ("../a", "___a"),
        ("..", "__"),
        ("", "_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_a_name_is_one_that_mlflow_takes(name: str, key: str) -> None:
    assert mlflow_key(name) == key
    _validate_metric_name(key)  # type: ignore[no-untyped-call]


def test_names_that_become_the_same_get_keys_of_their_own() -> None:
    keys = mlflow_keys(["acc@5", "acc#5", "acc_5", "x" * 300, "x" * 299])
    assert keys["acc_5"] == "acc_5"
    assert len(set(keys.values())) == 5
    assert max(map(len, keys.values())) == 250
    assert keys["acc#5"] == mlflow_keys(["acc_5", "acc#5"])["acc#5"]
