"""Why the updater rounds half to even: the measurement quoted in docs/arithmetic.md.

``python -m docs.rounding`` runs 10,000 random episodes with each rounding, ten seconds or so apiece.
"""

from __future__ import annotations

import random
from unittest.mock import patch

from rtl.params import RLUParams
from sim.arithmetic import round_half_even
from sim.golden import GoldenModel

Q_ERROR_BOUND = 2.0**-9


def half_up(value: int, shift: int) -> int:
    """``value / 2**shift`` rounded to the nearest integer, a tie upwards: what a plain adder would do."""
    return value + (1 << (shift - 1)) >> shift


def largest_error(model: GoldenModel, episodes: int, seed: int) -> float:
    """Largest distance of the Q-table from the same updates in float64, after episodes of random actions.

    Coefficients and rewards are the same quantised ones on both sides; every reward is drawn from 0..1.
    """
    p, registers = model.params, model.registers
    rng = random.Random(seed)
    scale = 2.0**-p.q_frac
    alpha, gamma = registers["ALPHA"] / p.coef_one, registers["GAMMA"] / p.coef_one
    exact = [[0.0] * p.actions for _ in range(p.states)]
    for _ in range(episodes):
        model.policy = [rng.randrange(p.actions) for _ in range(p.states)]
        registers["REWARD"] = rng.randint(0, 1 << p.q_frac)
        model.compute_share()
        model.update()
        maximum = 0.0
        for row, action in zip(reversed(exact), reversed(model.policy), strict=True):
            row[action] += alpha * (model.share * scale + gamma * maximum - row[action])
            maximum = max(row)
    pairs = (pair for rows in zip(model.q, exact, strict=True) for pair in zip(*rows, strict=True))
    return max(abs(value * scale - wanted) for value, wanted in pairs)


def main() -> None:
    """Print the error of both roundings in units of the bound."""
    for name, rounding in (("half to even", round_half_even), ("half up", half_up)):
        with patch("sim.golden.round_half_even", rounding):
            error = largest_error(GoldenModel(RLUParams()), 10_000, seed=1)
        print(f"{name}: {error / Q_ERROR_BOUND:.3f} x 2^-9")


if __name__ == "__main__":
    main()
