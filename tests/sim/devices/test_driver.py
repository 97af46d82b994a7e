"""The driver on the golden device; tests/algo/runs/test_tuning.py runs it on the simulated one."""

import pytest

from rtl.spec.params import RLUParams
from sim.devices.device import READ, WRITE, GoldenDevice, Op, address_of
from sim.devices.driver import Driver, DriverError, q_digest
from sim.devices.objective import Objective

PARAMS = RLUParams(states=16, actions=9)


@pytest.fixture
def driver():
    driver = Driver(GoldenDevice(PARAMS))
    driver.configure(action_counts=(3,) * 8 + (9,), seed=77, objective=Objective(accuracy_th=0.5))
    return driver


def test_reads_the_units_shape_from_its_registers(driver):
    assert driver.params == PARAMS


def test_refuses_something_that_is_not_an_rl_unit():
    class Nothing:
        def transact(self, ops):
            return [0 for op in ops if op.kind == READ]

        def close(self):
            pass

    with pytest.raises(DriverError, match="ID is 0x00000000, not 0x524C5531"):
        Driver(Nothing())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action_counts": ()}, r"number of rows must be a whole number in 1\.\.16, not 0"),
        ({"action_counts": (2,) * 17}, r"number of rows must be a whole number in 1\.\.16, not 17"),
        ({"action_counts": (2, 10)}, r"number of actions of row 1 must be a whole number in 1\.\.9, not 10"),
        ({"seed": 0}, r"seed must be a whole number in 1\.\.65535, not 0"),
        ({"seed": 65536}, r"seed must be a whole number in 1\.\.65535, not 65536"),
        ({"seed": 1.5}, r"seed must be a whole number in 1\.\.65535, not 1.5"),
        ({"alpha": 1.5}, r"alpha must be in 0\.\.1, not 1.5"),
        ({"gamma": -0.1}, r"gamma must be in 0\.\.1, not -0.1"),
    ],
)
def test_configure_names_what_is_out_of_range(driver, fields, said):
    with pytest.raises(ValueError, match=said):
        driver.configure(**({"action_counts": (2, 2), "seed": 1} | fields))


def test_outliers_are_known_before_accuracy(driver):
    assert not driver.is_outlier(19.9, 299.0)
    assert driver.is_outlier(20.0, 100.0)
    assert driver.is_outlier(5.0, 300.0)
    assert driver.is_outlier(1e9, 1e9)


def test_learning_rewards_the_policy_and_returns_the_table(driver):
    actions = driver.sample(1.0)
    assert not driver.is_outlier(7.33, 55.68)
    learned = driver.learn(0.6861)
    assert learned.reward / 2**14 == pytest.approx(0.8336, abs=2e-4)
    assert all(row[action] > 0 for row, action in zip(learned.q_table, actions, strict=True))
    assert learned.q_table == driver.q_table() and learned.digest == q_digest(driver.q_table())
    assert driver.sample(0.0) == actions  # the only entries above 0


def test_save_and_restore_bring_back_everything(driver):
    def play(driver, rounds):
        seen = []
        for k in range(rounds):
            seen.append(driver.sample(0.6))
            driver.is_outlier(5.0 + k % 7, 80.0)
            seen.append(driver.learn(0.6 + 0.01 * (k % 9)).digest)
        return seen

    play(driver, 20)
    state = driver.save()
    other = Driver(GoldenDevice(PARAMS))
    other.restore(state, driver.objective)
    assert other.save() == state
    assert play(other, 20) == play(driver, 20)


def test_restore_refuses_another_unit(driver):
    with pytest.raises(ValueError, match="is not this one"):
        Driver(GoldenDevice(RLUParams(states=16, actions=10))).restore(driver.save(), driver.objective)


def test_a_refused_access_is_an_error_that_names_the_flag(driver):
    with pytest.raises(DriverError, match="error_value"):
        driver.device.transact([Op(WRITE, address_of("ALPHA"), 0x9999)])
        driver.sample(0.5)
    assert driver.errors() == ()  # and the flags are clear again


def test_negative_rewards_of_the_hosts_own(driver):
    driver.write_policy((0,) * 9)
    driver.update(-9000)
    assert driver.q_table()[8][0] == -250  # a quarter of a ninth
    with pytest.raises(ValueError, match=r"reward must be a whole number in -32768\.\.32767, not 40000"):
        driver.update(40000)


def test_policies_and_q_values_that_do_not_exist_are_refused(driver):
    with pytest.raises(ValueError, match="a policy has 9 rows here, not 8"):
        driver.write_policy((0,) * 8)
    with pytest.raises(ValueError, match=r"action of row 2 must be a whole number in 0\.\.2, not 3"):
        driver.write_policy((0, 0, 3, 0, 0, 0, 0, 0, 0))
    with pytest.raises(ValueError, match=r"Q-value of row 1 must be a whole number in -32768\.\.32767, not 40000"):
        driver.write_q_table([[0, 0], [1, 40000]])


@pytest.mark.parametrize("op", [Op(READ, 0x4000), Op(READ, -4), Op(WRITE, 0, 1 << 32)])
def test_what_the_bus_cannot_carry_is_refused(driver, op):
    with pytest.raises(ValueError, match="the bus carries"):
        driver.device.transact([op])


def test_q_table_round_trip(driver):
    layers = (tuple(-100 * row + column for column in range(3)) for row in range(8))
    table = (*layers, tuple(range(-4, 5)))
    driver.write_q_table(table)
    assert driver.q_table() == table


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"weight_a": 0.3}, r"the weights a,b,c must sum to 1, but \(0.3, 0.1, 0.65\) sum to 1.05"),
        ({"weight_a": -0.25, "weight_l": 0.6}, r"weight a must be in 0\.\.1, not -0.25"),
        ({"accuracy_th": 68.5}, r"accuracy_th must be a fraction in 0\.\.1, not 68.5"),
        ({"latency_th_ms": 0.0}, "the latency threshold must be above 0, not 0"),
        ({"energy_low_uj": 400.0}, "energy must have 0 <= low < high, not low 400 and high 300"),
        ({"latency_high_ms": float("inf")}, "latency must have 0 <= low < high"),
        ({"latency_high_ms": 4.0}, "at least 1/15.9 of full scale 20"),
    ],
)
def test_objectives_name_what_is_out_of_range(fields, said):
    with pytest.raises(ValueError, match=said):
        Objective(**fields)
