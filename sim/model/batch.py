"""The golden model over a batch of seeds at once: the same integers as `GoldenModel`, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from rtl.spec.params import ATTEMPTS, DISCOUNT_FRAC, GUARD, RLUParams
from rtl.spec.registers import BY_NAME, field_of
from sim.model.arithmetic import discount, divide_half_even, explore_limit, next_draws, round_half_even, updated
from sim.model.golden import GoldenModel

KEY_ROWS = 15  #: Actions that one key of a policy holds, four bits each.
_PER_UNIT = ("LFSR", "EPSILON", "REWARD", "ACCURACY", "LATENCY", "ENERGY")  # arguments, not settings
Ints = npt.NDArray[np.int64]
Rule = Callable[[Ints, Ints, Ints, int, int, int], Ints]


class BatchModel:
    """``len(seeds)`` RL units with the same settings and different LFSR states.

    Shapes: ``n`` seeds, ``t`` rows in use (STATES), ``a`` actions.

    Attributes:
        q: Q-values, (n, t, a), in units of 2**-q_frac.
        policy: actions, (n, t).
        stored: number of episodes in each unit's memory.
        lfsr: states of the generators, (n,).
        reward: rewards, (n,), in units of 2**-q_frac.

    Args:
        params: parameters of each unit.
        seeds: (n,) states of the LFSR, each 1..2**lfsr_width - 1.
        registers: settings as in `GoldenModel.registers`; a missing one stays at its reset value.
        rule: how a Q-value is updated, with the arguments of `updated`. Any rule other than `updated` differs from
            the unit; it serves to measure the cost of the unit's rounding.

    Raises:
        ValueError: for a seed out of range or a register that does not exist.
    """

    def __init__(
        self, params: RLUParams, seeds: npt.ArrayLike, registers: Mapping[str, int], *, rule: Rule = updated
    ) -> None:
        self.params = params
        self._rule = rule
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
        self._episodic = bool(self._settings["MODE"] & field_of("MODE", "episodic").mask)
        # Every unit stores an episode in every update, so all have the same number of them.
        self.stored = 0
        self._place = 0
        if self._episodic:
            self._policies = np.zeros((n, params.episodes, rows), dtype=np.int64)
            self._rewards = np.zeros((n, params.episodes), dtype=np.int64)
            self._keys = np.zeros((n, params.episodes, -(-rows // KEY_ROWS)), dtype=np.int64)

    def outlier(self, latency: Ints, energy: Ints) -> npt.NDArray[np.bool_]:
        """Which units need no training: latency or energy misses its threshold. All (n,), register values."""
        s = self._settings
        return (latency >= s["LATENCY_TH"]) | (energy >= s["ENERGY_TH"])

    def cost_terms(self, latency: Ints, energy: Ints) -> Ints:
        """What latency and energy (register values) add to a reward before it is rounded, in 2**-(2 coef_frac)."""
        p, s = self.params, self._settings
        total: Ints = np.zeros_like(latency)
        for name, measured in (("LATENCY", latency), ("ENERGY", energy)):
            margin = np.maximum(0, s[f"{name}_HIGH"] - measured)
            term = np.minimum(p.coef_one, round_half_even(margin * s[f"{name}_GAIN"], p.gain_frac))
            total = total + s[f"WEIGHT_{name[0]}"] * term
        return total

    def compute_reward(self, accuracy: Ints, latency: Ints, energy: Ints) -> None:
        """Rewards from the measurements; all (n,), register values."""
        p, s = self.params, self._settings
        total = s["WEIGHT_A"] * accuracy + self.cost_terms(latency, energy)
        shift = 2 * p.coef_frac - p.q_frac
        score = round_half_even(total, shift) if shift >= 0 else total << -shift
        missed = self.outlier(latency, energy) | (accuracy <= s["ACCURACY_TH"])
        self.reward = np.where(missed, 0, np.minimum(p.q_max, score))

    def update(self) -> None:
        """Update every unit's Q-table along its policy with its reward; if episodic, store and replay episodes."""
        self._learn(self.policy, self.reward)
        if not self._episodic:
            return
        self._policies[:, self._place], self._rewards[:, self._place] = self.policy, self.reward
        self._keys[:, self._place] = keys_of(self.policy)
        self._place = (self._place + 1) % self.params.episodes
        self.stored = min(self.stored + 1, self.params.episodes)
        for _ in range(self._setting("replays")):
            drawn = self._drawn(self._all, 1)
            self._learn(self._policies[self._all, drawn], self._rewards[self._all, drawn])

    def _learn(self, policy: Ints, reward: Ints) -> None:
        """Learn from policies (n, t) and rewards (n,)."""
        p, s = self.params, self._settings
        rows = s["STATES"]
        share = divide_half_even(reward, rows)
        maximum = np.zeros_like(reward)
        full_last_reward = s["MODE"] & field_of("MODE", "full_last_reward").mask
        coefficient = discount(s["ALPHA"], s["GAMMA"], p.coef_frac)
        for row in range(rows - 1, -1, -1):
            last = row == rows - 1
            gained = reward if last and full_last_reward else share
            following = maximum if last else coefficient * maximum >> DISCOUNT_FRAC - GUARD
            values, action = self.q[:, row], policy[:, row]
            exact = self._rule(values[self._all, action], gained, following, s["ALPHA"], p.coef_frac, row)
            values[self._all, action] = np.clip(exact, p.q_min, p.q_max)
            maximum = values[:, : self.counts[row]].max(axis=1)

    def sample(self, epsilon: int) -> None:
        """Draw a new policy for every unit; ``epsilon`` in coefficient format."""
        limit = explore_limit(epsilon, self.params.coef_frac, self.params.lfsr_width)
        if not self._episodic:
            self._draw(self._all, limit, None)
            return
        candidates = max(1, self._setting("candidates"))
        best_total, best_policy = np.zeros_like(self.reward), self.policy
        for candidate in range(candidates):
            self._new_candidate(limit)
            total = np.zeros_like(self.reward)
            for row in range(len(self.counts)):
                total += self.q[self._all, row, self.policy[:, row]]
            better = (total > best_total) | (candidate == 0)
            best_total = np.where(better, total, best_total)
            best_policy = np.where(better[:, None], self.policy, best_policy)
        self.policy = best_policy

    def _new_candidate(self, limit: int) -> None:
        """Draw variations of stored policies; one that is stored already is drawn again."""
        units = self._all
        for _ in range(ATTEMPTS):
            parents = None
            if self.stored:
                parents = self._policies[units, self._drawn(units, max(1, self._setting("tournament")))]
            self._draw(units, limit if self.stored else self.params.lfsr_max, parents)
            keys = self._keys[units, : self.stored]
            seen = (keys == keys_of(self.policy[units])[:, None]).all(axis=2).any(axis=1)
            units = units[seen]
            if not len(units):
                break

    def _drawn(self, units: Ints, draws: int) -> Ints:
        """For each unit, the best of some stored episodes, drawn with replacement; on a tie the first drawn."""
        width = self.params.lfsr_width
        lfsr, best = self.lfsr[units], np.zeros_like(units)
        best_reward = np.full_like(units, np.iinfo(np.int64).min)
        for _ in range(draws):
            lfsr = next_draws(lfsr, width)
            drawn = lfsr * self.stored >> width
            reward = self._rewards[units, drawn]
            better = reward > best_reward
            best, best_reward = np.where(better, drawn, best), np.where(better, reward, best_reward)
        self.lfsr[units] = lfsr
        return best

    def _draw(self, units: Ints, limit: int, parents: Ints | None) -> None:
        """Draw a policy for some units; rows that do not explore take the parent's action, or the greedy one."""
        width, lfsr = self.params.lfsr_width, self.lfsr[units]
        for row, count in enumerate(self.counts):
            decision = next_draws(lfsr, width)
            lfsr = next_draws(decision, width)
            # On a tie the first action.
            known = self.q[units, row, :count].argmax(axis=1) if parents is None else parents[:, row]
            self.policy[units, row] = np.where(decision <= limit, lfsr * count >> width, known)
        self.lfsr[units] = lfsr

    def _setting(self, field: str) -> int:
        """A field of EPISODIC."""
        return field_of("EPISODIC", field).of(self._settings["EPISODIC"])


def keys_of(policies: Ints) -> Ints:
    """Policies (n, t) packed into fewer numbers (n, k), equal if and only if the policies are."""
    rows = policies.shape[1]
    blocks = [policies[:, i : i + KEY_ROWS] for i in range(0, rows, KEY_ROWS)]
    return np.stack([(block << 4 * np.arange(block.shape[1])).sum(axis=1) for block in blocks], axis=1)
