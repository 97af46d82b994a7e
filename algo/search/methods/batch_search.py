"""The search over a table of measurements, for many seeds at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from algo.search.tables.policy_table import PolicyTable
from algo.search.tables.scored_table import register_words
from rtl.spec.params import RLUParams
from sim.devices.episodic import EPISODES, Episodic, settings_of
from sim.devices.objective import Objective
from sim.model.arithmetic import to_fixed, updated
from sim.model.batch import BatchModel, Rule


def batch_search(
    table: PolicyTable,
    objective: Objective,
    schedule: Sequence[float],
    seeds: Sequence[int],
    *,
    alpha: float = 0.25,
    gamma: float = 0.99,
    lfsr_width: int = 16,
) -> tuple[npt.NDArray[np.int64], BatchModel]:
    """Search the table once for each seed, all at the same time.

    Returns:
        Rewards, (iterations, seeds), in units of 2**-q_frac, and the units as the search leaves them.

    Raises:
        ValueError: for a seed, ``alpha`` or ``gamma`` out of range.
    """
    model = batch_unit(table, objective, seeds, alpha=alpha, gamma=gamma, lfsr_width=lfsr_width)
    return search_with(model, table, objective, schedule)[0], model


def batch_unit(
    table: PolicyTable,
    objective: Objective,
    seeds: npt.ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 0.99,
    full_last_reward: bool = False,
    rule: Rule = updated,
    episodic: Episodic | None = None,
    **formats: int,
) -> BatchModel:
    """Units for a table, one a seed, their Q-values 0.

    Args:
        table: gives the number of rows and actions.
        objective: what policies are rewarded for.
        seeds: first states of the LFSRs.
        alpha: learning rate, 0..1.
        gamma: discount, 0..1.
        full_last_reward: reward the last row with the whole reward instead of its share.
        rule: see `BatchModel`.
        episodic: settings of an episodic unit; the published one by default.
        formats: other fields of `RLUParams`, such as ``q_width`` or ``lfsr_width``; an episodic unit has
            ``episodes`` of 512 unless given.

    Raises:
        ValueError: for a value out of range.
    """
    counts = table.space.action_counts
    if episodic is not None:
        formats.setdefault("episodes", EPISODES)
    params = RLUParams(states=len(counts), actions=max(2, *counts), action_counts=counts, **formats)
    settings = {
        "ALPHA": to_fixed(alpha, params.coef_frac),
        "GAMMA": to_fixed(gamma, params.coef_frac),
        **settings_of(full_last_reward, episodic),
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
    accuracy, latency, energy = register_words(table, objective, model.params)
    rewards = np.empty((len(schedule), len(model.lfsr)), dtype=np.int64)
    chosen = np.empty_like(rewards)
    for iteration, epsilon in enumerate(schedule):
        model.sample(to_fixed(epsilon, model.params.coef_frac))
        policies = model.policy @ table.space.strides
        # An outlier's accuracy is never measured; its reward is 0 whatever it would have been.
        model.compute_reward(accuracy[policies], latency[policies], energy[policies])
        model.update()
        rewards[iteration], chosen[iteration] = model.reward, policies
    return rewards, chosen


def deployed(model: BatchModel, table: PolicyTable) -> npt.NDArray[np.int64]:
    """Places in the table of the policies that the published search deploys: the greedy one of every seed.

    The units draw it, so this comes last. Of episodic units it is a variation.
    """
    model.sample(0)
    return model.policy @ table.space.strides
