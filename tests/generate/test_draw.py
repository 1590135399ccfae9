from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from knownline.core.line import Line
from knownline.generate import draw
from knownline.generate.draw import CHUNK_ROWS, Stream, generator, grid, held_out, noise, points
from knownline.params import Columns, Generate, Noise, Spacing

Array = npt.NDArray[np.float64]
Kind = Literal["normal", "integer", "shared-integer"]

TRUTH = Line(20.0, 5.0)
NOT_BY_CHANCE = 1.0e-3
"""Seeds are fixed, so that a law that holds passes for ever."""


def wanted(
    *,
    rows: int = 99,
    spacing: Literal["grid", "uniform"] = "grid",
    low: float = 1.0,
    high: float = 99.0,
    kind: Kind = "normal",
    scale: float = 1.5,
    holdout: float = 0.2,
    seed: int = 20200910,
) -> Generate:
    return Generate(
        table=None,
        columns=Columns(x="x", y="y"),
        rows=rows,
        x=Spacing(spacing=spacing, low=low, high=high),
        noise=Noise(kind=kind, scale=scale),
        holdout=holdout,
        seed=seed,
    )


def all_points(what: Generate, truth: Line = TRUTH) -> tuple[Array, Array]:
    chunks = list(points(what, truth))
    return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


def all_noise(kind: Kind, scale: float, *, rows: int, seed: int) -> Array:
    sizes = [min(CHUNK_ROWS, rows - start) for start in range(0, rows, CHUNK_ROWS)]
    law = Noise(kind=kind, scale=scale)
    drawn = [noise(law, seed=seed, chunk=i, rows=size) for i, size in enumerate(sizes)]
    return np.concatenate(drawn)


def lag_correlation(values: Array, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


# x


@settings(deadline=None)
@given(
    low=st.floats(-1e300, 1e300),
    high=st.floats(-1e300, 1e300),
    rows=st.integers(3, 300),
)
def test_the_grid_is_numpys_linspace(low: float, high: float, rows: int) -> None:
    assume((high - low) / (rows - 1) > 1e-300)  # linspace scales steps that would round to 0
    x = grid(Spacing(spacing="grid", low=low, high=high), rows, 0, rows)
    assert x.tolist() == np.linspace(low, high, rows).tolist()
    assert (x[0], x[-1]) == (low, high)


@settings(deadline=None)
@given(rows=st.integers(3, 300), cuts=st.lists(st.integers(1, 299), max_size=5))
def test_any_piece_of_a_grid_agrees_with_the_whole(rows: int, cuts: list[int]) -> None:
    spacing = Spacing(spacing="grid", low=-0.3, high=77.7)
    ends = [0, *sorted({end for end in cuts if end < rows}), rows]
    pieces = [grid(spacing, rows, *ends[i : i + 2]) for i in range(len(ends) - 1)]
    assert np.concatenate(pieces).tolist() == np.linspace(-0.3, 77.7, rows).tolist()


@pytest.mark.parametrize(
    "rows", [CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS, 3 * CHUNK_ROWS + 4321]
)
def test_the_chunks_of_a_large_grid_are_one_linspace(rows: int) -> None:
    chunks = list(points(wanted(rows=rows), TRUTH))
    sizes = [len(x) for x, _ in chunks]
    assert set(sizes[:-1]) <= {CHUNK_ROWS}
    assert sum(sizes) == rows
    x = np.concatenate([x for x, _ in chunks])
    assert np.array_equal(x, np.linspace(1.0, 99.0, rows))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_uniform_x_follow_the_uniform_law(seed: int) -> None:
    x, _ = all_points(wanted(rows=200_000, spacing="uniform", low=-3.0, high=5.0, seed=seed))
    assert x.min() >= -3.0
    assert x.max() < 5.0
    assert stats.kstest(x, stats.uniform(-3.0, 8.0).cdf).pvalue > NOT_BY_CHANCE
    assert abs(lag_correlation(x, 1)) < 4 / np.sqrt(len(x))


# y


@pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])
@pytest.mark.parametrize("spacing", ["grid", "uniform"])
def test_without_noise_every_point_lies_on_the_line(
    kind: Kind, spacing: Literal["grid", "uniform"]
) -> None:
    x, y = all_points(wanted(rows=1000, kind=kind, spacing=spacing, scale=0.0))
    assert np.array_equal(y, 20.0 * x + 5.0)


@pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])
def test_y_is_the_line_plus_the_noise_of_its_chunk(kind: Kind) -> None:
    what = wanted(rows=CHUNK_ROWS + 10, kind=kind, scale=4.0)
    x, y = all_points(what, Line(-2.5, 7.0))
    drawn = all_noise(kind, 4.0, rows=what.rows, seed=what.seed)
    assert np.array_equal(y, (-2.5 * x + 7.0) + drawn)


# Which draws depend on what


@pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])
def test_the_same_seed_gives_the_same_bytes(kind: Kind) -> None:
    what = wanted(rows=CHUNK_ROWS + 5, spacing="uniform", kind=kind, scale=30.0)
    assert [a.tobytes() for a in all_points(what)] == [a.tobytes() for a in all_points(what)]


@pytest.mark.parametrize("kind", ["normal", "integer"])
@pytest.mark.parametrize("other", [0, 1, 20200911, 2**63 - 1])
def test_another_seed_gives_other_points(kind: Kind, other: int) -> None:
    one = all_points(wanted(spacing="uniform", kind=kind, scale=1000.0))
    two = all_points(wanted(spacing="uniform", kind=kind, scale=1000.0, seed=other))
    assert np.mean(one[0] == two[0]) < 0.1
    assert np.mean(one[1] - TRUTH.at(one[0]) == two[1] - TRUTH.at(two[0])) < 0.1
    masks = [held_out(0, 99, rows=99, fraction=0.2, seed=seed) for seed in (20200910, other)]
    assert masks[0].tolist() != masks[1].tolist()


def test_noise_and_holdout_do_not_move_x() -> None:
    one = all_points(wanted(rows=CHUNK_ROWS + 9, spacing="uniform"))[0]
    others = [
        wanted(rows=CHUNK_ROWS + 9, spacing="uniform", scale=9.0, holdout=0.5),
        wanted(rows=CHUNK_ROWS + 9, spacing="uniform", kind="integer", scale=3.0, holdout=0.0),
    ]
    for other in others:
        assert np.array_equal(all_points(other)[0], one)


@pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])
def test_x_and_holdout_do_not_move_the_noise(kind: Kind) -> None:
    flat = Line(0.0, 0.0)  # then y is the noise itself
    base = all_points(wanted(rows=CHUNK_ROWS + 9, kind=kind, scale=8.0), flat)[1]
    others = [
        wanted(rows=CHUNK_ROWS + 9, kind=kind, scale=8.0, spacing="uniform"),
        wanted(rows=CHUNK_ROWS + 9, kind=kind, scale=8.0, low=-50.0, holdout=0.0),
    ]
    for other in others:
        assert np.array_equal(all_points(other, flat)[1], base)


def test_the_scale_stretches_normal_noise_and_draws_nothing_anew() -> None:
    one = all_noise("normal", 1.0, rows=1000, seed=3)
    assert np.array_equal(all_noise("normal", 4.0, rows=1000, seed=3), 4.0 * one)


def test_x_and_noise_of_one_seed_are_not_related() -> None:
    x, y = all_points(wanted(rows=200_000, spacing="uniform"), Line(0.0, 0.0))
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(len(x))
    assert abs(stats.spearmanr(x, y).statistic) < 4 / np.sqrt(len(x))


@pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])
@pytest.mark.parametrize("chunk", [2, 0, 1])
def test_a_chunk_can_be_drawn_alone_and_in_any_order(kind: Kind, chunk: int) -> None:
    what = wanted(rows=3 * CHUNK_ROWS, kind=kind, scale=5.0)
    _, y = list(points(what, Line(0.0, 0.0)))[chunk]
    alone = noise(what.noise, seed=what.seed, chunk=chunk, rows=CHUNK_ROWS)
    assert alone.tobytes() == y.tobytes()


def test_no_two_seeds_streams_and_chunks_share_their_draws() -> None:
    seeds = [0, 1, 2, 3, 20200910, 2**32, 2**63 - 1]
    chunks = [0, 1, 2, 3, 2**16, 2**32 - 1]
    words = [
        int(generator(seed=seed, stream=stream, chunk=chunk).integers(0, 2**63))
        for seed in seeds
        for stream in (Stream.X, Stream.NOISE, Stream.HOLDOUT)
        for chunk in chunks
    ]
    assert len(set(words)) == len(seeds) * 3 * len(chunks)


