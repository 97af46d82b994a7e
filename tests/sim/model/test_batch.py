"""The batch model equals the scalar one, unit for unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chips.evolver import EvolverChip
from algo.search.methods.units import batch_search
from algo.search.schedules import schedule_of
from algo.search.tables.policy_table import TableEvaluator, synthetic_table
from algo.search.unit_searcher import search_with_unit
from algo.space.layers import LayerShape
from rtl.spec.params import RLUParams
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.model.batch import BatchModel
from sim.model.golden import GoldenModel

COEF = st.integers(0, 0x8000)


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=7),
    width=st.sampled_from([8, 16, 32]),
    alpha=COEF, gamma=COEF, epsilons=st.lists(COEF, min_size=1, max_size=8), mode=st.integers(0, 1),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_equals_the_scalar_model(counts, width, alpha, gamma, epsilons, mode, seed):
    params = RLUParams(states=len(counts), actions=6, action_counts=tuple(counts), lfsr_width=width)
    rng = np.random.default_rng(seed)
    seeds = rng.integers(1, params.lfsr_max, 4, endpoint=True)
    settings_ = {"ALPHA": alpha, "GAMMA": gamma, "MODE": mode, "WEIGHT_A": 0x4000, "ACCURACY_TH": 1000}
    batch = BatchModel(params, seeds, settings_)
    scalars = [GoldenModel(params) for _ in seeds]
    for scalar, lfsr in zip(scalars, seeds, strict=True):
        scalar.registers |= settings_ | {"LFSR": int(lfsr)}
    for epsilon in epsilons:
        measured = rng.integers(0, 0x8000, (3, len(seeds)), endpoint=True)
        batch.sample(epsilon)
        batch.compute_reward(*measured)
        batch.update()
        for k, scalar in enumerate(scalars):
            scalar.registers["EPSILON"] = epsilon
            scalar.sample()
            names = ("ACCURACY", "LATENCY", "ENERGY")
            scalar.registers |= dict(zip(names, measured[:, k].tolist(), strict=True))
            scalar.compute_reward()
            scalar.update()
    for k, scalar in enumerate(scalars):
        assert batch.policy[k].tolist() == scalar.policy[: len(counts)]
        assert batch.q[k].tolist() == scalar.q
        assert batch.lfsr[k] == scalar.registers["LFSR"] and batch.reward[k] == scalar.registers["REWARD"]


def test_batch_search_equals_the_search_through_the_driver():
    layers = [LayerShape(f"l{k}", 10**8, 10**6, 10**4, 10**4) for k in range(3)]
    table = synthetic_table(EvolverChip(layers), layers=3, seed=5)
    objective, schedule = Objective(accuracy_th=0.66), schedule_of("quick")
    rewards, model = batch_search(table, objective, schedule, range(1, 6))
    counts = table.space.action_counts
    for k, seed in enumerate(range(1, 6)):
        device = GoldenDevice(RLUParams(states=4, actions=9, action_counts=counts))
        driver = Driver(device)
        driver.configure(action_counts=counts, seed=seed, objective=objective)
        steps = list(search_with_unit(driver, table.space, table, TableEvaluator(table), schedule))
        assert [step.reward * 2**14 for step in steps] == rewards[:, k].tolist()
        assert device.model.q == model.q[k].tolist()


@pytest.mark.parametrize("seed", [0, 65536])
def test_rejects_a_seed_out_of_range(seed):
    with pytest.raises(ValueError, match=r"every seed must be in 1\.\.65535"):
        BatchModel(RLUParams(states=1), [1, seed], {})


def test_rejects_registers_that_do_not_exist_or_do_not_fit():
    with pytest.raises(ValueError, match="BETA is not a setting that units share"):
        BatchModel(RLUParams(states=1), [1], {"BETA": 1})
    with pytest.raises(ValueError, match=r"ALPHA must be in 0\.\.32768, not 40000"):
        BatchModel(RLUParams(states=1), [1], {"ALPHA": 40000})
