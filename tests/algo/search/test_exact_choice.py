"""Costs that add up, and the exact choice under them: by enumeration, and by an integer programme."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chips.chip import Measurement
from algo.search.exact_choice import EVERY_POINT, ExactChoice
from algo.search.known_costs import known_costs
from algo.search.scoring import score
from algo.search.searcher import Problem
from algo.space.policy import Place, PolicySpace
from sim.devices.objective import Objective
from tests.small_tables import small_scored, tiny_table


def made_problem(counts, points, objective, seed, energy=True):
    """A problem with made-up costs that add up, drawn from a seed."""
    rng = np.random.default_rng(seed)
    places = [Place(f"l{k}", (k,), {"weight_bits": tuple(range(2, 2 + n))}) for k, n in enumerate(counts)]
    space = PolicySpace.of_places(places, len(counts), points)
    latency = rng.uniform(0, 12 / len(counts), (points, len(counts), max(counts)))
    power = rng.uniform(0, 350 / len(counts), (points, len(counts), max(counts)))

    def costs(policy):
        chosen = policy.point, np.arange(len(counts)), np.array(policy.weight_bits) - 2
        return Measurement(2 + latency[chosen].sum(), 20 + power[chosen].sum() if energy else float("nan"))

    return Problem(space, objective, 10, costs)


def scored_by_hand(problem, actions, constant, effects):
    cost = problem.costs(problem.space.decode(actions))
    accuracy = constant + sum(effects[row][action] for row, action in enumerate(actions[:-1]))
    return score(problem.objective, float(np.clip(accuracy, 0, 1)), cost.latency_ms, cost.energy_uj)


def every(problem):
    return list(itertools.product(*map(range, problem.space.action_counts)))


def test_costs_of_a_table_are_found_again():
    scored = small_scored()
    table = scored.table
    found = known_costs(Problem(table.space, scored.objective, 1, table.measure))
    policies = np.array(list(np.ndindex(table.space.action_counts)))
    latency, energy = found.of(policies)
    assert latency == pytest.approx(table.latency_ms, rel=1e-12) and energy == pytest.approx(table.energy_uj, rel=1e-12)
    assert (found.scores(policies, table.accuracy) == scored.scores).all()
    assert found.latency_ms.min() == 0 and found.energy_uj.min() == 0


def test_costs_that_do_not_add_up_are_refused_with_the_policy_that_shows_it():
    table = tiny_table()
    with pytest.raises(ValueError, match=r"latency does not add up.*policy \(1, 1, 0\) has 9 ms, 3 ms from the sum 6"):
        known_costs(Problem(table.space, Objective(accuracy_th=0.65), 1, table.measure))


def test_energy_may_be_missing_where_it_has_no_weight():
    weighs_none = Objective(weight_a=0.5, weight_l=0.5, weight_e=0.0, accuracy_th=0.1)
    problem = made_problem((2, 3), 2, weighs_none, 1, energy=False)
    costs = known_costs(problem)
    assert np.isnan(costs.of(np.array([[0, 0, 0]]))[1]).all()
    for most in (1, 10**6):
        chosen = ExactChoice(costs, most).best(np.array([0.9]), np.zeros((1, 2, 3)))[0]
        cheapest = min(every(problem), key=lambda one: problem.costs(problem.space.decode(one)).latency_ms)
        assert chosen.tolist() == list(cheapest)
    with pytest.raises(ValueError, match="has no energy"):
        known_costs(made_problem((2, 3), 2, Objective(), 1, energy=False))


problems = st.fixed_dictionaries(
    {
        "counts": st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
        "points": st.integers(1, 3),
        "seed": st.integers(0, 10**6),
        "threshold": st.sampled_from((0.0, 0.6, 0.7, 0.75)),
        "weights": st.sampled_from(((0.25, 0.1, 0.65), (0.25, 0.65, 0.1), (0.6, 0.4, 0.0), (1.0, 0.0, 0.0))),
        "latency_th": st.sampled_from((6.0, 9.0, 20.0)),
        "base": st.sampled_from((0.5, 0.75, 0.98)),
        "left_out": st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), max_size=12),
    }
)


@settings(max_examples=60, deadline=None)
@given(problems)
def test_enumeration_and_integer_programme_find_what_trying_all_policies_finds(drawn):
    a, b, c = drawn["weights"]
    objective = Objective(
        weight_a=a, weight_l=b, weight_e=c, accuracy_th=drawn["threshold"], latency_th_ms=drawn["latency_th"]
    )
    problem = made_problem(drawn["counts"], drawn["points"], objective, drawn["seed"])
    effects = np.random.default_rng(drawn["seed"]).uniform(-0.1, 0.05, (len(drawn["counts"]), max(drawn["counts"])))
    policies = every(problem)
    left_out, gone = [], set()
    for place, everywhere in drawn["left_out"]:
        actions = policies[place % len(policies)]
        left_out.append((*actions[:-1], EVERY_POINT) if everywhere else actions)
        gone |= {one for one in policies if one == actions or (everywhere and one[:-1] == actions[:-1])}
    rest = [one for one in policies if one not in gone]
    known = known_costs(problem)
    arguments = (
        np.array([drawn["base"]]), effects[None], np.array(left_out, int).reshape(1, -1, len(policies[0]))
    )  # fmt: skip
    allowed = [one for one in rest if known_within(known, one)]
    if not allowed:
        for most in (0, 10**6):
            with pytest.raises(ValueError, match="no policy is left"):
                ExactChoice(known, most).best(*arguments)
        return
    scores = {one: scored_by_hand(problem, one, drawn["base"], effects) for one in rest}
    for most, slack in ((10**6, 0.0), (0, 2**-13)):
        (chosen,) = ExactChoice(known, most).best(*arguments)
        chosen = tuple(chosen.tolist())
        assert chosen in allowed and scores[chosen] >= max(scores.values()) - slack
        if not any(scores.values()):  # then the most accurate
            accuracies = {
                one: drawn["base"] + sum(effects[row][action] for row, action in enumerate(one[:-1])) for one in allowed
            }
            assert accuracies[chosen] >= min(1.0, max(accuracies.values())) - 2**-15


def known_within(known, actions):
    latency, energy = known.of(np.array(actions))
    return latency < known.objective.latency_th_ms and energy < known.objective.energy_th_uj
