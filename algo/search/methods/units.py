"""The RL unit as a method: many units at once, by the batch golden model, bit-exact with the RTL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from algo.published.evolver import INT8_BASELINE, PUBLISHED_VGG8
from algo.search.schedules import episodic_schedule, stretched_schedule
from algo.search.scoring import register_words
from algo.search.searcher import DeploysBestSeen, Floats, Ints, Outcomes, Problem
from algo.search.tables.policy_table import PolicyTable
from algo.space.dimensions import WEIGHT_BITS
from algo.space.policy import PolicySpace
from rtl.spec.params import ALPHA, GAMMA, RLUParams
from sim.devices.episodic import EPISODES, Episodic, variant_registers
from sim.devices.objective import Objective
from sim.model.arithmetic import to_fixed, updated
from sim.model.batch import BatchModel, Rule


class Units(DeploysBestSeen):
    """Searches by RL units, one per seed; see `Batch`.

    Args:
        model: the units, set up.
        objective: what they are rewarded for.
        schedule: epsilon of each policy.

    Attributes:
        model: see above.
    """

    def __init__(self, model: BatchModel, objective: Objective, schedule: Sequence[float]) -> None:
        self.model, self._objective, self._schedule = model, objective, schedule
        self._next = 0

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        self.model.sample(to_fixed(self._schedule[self._next], self.model.params.coef_frac))
        self._next += 1
        return self.model.policy

    def tell(self, outcomes: Outcomes) -> None:
        """Reward and learn."""
        measured = outcomes.accuracy, outcomes.latency_ms, outcomes.energy_uj
        self.model.compute_reward(*register_words(*measured, self._objective, self.model.params))
        self.model.update()


class ModelSize(DeploysBestSeen):
    """The published comparison: the same unit rewarded for a small model instead of low latency and energy.

    The weight of accuracy stays. The model's size takes the weights of latency and energy together; the largest model
    scores 0, the smallest 1. The operating point is the INT8 baseline's, because size does not depend on it.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        space, wanted = problem.space, problem.objective
        self._space = space
        self._point = min(INT8_BASELINE.point, space.points - 1)
        self._sizes = _sizes_by_action(space)
        self._low, high = (sum(float(pick(row)) for row in self._sizes) for pick in (np.min, np.max))
        self._span = high - self._low or 1.0
        objective = Objective(
            weight_a=wanted.weight_a, weight_l=0.0, weight_e=1.0 - wanted.weight_a, accuracy_th=wanted.accuracy_th,
            energy_th_uj=1.01, energy_low_uj=0.0, energy_high_uj=1.0,
        )  # fmt: skip
        counts = (*space.action_counts[:-1], 1)
        self._units = Units(batch_unit(counts, objective, seeds), objective, stretched_schedule(problem.budget))

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        policies = self._units.ask().copy()
        policies[:, -1] = self._point
        return policies

    def tell(self, outcomes: Outcomes) -> None:
        """Reward accuracy and size, and learn."""
        policies = self._units.model.policy
        size = np.sum([row[policies[:, number]] for number, row in enumerate(self._sizes)], axis=0)
        nothing: Floats = np.zeros_like(outcomes.accuracy)
        self._units.tell(
            Outcomes(outcomes.accuracy, nothing, (size - self._low) / self._span, nothing, outcomes.skipped)
        )


def rlu(problem: Problem, seeds: Sequence[int]) -> Units:
    """The published search; a seed is the first state of the LFSR."""
    unit = batch_unit(problem.space.action_counts, problem.objective, seeds)
    return Units(unit, problem.objective, stretched_schedule(problem.budget))


def rlu_plus(problem: Problem, seeds: Sequence[int]) -> Units:
    """The same unit with an episode memory (docs/understand/episodic.md)."""
    unit = batch_unit(problem.space.action_counts, problem.objective, seeds, episodic=Episodic())
    return Units(unit, problem.objective, episodic_schedule(problem.budget))


