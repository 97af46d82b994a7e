"""What a client minimises: alpha, beta and gamma weigh what they are named for, whatever the network."""

import pytest
import torch

from algo.fed.config import MethodConfig
from algo.fed.learners import METHODS, Preference
from algo.nas.sizes import sizes_of
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up

TABLE = made_up(SPACES["tiny"])


def learner(method, *preference):
    torch.manual_seed(1)
    return METHODS[method](TABLE, Preference(*preference), MethodConfig())


@pytest.mark.parametrize("method", ["faqs", "fednas"])
def test_costs_are_latency_and_size_over_their_means(method):
    paths, bits = learner(method).network.probabilities()
    with torch.no_grad():
        latency = float(TABLE.expected_ms(paths.double().numpy(), bits.double().numpy())) / TABLE.uniform_ms
    sizes = sizes_of(TABLE)
    even = torch.full_like(paths, 1 / paths.shape[1]), torch.full_like(bits, 1 / bits.shape[1])
    size, mean = (
        float(sizes.expected_bytes(*(part.detach().double().numpy() for part in parts)))
        for parts in ((paths, bits), even)
    )
    for preference, wanted in (
        ((0, 1, 0), latency), ((0, 0, 1), size / mean), ((0.5, 0.2, 0.3), 0.2 * latency + 0.3 * size / mean),
    ):  # fmt: skip
        one = learner(method, *preference)
        assert float(one.cost().detach()) == pytest.approx(wanted, rel=1e-5) and one.alpha == preference[0]
    assert learner(method, 1, 0, 0).cost() is None


def test_a_fixed_network_prefers_nothing():
    one = learner("fedavg", 0.2, 0.4, 0.4)
    assert one.cost() is None and one.alpha == 1 and one.choices() == []


@pytest.mark.parametrize(("fixed", "kernel"), [("mobilenet", 3), ("largest", 5)])
def test_a_fixed_network_has_the_kernels_asked_for(fixed, kernel):
    one = METHODS["fedavg"](TABLE, Preference(), MethodConfig(fixed=fixed))
    assert {tuple(option)[:2] for option in one.chosen()} == {(kernel, 6)}
    sides = {value.shape[-1] for name, value in one.network.named_parameters() if value.ndim == 4 and "block" in name}
    assert kernel in sides and one.held(one.options()) == list(range(len(one.layout.slices)))


def test_all_slices_travel_if_asked():
    torch.manual_seed(1)
    one = METHODS["faqs"](TABLE, Preference(), MethodConfig(slices="all"))
    with torch.no_grad():
        one.choices()[0][:] = 100.0
    used = learner("faqs")
    used.network.load_state_dict(one.network.state_dict())
    assert one.options() == used.options()
    everything = list(range(len(one.layout.slices)))
    assert one.held(one.options()) == everything != used.held(used.options())
