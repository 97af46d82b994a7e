"""Errors of the updater's rounding and of two others, as quoted in docs/understand/arithmetic.md.

``python -m docs.programs.rounding`` runs 10,000 random episodes at full size, all coefficients and roundings side by
side in one batch model. It takes some minutes.
"""

from __future__ import annotations

import itertools
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from rtl.spec.params import GUARD, RLUParams
from sim.model.arithmetic import round_half_even, to_fixed, updated
from sim.model.batch import BatchModel

Q_ERROR_BOUND = 2.0**-9
EPISODES = 10_000

#: Alpha and gamma. With an alpha of 0.1, alpha gamma has more than 17 fraction bits, so it is rounded too.
COEFFICIENTS = tuple(itertools.product((0.5, 0.25, 0.125, 0.1), (0.99, 1.0)))
ROUNDINGS = ("alternating", "half up", "half to even")
Ints = npt.NDArray[np.int64]


def updated_three_ways(old: Ints, reward: Ints, following: Ints, alpha: Ints, coef_frac: int, row: int) -> Ints:
    """`updated` of all units: of every three units, one for each of the roundings."""
    step = alpha * (reward - old) >> coef_frac - GUARD
    new = round_half_even((old << GUARD) + step + following, GUARD)
    for k, parity in enumerate((row, 0)):  # a tie goes up in even rows
        of_k = slice(k, None, len(ROUNDINGS))
        new[of_k] = updated(old[of_k], reward[of_k], following[of_k], alpha[of_k], coef_frac, parity)
    return new


def largest_errors(episodes: int, seed: int) -> npt.NDArray[np.float64]:
    """Largest distance of the Q-tables from the same updates in float64, (coefficients, roundings).

    The episodes take random actions; rewards are drawn from 0..1. Both sides use the same quantised coefficients and
    rewards.
    """
    params = RLUParams()
    rng = np.random.default_rng(seed)
    pairs = np.array([[to_fixed(x, params.coef_frac) for x in pair] for pair in COEFFICIENTS])
    alphas, gammas = np.repeat(pairs, len(ROUNDINGS), axis=0).T
    model = BatchModel(params, np.ones_like(alphas), {})
    model._settings |= {"ALPHA": alphas, "GAMMA": gammas}  # units normally share it
    alpha, gamma = alphas / params.coef_one, gammas / params.coef_one
    unit = 2.0**-params.q_frac
    exact = np.zeros(model.q.shape)
    for _ in range(episodes):
        policy = rng.integers(0, params.actions, params.states)
        reward = int(rng.integers(0, 1 << params.q_frac, endpoint=True))
        model.policy[:] = policy
        model.reward[:] = reward
        model.update()
        share = round(reward / params.states) * unit
        maximum = np.zeros(len(alpha))
        for row in range(params.states - 1, -1, -1):
            values = exact[:, row]
            old = values[:, policy[row]]
            values[:, policy[row]] = old + alpha * (share + gamma * maximum - old)
            maximum = values.max(axis=1)
    return np.abs(model.q * unit - exact).max(axis=(1, 2)).reshape(len(COEFFICIENTS), len(ROUNDINGS))


def main() -> None:
    """Print the errors in units of the bound, as the table of the page."""
    with patch("sim.model.batch.updated", updated_three_ways):
        errors = largest_errors(EPISODES, seed=1) / Q_ERROR_BOUND
    print(f"| alpha | gamma | {' | '.join(ROUNDINGS)} |\n{'| --- ' * 5}|")
    for (alpha, gamma), row in zip(COEFFICIENTS, errors, strict=True):
        print(f"| {alpha} | {gamma} | {' | '.join(f'{error:.3f}' for error in row)} |")


if __name__ == "__main__":
    main()