# The laws of the noise


@pytest.mark.parametrize("seed", [0, 1, 20200910])
def test_normal_noise_follows_the_normal_law(seed: int) -> None:
    drawn = all_noise("normal", 2.5, rows=200_000, seed=seed)
    assert stats.kstest(drawn, stats.norm(0.0, 2.5).cdf).pvalue > NOT_BY_CHANCE


@pytest.mark.parametrize("kind", ["normal", "integer"])
@pytest.mark.parametrize("lag", [1, 2, 7, CHUNK_ROWS])
def test_noise_is_independent_from_row_to_row_and_from_chunk_to_chunk(kind: Kind, lag: int) -> None:
    drawn = all_noise(kind, 10.0, rows=200_000, seed=5)
    assert abs(lag_correlation(drawn, lag)) < 4 / np.sqrt(len(drawn) - lag)


@pytest.mark.parametrize("scale", [1, 2, 10])
def test_integer_noise_is_every_whole_number_of_its_range_equally_often(scale: int) -> None:
    drawn = all_noise("integer", float(scale), rows=200_000, seed=7)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [float(value) for value in range(-scale, scale + 1)]
    assert stats.chisquare(counts).pvalue > NOT_BY_CHANCE


def test_pairs_of_integer_noise_are_equally_likely() -> None:
    drawn = all_noise("integer", 1.0, rows=200_000, seed=8)
    pairs = (drawn[::2] + 1) * 3 + (drawn[1::2] + 1)
    assert stats.chisquare(np.bincount(pairs.astype(int), minlength=9)).pvalue > NOT_BY_CHANCE


def test_the_first_draws_of_chunks_are_as_independent_as_the_rest() -> None:
    chunks = 2000
    law = Noise(kind="normal", scale=1.0)
    first = np.array([noise(law, seed=9, chunk=i, rows=5) for i in range(chunks)])
    assert stats.kstest(first.ravel(), "norm").pvalue > NOT_BY_CHANCE
    assert abs(lag_correlation(first[:, 0], 1)) < 4 / np.sqrt(chunks)


def test_neighbouring_seeds_are_as_independent_as_any() -> None:
    law = Noise(kind="normal", scale=1.0)
    first = np.array([noise(law, seed=seed, chunk=0, rows=3)[0] for seed in range(2000)])
    assert stats.kstest(first, "norm").pvalue > NOT_BY_CHANCE
    assert abs(lag_correlation(first, 1)) < 4 / np.sqrt(len(first))


def test_shared_integer_noise_is_one_whole_number_for_all_rows_of_all_chunks() -> None:
    for seed in range(5):
        drawn = all_noise("shared-integer", 10.0, rows=2 * CHUNK_ROWS + 50, seed=seed)
        assert len(set(drawn.tolist())) == 1
        assert drawn[0] in range(-10, 11)


def test_shared_integer_noise_is_uniform_over_seeds() -> None:
    law = Noise(kind="shared-integer", scale=10.0)
    drawn = [float(noise(law, seed=seed, chunk=0, rows=1)[0]) for seed in range(2000)]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [float(value) for value in range(-10, 11)]
    assert stats.chisquare(counts).pvalue > NOT_BY_CHANCE


@pytest.mark.parametrize("kind", ["integer", "shared-integer"])
def test_the_largest_scale_of_integer_noise_can_be_drawn(kind: Kind) -> None:
    drawn = all_noise(kind, float(2**53 - 1), rows=1000, seed=1)
    assert np.array_equal(drawn, np.round(drawn))
    assert np.abs(drawn).max() < 2**53


# The holdout


def nearest(rows: int, per_thousand: int) -> int:
    return (2 * rows * per_thousand + 1000) // 2000  # halves up, in whole numbers


@pytest.mark.parametrize("rows", [3, 99, 100, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS - 7])
@pytest.mark.parametrize("per_thousand", [0, 1, 200, 290, 333, 500, 999])
def test_exactly_the_share_is_held_out(rows: int, per_thousand: int) -> None:
    mask = held_out(0, rows, rows=rows, fraction=per_thousand / 1000, seed=4)
    assert mask.shape == (rows,)
    assert int(mask.sum()) == nearest(rows, per_thousand)


