"""Draws: their laws, by scipy's tests; their independence; and what each of them depends on.

Seeds are fixed, so a statistical test that passes once passes for ever.
"""

from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.kinds import Parameters
from knownline.generate.draw import (
    CHUNK_ROWS,
    Drawing,
    Stream,
    generator,
    grid,
    noise,
)
from knownline.generate.holdout import held_out
from knownline.model import LINE
from knownline.params.data import Columns, Generate, Noise, Spacing

Array = npt.NDArray[np.float64]
Kind = Literal["normal", "integer", "shared-integer"]

TRUTH, ZERO = {"w": 20.0, "b": 5.0}, {"w": 0.0, "b": 0.0}
LEAST_PVALUE = 1.0e-3
MANY = 200_000

every_kind = pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])


def wanted(**given: Any) -> Generate:
    """Return parameters, by default those of 99 points on a grid with normal noise."""
    every: dict[str, Any] = {
        **{"rows": 99, "spacing": "grid", "low": 1.0, "high": 99.0, "kind": "normal"},
        **{"scale": 1.5, "holdout": 0.2, "seed": 20200910},
        **given,
    }
    return Generate(
        table=None,
        columns=Columns(x=["x"], y="y"),
        x=Spacing(**{key: every.pop(key) for key in ("spacing", "low", "high")}),
        noise=Noise(**{key: every.pop(key) for key in ("kind", "scale")}),
        **every,
    )


