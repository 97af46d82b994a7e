"""The final choice is the best one there is, as trying every network shows."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.nas import derive
from algo.nas.space import Space, Stage
from tests.algo.nas.tables import SMALL, made_up

THREE = dataclasses.replace(SMALL, stages=(Stage(4, 2), Stage(6, 1, 2)), kernels=(3,), bits=(4, 8))


def every(table, scores):
    """Latency and score of every network."""
    options = table.space.options
    for chosen in itertools.product(range(len(options)), repeat=table.space.block_count):
        architecture = tuple(options[number] for number in chosen)
        yield table.ms(architecture), sum(scores[block, number] for block, number in enumerate(chosen))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([SMALL, THREE]), st.floats(0, 1), st.booleans(), st.booleans())
def test_within_a_limit_nothing_is_better(seed, space, share, ties, dear):
    rng = np.random.default_rng(seed)
    table = made_up(space, seed=seed)
    if dear:  # changes of bits that cost as much as blocks
        table = dataclasses.replace(table, switch_ms=20 * table.switch_ms)
    scores = rng.normal(size=(space.block_count, len(space.options)))
    scores = np.round(scores) if ties else scores
    everything = list(every(table, scores))
    low, high = min(everything)[0], max(everything)[0]
    limit = low + share * (high - low) + 1e-12
    found = derive.within(table, scores, limit)
    assert found.ms <= limit and found.ms == pytest.approx(table.ms(found.architecture))
    assert found.score == pytest.approx(max(score for ms, score in everything if ms <= limit))
    assert derive.fastest(table).ms == pytest.approx(low)
    assert derive.slowest(table).ms == pytest.approx(high)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_the_front_holds_the_best_of_every_limit(seed, ties):
    table = made_up(THREE, seed=seed)
    scores = np.random.default_rng(seed).normal(size=(3, len(THREE.options)))
    scores = np.round(scores) if ties else scores
    front = derive.front(table, scores)
    everything = list(every(table, scores))
    for one, after in itertools.pairwise(front):
        assert one.ms < after.ms and one.score < after.score
    for ms, score in everything:
        assert any(one.ms <= ms + 1e-12 and one.score >= score - 1e-12 for one in front)


def test_changes_of_precision_are_priced():
    """With a price above any gain, all blocks have the bits of stem and head."""
    table = made_up()
    dear = dataclasses.replace(table, switch_ms=1000 * (1 - np.eye(3))[None].repeat(3, 0))
    scores = np.array([[float(option.bits) for option in SMALL.options]] * 2)
    assert {option.bits for option in derive.within(dear, scores, 500).architecture} == {8}
    assert {option.bits for option in derive.within(table, scores, 500).architecture} == {16}


def test_a_limit_below_the_fastest_network_says_what_that_is():
    table = made_up()
    least = derive.fastest(table).ms
    with pytest.raises(
        ValueError, match=rf"no network of space two is as fast as 0\.01 ms.*takes {derive.rounded_up(least)} ms"
    ):
        derive.within(table, np.zeros((2, len(SMALL.options))), 0.01)


def test_the_published_choice_takes_the_most_probable_whatever_it_costs():
    table = made_up()
    found = derive.argmax(table, np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([[0.1, 0.1, 0.8], [0.5, 0.3, 0.2]]))
    assert found == ((3, 6, 16), (3, 3, 4))


@pytest.mark.parametrize("blocks", [14, 22])
def test_published_spaces_are_solved(blocks):
    """A front of the published sizes, 12 options for each of 14 and 22 blocks."""
    space = Space("long", 8, 1, (Stage(8, blocks),), 8)
    table = made_up(space)
    scores = np.random.default_rng(2).normal(size=(blocks, len(space.options)))
    front = derive.front(table, scores)
    assert len(front) > 100
    middle = (front[0].ms + front[-1].ms) / 2
    assert derive.within(table, scores, middle).ms <= middle


def test_scores_of_another_space_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 5\), not \(2, 6\)"):
        derive.front(made_up(), np.zeros((2, 5)))
    with pytest.raises(ValueError, match="finite"):
        derive.front(made_up(), np.full((2, 6), np.nan))
