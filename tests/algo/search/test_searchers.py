"""The contract of a searcher, over every method and over the unit on a device: ask, tell, save, go on."""

import itertools
import json

import numpy as np
import pytest

from algo.search.known_costs import known_costs
from algo.search.loop import search
from algo.search.methods.planning import first_policy, planning_params, unit_costs
from algo.search.methods.registry import METHODS, Method
from algo.search.schedules import schedule_of
from algo.search.scoring import Scorer
from algo.search.searcher import Problem
from algo.search.tables.policy_table import TableEvaluator
from algo.search.unit_searcher import PlanningSearcher, UnitSearcher
from rtl.spec.params import RLUParams
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.episodic import Episodic
from sim.devices.planning import Planning
from tests.small_tables import small_scored

BUDGET = 14
UNITS = ("unit", "episodic unit", "planning unit")


def made(name, scored, seed=3):
    """A searcher by name: a method, or the unit on the golden device."""
    table, objective = scored.table, scored.objective
    if name in METHODS:
        return METHODS[name].searcher(Problem(table.space, objective, BUDGET, table.measure), seed)
    counts, episodic = table.space.action_counts, Episodic() if name == "episodic unit" else None
    if name == "planning unit":
        problem = Problem(table.space, objective, BUDGET, table.measure)
        known = known_costs(problem)
        driver = Driver(GoldenDevice(planning_params(counts, BUDGET)))
        driver.configure(
            action_counts=counts, seed=seed, objective=objective, planning=Planning(), costs=unit_costs(known)
        )
        return PlanningSearcher(driver, first_policy(problem, known))
    params = RLUParams(states=len(counts), actions=max(counts), action_counts=counts, episodes=512 if episodic else 0)
    driver = Driver(GoldenDevice(params))
    driver.configure(action_counts=counts, seed=seed, objective=objective, episodic=episodic)
    return UnitSearcher(driver, schedule_of("quick", BUDGET), greedy=episodic is None)


def steps_of(searcher, scored, first=0, last=BUDGET):
    table = scored.table
    evaluator, scorer = TableEvaluator(table), Scorer(scored.objective)
    return list(search(searcher, table.space, table, evaluator, scorer, last, first))


@pytest.mark.parametrize("name", [*METHODS, *UNITS])
def test_a_saved_searcher_continues_as_if_nothing_had_happened(name):
    scored = small_scored()
    whole = steps_of(made(name, scored), scored)
    assert len(whole) == BUDGET and all(scored.table.space.encode(scored.table.space.decode(s.actions)) for s in whole)
    early = made(name, scored)
    first = steps_of(early, scored, last=6)
    saved = json.loads(json.dumps(early.state()))
    late = made(name, scored)
    if name in ("unit", "episodic unit"):
        late = UnitSearcher(late.driver, schedule_of("quick", BUDGET), greedy=name == "unit")
    late.restore(saved, 6)
    assert first + steps_of(late, scored, first=6) == whole
    found = late.recommend()
    assert found is None or scored.table.space.decode(found[0])


@pytest.mark.parametrize("name", METHODS)
def test_one_search_in_the_loop_is_the_fast_path_bit_for_bit(name):
    """The loop of a tuning run and the search of a table for many seeds ask for the same policies."""
    scored = small_scored()
    slow = [scored.table.index(step.actions) for step in steps_of(made(name, scored), scored)]
    assert METHODS[name].run(scored, [1, 3], BUDGET)[:, 1].tolist() == slow


@pytest.mark.parametrize(
    ("name", "unit"), [("rlu", "unit"), ("rlu-plus", "episodic unit"), ("planning", "planning unit")]
)
def test_the_unit_on_a_device_is_the_method(name, unit):
    scored = small_scored()
    searcher = made(unit, scored)
    if name == "rlu-plus":
        searcher = UnitSearcher(searcher.driver, schedule_of("episodic", BUDGET), greedy=False)
    elif name == "rlu":
        searcher = UnitSearcher(searcher.driver, schedule_of("published", BUDGET))
    ours = [scored.table.index(step.actions) for step in steps_of(searcher, scored)]
    assert METHODS[name].run(scored, [3], BUDGET)[:, 0].tolist() == ours
    if name == "planning":
        found = METHODS[name].search(scored, [3], BUDGET, at=(BUDGET,))
        assert scored.table.index(searcher.recommend()[0]) == found.deployed[0, 0]


def test_the_state_of_another_search_is_refused():
    scored = small_scored()
    one = made("random", scored)
    steps_of(one, scored, last=4)
    with pytest.raises(ValueError, match="the saved search is one of 'random 1', not of 'grid 1'"):
        made("grid", scored).restore(one.state(), 4)
    with pytest.raises(ValueError, match="policy 0 of the saved search is not the one that random 1 proposes"):
        made("random", scored, seed=4).restore(one.state(), 4)
    with pytest.raises(ValueError, match="policy 0 of the saved search has no accuracy"):
        made("random", scored).restore({"method": "random 1", "told": [[[1]]]}, 1)


class CheapestFirst:
    """Asks the chip for every policy's energy before anything is trained."""

    def __init__(self, problem, seeds):
        actions = itertools.product(*map(range, problem.space.action_counts))
        self.order = sorted(actions, key=lambda chosen: problem.costs(problem.space.decode(chosen)).energy_uj)
        self.searches, self.next = len(seeds), 0

    def ask(self):
        self.next += 1
        return np.array([self.order[self.next - 1]] * self.searches)

    def tell(self, outcomes):
        pass

    def recommend(self):
        return None


def test_a_searcher_may_ask_for_costs_before_anything_is_trained():
    scored = small_scored()
    method = Method("cheapest-first", CheapestFirst, "for this test")
    steps = steps_of(
        method.searcher(Problem(scored.table.space, scored.objective, BUDGET, scored.table.measure), 1), scored
    )
    cheapest = np.sort(scored.table.energy_uj)[:BUDGET]
    assert [step.energy_uj for step in steps] == cheapest.tolist() and cheapest[0] < cheapest[-1]
    assert (scored.table.energy_uj[method.run(scored, [1, 2], BUDGET)] == cheapest[:, None]).all()
