"""The golden model against a float64 one, and its rules one by one."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.spec.params import RLUParams
from sim.model.golden import Action, Draw, GoldenModel, QWrite


def make(**fields):
    return GoldenModel(RLUParams(**fields), record=True)


def float_update(q, policy, counts, shares, alpha, gamma):
    """The published update in float64, last row first."""
    maximum = 0.0
    last = len(policy) - 1
    for row in range(last, -1, -1):
        target = shares[row] + (gamma * maximum if row < last else 0.0)
        q[row][policy[row]] = (1 - alpha) * q[row][policy[row]] + alpha * target
        maximum = max(q[row][: counts[row]])


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("alpha", "gamma"),
    [
        (0x2000, 32440),
        pytest.param(0x1000, 0x8000, marks=SLOW),
        pytest.param(0x4000, 0x7000, marks=SLOW),
    ],
)
def test_stays_within_2_to_minus_9_of_float64_after_10000_episodes_at_full_size(alpha, gamma):
    model = GoldenModel(RLUParams())
    params, rng = model.params, random.Random(1)
    model.registers |= {"ALPHA": alpha, "GAMMA": gamma}
    exact = [[0.0] * params.actions for _ in range(params.states)]
    for _ in range(10_000):
        model.registers["REWARD"] = rng.randint(0, 1 << params.q_frac)
        model.compute_share()
        model.policy = rng.choices(range(params.actions), k=params.states)
        model.update()
        share = model.share / 2**params.q_frac
        float_update(exact, model.policy, model.counts, [share] * params.states, alpha / 2**15, gamma / 2**15)
    worst = max(
        abs(value / 2**params.q_frac - reference)
        for row, references in zip(model.q, exact, strict=True)
        for value, reference in zip(row, references, strict=True)
    )
    assert worst <= 2**-9


def test_one_update_by_hand():
    model = make(states=2, actions=2)
    model.registers |= {"ALPHA": 0x4000, "GAMMA": 0x8000, "REWARD": 0x2000}  # alpha 1/2, gamma 1, reward 1/2
    model.compute_share()
    model.policy[:2] = [1, 0]
    model.update()
    # Share 1/4: the last row gets 1/8, the first half of 1/4 + 1/8.
    assert model.events == [QWrite(1, 0, 2048), QWrite(0, 1, 3072)]


def test_ties_go_up_in_even_rows_and_down_in_odd_ones():
    model = make(states=4, actions=2)
    model.registers |= {"ALPHA": 0x4000, "GAMMA": 0, "REWARD": 4}  # half of a share of 1
    model.compute_share()
    model.q[2][0] = -2  # to -0.5
    model.q[1][0] = -2
    model.update()
    assert [row[0] for row in model.q] == [1, -1, 0, 0]


def test_maximum_is_taken_after_the_next_rows_own_update():
    model = make(states=2, actions=2)
    model.registers |= {"ALPHA": 0x8000, "GAMMA": 0x8000, "REWARD": -200}
    model.compute_share()
    model.q[1] = [5000, -3000]
    model.policy[:2] = [0, 0]
    model.update()
    assert model.q[1] == [-100, -3000]  # the old maximum is gone
    assert model.q[0][0] == -200


def test_only_the_rows_own_actions_enter_the_maximum():
    model = make(states=2, actions=4, action_counts=(4, 2))
    model.registers |= {"ALPHA": 0x8000, "GAMMA": 0x8000, "REWARD": 0}
    model.q[1] = [0, 10, 3000, 4000]
    model.update()
    assert model.q[0][0] == 10


def test_an_action_its_row_does_not_have_leaves_the_row_alone():
    model = make(states=2, actions=4, action_counts=(4, 2))
    model.registers |= {"ALPHA": 0x8000, "REWARD": 1000}
    model.compute_share()
    model.policy[:2] = [0, 3]
    model.update()
    assert model.bad_action and model.q[1] == [0, 0, 0, 0] and model.q[0][0] == 500


@pytest.mark.parametrize(("reward", "limit"), [(0x7FFF, 0x7FFF), (-0x8000, -0x8000)])
def test_saturates_and_never_wraps(reward, limit):
    model = make(states=8, actions=2)
    model.registers |= {"ALPHA": 0x8000, "GAMMA": 0x8000, "REWARD": reward, "MODE": 1}
    model.compute_share()
    for _ in range(20):
        model.policy[:8] = [0] * 8
        model.update()
        model.policy[:8] = [1] * 8
        model.update()
    assert model.q[0] == [limit, limit]


def test_alpha_0_and_1_are_exact():
    model = make(states=3, actions=2)
    model.q = [[7, -7], [11, 12], [-13, 5]]
    model.registers |= {"ALPHA": 0, "REWARD": 9999}
    model.compute_share()
    model.update()
    assert model.q == [[7, -7], [11, 12], [-13, 5]]
    model.registers |= {"ALPHA": 0x8000, "GAMMA": 0, "REWARD": 300}
    model.compute_share()
    model.update()
    assert [row[0] for row in model.q] == [100, 100, 100]


def test_full_last_reward_goes_to_the_last_row_only():
    model = make(states=4, actions=2)
    model.registers |= {"ALPHA": 0x8000, "GAMMA": 0, "REWARD": 4000, "MODE": 1}
    model.compute_share()
    model.update()
    assert [row[0] for row in model.q] == [1000, 1000, 1000, 4000]


def test_epsilon_0_is_greedy_with_ties_to_the_lowest_action():
    model = make(states=3, actions=4)
    model.registers["EPSILON"] = 0
    model.q = [[1, 5, 5, 2], [0, 0, 0, 0], [-4, -3, -2, -2]]
    for _ in range(100):
        model.sample()
        assert model.policy[:3] == [1, 0, 2]
    assert all(not event.explored for event in model.events if isinstance(event, Action))


@pytest.mark.parametrize("width", [8, 16, 32])
def test_epsilon_1_always_explores_legal_actions(width):
    counts = tuple(range(1, 17))
    model = make(states=16, action_counts=counts, lfsr_width=width)
    model.registers["EPSILON"] = 0x8000
    for _ in range(300):
        model.sample()
    actions = [event for event in model.events if isinstance(event, Action)]
    assert all(event.explored and event.action < counts[event.row] for event in actions)
    assert {event.action for event in actions if event.row == 4} == set(range(5))


def test_two_draws_a_row_whatever_is_chosen():
    for epsilon in (0, 0x8000):
        model = make(states=5, actions=3)
        model.registers["EPSILON"] = epsilon
        model.sample()
        draws = [event for event in model.events if isinstance(event, Draw)]
        assert len(draws) == 5 and draws[0].decision != draws[0].choice
        assert model.registers["LFSR"] == draws[-1].choice


@settings(max_examples=200)
@given(
    a=st.integers(0, 0x8000), latency=st.integers(0, 0x8000), energy=st.integers(0, 0x8000),
    high=st.integers(1, 0x8000), gain=st.integers(0, 0xFFFF), weights=st.tuples(*[st.integers(0, 0x2AAA)] * 3),
)  # fmt: skip
def test_reward_is_within_rounding_of_the_formula_and_in_0_to_1(a, latency, energy, high, gain, weights):
    model = make(states=1)
    names = ("WEIGHT_A", "WEIGHT_L", "WEIGHT_E")
    model.registers |= dict(zip(names, weights, strict=True))
    model.registers |= {"LATENCY_HIGH": high, "LATENCY_GAIN": gain, "ENERGY_HIGH": high, "ENERGY_GAIN": gain}
    model.registers |= {"ACCURACY": a, "LATENCY": latency, "ENERGY": energy}
    model.compute_reward()
    reward = model.registers["REWARD"] / 2**14
    if a == 0 or latency == 0x8000 or energy == 0x8000:
        assert reward == 0
        return
    one = 1 << 15

    def term(measured):
        return min(1.0, max(0.0, (high - measured) / one * gain / 4096))

    wa, wl, we = (weight / one for weight in weights)
    expected = wa * a / one + wl * term(latency) + we * term(energy)
    assert 0 <= reward <= 1 and abs(reward - expected) <= 2**-15 + 2 * 2**-16


@pytest.mark.parametrize(
    ("name", "passes", "misses"), [("ACCURACY", 101, 100), ("LATENCY", 99, 100), ("ENERGY", 99, 100)]
)
def test_each_threshold_decides_on_its_own_and_strictly(name, passes, misses):
    model = make(states=1)
    model.registers |= {"ACCURACY": 0x4000, "LATENCY": 10, "ENERGY": 10, f"{name}_TH": 100}
    model.registers[name] = passes
    model.compute_reward()
    assert model.registers["REWARD"] > 0
    model.registers[name] = misses
    model.compute_reward()
    assert model.registers["REWARD"] == 0
