"""Every policy's reward is the golden unit's; an objective that nothing satisfies is refused with reasons."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.search.scoring import score
from algo.search.tables.policy_table import PolicyTable
from algo.search.tables.scored_table import default_accuracy_th, policy_at, score_table
from sim.devices.objective import Objective
from tests.small_tables import small_scored, small_table, tiny_table

TABLE = small_table()


@given(index=st.integers(0, 242), a=st.integers(0, 10), b=st.integers(0, 10), th=st.floats(0.6, 0.69))
def test_scores_are_those_of_the_golden_reward_calculator(index, a, b, th):
    table = TABLE
    a, b = a / 20, b / 20
    objective = Objective(weight_a=a, weight_l=b, weight_e=1 - a - b, accuracy_th=th)
    scored = score_table(table, objective)
    cost = table.measure(policy_at(table.space, index))
    assert scored.scores[index] == score(objective, table.accuracy[index], cost.latency_ms, cost.energy_uj)


def test_the_optimum_is_the_highest_score_and_regret_is_measured_from_it():
    scored = score_table(tiny_table(), Objective(accuracy_th=0.65))
    assert scored.rewards[0] == 0 and scored.best == 2
    assert scored.describe(2)["weight_bits"] == [8, 4] and scored.describe(2)["score"] == scored.optimum
    regret = scored.regret(np.array([[0, 2], [3, 0], [2, 1]]))
    assert regret[:, 1].tolist() == [0, 0, 0]
    assert regret[:, 0].tolist() == [scored.optimum, scored.optimum - scored.scores[3], 0]


def test_exclusions_are_counted_and_skipped_policies_are_those_that_miss_latency_or_energy():
    scored = score_table(tiny_table(), Objective(accuracy_th=0.60, latency_th_ms=9.0, energy_th_uj=90.0))
    assert scored.exclusions() == {"accuracy_th": 1, "latency_th_ms": 1, "energy_th_uj": 2, "any": 3}
    assert scored.skipped.tolist() == [False, True, False, True]
    assert (scored.rewards > 0).tolist() == [False, False, True, False]


def test_the_default_threshold_is_two_points_below_the_widest_policy():
    assert default_accuracy_th(tiny_table()) == pytest.approx(0.79)
    table = tiny_table()
    low = PolicyTable(table.space, table.points, table.accuracy * 0.01, table.latency_ms, table.energy_uj, "low")
    assert default_accuracy_th(low) == 0.0


IMPOSSIBLE = [
    {"accuracy_th": 0.81},
    {"latency_th_ms": 4.0},
    {"energy_th_uj": 50.0, "energy_high_uj": 45.0},
    {"accuracy_th": 0.75, "latency_th_ms": 5.0},
    {"accuracy_th": 0.805, "energy_th_uj": 150.0, "energy_high_uj": 150.0},
]


@pytest.mark.parametrize("given_", IMPOSSIBLE, ids=str)
def test_an_objective_that_nothing_satisfies_says_what_would_admit_the_first(given_):
    given_ = {"accuracy_th": 0.5} | given_
    with pytest.raises(ValueError, match="no policy of the table satisfies the objective") as refused:
        score_table(tiny_table(), Objective(**given_))
    found = re.findall(
        r"(\w+) = \S+ excludes (\d) of 4 policies; with the others unchanged, (\S+) would", str(refused.value)
    )
    assert found, refused.value
    for name, excluded, value in found:
        assert int(excluded) > 0
        score_table(tiny_table(), Objective(**given_ | {name: float(value)}))  # it does admit one
        strict = -0.002 if name != "accuracy_th" else 0.002
        with pytest.raises(ValueError, match="no policy"):  # and a little stricter does not
            score_table(
                tiny_table(), Objective(**given_ | {name: float(value) + strict * (10 if "energy" in name else 1)})
            )


def test_thresholds_that_contradict_one_another_are_told_apart():
    with pytest.raises(ValueError, match="satisfies") as refused:
        score_table(tiny_table(), Objective(accuracy_th=0.81, latency_th_ms=3.95))
    assert str(refused.value).splitlines() == [
        "no policy of the table satisfies the objective (made up):",
        "  accuracy_th = 0.81 excludes 4 of 4 policies; 0.8099 would admit one if the others did not exclude it",
        "  latency_th_ms = 3.95 excludes 4 of 4 policies; 4.0007 would admit one if the others did not exclude it",
        "  energy_th_uj = 300 excludes 0 of 4 policies",
    ]


def test_a_table_where_everything_scores_nothing_is_refused():
    objective = Objective(weight_a=0, weight_l=1, weight_e=0, accuracy_th=0.5, latency_low_ms=1, latency_high_ms=3.9)
    with pytest.raises(ValueError, match=r"every policy scores 0.*latency_high_ms = 3.9.*4\.\.9 ms and 50\.\.200 uJ"):
        score_table(tiny_table(), objective)


def test_a_small_scored_table_keeps_a_use_for_searching():
    scored = small_scored()
    assert 0 < (scored.rewards == 0).sum() < len(scored.rewards)
