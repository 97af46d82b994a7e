"""The fresh network is the seed's, to the last bit, on every device and whatever PyTorch's generator does."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.config import FedConfig
from algo.fed.federation import learner_of
from algo.fed.fresh import drawn
from algo.fed.learners import Preference
from algo.fed.threshold_net import tensors_of
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up

MASK = 2**64 - 1


def fresh(method, seed=1):
    learner = learner_of(FedConfig.of(method=method, space="tiny", seed=seed), made_up(SPACES["tiny"]), Preference())
    return learner, tensors_of(learner.network, learner.layout)


@given(st.integers(0, MASK), st.integers(0, 10**6))
def test_numbers_are_those_of_splitmix64(seed, start):
    """In Python's integers, as its authors give it."""
    wanted = []
    for number in range(start, start + 5):
        state = (seed + (number + 1) * 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        wanted.append(((state ^ (state >> 31)) >> 40) / 2**24)
    assert drawn(seed, start, 5).tolist() == wanted


def test_the_published_first_output():
    """Of seed 0: 0xE220A8397B1DCDAF."""
    assert drawn(0, 0, 1)[0] == 0xE220A8 / 2**24


@pytest.mark.parametrize("method", ["fedavg", "fednas", "faqs"])
def test_weights_are_uniform_by_their_inputs(method):
    learner, tensors = fresh(method)
    kept = {id(one) for one in learner.choices()}
    parameters = dict(learner.network.named_parameters())
    drawn_ones = {name: own for name, own in tensors.items() if own.ndim > 1 and id(parameters[name]) not in kept}
    scaled = {name: own * np.sqrt(np.prod(own.shape[1:])) for name, own in drawn_ones.items()}
    everything = np.concatenate([own.reshape(-1) for own in scaled.values()])
    assert abs(everything.mean()) < 0.03 and everything.std() == pytest.approx(3**-0.5, rel=0.02)
    assert 0.999 < np.abs(everything).max() < 1.0001
    assert all(not own.any() for name, own in tensors.items() if name.endswith("bias"))
    assert len(np.unique(everything)) > 0.9 * len(everything)


def test_pytorchs_generator_changes_nothing_and_another_seed_all():
    torch.manual_seed(7)
    first, known = fresh("faqs")
    torch.rand(1)
    second, again = fresh("faqs")
    assert all(np.array_equal(known[name], again[name]) for name in known)
    assert first.layout.digest == second.layout.digest
    other, values = fresh("faqs", seed=2)
    assert other.layout.digest != first.layout.digest
    assert not np.array_equal(values["stem.weight"], known["stem.weight"])


def test_norms_are_those_of_the_fresh_weights():
    """So the thresholds of the start compare with 1."""
    learner, tensors = fresh("faqs")
    for number, block in enumerate(learner.network.threshold_blocks()):
        rim = tensors[f"blocks.{number}.depthwise"] * block.rim.numpy()
        assert block.norms[1, 0] == pytest.approx((rim**2).sum(), rel=1e-5)
