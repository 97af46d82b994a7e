"""The planning unit as a method: many units at once, by the batch golden model, bit-exact with the RTL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from algo.search.known_costs import KnownCosts, known_costs
from algo.search.methods.additive import widest_actions
from algo.search.scoring import register_words
from algo.search.searcher import Ints, Outcomes, Problem
from rtl.spec.params import MAX_EPISODES, RLUParams
from sim.devices.planning import EPISODES, Costs, Planning
from sim.model.arithmetic import to_fixed
from sim.model.batch_planning import BatchPlanner


class PlanningUnits:
    """Searches by planning units, one per seed; see `Batch`.

    The first policy is the widest of all at its best operating point: the accuracy of everything else is counted from
    there. The unit plans all others.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        counts, known = problem.space.action_counts, known_costs(problem)
        self._objective, self._planning = problem.objective, Planning(noise=problem.noise)
        params = planning_params(counts, problem.budget)
        words = unit_costs(known).words(counts, problem.objective, params)
        costs = np.zeros((2, counts[-1], len(counts), params.actions), dtype=np.int64)
        for point, of_point in enumerate(words):
            for row, of_row in enumerate(of_point):
                costs[:, point, row, : len(of_row)] = np.array(of_row) & 0xFFFF, np.array(of_row) >> 16
        registers = problem.objective.registers(params) | self._planning.registers(len(counts), params)
        self._unit = BatchPlanner(params, seeds, registers, *costs)
        self._first = first_policy(problem, known)
        self._told = 0

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        if self._told == 0:
            self._unit.policy[:] = self._first
        else:
            self._unit.plan(self._varied, self._planning.doubt_after(self._told, self._unit.params))
        return self._unit.policy

    def tell(self, outcomes: Outcomes) -> None:
        """Learn from the accuracies of the policies that were asked for last."""
        measured = outcomes.accuracy, outcomes.latency_ms, outcomes.energy_uj
        accuracy, latency, energy = register_words(*measured, self._objective, self._unit.params)
        self._unit.learn(accuracy, self._unit.outlier(latency, energy))
        self._told += 1

    def recommend(self) -> Ints:
        """The policies that the units believe to be best, (searches, rows)."""
        unit = self._unit
        policy, lfsr = unit.policy, unit.lfsr.copy()
        unit.recommend(self._varied, self._planning.doubt_after(0, unit.params))
        found = unit.policy
        unit.policy, unit.lfsr = policy, lfsr
        return found

    @property
    def _varied(self) -> int:
        return to_fixed(self._planning.varied, self._unit.params.coef_frac)


def planning_params(counts: Sequence[int], budget: int, lfsr_width: int = 16) -> RLUParams:
    """A unit that can plan for a space and remembers every policy of a search, as far as a unit can.

    Args:
        counts: number of actions of each row; the last is that of the operating points.
        budget: number of policies.
        lfsr_width: bits of the LFSR.
    """
    episodes = EPISODES
    while episodes < min(budget, MAX_EPISODES):
        episodes *= 2
    return RLUParams(
        states=len(counts), actions=max(2, *counts), action_counts=tuple(counts), lfsr_width=lfsr_width,
        episodes=episodes, points=counts[-1],
    )  # fmt: skip


def unit_costs(known: KnownCosts) -> Costs:
    """Known costs as a unit takes them: what no layer accounts for is the cost of the operating point."""
    figures = []
    for base, added in ((known.base_latency_ms, known.latency_ms), (known.base_energy_uj, known.energy_uj)):
        rows = np.zeros((known.points, len(known.action_counts), max(known.action_counts)))
        rows[:, :-1, : added.shape[2]] = np.nan_to_num(added)
        rows[np.arange(known.points), -1, np.arange(known.points)] = np.nan_to_num(base)
        figures.append(rows.tolist())
    return Costs(*figures)


def first_policy(problem: Problem, known: KnownCosts) -> tuple[int, ...]:
    """The widest policy, at the operating point where it would score best."""
    points = np.arange(known.points)
    widest = widest_actions(problem.space)
    policies = np.concatenate([np.tile(widest, (len(points), 1)), points[:, None]], axis=1)
    best = policies[known.scores(policies, np.ones(len(points))).argmax()]
    return tuple(best.tolist())
