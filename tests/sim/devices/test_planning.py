"""The driver of a planning unit: costs, plans, what it recommends, and a search that goes on where it stopped."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.spec.params import RLUParams
from rtl.spec.registers import MEMORIES, field_of
from sim.devices.device import READ, WRITE, GoldenDevice, Op, address_of
from sim.devices.driver import Driver, DriverError
from sim.devices.objective import Objective
from sim.devices.planning import Costs, Planning

PARAMS = RLUParams(states=5, actions=4, action_counts=(3, 3, 2, 1, 4), episodes=16, points=4)
OBJECTIVE = Objective(accuracy_th=0.5)
COUNTS = PARAMS.action_counts
FEW = Planning(climbs=3)


def costs(scale=1.0):
    """Latency and energy that rise with actions and points."""
    latency = [[[scale * (row + 1) * (a + 1) * (p + 1) / 20 for a in range(4)] for row in range(5)] for p in range(4)]
    energy = [[[12 * one for one in row] for row in point] for point in latency]
    return Costs(latency, energy)


def ready(planning=FEW, chip=None, seed=5, params=PARAMS):
    """A driver of a unit that is set to plan."""
    driver = Driver(GoldenDevice(params))
    driver.configure(
        action_counts=COUNTS, seed=seed, objective=OBJECTIVE, planning=planning, costs=costs() if chip is None else chip
    )
    return driver


def accuracy(policy):
    return 0.9 - 0.03 * (2 - policy[0]) - 0.01 * (2 - policy[1]) ** 2 - 0.02 * (1 - policy[2])


def evaluate(driver, policy):
    driver.is_outlier(latency_ms=1.0 if sum(policy) != 7 else 25.0, energy_uj=10.0)
    return driver.learn(accuracy(policy))


def search(driver, rounds, first=False):
    """Policies of some rounds of a search, and the effects after each."""
    found = []
    for n in range(rounds):
        policy = (2, 2, 1, 0, 0) if first and n == 0 else driver.plan()
        if first and n == 0:
            driver.write_policy(policy)
        found.append((policy, evaluate(driver, policy)))
    return found


def test_a_unit_that_cannot_plan_says_what_to_build():
    driver = Driver(GoldenDevice(RLUParams(states=5, actions=4, episodes=16)))
    with pytest.raises(ValueError, match=r"cannot plan: build one with episodes, such as 64, and points, such as 9"):
        driver.configure(action_counts=COUNTS, seed=1, planning=FEW, costs=costs())
    with pytest.raises(ValueError, match="needs costs"):
        Driver(GoldenDevice(PARAMS)).configure(action_counts=COUNTS, seed=1, planning=FEW)
    with pytest.raises(ValueError, match="is not set to plan"):
        Driver(GoldenDevice(PARAMS)).plan()
    few = RLUParams(states=5, actions=4, episodes=16, points=2)
    with pytest.raises(ValueError, match="4 operating points, and this unit holds the costs of 2"):
        ready(params=few)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[2].pop(), "there is no latency of action 0 in row 4 at operating point 2"),
        (lambda rows: rows[1][0].pop(2) and rows[1][0].pop(), "there is no latency of action 2 in row 0 at operating"),
        (lambda rows: rows[3][1].__setitem__(1, -2.0), "latency of action 1 in row 1 at .* 3 must be .*, not -2 ms"),
        (lambda rows: rows[0][3].__setitem__(0, float("nan")), "action 0 in row 3 at operating point 0 .* not nan ms"),
        (lambda rows: rows[0][3].__setitem__(0, None), "action 0 in row 3 at operating point 0 must be .*, not None"),
        (lambda rows: rows[0][3].__setitem__(0, "1"), "action 0 in row 3 at operating point 0 must be .*, not '1'"),
        (lambda rows: rows[0].__setitem__(3, None), "there is no latency of action 0 in row 3 at operating point 0"),
        (lambda rows: rows[0][3].__setitem__(0, float("inf")), "action 0 in row 3 at operating point 0 .* not inf ms"),
    ],
)
def test_a_cost_that_is_missing_or_no_cost_is_named(change, message):
    chip = costs()
    rows = [[list(row) for row in point] for point in chip.latency_ms]
    change(rows)
    with pytest.raises(ValueError, match=message):
        ready(chip=Costs(rows, chip.energy_uj))


def test_costs_beyond_full_scale_count_as_full_scale():
    driver = ready(chip=costs(1000.0))
    words = driver.save()["plan"]["costs"]
    one = PARAMS.coef_one
    assert words[3][2][1] == one | one << 16 and all(
        half <= one for half in (words[0][0][0] & 0xFFFF, words[0][0][0] >> 16)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"climbs": 0}, r"climbs must be a whole number in 1\.\.255, not 0"),
        ({"sweeps": 16}, r"sweeps must be a whole number in 1\.\.15, not 16"),
        ({"passes": 1.5}, r"passes must be a whole number in 1\.\.15, not 1\.5"),
        ({"caution": -1}, r"caution must be a whole number in 0\.\.15, not -1"),
        ({"noise": -0.1}, r"noise must be in 0\.\.1, not -0\.1"),
        ({"doubt": 2}, r"doubt must be in 0\.\.1, not 2"),
    ],
)
def test_a_setting_out_of_range_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Planning(**fields)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 24), st.sampled_from((0.0, 0.02)))
def test_a_restored_unit_goes_on_as_if_nothing_had_happened(told, noise):
    """Also with a memory that has forgotten its oldest episodes, and one that is exactly full."""
    planning = Planning(climbs=2, noise=noise)
    driver = ready(planning)
    search(driver, told, first=True)
    saved = json.loads(json.dumps(driver.save()))
    other = ready(planning, seed=99)
    other.restore(saved, OBJECTIVE)
    if told:
        assert other.recommend() == driver.recommend()
    assert search(other, 3, first=not told) == search(driver, 3, first=not told)
    assert other.save() == driver.save()


def test_a_reward_of_the_hosts_own_is_refused_and_nothing_is_learned():
    driver = ready()
    search(driver, 2, first=True)
    before = driver.save()
    with pytest.raises(ValueError, match="learns from accuracies and not from rewards: use learn"):
        driver.update(100)
    assert driver.save() == before


def test_a_restored_unit_knows_its_constant_when_no_episode_left_in_memory_was_measured():
    small = RLUParams(states=5, actions=4, action_counts=COUNTS, episodes=2, points=4)
    driver, other = ready(params=small), ready(params=small, seed=99)
    search(driver, 1, first=True)
    for policy in ((2, 2, 0, 0, 3), (2, 1, 1, 0, 3)):  # their latency misses its threshold
        driver.write_policy(policy)
        evaluate(driver, policy)
    other.restore(json.loads(json.dumps(driver.save())), OBJECTIVE)
    assert search(other, 2) == search(driver, 2)
    assert other.save() == driver.save()


def test_a_search_with_other_costs_is_refused_by_the_place():
    driver = ready()
    search(driver, 3, first=True)
    saved = json.loads(json.dumps(driver.save()))
    chip = costs()
    rows = [[list(row) for row in point] for point in chip.latency_ms]
    rows[2][1][1] += 0.01
    other = ready(chip=Costs(rows, chip.energy_uj))
    with pytest.raises(ValueError, match="those of action 1 in row 1 at operating point 2 are not the chip's"):
        other.restore(saved, OBJECTIVE)
    plain = Driver(GoldenDevice(PARAMS))
    plain.configure(action_counts=COUNTS, seed=1)
    with pytest.raises(ValueError, match="the saved unit plans, and this one does not plan"):
        plain.restore(saved, OBJECTIVE)
    with pytest.raises(ValueError, match="the saved unit does not plan, and this one plans"):
        ready().restore(json.loads(json.dumps(plain.save())), OBJECTIVE)


@pytest.mark.parametrize("part", ["told", "places", "policies", "results", "trials", "costs"])
def test_a_damaged_part_of_a_saved_plan_is_named(part):
    driver = ready()
    search(driver, 4, first=True)
    saved = json.loads(json.dumps(driver.save()))
    saved["plan"][part] = [[[-1]]]
    with pytest.raises(ValueError, match=f"{part} of the saved unit|planned with other costs"):
        ready().restore(saved, OBJECTIVE)
    del saved["plan"][part]
    with pytest.raises(ValueError, match="plan of the saved unit is damaged"):
        ready().restore(saved, OBJECTIVE)


def test_what_it_recommends_comes_with_its_accuracy_and_trials_and_changes_nothing():
    driver = ready()
    tried = [policy for policy, _ in search(driver, 10, first=True)]
    before = driver.save()
    found = driver.recommend()
    known = {name: value for name, value in before["registers"].items() if name not in ("DOUBT", "EPSILON")}
    after = driver.save()
    assert {name: after["registers"][name] for name in known} == known
    assert {**after, "registers": 0} == {**before, "registers": 0}
    assert found.trials == tuple(
        sum(policy[row] == a for policy in tried if sum(policy) != 7) for row, a in enumerate(found.actions)
    )
    assert found.accuracy == pytest.approx(accuracy(found.actions), abs=0.02)


def test_words_of_the_memories_are_read_as_written_and_counted_up_by_writes():
    device, rng = GoldenDevice(PARAMS), range(4)
    data, address = address_of("MEMORY_DATA"), address_of("MEMORY_ADDRESS")
    for number, memory in enumerate(MEMORIES):
        place = {"costs": (1, 2, 0), "trials": (2, 0), "policies": (3, 0), "results": (5,)}[memory.name]
        start = number << field_of("MEMORY_ADDRESS", "memory").lsb | memory.word(*place)
        count = 1 if memory.name == "policies" else 4
        device.transact([Op(WRITE, address, start), *(Op(WRITE, data, 17 * k + 9) for k in rng[:count])])
        assert device.transact([Op(READ, address)]) == [start + count]
        for k in rng[:count]:
            assert device.transact([Op(WRITE, address, start + k), Op(READ, data), Op(READ, address)]) == [
                17 * k + 9,
                start + k,
            ]
    assert device.transact([Op(READ, address_of("EPISODES"))])[0] & 0xFFFF == 9  # up to the last result written


def test_a_word_that_the_unit_does_not_have_sets_a_flag():
    driver = Driver(GoldenDevice(PARAMS))
    lsb = field_of("MEMORY_ADDRESS", "memory").lsb
    costs_, trials, policies, results = MEMORIES
    for number, word in (
        (0, costs_.word(4, 0, 0)), (0, costs_.word(0, 5, 0)), (0, costs_.word(0, 0, 4)), (1, trials.word(5, 0)),
        (2, policies.word(16, 0)), (2, policies.word(0, 1)), (3, results.word(16)),
    ):  # fmt: skip
        for access in (Op(READ, address_of("MEMORY_DATA")), Op(WRITE, address_of("MEMORY_DATA"), 1)):
            with pytest.raises(DriverError, match="error_address"):
                driver._transact([Op(WRITE, address_of("MEMORY_ADDRESS"), number << lsb | word), access])
