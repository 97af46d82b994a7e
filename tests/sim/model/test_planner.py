"""Planning: one unit at a time and many at once compute the same, and what a plan is."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.spec.params import RLUParams
from rtl.spec.registers import field_of
from sim.devices.objective import Objective
from sim.model.batch_planning import BatchPlanner
from sim.model.golden import GoldenModel

PLANNING = field_of("MODE", "planning").mask


def planning_word(**fields):
    return sum(value << field_of("PLANNING", name).lsb for name, value in fields.items())


@st.composite
def units(draw):
    """Parameters, registers and costs of a unit that plans."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    actions = rng.randint(2, 6)
    counts = tuple(rng.randint(1, actions) for _ in range(rng.randint(2, 12)))
    params = RLUParams(
        states=len(counts), actions=actions, action_counts=counts, episodes=rng.choice((4, 16)), points=actions,
        q_width=rng.choice((16, 12)), q_frac=10, coef_frac=rng.choice((15, 12, 8)), gain_frac=rng.choice((8, 12)),
    )  # fmt: skip
    registers = {
        "MODE": PLANNING,
        "PLANNING": planning_word(
            climbs=rng.randint(1, 4), sweeps=rng.randint(1, 3), passes=2, caution=3, trust=rng.randint(0, 1)
        ),
        "ALPHA": round(params.coef_one / (params.states + 1)),
        "RIDGE": rng.choice((1, 3, 15)) << params.gain_frac,
        **Objective(accuracy_th=0.5).registers(params),
        "LATENCY_TH": params.coef_one,
    }
    highest = 2 * params.coef_one // params.states
    shape = (actions, params.states, actions)
    costs = np.random.default_rng(rng.getrandbits(32)).integers(0, highest, (2, *shape))
    return params, registers, costs, rng


@settings(max_examples=15, deadline=None)
@given(units())
def test_many_units_at_once_compute_what_single_ones_do(unit):
    params, registers, (latency, energy), rng = unit
    seeds = [1, 5, 77]
    batch = BatchPlanner(params, seeds, registers, latency, energy)
    models = [GoldenModel(params) for _ in seeds]
    first = [rng.randrange(count) for count in params.counts]
    batch.policy[:] = first
    for model, seed in zip(models, seeds, strict=True):
        model.registers |= registers | {"LFSR": seed}
        model.planner.costs = [
            [[(int(a), int(b)) for a, b in zip(*row, strict=True)] for row in zip(*point, strict=True)]
            for point in zip(latency, energy, strict=True)
        ]
        model.policy[: params.states] = first
    for step in range(6):
        accuracy = [rng.randint(params.coef_one // 3, params.coef_one) for _ in seeds]
        missed = [step > 0 and rng.random() < 0.2 for _ in seeds]
        for model, measured, miss in zip(models, accuracy, missed, strict=True):
            model.registers |= {"ACCURACY": measured, "LATENCY": params.coef_one if miss else 0, "ENERGY": 0}
            model.update()
        batch.learn(np.array(accuracy), np.array(missed))
        assert np.array_equal(batch.q, [model.q for model in models])
        epsilon, doubt = params.coef_one // 2, rng.choice((80, 300, 65535)) >> 15 - params.coef_frac
        for model in models:
            model.registers |= {"EPSILON": epsilon, "DOUBT": doubt}
            model.recommend() if step == 4 else model.sample()
        (batch.recommend if step == 4 else batch.plan)(epsilon, doubt)
        assert batch.policy.tolist() == [model.policy[: params.states] for model in models]
        assert batch.predicted.tolist() == [model.planner.predicted for model in models]
        assert batch.lfsr.tolist() == [model.registers["LFSR"] for model in models]


def small_unit(**registers):
    model = GoldenModel(RLUParams(states=3, actions=2, episodes=8, points=2), record=True)
    model.registers |= {"MODE": PLANNING, **registers}
    return model


def test_a_plan_is_never_a_policy_that_was_tried_while_another_one_is_left():
    model = small_unit()
    tried = set()
    for _ in range(8):  # all policies that there are
        model.sample()
        tried.add(tuple(model.policy[:3]))
        model.registers["ACCURACY"] = 0x4000 + 0x800 * len(tried)
        model.update()
    assert len(tried) == 8
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
    model.registers |= {"MODE": PLANNING, "ALPHA": 0x1000, "DOUBT": 0xFFFF, "RIDGE": 0, "LATENCY": 0x8000}
    model.registers["PLANNING"] = planning_word(passes=1)
    model.q = [[0x7FFF, -0x8000] for _ in range(9)]
    appraisal = model.planner.appraise([0] * 9)
    assert (appraisal.accuracy, appraisal.doubt) == (0x1FFFF, 0x1FFFF)
    assert model.planner.appraise([1] * 9).accuracy == -0x20000
    model.planner.write("results", 0, 0x4000)
    model.update()
    assert model.q[0][0] == 0x7FFF - 0x4000  # an eighth of -4
