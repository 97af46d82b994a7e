"""The golden model over a batch of seeds at once: the same integers as `GoldenModel`, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rtl.params import DISCOUNT_FRAC, GUARD, RLUParams
from rtl.registers import BY_NAME

from .arithmetic import discount, divide_half_even, explore_limit, next_draws, round_half_even, updated
from .golden import GoldenModel

_PER_UNIT = ("LFSR", "EPSILON", "REWARD", "ACCURACY", "LATENCY", "ENERGY")  # arguments, not settings
Ints = npt.NDArray[np.int64]


class BatchModel:
    """``len(seeds)`` RL units that share every setting but the LFSR's state.

    Shapes: ``n`` seeds, ``t`` rows in use (STATES), ``a`` actions.

    Attributes:
        q: Q-values, (n, t, a), in units of 2**-q_frac.
        policy: actions, (n, t).
        lfsr: states of the generators, (n,).
        reward: rewards, (n,), in units of 2**-q_frac.

    Args:
        params: what each unit looks like.
        seeds: (n,) states of the LFSR, each 1..2**lfsr_width - 1.
        registers: settings as `GoldenModel.registers` has them; what is missing stays at its reset value.

    Raises:
        ValueError: for a seed out of range or a register that does not exist.
    """

    def __init__(self, params: RLUParams, seeds: npt.ArrayLike, registers: Mapping[str, int]) -> None:
        self.params = params
        self.lfsr = np.array(seeds, dtype=np.int64)
        if self.lfsr.ndim != 1 or self.lfsr.min() < 1 or self.lfsr.max() > params.lfsr_max:
            raise ValueError(f"every seed must be in 1..{params.lfsr_max}, in one dimension")
        self._settings = GoldenModel(params).registers
        for name, value in registers.items():
            if name not in self._settings or name in _PER_UNIT:
                raise ValueError(f"{name} is not a setting that units share")
            low, high = BY_NAME[name].limits(params)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
            self._settings[name] = value
        rows, n = self._settings["STATES"], len(self.lfsr)
        self.counts = np.array(params.counts[:rows])
        self.q = np.zeros((n, rows, params.actions), dtype=np.int64)
        self.policy = np.zeros((n, rows), dtype=np.int64)
        self.reward = np.zeros(n, dtype=np.int64)
        self._all = np.arange(n)

    def outlier(self, latency: Ints, energy: Ints) -> npt.NDArray[np.bool_]:
        """Which units need no training: latency or energy misses its threshold. All (n,), register values."""
        s = self._settings
        return (latency >= s["LATENCY_TH"]) | (energy >= s["ENERGY_TH"])

    def compute_reward(self, accuracy: Ints, latency: Ints, energy: Ints) -> None:
        """Rewards from the measurements; all (n,), register values."""
        p, s = self.params, self._settings
        total = s["WEIGHT_A"] * accuracy
        for name, measured in (("LATENCY", latency), ("ENERGY", energy)):
            margin = np.maximum(0, s[f"{name}_HIGH"] - measured)
            term = np.minimum(p.coef_one, round_half_even(margin * s[f"{name}_GAIN"], p.gain_frac))
            total = total + s[f"WEIGHT_{name[0]}"] * term
        shift = 2 * p.coef_frac - p.q_frac
        score = round_half_even(total, shift) if shift >= 0 else total << -shift
        missed = self.outlier(latency, energy) | (accuracy <= s["ACCURACY_TH"])
        self.reward = np.where(missed, 0, np.minimum(p.q_max, score))

    def update(self) -> None:
        """Update every unit's Q-table along its policy with its reward."""
        p, s = self.params, self._settings
        rows = s["STATES"]
        share = divide_half_even(self.reward, rows)
        maximum = np.zeros_like(self.reward)
        coefficient = discount(s["ALPHA"], s["GAMMA"], p.coef_frac)
        for row in range(rows - 1, -1, -1):
            last = row == rows - 1
            reward = self.reward if last and s["MODE"] else share
            following = maximum if last else coefficient * maximum >> DISCOUNT_FRAC - GUARD
            values, action = self.q[:, row], self.policy[:, row]
            exact = updated(values[self._all, action], reward, following, s["ALPHA"], p.coef_frac, row)
            values[self._all, action] = np.clip(exact, p.q_min, p.q_max)
            maximum = values[:, : self.counts[row]].max(axis=1)

    def sample(self, epsilon: int) -> None:
        """Draw a new policy for every unit; ``epsilon`` in coefficient format."""
        p = self.params
        limit = explore_limit(epsilon, p.coef_frac, p.lfsr_width)
        for row, count in enumerate(self.counts):
            decision = next_draws(self.lfsr, p.lfsr_width)
            self.lfsr = next_draws(decision, p.lfsr_width)
            greedy = self.q[:, row, :count].argmax(axis=1)  # the first of equals
            self.policy[:, row] = np.where(decision <= limit, self.lfsr * count >> p.lfsr_width, greedy)