def points(params: Generate, truth: Parameters) -> list[tuple[Array, Array]]:
    """Return x and y of every chunk, each drawn by itself."""
    chunks = range(-(-params.rows // CHUNK_ROWS))
    drawn = [Drawing(params, LINE, truth).draw(chunk) for chunk in chunks]
    return [(x, y) for (x,), y in drawn]


def all_points(params: Generate, truth: Parameters = TRUTH) -> tuple[Array, Array]:
    chunks = points(params, truth)
    return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


def all_noise(kind: Kind, scale: float, *, rows: int = MANY, seed: int) -> Array:
    return all_points(wanted(kind=kind, scale=scale, rows=rows, seed=seed), ZERO)[1]


def assert_uncorrelated(one: Array, other: Array) -> None:
    assert abs(float(np.corrcoef(one, other)[0, 1])) < 4 / np.sqrt(len(one))


# x


@settings(deadline=None)
@given(
    low=st.floats(-1e300, 1e300),
    high=st.floats(-1e300, 1e300),
    rows=st.integers(3, 300),
    cuts=st.lists(st.integers(1, 299), max_size=5),
)
def test_the_grid_is_numpys_linspace_however_it_is_cut(
    low: float, high: float, rows: int, cuts: list[int]
) -> None:
    assume((high - low) / (rows - 1) > 1e-300)  # linspace scales steps that would round to 0
    spacing = Spacing(spacing="grid", low=low, high=high)
    ends = [0, *sorted({end for end in cuts if end < rows}), rows]
    x = np.concatenate([grid(spacing, rows, *piece) for piece in pairwise(ends)])
    assert x.tolist() == np.linspace(low, high, rows).tolist()


@pytest.mark.parametrize("rows", [CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS + 4321])
def test_the_chunks_of_a_large_grid_are_one_linspace(rows: int) -> None:
    chunks = [x for x, _ in points(wanted(rows=rows), TRUTH)]
    assert {len(x) for x in chunks[:-1]} <= {CHUNK_ROWS}
    assert np.array_equal(np.concatenate(chunks), np.linspace(1.0, 99.0, rows))


def test_uniform_x_follow_the_uniform_law_and_are_numpys() -> None:
    chunks = points(wanted(rows=MANY, spacing="uniform", low=-3.0, high=5.0, seed=3), TRUTH)
    draws = generator(seed=3, stream=Stream.X, chunk=1)
    assert chunks[1][0].tobytes() == draws.uniform(-3.0, 5.0, CHUNK_ROWS).tobytes()
    x = np.concatenate([x for x, _ in chunks])
    assert x.min() >= -3.0
    assert x.max() < 5.0
    assert stats.kstest(x, stats.uniform(-3.0, 8.0).cdf).pvalue > LEAST_PVALUE
    assert_uncorrelated(x[:-1], x[1:])


# y


@every_kind
@pytest.mark.parametrize("spacing", ["grid", "uniform"])
def test_without_noise_every_point_lies_on_the_line(kind: Kind, spacing: str) -> None:
    x, y = all_points(wanted(rows=1000, kind=kind, spacing=spacing, scale=0.0))
    assert np.array_equal(y, 20.0 * x + 5.0)


@every_kind
def test_y_is_the_line_plus_noise_and_each_chunk_can_be_drawn_alone(kind: Kind) -> None:
    params = wanted(rows=2 * CHUNK_ROWS + 10, kind=kind, scale=4.0)
    chunks = points(params, {"w": -2.5, "b": 7.0})
    for number in (2, 0, 1):
        x, y = chunks[number]
        drawn = noise(params.noise, seed=params.seed, chunk=number, rows=len(x))
        assert np.array_equal(y, (-2.5 * x + 7.0) + drawn)


def test_memory_that_is_used_again_keeps_nothing_of_the_chunk_before() -> None:
    params = wanted(rows=3 * CHUNK_ROWS + 5, spacing="uniform", kind="normal")
    drawing = Drawing(params, LINE, TRUTH)
    for chunk in (2, 3, 0, 3, 1):
        (x,), y = drawing.draw(chunk)
        (alone_x,), alone_y = Drawing(params, LINE, TRUTH).draw(chunk)
        assert x.tobytes() == alone_x.tobytes()
        assert y.tobytes() == alone_y.tobytes()


# What the draws depend on


@every_kind
def test_the_same_seed_gives_the_same_bytes(kind: Kind) -> None:
    params = wanted(rows=CHUNK_ROWS + 5, spacing="uniform", kind=kind, scale=30.0)
    one, two = all_points(params), all_points(params)
    assert [column.tobytes() for column in one] == [column.tobytes() for column in two]


@pytest.mark.parametrize("kind", ["normal", "integer"])
@pytest.mark.parametrize("other", [0, 1, 20200911, 2**63 - 1])
def test_another_seed_gives_other_points_and_another_holdout(kind: Kind, other: int) -> None:
    one = all_points(wanted(spacing="uniform", kind=kind, scale=1000.0))
    two = all_points(wanted(spacing="uniform", kind=kind, scale=1000.0, seed=other))
    assert np.mean(one[0] == two[0]) < 0.1
    assert np.mean(one[1] - LINE.at(TRUTH, one[:1]) == two[1] - LINE.at(TRUTH, two[:1])) < 0.1
    for grows in (False, True):
        masks = [
            held_out(0, 99, fraction=0.2, seed=seed, grows=grows) for seed in (20200910, other)
        ]
        assert masks[0].tolist() != masks[1].tolist()


def test_noise_and_holdout_do_not_change_x() -> None:
    rows = CHUNK_ROWS + 9
    x, _ = all_points(wanted(rows=rows, spacing="uniform"))
    for other in (
        wanted(rows=rows, spacing="uniform", scale=9.0, holdout=0.5),
        wanted(rows=rows, spacing="uniform", kind="integer", scale=3.0, holdout=0.0),
    ):
        assert np.array_equal(all_points(other)[0], x)


@every_kind
def test_x_and_holdout_do_not_change_the_noise(kind: Kind) -> None:
    rows = CHUNK_ROWS + 9
    drawn = all_noise(kind, 8.0, rows=rows, seed=20200910)
    for other in (
        wanted(rows=rows, kind=kind, scale=8.0, spacing="uniform"),
        wanted(rows=rows, kind=kind, scale=8.0, low=-50.0, holdout=0.0),
    ):
        assert np.array_equal(all_points(other, ZERO)[1], drawn)


def test_the_scale_multiplies_the_same_normal_draws() -> None:
    one, four = (all_noise("normal", scale, rows=1000, seed=3) for scale in (1.0, 4.0))
    assert np.array_equal(four, 4.0 * one)


def test_no_two_seeds_streams_and_chunks_share_their_draws() -> None:
    words = [
        int(generator(seed=seed, stream=stream, chunk=chunk).integers(0, 2**63))
        for seed in (0, 1, 2, 3, 20200910, 2**32, 2**63 - 1)
        for stream in (Stream.X, Stream.NOISE, Stream.HOLDOUT)
        for chunk in (0, 1, 2, 3, 2**16, 2**32 - 1)
    ]
    assert len(set(words)) == 7 * 3 * 6


# The laws of the noise


@pytest.mark.parametrize("seed", [0, 1, 20200910])
def test_normal_noise_follows_the_normal_law(seed: int) -> None:
    drawn = all_noise("normal", 2.5, seed=seed)
    assert stats.kstest(drawn, stats.norm(0.0, 2.5).cdf).pvalue > LEAST_PVALUE


@pytest.mark.parametrize("scale", [1, 2, 10])
def test_integer_noise_takes_every_whole_number_of_its_range_equally_often(scale: int) -> None:
    values, counts = np.unique(all_noise("integer", float(scale), seed=7), return_counts=True)
    assert values.tolist() == [float(value) for value in range(-scale, scale + 1)]
    assert stats.chisquare(counts).pvalue > LEAST_PVALUE


def test_pairs_of_integer_noise_are_equally_likely() -> None:
    drawn = all_noise("integer", 1.0, seed=8)
    pairs = (drawn[::2] + 1) * 3 + (drawn[1::2] + 1)
    assert stats.chisquare(np.bincount(pairs.astype(int), minlength=9)).pvalue > LEAST_PVALUE


@pytest.mark.parametrize("kind", ["normal", "integer"])
def test_noise_is_independent_of_x_and_from_row_to_row_and_chunk_to_chunk(kind: Kind) -> None:
    x, drawn = all_points(wanted(rows=MANY, spacing="uniform", kind=kind, scale=9.0, seed=5), ZERO)
    for lag in (1, 2, 7, CHUNK_ROWS):
        assert_uncorrelated(drawn[:-lag], drawn[lag:])
    assert_uncorrelated(x, drawn)
    assert_uncorrelated(stats.rankdata(x), stats.rankdata(drawn))


@pytest.mark.parametrize("vary", ["seed", "chunk"])
def test_the_first_draws_of_neighbouring_seeds_and_chunks_are_independent(vary: str) -> None:
    law = Noise(kind="normal", scale=1.0)
    keys = [(number, 0) if vary == "seed" else (9, number) for number in range(2000)]
    first = np.array([noise(law, seed=seed, chunk=chunk, rows=3) for seed, chunk in keys])
    assert stats.kstest(first.ravel(), "norm").pvalue > LEAST_PVALUE
    assert_uncorrelated(first[:-1, 0], first[1:, 0])


def test_shared_integer_noise_is_one_whole_number_for_all_rows_of_all_chunks() -> None:
    for seed in range(5):
        drawn = all_noise("shared-integer", 10.0, rows=2 * CHUNK_ROWS + 50, seed=seed)
        assert len(set(drawn.tolist())) == 1


def test_shared_integer_noise_is_uniform_over_seeds() -> None:
    law = Noise(kind="shared-integer", scale=10.0)
    drawn = [float(noise(law, seed=seed, chunk=0, rows=1)[0]) for seed in range(2000)]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [float(value) for value in range(-10, 11)]
    assert stats.chisquare(counts).pvalue > LEAST_PVALUE


@pytest.mark.parametrize("kind", ["integer", "shared-integer"])
def test_the_largest_scale_of_integer_noise_can_be_drawn(kind: Kind) -> None:
    drawn = all_noise(kind, float(2**53 - 1), rows=1000, seed=1)
    assert np.array_equal(drawn, np.round(drawn))
    assert np.abs(drawn).max() < 2**53


# The holdout


def nearest(rows: int, per_thousand: int) -> int:
    return (2 * rows * per_thousand + 1000) // 2000  # halves up, in whole numbers


def mask_of(rows: int, fraction: float, seed: int, *, grows: bool = False) -> npt.NDArray[np.bool_]:
    """Return which rows are held out, drawn block by block."""
    masks = [
        held_out(
            start // CHUNK_ROWS,
            min(CHUNK_ROWS, rows - start),
            fraction=fraction,
            seed=seed,
            grows=grows,
        )
        for start in range(0, rows, CHUNK_ROWS)
    ]
    return np.concatenate(masks)


any_rows = st.integers(3, 200) | st.integers(CHUNK_ROWS, 3 * CHUNK_ROWS)


@settings(deadline=None, max_examples=50)
@given(rows=any_rows, per_thousand=st.integers(0, 999), seed=st.integers(0, 2**63 - 1))
@example(rows=3 * CHUNK_ROWS, per_thousand=1, seed=0)
@example(rows=CHUNK_ROWS, per_thousand=290, seed=0)
def test_exactly_the_requested_share_of_all_rows_so_far_is_held_out_at_every_block(
    rows: int, per_thousand: int, seed: int
) -> None:
    for grows, tolerance in ((False, 0), (True, 1)):
        mask = mask_of(rows, per_thousand / 1000, seed, grows=grows)
        assert mask.shape == (rows,)
        for end in (CHUNK_ROWS, 2 * CHUNK_ROWS, rows):
            off = abs(int(mask[:end].sum()) - nearest(min(end, rows), per_thousand))
            assert off <= (tolerance if end >= rows else 0)


@settings(deadline=None, max_examples=50)
@given(rows=any_rows, per_thousand=st.integers(0, 999), seed=st.integers(0, 2**63 - 1))
@example(rows=17, per_thousand=200, seed=0)
@example(rows=17, per_thousand=800, seed=0)
def test_in_a_table_that_grows_no_row_ever_changes_sides(
    rows: int, per_thousand: int, seed: int
) -> None:
    fraction = per_thousand / 1000
    later = mask_of(rows + 1000, fraction, seed, grows=True)
    assert np.array_equal(later[:rows], mask_of(rows, fraction, seed, grows=True))


def test_a_block_is_held_out_the_same_way_whatever_follows_it() -> None:
    three, two = (mask_of(blocks * CHUNK_ROWS, 0.2, seed=5) for blocks in (3, 2))
    assert np.array_equal(three[: 2 * CHUNK_ROWS], two)


@pytest.mark.parametrize("fraction", [0.2, 0.75])
def test_every_row_of_a_table_is_held_out_equally_often_over_seeds(fraction: float) -> None:
    rows, seeds = 60, 3000  # 60: whole strata of 5 and of 4 rows
    masks = [held_out(0, rows, fraction=fraction, seed=each, grows=True) for each in range(seeds)]
    counts = np.sum(masks, axis=0)
    expected = seeds * fraction
    spread = ((counts - expected) ** 2).sum() / (expected * (1 - fraction))
    # As many sums are fixed as there are strata: 12 of five rows, or 15 of four.
    size = round(1 / min(fraction, 1 - fraction))
    freedom = rows - rows // size
    assert stats.chi2.sf(spread * (size - 1) / size, freedom) > LEAST_PVALUE
    assert stats.chi2.cdf(spread * (size - 1) / size, freedom) > LEAST_PVALUE


def test_every_row_is_held_out_equally_often_over_seeds() -> None:
    rows, held, seeds = 50, 10, 3000
    counts = np.zeros(rows)
    for seed in range(seeds):
        counts += held_out(0, rows, fraction=0.2, seed=seed, grows=False)
    share = held / rows
    # Draws without replacement: the sum over rows is fixed, hence rows - 1 degrees of freedom.
    spread = ((counts - seeds * share) ** 2).sum() / (seeds * share * (1 - share))
    assert stats.chi2.sf(spread * (rows - 1) / rows, rows - 1) > LEAST_PVALUE
    assert stats.chi2.cdf(spread * (rows - 1) / rows, rows - 1) > LEAST_PVALUE


def test_the_rows_held_out_are_spread_evenly_over_a_large_table() -> None:
    mask = mask_of(3 * CHUNK_ROWS, 0.2, seed=12)
    assert stats.chisquare(mask.reshape(96, -1).sum(axis=1)).pvalue > LEAST_PVALUE


def test_the_holdouts_of_two_blocks_are_independent() -> None:
    mask = mask_of(3 * CHUNK_ROWS, 0.5, seed=14)
    for one, two in combinations(mask.reshape(3, -1).astype(float), 2):
        assert_uncorrelated(one, two)


def test_the_holdout_is_independent_of_the_noise() -> None:
    drawn = all_noise("normal", 1.0, seed=13)
    mask = mask_of(MANY, 0.5, seed=13)
    assert stats.ttest_ind(drawn[mask], drawn[~mask]).pvalue > LEAST_PVALUE
