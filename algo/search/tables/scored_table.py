"""A policy table under an objective: every policy's reward, the best policy, and what the thresholds exclude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from algo.search.objective import ObjectiveConfig
from algo.search.scoring import UNIT, register_words, rewards_of
from algo.search.searcher import Outcomes
from algo.search.tables.policy_table import Floats, PolicyTable
from algo.space.policy import Policy, PolicySpace
from sim.devices.objective import Objective

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredTable:
    """A table with the reward of every policy, computed by the golden reward calculator. Made by `score_table`.

    Attributes:
        table: the policies and their measurements.
        objective: what they are rewarded for.
        rewards: (size,), in units of 2**-14; 0 for an outlier.
        skipped: (size,), whether latency or energy misses its threshold; the policy is then never trained.
    """

    table: PolicyTable
    objective: Objective
    rewards: Ints
    skipped: Bools

    @cached_property
    def scores(self) -> Floats:
        """Rewards as numbers, (size,), in 0..1."""
        return np.asarray(self.rewards * 2.0**-UNIT.q_frac, dtype=np.float64)

    @property
    def optimum(self) -> float:
        """The highest score of any policy."""
        return float(self.scores[self.best])

    @property
    def best(self) -> int:
        """The policy with the highest score; the first, if several have it."""
        return int(self.rewards.argmax())

    def outcomes(self, places: Ints) -> Outcomes:
        """Outcomes of policies at places in the table, of any shape.

        The accuracy of an outlier is never measured, because its reward is 0 in any case.
        """
        table = self.table
        return Outcomes(
            table.accuracy[places], table.latency_ms[places], table.energy_uj[places], self.scores[places],
            self.skipped[places],
        )  # fmt: skip

    def regret(self, chosen: Ints) -> Floats:
        """Simple regret after each evaluation: the optimum less the best score seen so far.

        Args:
            chosen: places in the table, (evaluations, seeds), in the order of evaluation.

        Returns:
            (evaluations, seeds), never rising along the first axis.
        """
        regret: Floats = self.optimum - np.maximum.accumulate(self.scores[chosen], axis=0)
        return regret

    def describe(self, index: int) -> dict[str, Any]:
        """A policy with its measurements and score, as JSON can hold them."""
        policy = policy_at(self.table.space, index)
        point = self.table.points[policy.point]
        return {
            **{name: list(values) for name, values in self.table.space.by_place(policy).items()},
            "voltage_v": point.voltage_v,
            "frequency_mhz": point.frequency_mhz,
            "accuracy": float(self.table.accuracy[index]),
            "latency_ms": float(self.table.latency_ms[index]),
            "energy_uj": float(self.table.energy_uj[index]),
            "score": float(self.scores[index]),
        }

    def exclusions(self) -> dict[str, int]:
        """How many policies each threshold excludes by itself; ``any``: how many at least one excludes."""
        missed = _missed(self.table, self.objective)
        return {name: int(rows.sum()) for name, rows in missed.items()} | {"any": int(_any(missed).sum())}


def score_table(table: PolicyTable, objective: Objective) -> ScoredTable:
    """Reward every policy of the table.

    Raises:
        ValueError: if no policy satisfies the objective; the message says which threshold excludes how many, and
            what value would let the first one in. Also if all that satisfy it score 0.
    """
    missed = _missed(table, objective)
    if _any(missed).all():
        raise ValueError(_nothing_left(table, objective, missed))
    rewards = rewards_of(table.accuracy, table.latency_ms, table.energy_uj, objective)
    if not rewards.any():
        ranges = ("latency_low_ms", "latency_high_ms", "energy_low_uj", "energy_high_uj")
        raise ValueError(
            "every policy scores 0, so there is nothing to search for: latency and energy are scored over "
            + ", ".join(f"{name} = {getattr(objective, name):g}" for name in ranges)
            + f"; the table's are {_range(table.latency_ms)} ms and {_range(table.energy_uj)} uJ"
        )
    return ScoredTable(table, objective, rewards, missed["latency_th_ms"] | missed["energy_th_uj"])


def default_accuracy_th(table: PolicyTable) -> float:
    """As far below the accuracy of the policy with every layer at its widest as the threshold of `rlu tune` is."""
    widest = [row.choices.index(max(row.choices)) for row in table.space.rows]
    return max(0.0, float(table.accuracy[table.index([*widest[:-1], 0])]) - ObjectiveConfig.accuracy_drop)


def policy_at(space: PolicySpace, index: int) -> Policy:
    """The policy at a place in a table: the inverse of `PolicyTable.index`."""
    return space.decode([int(action) for action in np.unravel_index(index, space.action_counts)])


def _missed(table: PolicyTable, objective: Objective) -> dict[str, Bools]:
    """Which policies miss each threshold, (size,) each, decided on register values as the unit decides."""
    settings = objective.registers(UNIT)
    accuracy, latency, energy = _words(table, objective)
    return {
        "accuracy_th": accuracy <= settings["ACCURACY_TH"],
        "latency_th_ms": latency >= settings["LATENCY_TH"],
        "energy_th_uj": energy >= settings["ENERGY_TH"],
    }


def _any(missed: dict[str, Bools]) -> Bools:
    excluded: Bools = np.logical_or.reduce(list(missed.values()))
    return excluded


def _nothing_left(table: PolicyTable, objective: Objective, missed: dict[str, Bools]) -> str:
    size = table.space.size
    lines = [f"no policy of the table satisfies the objective ({table.source}):"]
    for name, rows in missed.items():
        others = ~_any({other: excluded for other, excluded in missed.items() if other != name})
        line = f"  {name} = {getattr(objective, name):g} excludes {rows.sum():,} of {size:,} policies"
        if not rows.any():
            pass
        elif others.any():
            line += f"; with the others unchanged, {_first_let_in(table, objective, name, others)} would admit one"
        elif not rows.all():
            line += "; no value of it alone would admit one"
        else:
            line += (
                f"; {_first_let_in(table, objective, name, ~others)} would admit one if the others did not exclude it"
            )
        lines.append(line)
    return "\n".join(lines)


def _range(values: Floats) -> str:
    return f"{values.min():g}..{values.max():g}"


def _first_let_in(table: PolicyTable, objective: Objective, name: str, among: Bools) -> str:
    """The strictest value of a threshold, in four digits after the point, that lets in one of these policies."""
    step = 1e-4
    if name == "accuracy_th":
        # Half a register step, or the two might round to the same word.
        best = float(table.accuracy[among].max()) - 2.0**-UNIT.coef_frac
        return f"{max(0.0, math.floor(best / step) * step):.4f}"
    measured, high = {
        "latency_th_ms": (table.latency_ms, objective.latency_high_ms),
        "energy_th_uj": (table.energy_uj, objective.energy_high_uj),
    }[name]
    least = float(measured[among].min())
    return f"{math.ceil((least + max(least, high) * 2.0 ** -(UNIT.coef_frac - 1)) / step) * step:.4f}"


def _words(table: PolicyTable, objective: Objective) -> tuple[Ints, Ints, Ints]:
    return register_words(table.accuracy, table.latency_ms, table.energy_uj, objective, UNIT)
