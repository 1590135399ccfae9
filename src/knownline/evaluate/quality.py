"""The user's own rules of quality: what a fit must achieve, whether or not the truth is known.

Knows nothing of files or of how the model was fitted.
"""

from collections.abc import Iterator, Sequence

from knownline.core.formatting import UNKNOWN, plain, r_squared, significant
from knownline.core.paired import PairedErrors
from knownline.evaluate.residuals import SAMPLES, Check
from knownline.evaluate.statistics import Evaluation
from knownline.params import Evaluate

NOT_JUDGED = "quality not judged: truth is null, and evaluate sets no rule of quality"


def is_judged(evaluation: Evaluation, rules: Evaluate) -> bool:
    """Return whether anything is judged besides convergence."""
    beats_linear = evaluation.is_network and rules.beats_linear is not None
    return evaluation.truth is not None or rules.has_quality or beats_linear


def reasons(
    evaluation: Evaluation, rules: Evaluate, checks: Sequence[Check]
) -> Iterator[tuple[bool, str]]:
    """Yield, for each rule that is set, whether it is met, and a reason in words.

    Errors are those on held-out rows, if there are any. checks: of the residuals. A rule without a
    check is not met, except for `bend` if the model follows every bend.
    """
    if evaluation.is_network and rules.beats_linear is not None:
        yield _linear_reason(evaluation.linear, rules.beats_linear)
    held_out = evaluation.holdout_rows > 0
    where = "held-out rows" if held_out else "the training rows"
    rmse = evaluation.holdout_rmse if held_out else evaluation.train_rmse
    r2 = evaluation.holdout_r2 if held_out else evaluation.train_r2
    if rules.min_r2 is not None:
        met = r2 is not None and r2 >= rules.min_r2
        value = _against(rules.min_r2, r2, r_squared(r2))
        yield met, f"R² = {value} on {where} (min_r2 {plain(rules.min_r2)})"
    if rules.max_rmse is not None:
        met = rmse is not None and rmse <= rules.max_rmse
        value = _against(rules.max_rmse, rmse, significant(rmse, 4))
        yield met, f"RMSE = {value} on {where} (max_rmse {plain(rules.max_rmse)})"
    if rules.beats_mean:
        met = r2 is not None and r2 > 0
        smaller = "smaller" if met else "not smaller"
        yield met, f"the RMSE on {where} is {smaller} than that of predicting their mean"
    for name, level in rules.residual_levels.items():
        yield _residual_reason(name, level, checks)


def _linear_reason(errors: PairedErrors | None, level: float) -> tuple[bool, str]:
    if errors is None:
        return False, (
            "the network cannot be compared with the linear model of its inputs: that takes two"
            " held-out rows (set generate.holdout, or beats_linear: null)"
        )
    met = (
        errors.p_better < level and errors.sd > 0
    )  # no test is possible if all differences are equal
    p = _against(level, errors.p_better, significant(errors.p_better, 2))
    return met, (
        f"the network {'beats' if met else 'does not beat'} the linear model of its inputs beyond"
        f" noise: RMSE {significant(errors.candidate_rmse, 4)} against"
        f" {significant(errors.reference_rmse, 4)} on {errors.rows:,} held-out rows, p = {p}"
        f" (level {plain(level)})"
    )


def _residual_reason(name: str, level: float, checks: Sequence[Check]) -> tuple[bool, str]:
    check = next((each for each in checks if each.key == name), None)
    if check:
        p = (check.as_much + 1) / (SAMPLES + 1)
        value = _against(level, p, significant(p, 2))
        finding = f"{check.about}, p = {value} from {SAMPLES:,} samples of noise"
        return p >= level, f"residuals: {finding} (level {plain(level)})"
    if checks and name == "bend":  # only this one could not be tested: a square in the model, say
        return True, "residuals: the model follows every bend"
    return False, f"residuals: no test for {name} (too few rows, or only rounding errors)"


def _against(limit: float, value: float | None, text: str) -> str:
    """Return a value's text, with enough digits to show on which side of the limit it is.

    For example 0.946 if the limit is 0.95: two digits would round it to the limit.
    """
    if value is None or text == UNKNOWN or "−" in text:
        return text
    digits = 2
    while _side(float(text), limit) != _side(value, limit) and digits < 17:
        digits += 1
        text = significant(value, digits)
    return text


def _side(value: float, limit: float) -> int:
    return (value > limit) - (value < limit)
