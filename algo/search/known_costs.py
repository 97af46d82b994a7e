"""Latency and energy as known: what each action of each row adds to them at each operating point.

Both can be measured without training. On a chip that runs one layer after the other they add up, so a few policies
a point tell those of all policies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algo.search.scoring import UNIT, Floats, Ints, rewards_of
from algo.search.searcher import Problem, drawn
from sim.devices.objective import Objective

#: Policies that are measured to see whether costs add up.
_CHECKED = 32


@dataclass(frozen=True)
class KnownCosts:
    """Costs of a problem as sums: at each operating point a base, and what each action adds to it.

    Made by `known_costs`. What the cheapest action of a row adds is 0, so no figure is negative. Actions that a row
    does not have are 0.

    Attributes:
        action_counts: of all rows; the last is the operating point's.
        base_latency_ms, base_energy_uj: (points,), of the policy of the cheapest actions.
        latency_ms, energy_uj: (points, rows - 1, actions), what each action adds. Energy is NaN, base too, if it is
            unavailable and the objective gives it no weight.
        objective: what policies are rewarded for.
    """

    action_counts: tuple[int, ...]
    base_latency_ms: Floats
    base_energy_uj: Floats
    latency_ms: Floats
    energy_uj: Floats
    objective: Objective

    @property
    def points(self) -> int:
        """Number of operating points."""
        return self.action_counts[-1]

    def of(self, policies: Ints) -> tuple[Floats, Floats]:
        """Latencies (ms) and energies (uJ) of policies, (...,) each.

        Args:
            policies: actions, (..., rows).
        """
        point = policies[..., -1]
        latency, energy = self.base_latency_ms[point], self.base_energy_uj[point]
        for row in range(policies.shape[-1] - 1):
            latency = latency + self.latency_ms[point, row, policies[..., row]]
            energy = energy + self.energy_uj[point, row, policies[..., row]]
        return latency, energy

    def scores(self, policies: Ints, accuracy: Floats) -> Floats:
        """Scores of policies, (...,), as the golden reward calculator gives them; 0 for an outlier.

        Args:
            policies: actions, (..., rows).
            accuracy: of each, (...,), fractions.
        """
        return np.asarray(rewards_of(accuracy, *self.of(policies), self.objective) * 2.0**-UNIT.q_frac, np.float64)


def known_costs(problem: Problem) -> KnownCosts:
    """Ask for the costs of one policy a point, and of all that differ from it in one row.

    Raises:
        ValueError: if costs of other policies, drawn with a fixed seed, are not the sums to one part in 2**15 of full
            scale, which is a step of the unit's registers; it names the worst policy. Also if a latency is not a
            number, or an energy that the objective weighs.
    """
    space, objective = problem.space, problem.objective
    counts = space.action_counts
    shape = (counts[-1], len(counts) - 1, max(counts[:-1], default=1))
    added: Floats = np.zeros((2, *shape))
    base: Floats = np.zeros((2, counts[-1]))
    for point in range(counts[-1]):
        first = [0] * (len(counts) - 1)
        base[:, point] = _measured(problem, (*first, point))
        for row, count in enumerate(counts[:-1]):
            for action in range(1, count):
                one = (*first[:row], action, *first[row + 1 :], point)
                added[:, point, row, action] = _measured(problem, one) - base[:, point]
    for row, count in enumerate(counts[:-1]):
        cheapest = added[:, :, row, :count].min(axis=-1)
        added[:, :, row, :count] -= cheapest[..., None]
        base += cheapest
    found = KnownCosts(counts, base[0], base[1], added[0], added[1], objective)
    _check(problem, found)
    return found


def _measured(problem: Problem, actions: Sequence[int]) -> Floats:
    cost = problem.costs(problem.space.decode(actions))
    if not math.isfinite(cost.latency_ms):
        raise ValueError(f"policy {tuple(actions)} has no latency: {cost.latency_ms} ms")
    if not math.isfinite(cost.energy_uj) and problem.objective.weight_e > 0:
        raise ValueError(
            f"policy {tuple(actions)} has no energy ({cost.energy_uj} uJ), but the objective weighs it "
            f"{problem.objective.weight_e:g}: give the chip energies, or choose another --objective"
        )
    return np.array([cost.latency_ms, cost.energy_uj])


def _check(problem: Problem, found: KnownCosts) -> None:
    objective = problem.objective
    policies = drawn(np.random.default_rng(0), found.action_counts, _CHECKED)
    measured = np.array([_measured(problem, tuple(actions)) for actions in policies.tolist()]).T
    scales = (objective.latency_full_scale_ms, "latency", "ms"), (objective.energy_full_scale_uj, "energy", "uJ")
    for is_, sums, (full_scale, name, unit) in zip(measured, found.of(policies), scales, strict=True):
        off = np.nan_to_num(np.abs(is_ - sums))
        worst = int(off.argmax())
        if off[worst] > full_scale / UNIT.coef_one:
            raise ValueError(
                f"the chip's {name} does not add up over the rows: policy {tuple(policies[worst].tolist())} has "
                f"{is_[worst]:.6g} {unit}, {off[worst]:.3g} {unit} from the sum {sums[worst]:.6g}; choose --unit "
                "published or episodic, or a --method that does not take costs as known, such as evolution"
            )
