"""The planning unit as a method: many units at once, by the batch golden model, bit-exact with the RTL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from algo.search.known_costs import KnownCosts, known_costs
from algo.search.methods.additive import widest_actions
from algo.search.scoring import UNIT, register_words
from algo.search.searcher import Ints, Outcomes, Problem
from rtl.spec.params import MAX_EPISODES, RLUParams
from sim.devices.planning import EPISODES, Costs, Planning
from sim.model.arithmetic import to_fixed
from sim.model.batch_planning import BatchPlanner


class PlanningUnits:
    """Searches by planning units, one per seed; see `Batch`.

    The first policy is `first_policy`: the accuracy of everything else is counted from there. The unit plans all
    others.
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
    """The policy to begin with: the widest, or near it, at the operating point where it would score best.

    If the widest misses a threshold of latency or energy at every point, it is one that passes and has as many rows at
    their widest as it can, the first ones first, the others at their cheapest; the widest if none is found.
    """
    points = np.arange(known.points)
    widest = widest_actions(problem.space)
    policies = np.concatenate([np.tile(widest, (len(points), 1)), points[:, None]], axis=1)
    if _missed(known, policies).all():
        policies = np.array([_narrowed(known, policy) for policy in policies])
    scores = known.scores(policies, np.ones(len(points)))
    best = policies[np.where(_missed(known, policies), -1.0, scores).argmax()]
    return tuple(best.tolist())


def _missed(known: KnownCosts, policies: Ints) -> npt.NDArray[np.bool_]:
    """Whether latency or energy of policies, (..., rows), misses its threshold; (...,)."""
    latency, energy = known.of(policies)
    _, latencies, energies = register_words(latency, latency, np.nan_to_num(energy), known.objective, UNIT)
    registers = known.objective.registers(UNIT)
    missed: npt.NDArray[np.bool_] = (latencies >= registers["LATENCY_TH"]) | (energies >= registers["ENERGY_TH"])
    return missed


def _narrowed(known: KnownCosts, widest: Ints) -> Ints:
    """A policy that passes, at the operating point of the widest; the widest if there is none."""
    objective, point = known.objective, widest[-1]
    latency = known.latency_ms[point] / objective.latency_th_ms
    energy = np.nan_to_num(known.energy_uj[point]) / objective.energy_th_uj
    for costs in (latency + energy, latency, energy):
        cheapest = [int(row[:count].argmin()) for row, count in zip(costs, known.action_counts[:-1], strict=True)]
        policy: Ints = np.array([*cheapest, point])
        if _missed(known, policy):
            continue
        for row in range(len(policy) - 1):
            wider = policy.copy()
            wider[row] = widest[row]
            policy = policy if _missed(known, wider) else wider
        return policy
    return widest
