"""Sizes are those of the networks that are made, and the choice within a latency and a size is the best there is."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.nas import derive
from algo.nas.network import Network, policy_of_bits, set_bits_found
from algo.nas.sizes import sizes_of, within_both
from algo.nas.space import SPACES, Space, Stage
from algo.nets.quantisation import model_size_bytes
from tests.algo.nas.tables import SMALL, made_up

THREE = dataclasses.replace(SMALL, stages=(Stage(4, 2), Stage(6, 1, 2)), kernels=(3,), bits=(4, 8))
ONE = Space("one", 4, 2, (Stage(4, 1),), 8, kernels=(3,), expansions=(1, 3))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([SMALL, SPACES["tiny"], ONE]), st.sampled_from([1, 3]))
def test_a_size_is_that_of_the_network_made(seed, space, channels):
    table = made_up(space, (channels, 16, 16))
    rng = np.random.default_rng(seed)
    architecture = tuple(space.options[number] for number in rng.integers(len(space.options), size=space.block_count))
    network = Network(space, architecture, channels, table.classes)
    set_bits_found(network)
    assert sizes_of(table).of(architecture) == model_size_bytes(network, policy_of_bits(network).weight_bits)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_within_a_latency_and_a_size_nothing_is_better(data):
    """Also where a network lies exactly on a limit."""
    seed = data.draw(st.integers(0, 10**6))
    space = data.draw(st.sampled_from([SMALL, THREE, ONE]))
    rng = np.random.default_rng(seed)
    table = made_up(space, seed=seed)
    if data.draw(st.booleans(), "changes of bits that cost as much as blocks"):
        table = dataclasses.replace(table, switch_ms=20 * table.switch_ms)
    if data.draw(st.booleans(), "round latencies"):
        table = dataclasses.replace(table, blocks_ms=table.blocks_ms.round(2), switch_ms=table.switch_ms.round(2))
    scores = rng.normal(size=(space.block_count, len(space.options))) * data.draw(st.sampled_from([1e-5, 1, 1e3]))
    sizes = sizes_of(table)
    every = []
    for chosen in itertools.product(range(len(space.options)), repeat=space.block_count):
        architecture = tuple(space.options[number] for number in chosen)
        score = sum(scores[block, number] for block, number in enumerate(chosen))
        every.append((table.ms(architecture), sizes.of(architecture), score))
    ms, size, score = (np.array(column) for column in zip(*every, strict=True))
    limit_ms, limit_bytes = ms[rng.integers(len(ms))], float(size[rng.integers(len(size))])
    if data.draw(st.booleans(), "not exactly on a network"):
        limit_ms, limit_bytes = limit_ms + 1e-4, limit_bytes + 0.5
    allowed = (ms <= limit_ms * derive.ROUNDING) & (size <= limit_bytes)
    if not allowed.any():
        smallest = size[ms <= limit_ms * derive.ROUNDING].min() / 1024
        with pytest.raises(ValueError, match=r"the smallest takes ([0-9.]+) KiB") as error:
            within_both(table, scores, limit_ms, sizes, limit_bytes)
        said = float(str(error.value).split("smallest takes ")[1].split()[0])
        assert smallest <= said <= 1.001 * smallest
        within_both(table, scores, limit_ms, sizes, said * 1024)  # what is named is accepted
        return
    found = within_both(table, scores, limit_ms, sizes, limit_bytes)
    assert found.ms == pytest.approx(table.ms(found.architecture)) and found.ms <= limit_ms * derive.ROUNDING
    assert sizes.of(found.architecture) <= limit_bytes
    assert found.score == pytest.approx(score[allowed].max(), abs=1e-6 * np.ptp(scores))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_network_that_is_hardly_too_large_is_not_taken(seed):
    """HiGHS keeps limits to one in a million; the best network of every size is less than that above the limit here."""
    table = made_up(THREE, seed=seed)
    scores = np.random.default_rng(seed).normal(size=(3, len(THREE.options)))
    sizes = sizes_of(table)
    slow = 2 * derive.slowest(table).ms
    limit = float(sizes.of(within_both(table, scores, slow, sizes, 1e9).architecture))
    while limit > sizes.smallest:
        limit *= 1 - 1e-7
        taken = sizes.of(within_both(table, scores, slow, sizes, limit).architecture)
        assert taken <= limit
        limit = float(taken)


def test_sizes_to_be_expected_are_the_mean_of_networks():
    table = made_up(SMALL)
    sizes = sizes_of(table)
    rng = np.random.default_rng(1)
    theta, phi = rng.dirichlet(np.ones(2), 2), rng.dirichlet(np.ones(3), 2)
    mean = 0.0
    for chosen in itertools.product(range(len(SMALL.options)), repeat=2):
        share = np.prod([theta[block, n // 3] * phi[block, n % 3] for block, n in enumerate(chosen)])
        mean += share * sizes.of(tuple(SMALL.options[n] for n in chosen))
    assert sizes.expected_bytes(theta, phi) == pytest.approx(mean)
