"""The episodic unit: RTL, golden model and batch of models agree; what it stores, varies and learns from again."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chips.evolver import EvolverChip
from algo.published.evolver import PUBLISHED_VGG8
from algo.search.loop import search
from algo.search.methods.registry import METHODS
from algo.search.schedules import episodic_schedule
from algo.search.scoring import Scorer
from algo.search.tables.policy_table import TableEvaluator, synthetic_table
from algo.search.tables.scored_table import score_table
from algo.search.unit_searcher import UnitSearcher, search_with_unit
from rtl.spec.params import RLUParams
from sim.devices.device import READ, WAIT, WRITE, GoldenDevice, Op, address_of
from sim.devices.driver import Driver
from sim.devices.episodic import Episodic, variant_registers
from sim.devices.objective import Objective
from sim.lockstep import run as lockstep
from sim.model import golden
from sim.model.batch import BatchModel
from sim.model.golden import GoldenModel
from sim.simulators.simulator import SimDevice
from tests.planted_bugs import SIMULATOR

SMALL = RLUParams(states=9, actions=9, episodes=16)
NARROW = RLUParams(
    states=12, actions=3, episodes=4, lfsr_width=8, q_width=8, q_frac=6, coef_frac=7, gain_frac=6
)  # full, and of repeats, all the time


def model(params, counts=None, **fields):
    """A golden model in episodic mode."""
    made = GoldenModel(params)
    made.registers |= variant_registers(False, Episodic(**fields))
    made.registers["EPSILON"] = params.coef_one // 8
    if counts:
        made.counts[: len(counts)] = counts
        made.registers["STATES"] = len(counts)
    return made


def learn(made, reward):
    made.registers["REWARD"] = reward
    made.compute_share()
    made.update()


@pytest.mark.parametrize("params", [SMALL, NARROW], ids=["small", "narrow"])
def test_rtl_equals_the_golden_model(params):
    report = lockstep(params, episodes=60, seed=5, simulator=SIMULATOR)
    assert report.identical, report.divergence
    assert report.compared["Q-table write"] > 400


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(1, 0xFFFF),
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=17),
    tournament=st.integers(1, 5),
    candidates=st.integers(1, 4),
    replays=st.integers(0, 4),
    episodes=st.sampled_from((2, 8, 64)),
)
def test_batch_equals_the_golden_model(seed, counts, tournament, candidates, replays, episodes):
    params = RLUParams(states=len(counts), actions=5, action_counts=counts, episodes=episodes)
    chosen = Episodic(tournament=tournament, candidates=candidates, replays=replays)
    seeds = [seed, 1, 77]
    batch = BatchModel(params, seeds, variant_registers(False, chosen))
    models = []
    for first in seeds:
        one = model(params, tournament=tournament, candidates=candidates, replays=replays)
        one.registers["LFSR"] = first
        models.append(one)
    rng = random.Random(seed)
    for _ in range(12):
        epsilon = rng.choice((0, params.coef_one // 8, params.coef_one))
        batch.sample(epsilon)
        batch.reward = np.array([rng.randint(0, params.q_max) for _ in seeds])
        batch.update()
        for place, one in enumerate(models):
            one.registers["EPSILON"] = epsilon
            one.sample()
            learn(one, int(batch.reward[place]))
            assert batch.policy[place].tolist() == one.policy[: len(counts)]
            assert batch.lfsr[place] == one.registers["LFSR"]
            assert batch.q[place].tolist() == one.q


def test_a_new_policy_is_one_not_stored():
    made = model(SMALL, counts=[3] * 9)
    made.registers["EPSILON"] = SMALL.coef_one // 4
    tried = set()
    for reward in range(14):
        made.sample()
        policy = tuple(made.policy[:9])
        assert policy not in tried
        tried.add(policy)
        learn(made, reward)


def test_a_policy_tried_before_is_taken_when_there_is_no_other():
    made = model(RLUParams(states=1, actions=2, episodes=4))
    made.registers["EPSILON"] = made.params.coef_one
    for reward in range(5):
        made.sample()
        learn(made, reward)
    assert {episode.actions[0] for episode in made.episodes} == {0, 1}


def test_without_exploring_the_best_of_a_large_tournament_is_sampled_again():
    made = model(SMALL, tournament=200, candidates=1)
    rewards = [5, 900, 30, 899]
    made.registers["EPSILON"] = SMALL.coef_one
    for reward in rewards:
        made.sample()
        learn(made, reward)
    made.registers["EPSILON"] = 0
    made.sample()
    assert tuple(made.policy) == made.episodes[1].actions


def test_the_candidate_with_the_larger_q_values_wins():
    """With Q-values that favour action 2 everywhere, more candidates hold more of it."""
    held = {}
    for candidates in (1, 8):
        made = model(SMALL, counts=[3] * 9, candidates=candidates)
        made.registers["EPSILON"] = SMALL.coef_one
        for row in made.q:
            row[2] = 1000
        held[candidates] = 0
        for _ in range(60):
            made.sample()
            held[candidates] += made.policy[:9].count(2)
    assert 140 < held[1] < 220 and held[8] > 300


def test_replays_learn_from_what_is_stored():
    params = RLUParams(states=1, actions=2, episodes=2)
    once, often = model(params, replays=0), model(params, replays=50)
    for made in (once, often):
        made.sample()
        learn(made, 1000)
    action = once.policy[0]
    assert once.q[0][action] == 250 and often.q[0][action] == 999  # all but a rounding


def test_the_oldest_episode_is_forgotten_first_and_clear_forgets_all():
    made = model(RLUParams(states=9, actions=9, episodes=4))
    for reward in range(6):
        made.sample()
        learn(made, reward)
    assert [episode.first for episode in made.episodes] == [4, 5, 2, 3]
    made.clear()
    assert made.episodes == []


def test_published_mode_of_an_episodic_unit_is_the_published_unit():
    left, right = GoldenModel(SMALL), GoldenModel(RLUParams(states=9, actions=9))
    for reward in range(20):
        for made in (left, right):
            made.registers["EPSILON"] = SMALL.coef_one // 2
            made.sample()
            learn(made, 100 * reward)
        assert (left.policy, left.q, left.registers["LFSR"]) == (right.policy, right.q, right.registers["LFSR"])
    assert left.episodes == []


def test_a_unit_without_memory_refuses_the_mode():
    device = GoldenDevice(RLUParams(states=9, actions=9))
    driver = Driver(device)
    with pytest.raises(ValueError, match="no episode memory: build one with episodes"):
        driver.configure(action_counts=(3,) * 9, seed=1, episodic=Episodic())
    for name, value in (("MODE", 2), ("EPISODIC", 1)):
        device.transact([Op(WRITE, address_of(name), value)])
        assert driver.errors() == ("error_value",)
        device.transact([Op(WRITE, address_of("STATUS"), 0xF00)])


@pytest.mark.parametrize("field, value", [("tournament", 0), ("candidates", 16), ("replays", 256), ("replays", 1.5)])
def test_settings_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"{field} must be a whole number in .*, not {value!r}"):
        Episodic(**{field: value})


@pytest.mark.parametrize("episodes", [-1, 1, 3, 100, 2048])
def test_capacities_that_no_unit_has(episodes):
    with pytest.raises(ValueError, match=f"episodes must be .*, not {episodes}"):
        RLUParams(episodes=episodes)


def test_search_with_the_driver_equals_the_method_over_seeds_and_resumes():
    table = synthetic_table(EvolverChip(PUBLISHED_VGG8[:3]), layers=3, seed=1)
    objective = Objective(accuracy_th=0.6)
    scored = score_table(table, objective)
    counts = table.space.action_counts
    params = RLUParams(states=len(counts), actions=max(counts), action_counts=counts, episodes=512)
    schedule = episodic_schedule(40)
    chosen = METHODS["rlu-plus"].run(scored, [1, 9], 40)
    for column, seed in enumerate((1, 9)):
        driver = Driver(GoldenDevice(params))
        driver.configure(action_counts=counts, seed=seed, objective=objective, episodic=Episodic())
        steps = list(search_with_unit(driver, table.space, table, TableEvaluator(table), schedule))
        assert [table.index(step.actions) for step in steps] == chosen[:, column].tolist()
    # Taken up again in the middle, on another unit that has seen other things, it ends in the same trace.
    driver.configure(action_counts=counts, seed=9, objective=objective, episodic=Episodic())
    running = search_with_unit(driver, table.space, table, TableEvaluator(table), schedule)
    first = [next(running) for _ in range(17)]
    saved = json.loads(json.dumps(driver.save()))
    other = Driver(GoldenDevice(params))
    other.configure(action_counts=counts, seed=5, episodic=Episodic())
    other.sample(1.0)
    other.learn(0.5)
    other.restore(saved, objective)
    scorer, searcher = Scorer(objective), UnitSearcher(other, schedule, greedy=False)
    searcher.restore(saved, 17)
    rest = list(search(searcher, table.space, table, TableEvaluator(table), scorer, len(schedule), first=17))
    assert [step.line() for step in first + rest] == [step.line() for step in steps]


def test_restored_simulated_unit_continues_like_the_golden_one():
    """The memory of the RTL, refilled through its registers, holds what the golden model's does."""
    with SimDevice(SMALL, simulator=SIMULATOR) as simulated:
        drivers = [Driver(GoldenDevice(SMALL)), Driver(simulated)]
        for driver in drivers:
            driver.configure(action_counts=(3,) * 9, seed=3, episodic=Episodic())
        for _ in range(20):  # more than the memory holds
            drivers[0].sample(0.3)
            drivers[0].learn(0.9)
        saved = drivers[0].save()
        drivers[1].restore(saved, drivers[0].objective)
        for _ in range(5):
            assert drivers[0].sample(0.1) == drivers[1].sample(0.1)
            assert drivers[0].learn(0.8) == drivers[1].learn(0.8)
            words = [d.device.transact([Op(WAIT), Op(READ, address_of("EPISODES"))]) for d in drivers]
            assert words[0] == words[1] == [16 << 16 | 16]


def test_events_are_those_of_golden_names():
    """A candidate drawn again is drawn like any other: draws come in multiples of the rows."""
    made = model(SMALL, counts=[3] * 4, candidates=4)
    made.record = True
    for reward in range(6):
        made.sample()
        learn(made, reward)
    draws = [event for event in made.events if isinstance(event, golden.Draw)]
    assert len(draws) % 4 == 0 and len(draws) >= 6 * 4 * 4
