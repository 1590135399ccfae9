"""The user's own rules of quality: what a fit must achieve, whether or not a truth is known.

Knows nothing of files or of how the model was fitted.
"""

from collections.abc import Iterator, Sequence

from knownline.core.formatting import UNKNOWN, plain, r_squared, significant
from knownline.core.paired import PairedErrors
from knownline.evaluate.residuals import SAMPLES, Check
from knownline.evaluate.statistics import Evaluation
from knownline.params import Evaluate

NOT_JUDGED = "quality not judged: there is no truth (truth: null) and no rule for it in evaluate"


def is_judged(evaluation: Evaluation, rules: Evaluate) -> bool:
    """Return whether anything but the optimiser is judged."""
    beats_linear = evaluation.is_network and rules.beats_linear is not None
    return evaluation.truth is not None or rules.has_quality or beats_linear


def reasons(
    evaluation: Evaluation, rules: Evaluate, checks: Sequence[Check]
) -> Iterator[tuple[bool, str]]:
    """Yield for each rule that is set whether it is met, and a reason in words.

    Errors are those on held-out rows, where there are any. checks: of the residuals; a check that
    could not be made is not met, unless the model follows any bend there could be.
    """
    if evaluation.is_network and rules.beats_linear is not None:
        yield _linear_reason(evaluation.linear, rules.beats_linear)
    held_out = evaluation.holdout_rows > 0
    where = "held-out rows" if held_out else "the training rows"
    rmse = evaluation.holdout_rmse if held_out else evaluation.train_rmse
    r2 = evaluation.holdout_r2 if held_out else evaluation.train_r2
    if rules.min_r2 is not None:
        met = r2 is not None and r2 >= rules.min_r2
        value = _beside(rules.min_r2, r2, r_squared(r2))
        yield met, f"R² = {value} on {where}; at least {plain(rules.min_r2)} is asked for"
    if rules.max_rmse is not None:
        met = rmse is not None and rmse <= rules.max_rmse
        value = _beside(rules.max_rmse, rmse, significant(rmse, 4))
        yield met, f"RMSE = {value} on {where}; at most {plain(rules.max_rmse)} is asked for"
    if rules.beats_mean:
        met = r2 is not None and r2 > 0
        worse = "smaller than" if met else "not smaller than"
        yield met, f"the error on {where} is {worse} that of predicting their mean"
    for name, level in rules.residual_levels.items():
        yield _residual_reason(name, level, checks)


def _linear_reason(errors: PairedErrors | None, level: float) -> tuple[bool, str]:
    if errors is None:
        return False, (
            "it is not known whether the network beats the linear model of its inputs: that takes"
            " two held-out rows (set generate.holdout, or beats_linear: null)"
        )
    met = errors.p_better < level and errors.sd > 0  # of equal differences, a test says nothing
    p = _beside(level, errors.p_better, significant(errors.p_better, 2))
    return met, (
        f"the network {'beats' if met else 'does not beat'} the linear model of its inputs beyond"
        f" noise: RMSE {significant(errors.candidate_rmse, 4)} against"
        f" {significant(errors.reference_rmse, 4)} on {errors.rows:,} held-out rows, p = {p}; below"
        f" {plain(level)} is asked for"
    )


def _residual_reason(name: str, level: float, checks: Sequence[Check]) -> tuple[bool, str]:
    check = next((each for each in checks if each.key == name), None)
    if check:
        p = (check.as_much + 1) / (SAMPLES + 1)
        value = _beside(level, p, significant(p, 2))
        finding = f"{check.about}, p = {value}, by {SAMPLES:,} samples of noise"
        return p >= level, f"residuals: {finding}; {plain(level)} or more is asked for"
    if checks and name == "bend":  # the others could be tested: the model has a square, say
        return True, "residuals: the model follows any bend"
    return False, f"the residuals cannot be tested for {name}: too few rows, or only rounding"


def _beside(limit: float, value: float | None, text: str) -> str:
    """Return a value's text, with more digits if it would lie otherwise to the limit than it does.

    Such as 0.946 beside a limit of 0.95, which two digits would round to the limit itself.
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
