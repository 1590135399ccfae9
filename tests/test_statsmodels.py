"""Least squares, its statistics and the drift tests of linear models, against statsmodels' OLS."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from statsmodels.stats.diagnostic import het_goldfeldquandt

from knownline.core.kinds import Linear, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate.statistics import Evaluation, assess
from knownline.model import PLANE
from knownline.retrain.drift import Drift, Sample, compare

Array = npt.NDArray[np.float64]
Rows = tuple[Array, Array]
"""The terms of some rows, the constant one last, (rows, p), and their y, (rows,)."""

every_problem = pytest.mark.parametrize(
    ("parameters", "constant", "seed"),
    [
        pytest.param(parameters, constant, seed, id=f"{parameters}-{word}-{seed}")
        for parameters in (2, 3, 5, 8)
        for constant, word in ((True, "constant"), (False, "none"))
        for seed in range(5)
    ],
)


class Problem:
    """A model, its true parameters, and rows: `before` and `after` everything changed a little.

    A column's offset is up to a hundred times its spread, and the spreads of two columns differ by
    a factor of up to 10⁴. Afterwards the slopes, the spreads and the noise are others.
    """

    def __init__(self, parameters: int, constant: bool, seed: int) -> None:
        random = np.random.default_rng([parameters, constant, seed])
        ones = int(constant)
        count = parameters - ones
        self.kind = _model(count, constant)
        spread = 10.0 ** random.uniform(-2, 2, count)
        offset = spread * 10.0 ** random.uniform(-1, 2, count) * random.choice([-1, 1], count)
        values = random.normal(size=count) / spread
        self.truth = self._named([*values, *random.normal(0, 10, ones)])

        def rows(number: int, noise: float, scale: float, step: float) -> Rows:
            columns = offset + scale * spread * random.standard_normal((number, count))
            matrix = np.column_stack([columns, np.ones((number, ones))])
            y = columns @ (values + step * random.normal(size=count) / spread)
            y += sum(self.truth[name] for name in self.kind.names[count:])
            return matrix, y + noise * random.standard_normal(number)

        number = parameters + int(random.integers(2, 60))
        self.before = rows(number, 1.0, 1.0, 0.0)
        self.after = rows(2 * number, random.uniform(0.7, 1.5), random.uniform(0.5, 2.0), 0.1)

    def _named(self, values: Any) -> Parameters:
        return dict(zip(self.kind.names, map(float, values), strict=True))

    def data(self, rows: Rows) -> LeastSquares:
        """Return the model and the rows it is fitted to, compressed in three chunks."""
        matrix, y = rows
        columns = self.kind.columns(list(matrix.T[: len(self.kind.inputs)]))
        chunks = [np.array_split(column, 3) for column in (*columns, y)]
        return LeastSquares(
            self.kind, compress([(terms, v) for *terms, v in zip(*chunks, strict=True)])
        )

    def assessed(self) -> Evaluation:
        """Return the evaluation of least squares on the rows before, with those after held out."""
        train, holdout = self.data(self.before), self.data(self.after)
        return assess(train.solution, train=train, holdout=holdout, truth=self.truth, last_loss=1.0)

    def ols(self) -> Any:
        """Return what statsmodels fits to the rows before."""
        matrix, y = self.before
        return sm.OLS(y, matrix, hasconst=self.kind.constant is not None).fit()

    def drift(self) -> Drift:
        """Return the comparison of the rows after with those before."""
        before, after = (Sample.of("m", self.data(rows)) for rows in (self.before, self.after))
        return compare(before, after, level=0.05, minimum_effect=0.0)


def _model(count: int, constant: bool) -> Linear:
    """Return a plane over so many columns, with or without its constant term."""
    plane = PLANE(tuple(f"x{index}" for index in range(count)))
    terms = {name: term for name, term in plane.terms.items() if constant or name != "b"}
    return Linear(plane.inputs, terms)


@every_problem
def test_parameters_standard_errors_and_z(parameters: int, constant: bool, seed: int) -> None:
    problem = Problem(parameters, constant, seed)
    found, ols = problem.assessed(), problem.ols()
    distance = (list(found.ols.values()) - ols.params) / ols.bse
    np.testing.assert_allclose(distance, 0.0, atol=1e-9)
    np.testing.assert_allclose(list(found.se.values()), ols.bse, rtol=1e-10)
    z = ols.t_test((np.eye(parameters), list(problem.truth.values()))).tvalue
    assert found.z is not None
    np.testing.assert_allclose(list(found.z.values()), z, rtol=1e-9, atol=1e-9)


@every_problem
def test_r2(parameters: int, constant: bool, seed: int) -> None:
    """Ours is always about the mean of y; so is that of statsmodels if there is a constant term."""
    problem = Problem(parameters, constant, seed)
    found, ols = problem.assessed(), problem.ols()
    assert found.train_r2 == pytest.approx(1 - ols.ssr / ols.centered_tss, rel=1e-9, abs=1e-9)
    if constant:
        assert found.train_r2 == pytest.approx(ols.rsquared, rel=1e-9, abs=1e-9)
    assert found.train_rmse == pytest.approx(np.sqrt(ols.ssr / ols.nobs), rel=1e-9)
    matrix, y = problem.after
    residual = y - ols.predict(matrix)
    about_mean = float(np.sum((y - y.mean()) ** 2))
    assert found.holdout_r2 == pytest.approx(
        1 - float(residual @ residual) / about_mean, rel=1e-9, abs=1e-9
    )


@every_problem
def test_drift_of_the_parameters_is_chows_test(parameters: int, constant: bool, seed: int) -> None:
    """The parameters are all free to differ in the rows after: each term times a dummy."""
    problem = Problem(parameters, constant, seed)
    matrix, y = (np.concatenate(both) for both in zip(problem.before, problem.after, strict=True))
    dummy = np.arange(len(y)) >= len(problem.before[1])
    free = sm.OLS(y, np.column_stack([matrix, matrix * dummy[:, None]])).fit()
    f, p, restrictions = free.compare_f_test(sm.OLS(y, matrix).fit())
    found = problem.drift()
    assert restrictions == parameters
    assert found.fit_f == pytest.approx(f, rel=1e-7)
    assert found.fit_p == pytest.approx(p, rel=1e-6)


@every_problem
def test_drift_of_the_noise_is_the_ratio_of_residual_variances(
    parameters: int, constant: bool, seed: int
) -> None:
    problem = Problem(parameters, constant, seed)
    matrix, y = (np.concatenate(both) for both in zip(problem.before, problem.after, strict=True))
    split = len(problem.before[1])
    f, p, *_ = het_goldfeldquandt(y, matrix, split=split, alternative="two-sided", store=True)
    found = problem.drift()
    assert found.variance_f == pytest.approx(f, rel=1e-9)
    assert found.variance_p == pytest.approx(p, rel=1e-8)