@settings(deadline=None, max_examples=200)
@given(
    rows=st.integers(3, 200),
    per_thousand=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    block=st.sampled_from([1, 2, 7, 16, 64, 1000]),
    seed=st.integers(0, 2**63 - 1),
)
def test_who_is_held_out_does_not_depend_on_how_the_rows_are_cut(
    rows: int, per_thousand: int, cuts: list[int], block: int, seed: int
) -> None:
    ends = [0, *sorted(end for end in cuts if end <= rows), rows]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(draw, "CHUNK_ROWS", block)
        fraction = per_thousand / 1000
        whole = held_out(0, rows, rows=rows, fraction=fraction, seed=seed)
        pieces = [
            held_out(*ends[i : i + 2], rows=rows, fraction=fraction, seed=seed)
            for i in range(len(ends) - 1)
        ]
    assert np.concatenate(pieces).tolist() == whole.tolist()
    assert int(whole.sum()) == nearest(rows, per_thousand)


def test_the_cut_does_not_matter_at_the_real_size_either() -> None:
    rows = 200_000
    whole = held_out(0, rows, rows=rows, fraction=0.2, seed=11)
    ends = [0, 1, 1000, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 150_000, rows]
    pieces = [held_out(*ends[i : i + 2], rows=rows, fraction=0.2, seed=11) for i in range(7)]
    assert np.array_equal(np.concatenate(pieces), whole)
    for start, stop in [(5, 6), (65_000, 140_000), (199_999, 200_000)]:
        piece = held_out(start, stop, rows=rows, fraction=0.2, seed=11)
        assert np.array_equal(piece, whole[start:stop])


def test_every_row_is_held_out_equally_often_over_seeds() -> None:
    rows, held, seeds = 50, 10, 3000
    counts = np.zeros(rows)
    for seed in range(seeds):
        counts += held_out(0, rows, rows=rows, fraction=0.2, seed=seed)
    share = held / rows
    # Draws without replacement: the sum over rows is fixed, hence rows - 1 degrees of freedom.
    spread = ((counts - seeds * share) ** 2).sum() / (seeds * share * (1 - share))
    assert stats.chi2.sf(spread * (rows - 1) / rows, rows - 1) > NOT_BY_CHANCE
    assert stats.chi2.cdf(spread * (rows - 1) / rows, rows - 1) > NOT_BY_CHANCE


def test_the_held_out_rows_are_spread_evenly_over_a_large_table() -> None:
    mask = held_out(0, 3 * CHUNK_ROWS, rows=3 * CHUNK_ROWS, fraction=0.2, seed=12)
    counts = mask.reshape(96, -1).sum(axis=1)
    assert stats.chisquare(counts).pvalue > NOT_BY_CHANCE


def test_the_choices_of_two_blocks_are_not_related() -> None:
    mask = held_out(0, 3 * CHUNK_ROWS, rows=3 * CHUNK_ROWS, fraction=0.5, seed=14)
    blocks = mask.reshape(3, -1).astype(float)
    for one, two in [(0, 1), (0, 2), (1, 2)]:
        assert abs(np.corrcoef(blocks[one], blocks[two])[0, 1]) < 4 / np.sqrt(CHUNK_ROWS)


def test_the_choice_is_not_related_to_the_noise() -> None:
    drawn = all_noise("normal", 1.0, rows=200_000, seed=13)
    mask = held_out(0, 200_000, rows=200_000, fraction=0.5, seed=13)
    assert stats.ttest_ind(drawn[mask], drawn[~mask]).pvalue > NOT_BY_CHANCE


def test_memory_that_is_used_again_leaves_nothing_of_the_chunk_before() -> None:
    what = wanted(rows=3 * CHUNK_ROWS + 5, spacing="uniform", kind="normal")
    block = draw.Block()
    for chunk in (2, 3, 0, 3, 1):
        again = [column.copy() for column in block.draw(what, TRUTH, chunk)]
        alone = draw.Block().draw(what, TRUTH, chunk)
        assert [column.tobytes() for column in again] == [column.tobytes() for column in alone]


def test_uniform_x_are_numpys_own() -> None:
    draws = generator(seed=3, stream=Stream.X, chunk=1)
    x = list(
        points(wanted(rows=2 * CHUNK_ROWS, spacing="uniform", low=-3.0, high=5.0, seed=3), TRUTH)
    )
    assert x[1][0].tobytes() == draws.uniform(-3.0, 5.0, CHUNK_ROWS).tobytes()
