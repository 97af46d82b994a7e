"""The planning unit's model: many units at once compute what one does; what it learns, plans and recommends."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.spec.params import UNKNOWN, RLUParams, missed_worth
from rtl.spec.registers import field_of
from sim.devices.objective import Objective
from sim.devices.planning import Planning
from sim.model import planner
from sim.model.batch_planning import BatchPlanner
from sim.model.golden import GoldenModel

SMALL = RLUParams(states=6, actions=4, action_counts=(3, 3, 3, 3, 3, 4), episodes=64, points=4)
USUAL = Planning(climbs=4)


def settings_of(params, planning=USUAL, **objective):
    """Registers of a planning unit."""
    wanted = Objective(**({"accuracy_th": 0.5} | objective))
    return wanted.registers(params) | planning.registers(params.states, params)


def unit(params, registers, latency, energy, seed=1):
    """One unit with costs, (points, rows, actions) each."""
    model = GoldenModel(params)
    model.registers |= registers | {"LFSR": seed, "EPSILON": params.coef_one // 2}
    model.planner.costs = np.stack([latency, energy], axis=-1).tolist()
    return model


def tell(model, accuracy, missed=False):
    """Measure the policy: an accuracy, or a latency that misses its threshold."""
    r = model.registers
    r["ACCURACY"], r["LATENCY"], r["ENERGY"] = int(accuracy), r["LATENCY_TH"] if missed else 0, 0
    model.update()


@st.composite
def spaces(draw):
    actions = draw(st.integers(2, 6))
    counts = tuple(draw(st.lists(st.integers(1, actions), min_size=2, max_size=17)))
    return RLUParams(
        states=len(counts),
        actions=actions,
        action_counts=counts,
        episodes=draw(st.sampled_from((4, 16))),
        points=actions,
        q_width=draw(st.sampled_from((16, 12))),
        q_frac=10,
        coef_frac=draw(st.sampled_from((15, 12, 8))),
        gain_frac=draw(st.sampled_from((12, 8))),
        lfsr_width=draw(st.sampled_from((8, 16))),
    )


@settings(max_examples=25, deadline=None)
@given(
    spaces(),
    st.builds(
        Planning,
        climbs=st.integers(1, 4),
        sweeps=st.integers(1, 3),
        passes=st.integers(1, 3),
        caution=st.integers(0, 6),
        doubt=st.sampled_from((0.0, 0.01, 0.1)),
        noise=st.sampled_from((0.0, 0.014)),
    ),
    st.integers(0, 2**32 - 1),
)
def test_many_units_compute_what_one_does(params, planning, seed):
    compare(params, planning, seed)


def compare(params, planning, seed):
    """Let some units search alone and side by side."""
    rng, seeds = np.random.default_rng(seed), [1, 5, 77]
    shape = (params.points, params.states, params.actions)
    latency, energy = rng.integers(0, 2 * params.coef_one // params.states, (2, *shape))
    registers = settings_of(params, planning)
    batch = BatchPlanner(params, seeds, registers, latency, energy)
    models = [unit(params, registers, latency, energy, one) for one in seeds]
    first = [int(rng.integers(count)) for count in params.counts]
    batch.policy[:] = first
    for model in models:
        model.policy[: params.states] = first
    for n in range(7):
        accuracies, missed = rng.integers(0, params.coef_one + 1, len(seeds)), rng.random(len(seeds)) < 0.2
        for model, accuracy, miss in zip(models, accuracies, missed, strict=True):
            tell(model, accuracy, bool(miss))
        batch.learn(accuracies, missed)
        assert batch.q.tolist() == [model.q for model in models]
        assert batch.trials.tolist() == [model.planner.trials for model in models]
        doubt = planning.doubt_after(n, params)
        for model in models:
            model.registers["DOUBT"] = doubt
            (model.recommend if n == 5 else model.sample)()
        (batch.recommend if n == 5 else batch.plan)(params.coef_one // 2, doubt)
        assert batch.policy.tolist() == [model.policy[: params.states] for model in models]
        assert batch.predicted.tolist() == [model.planner.predicted for model in models]
        assert batch.lfsr.tolist() == [model.registers["LFSR"] for model in models]
        assert all(0 <= a < count for model in models for a, count in zip(model.policy, params.counts, strict=False))


def test_a_difference_between_the_two_is_seen(monkeypatch):
    """A planted bug: the batch reads another share of the doubt."""
    monkeypatch.setattr("sim.model.batch_planning._DOUBTS", np.arange(256, 0, -16))
    with pytest.raises(AssertionError):
        compare(SMALL, USUAL, 1)


def made_up(seed, params=SMALL):
    """Accuracy of any policy, a sum over its rows, and costs, which rise with the numbers of actions and points."""
    rng = np.random.default_rng(seed)
    lost = rng.uniform(0.0, 0.04, (params.states - 1, params.actions)) * np.arange(params.actions)[::-1]

    def accuracy(policy):
        loss = sum(lost[row, action] for row, action in enumerate(policy[: params.states - 1]))
        return int(np.clip(0.9 - loss, 0.0, 1.0) * params.coef_one)

    steps, scale = 1 + np.arange(params.actions), 1 + 0.1 * np.arange(params.points)[:, None, None]
    costs = np.broadcast_to(700 * steps * scale, (params.points, params.states, params.actions)).astype(int).copy()
    costs[:, -1] = 0
    return accuracy, costs


def searched(seed, budget=20, planning=USUAL):
    """A unit after a search, and what its policies measured."""
    accuracy, costs = made_up(seed)
    model = unit(SMALL, settings_of(SMALL, planning), costs, costs, seed + 1)
    model.policy[: SMALL.states] = [2] * 5 + [3]
    tried = []
    for n in range(budget):
        if n:
            model.registers["DOUBT"] = planning.doubt_after(n, SMALL)
            model.sample()
        tried.append(tuple(model.policy[: SMALL.states]))
        tell(model, accuracy(model.policy))
    return model, tried, accuracy


@pytest.mark.parametrize("seed", range(4))
def test_it_learns_the_effects_of_a_sum_and_recommends_a_policy_that_holds(seed):
    model, tried, accuracy = searched(seed)
    model.registers["DOUBT"] = Planning().doubt_after(0, SMALL)
    model.recommend()
    policy = tuple(model.policy[: SMALL.states])
    off = abs(model.planner.predicted - accuracy(policy)) / SMALL.coef_one
    assert off < 0.02 and accuracy(policy) > 0.5 * SMALL.coef_one
    optimum = max(scored(model, one, accuracy(one)) for one in itertools.product(*map(range, SMALL.action_counts)))
    found = scored(model, policy, accuracy(policy))
    assert found >= max(scored(model, one, accuracy(one)) for one in tried)
    assert optimum - found < 0.01 * optimum < optimum - scored(model, tried[0], accuracy(tried[0]))


def scored(model, policy, accuracy):
    of = model.planner.appraise(policy)
    return model.score(accuracy, of.latency, of.energy) if accuracy > model.registers["ACCURACY_TH"] else 0


@pytest.mark.parametrize("seed", range(3))
def test_it_tries_nothing_twice_not_even_at_another_operating_point(seed):
    _, tried, _ = searched(seed, budget=40)
    assert len({policy[:-1] for policy in tried}) == 40


def test_in_a_space_that_is_all_tried_it_draws():
    params = RLUParams(states=2, actions=2, action_counts=(2, 1), episodes=8, points=1)
    costs = np.zeros((1, 2, 2), int)
    model = unit(params, settings_of(params), costs, costs)
    for _ in range(5):
        tell(model, 20000)
        model.sample()
    assert sorted({episode.actions[:2] for episode in model.episodes}) == [(0, 0), (1, 0)]


def test_a_policy_that_missed_a_threshold_teaches_nothing_but_is_not_tried_again():
    model, _, _ = searched(1, budget=4)
    trials = [list(row) for row in model.planner.trials]
    model.sample()
    missed = tuple(model.policy[: SMALL.states])
    tell(model, 0, missed=True)
    assert model.planner.trials == trials
    assert (model.episodes[-1].accuracy, model.episodes[-1].part) == (UNKNOWN, 0)
    for _ in range(10):
        model.sample()
        assert tuple(model.policy[: SMALL.states]) != missed
        tell(model, 20000)


def test_effects_are_limited_and_never_wrap():
    params = RLUParams(states=3, actions=2, episodes=4, points=2, q_width=8, q_frac=6, coef_frac=7)
    costs = np.zeros((2, 3, 2), int)
    model = unit(params, settings_of(params) | {"ALPHA": params.coef_one, "RIDGE": 0}, costs, costs)
    for accuracy in (0, 128, 0, 128, 128, 0) * 8:
        tell(model, accuracy)
        assert all(params.q_min <= effect <= params.q_max for row in model.q for effect in row)
        model.sample()


def test_with_the_mode_off_it_is_the_published_unit():
    accuracy, costs = made_up(3)
    plain = GoldenModel(RLUParams(states=6, actions=4, action_counts=SMALL.action_counts), record=True)
    off = GoldenModel(SMALL, record=True)
    off.planner.costs = np.stack([costs, costs], axis=-1).tolist()
    for model in (plain, off):
        model.registers |= {"LFSR": 9, "ALPHA": 8192, "EPSILON": 16384}
        for _ in range(12):
            model.sample()
            model.registers["ACCURACY"] = accuracy(model.policy)
            model.compute_reward()
            model.update()
        model.recommend()
    assert plain.events == off.events and plain.q == off.q and plain.policy == off.policy


def test_hopes_come_from_the_highest_down_and_their_weights_count():
    """The worth of a candidate, worked out by hand."""
    params = RLUParams(states=2, actions=2, episodes=4, points=1)
    costs = np.zeros((1, 2, 2), int)
    model = unit(params, settings_of(params, weight_a=1.0, weight_l=0.0, weight_e=0.0, accuracy_th=0.25), costs, costs)
    of = planner.Appraisal(accuracy=16384, doubt=4096, latency=0, energy=0)  # 0.5, doubt 1/8
    accuracies = [0.5 + 0.125 * z for z in (2, 1, 0.25, -0.5)]
    scores = [round(a * 2**14) for a in accuracies]
    best = round(0.5 * 2**14)
    gains = [max(0, score - best) for score in scores]
    assert model.planner.hopeful(of, best).value == best + gains[0] + 2 * sum(gains[1:])
    assert model.planner.hopeful(of, scores[0]).value == scores[0]
    assert model.planner.hopeful(of._replace(accuracy=0, doubt=0), best).value == -params.coef_one - 1
    assert (
        model.planner.cautious(of).value == round((0.5 - 3 * 0.125) * 2**15) - params.coef_one - 1
    )  # below the threshold
    assert model.planner.cautious(of._replace(doubt=1024)).value == round((0.5 - 3 / 32) * 2**14)
    one = missed_worth(params)
    assert model.planner.hopeful(of._replace(latency=params.coef_one), best).value == one < -params.coef_one - 1


def test_the_reset_values_are_those_of_the_settings():
    model, chosen = GoldenModel(SMALL), Planning().registers(SMALL.states, SMALL)
    trust = field_of("PLANNING", "trust").mask
    assert model.registers["PLANNING"] == chosen["PLANNING"] & ~trust and model.registers["RIDGE"] == chosen["RIDGE"]
    assert model.registers["DOUBT"] == Planning().doubt_after(0, SMALL)


def small_unit(**registers):
    model = GoldenModel(RLUParams(states=3, actions=2, episodes=8, points=2), record=True)
    model.registers |= {"MODE": field_of("MODE", "planning").mask, **registers}
    return model


def test_a_plan_is_never_a_policy_that_was_tried_while_another_one_is_left():
    model = small_unit()
    tried = set()
    for _ in range(4):  # all that there are, each at one operating point
        model.sample()
        tried.add(tuple(model.policy[:2]))
        model.registers["ACCURACY"] = 0x4000 + 0x800 * len(tried)
        model.update()
    assert len(tried) == 4
    model.sample()  # nothing is left: every row is drawn
    assert [event.explored for event in model.events[-6:] if hasattr(event, "explored")] == [1, 1, 1]


def test_a_recommendation_without_measurements_leaves_the_policy():
    model = small_unit()
    model.policy[:3] = [1, 0, 1]
    model.recommend()
    assert model.policy[:3] == [1, 0, 1]


@pytest.mark.parametrize("accuracy", [0, 0x1234, 0x8000])
def test_the_first_accuracy_becomes_the_constant(accuracy):
    model = small_unit(ALPHA=0, ACCURACY=accuracy)
    model.update()
    assert model.q[2][0] == min(accuracy, 0x7FFF)


def test_numbers_are_limited_where_they_could_not_be_right_anyway():
    """Beyond -4..4 an accuracy, a doubt, and the error that a step is made from."""
    model = GoldenModel(RLUParams(states=9, actions=2, episodes=2, points=2))
    model.registers |= {
        "MODE": field_of("MODE", "planning").mask,
        "ALPHA": 0x1000,
        "DOUBT": 0xFFFF,
        "RIDGE": 0,
        "LATENCY": 0x8000,
    }
    model.registers["PLANNING"] = 1 << field_of("PLANNING", "passes").lsb
    model.q = [[0x7FFF, -0x8000] for _ in range(9)]
    appraisal = model.planner.appraise([0] * 9)
    assert (appraisal.accuracy, appraisal.doubt) == (0x1FFFF, 0x1FFFF)
    assert model.planner.appraise([1] * 9).accuracy == -0x20000
    model.planner.write("results", 0, 0x4000)
    model.update()
    assert model.q[0][0] == 0x7FFF - 0x4000  # an eighth of -4