def _sizes_by_action(space: PolicySpace) -> list[Floats]:
    """Bits of weights that each action of a row stands for, by row: of VGG8's 8 layers, else one weight each."""
    shapes = [layer.weights for layer in PUBLISHED_VGG8]
    per_layer = shapes if space.layers == len(shapes) else [1] * space.layers
    return [
        np.array(row.values(WEIGHT_BITS.name), float) * sum(per_layer[layer] for layer in row.layers)
        if WEIGHT_BITS.name in row.dimensions
        else np.zeros(len(row.choices))
        for row in space.rows
    ]


def batch_search(
    table: PolicyTable,
    objective: Objective,
    schedule: Sequence[float],
    seeds: Sequence[int],
    *,
    alpha: float = ALPHA,
    gamma: float = GAMMA,
    lfsr_width: int = 16,
) -> tuple[npt.NDArray[np.int64], BatchModel]:
    """Search the table once for each seed, all at the same time.

    Returns:
        Rewards, (iterations, seeds), in units of 2**-q_frac, and the units as the search leaves them.

    Raises:
        ValueError: for a seed, ``alpha`` or ``gamma`` out of range.
    """
    counts = table.space.action_counts
    model = batch_unit(counts, objective, seeds, alpha=alpha, gamma=gamma, lfsr_width=lfsr_width)
    return search_with(model, table, objective, schedule)[0], model


def batch_unit(
    counts: Sequence[int],
    objective: Objective,
    seeds: npt.ArrayLike,
    *,
    alpha: float = ALPHA,
    gamma: float = GAMMA,
    full_last_reward: bool = False,
    rule: Rule = updated,
    episodic: Episodic | None = None,
    **formats: int,
) -> BatchModel:
    """Units for a space, one per seed, with all Q-values 0.

    Args:
        counts: number of actions of each row.
        objective: what policies are rewarded for.
        seeds: first states of the LFSRs.
        alpha: learning rate, 0..1.
        gamma: discount, 0..1.
        full_last_reward: reward the last row with the whole reward instead of its share.
        rule: see `BatchModel`.
        episodic: settings of an episodic unit; the published one by default.
        formats: other fields of `RLUParams`, such as ``q_width`` or ``lfsr_width``; an episodic unit has
            512 ``episodes`` unless given.

    Raises:
        ValueError: for a value out of range.
    """
    if episodic is not None:
        formats.setdefault("episodes", EPISODES)
    params = RLUParams(states=len(counts), actions=max(2, *counts), action_counts=tuple(counts), **formats)
    settings = {
        "ALPHA": to_fixed(alpha, params.coef_frac),
        "GAMMA": to_fixed(gamma, params.coef_frac),
        **variant_registers(full_last_reward, episodic),
        **objective.registers(params),
    }
    return BatchModel(params, seeds, settings, rule=rule)


def search_with(
    model: BatchModel, table: PolicyTable, objective: Objective, schedule: Sequence[float]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Search the table with units set up by the caller, which it leaves as the search does.

    Returns:
        Rewards, in units of 2**-q_frac, and places in the table of the policies tried; both (iterations, seeds).
    """
    units, nothing = Units(model, objective, schedule), np.zeros(len(model.lfsr))
    rewards = np.empty((len(schedule), len(model.lfsr)), dtype=np.int64)
    chosen = np.empty_like(rewards)
    for iteration in range(len(schedule)):
        chosen[iteration] = places = units.ask() @ table.space.strides
        accuracy, latency, energy = table.accuracy[places], table.latency_ms[places], table.energy_uj[places]
        units.tell(Outcomes(accuracy, latency, energy, nothing, nothing > 0))
        rewards[iteration] = model.reward
    return rewards, chosen


def deployed(model: BatchModel, table: PolicyTable) -> npt.NDArray[np.int64]:
    """Places in the table of the policies that the published search deploys: the greedy one of every seed.

    The units draw it, which changes them: call it last. Episodic units draw a variation instead.
    """
    model.sample(0)
    return model.policy @ table.space.strides
