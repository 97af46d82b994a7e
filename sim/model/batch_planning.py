"""Planning units over a batch of seeds at once: the same integers as `sim.model.planner`, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rtl.spec.params import (
    DOUBT_FRAC,
    DOUBTS,
    HOPES,
    TRIALS_WIDTH,
    RLUParams,
    accuracy_width,
    doubt_width,
    effect_shift,
    error_width,
    missed_worth,
)
from rtl.spec.registers import field_of
from sim.model.arithmetic import explore_limit, next_draws, round_half_even, round_half_up
from sim.model.batch import KEY_ROWS, BatchModel, Ints, keys_of

_NEVER = np.iinfo(np.int64).min
_DOUBTS = np.array(DOUBTS)

#: Worth of policies from accuracy, doubt, latency and energy, all of one shape, the first axis the units.
Worth = Callable[[Ints, Ints, Ints, Ints], Ints]


class BatchPlanner(BatchModel):
    """``len(seeds)`` planning units with the same settings and costs (docs/understand/planning.md).

    Shapes as in `BatchModel`; ``k`` climbs, ``e`` stored episodes.

    Attributes:
        trials: how often each action was tried, (n, t, a).
        predicted: accuracy predicted for the policy of each unit, (n,), register values.

    Args:
        params, seeds: as for `BatchModel`.
        registers: with MODE.planning.
        latency, energy: what each action adds, (points, t, a), register values.
    """

    def __init__(
        self, params: RLUParams, seeds: npt.ArrayLike, registers: Mapping[str, int], latency: Ints, energy: Ints
    ) -> None:
        super().__init__(params, seeds, registers)
        n, rows = self.policy.shape
        self._latency, self._energy = latency, energy
        self.trials = np.zeros((n, rows, params.actions), dtype=np.int64)
        self.predicted = np.zeros(n, dtype=np.int64)
        self._tried = np.zeros((n, params.episodes, rows), dtype=np.int64)
        self._tried_keys = np.zeros((n, params.episodes, -(-(rows - 1) // KEY_ROWS)), dtype=np.int64)
        self._known = np.zeros((n, params.episodes), dtype=bool)
        self._accuracy = np.zeros((n, params.episodes), dtype=np.int64)
        self._part = np.zeros((n, params.episodes), dtype=np.int64)
        self._started = np.zeros(n, dtype=bool)

    # Learning.

    def learn(self, accuracy: Ints, missed: npt.NDArray[np.bool_]) -> None:
        """Store the policies with their accuracies (n,), register values; those that missed have none."""
        place, rows, known = self._place, self.policy.shape[1], ~missed
        self._tried[:, place], self._tried_keys[:, place] = self.policy, keys_of(self.policy[:, :-1])
        self._known[:, place], self._accuracy[:, place], self._part[:, place] = known, accuracy, 0
        self._place = (place + 1) % self.params.episodes
        self.stored = min(self.stored + 1, self.params.episodes)
        for row in range(rows):
            trials, action = self.trials[:, row], self.policy[:, row]
            trials[self._all, action] = np.minimum((1 << TRIALS_WIDTH) - 1, trials[self._all, action] + known)
        first = known & ~self._started
        constant = self.q[:, rows - 1, 0]
        constant[first] = self._limited(self._as_effect(accuracy[first]))
        self._started |= known
        for _ in range(max(1, self._planning("passes"))):
            for back in range(self.stored):
                self._learn_from((place - back) % self.params.episodes)

    def _learn_from(self, place: int) -> None:
        p, s = self.params, self._settings
        actions, units = self._tried[:, place, :-1], self._all[:, None]
        rows, constant, part = np.arange(actions.shape[1]), self.q[:, -1, 0], self._part[:, place]
        effects = self.q[units, rows, actions]
        expected = round_half_up(field_of("RIDGE", "ridge").of(s["RIDGE"]) * part, p.gain_frac)
        error = self._as_effect(self._accuracy[:, place]) - effects.sum(axis=1) - constant - expected
        error = _within(error, error_width(p))
        step = np.where(self._known[:, place], round_half_up(s["ALPHA"] * error, p.coef_frac), 0)
        self._part[:, place] = self._limited(part + step)
        self.q[units, rows, actions] = self._limited(effects + step[:, None])
        constant[:] = self._limited(constant + step)

    def _limited(self, values: Ints) -> Ints:
        return _within(values, self.params.q_width)

    def _as_effect(self, accuracy: Ints) -> Ints:
        shift = effect_shift(self.params)
        return accuracy << shift if shift >= 0 else accuracy >> -shift

    # Appraising. Sums are kept exact here and limited where they are used.

    def _doubts(self, trials: Ints) -> Ints:
        doubts: Ints = _DOUBTS[np.minimum(trials, len(_DOUBTS) - 1)]
        return doubts

    def _sums(self, policies: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Effects, shares of doubt, latency and energy of policies (n, k, t): all (n, k)."""
        last, units, point = policies.shape[2] - 1, self._all[:, None], policies[:, :, -1]
        effects = np.repeat(self.q[:, last, 0][:, None], policies.shape[1], axis=1)
        doubts = np.zeros_like(effects)
        latency, energy = self._latency[point, last, point], self._energy[point, last, point]
        for row in range(last):
            action = policies[:, :, row]
            effects = effects + self.q[units, row, action]
            doubts = doubts + self._doubts(self.trials[units, row, action])
            latency = latency + self._latency[point, row, action]
            energy = energy + self._energy[point, row, action]
        return effects, doubts, latency, energy

    def _accuracy_of(self, effects: Ints) -> Ints:
        shift = effect_shift(self.params)
        return _within(effects >> shift if shift >= 0 else effects << -shift, accuracy_width(self.params))

    def _worth(self, rule: Worth, effects: Ints, doubts: Ints, latency: Ints, energy: Ints) -> Ints:
        doubt = field_of("DOUBT", "doubt").of(self._settings["DOUBT"]) * doubts >> DOUBT_FRAC
        doubt = np.minimum((1 << doubt_width(self.params)) - 1, doubt)
        return self._worth_at(rule, self._accuracy_of(effects), doubt, latency, energy)

    def _worth_at(self, rule: Worth, accuracy: Ints, doubt: Ints, latency: Ints, energy: Ints) -> Ints:
        one = self.params.coef_one
        latency, energy = np.minimum(one, latency), np.minimum(one, energy)
        return np.where(
            self.outlier(latency, energy), missed_worth(self.params), rule(accuracy, doubt, latency, energy)
        )

    def _cautious(self, accuracy: Ints, doubt: Ints, latency: Ints, energy: Ints) -> Ints:
        low = self._fraction(accuracy - self._planning("caution") * doubt)
        score = self._score(self.cost_terms(latency, energy), low)
        return np.where(low > self._settings["ACCURACY_TH"], score, low - self.params.coef_one - 1)

    def _hopeful(self, best: Ints) -> Worth:
        """The worth of trying a policy where ``best`` (n,) is known."""

        def rule(accuracy: Ints, doubt: Ints, latency: Ints, energy: Ints) -> Ints:
            terms, threshold = self.cost_terms(latency, energy), self._settings["ACCURACY_TH"]
            known = best.reshape(-1, *[1] * (accuracy.ndim - 1))
            highest = top = gain = np.zeros_like(accuracy)
            for quarters, weight in HOPES:
                hoped = self._fraction(accuracy + (quarters * doubt >> 2))
                score = np.where(hoped > threshold, self._score(terms, hoped), 0)
                if quarters == HOPES[0][0]:
                    highest, top = hoped, score
                gain = gain + weight * np.maximum(0, score - known)
            above = np.where(top > known, known + gain, top)
            return np.where(highest > threshold, above, highest - self.params.coef_one - 1)

        return rule

    def _score(self, terms: Ints, accuracy: Ints) -> Ints:
        p = self.params
        shift, total = 2 * p.coef_frac - p.q_frac, terms + self._settings["WEIGHT_A"] * accuracy
        return np.minimum(p.q_max, round_half_even(total, shift) if shift >= 0 else total << -shift)

    def _fraction(self, accuracy: Ints) -> Ints:
        fraction: Ints = np.clip(accuracy, 0, self.params.coef_one)
        return fraction

    # Planning.

    def plan(self, epsilon: int, doubt: int) -> None:
        """Draw a new policy for every unit; both in coefficient format."""
        self._settings["DOUBT"] = doubt
        parent, worth = self._incumbent()
        before, without = self.lfsr.copy(), worth == _NEVER
        found, policy = self._climb(epsilon, parent, self._hopeful(np.maximum(0, worth)), untried=True)
        self.policy, self.lfsr = policy, np.where(without, before, self.lfsr)
        nothing = np.flatnonzero(without | (found == _NEVER))
        if len(nothing):
            self._draw(nothing, self.params.lfsr_max, None)
        self._foresee()

    def recommend(self, epsilon: int, doubt: int) -> None:
        """Make the policy of every unit the one that it believes to be best."""
        self._settings["DOUBT"] = doubt
        parent, worth = self._incumbent()
        before, without = self.lfsr.copy(), worth == _NEVER
        found, policy = self._climb(epsilon, parent, self._cautious, untried=False)
        better, self.lfsr = found > worth, np.where(without, before, self.lfsr)
        self.policy = np.where(without[:, None], self.policy, np.where(better[:, None], policy, parent))
        self._foresee()

    def _foresee(self) -> None:
        self.predicted = self._fraction(self._accuracy_of(self._sums(self.policy[:, None])[0][:, 0]))

    def _incumbent(self) -> tuple[Ints, Ints]:
        """The best stored policy that was measured, and its worth."""
        policies = self._tried[:, : self.stored]
        effects, doubts, latency, energy = self._sums(policies)
        if self._planning("trust"):
            measured = self._accuracy[:, : self.stored]
            worth = self._worth_at(self._cautious, measured, np.zeros_like(doubts), latency, energy)
        else:
            worth = self._worth(self._cautious, effects, doubts, latency, energy)
        worth = np.where(self._known[:, : self.stored], worth, _NEVER)
        best = worth.argmax(axis=1)
        return policies[self._all, best], worth[self._all, best]

    def _climb(self, epsilon: int, parent: Ints, rule: Worth, *, untried: bool) -> tuple[Ints, Ints]:
        """The best policy that the climbs of each unit meet, (n, t), and its worth, (n,).

        All climbs go on side by side, and all actions of a row at once: the first of the best is what one after the
        other would find.
        """
        rows, units = parent.shape[1], self._all[:, None]
        policies = self._starts(epsilon, parent)
        sums: Sequence[Ints] = self._sums(policies)
        current = self._worth(rule, *sums)
        tried = self._known_keys(policies) if untried else np.zeros(current.shape, dtype=bool)
        best, found = np.where(tried, _NEVER, current), policies.copy()
        for _ in range(max(1, self._planning("sweeps"))):
            moved = False
            for row in range(rows):
                here = policies[:, :, row]
                tries = self._with_row(policies, sums, row)
                worth = self._worth(rule, *tries)
                better = worth > best[:, :, None]
                if better.any():
                    kept = np.where(better, worth, _NEVER)
                    if untried:
                        self._leave_out_tried(kept, better, policies, row)
                    action = kept.argmax(axis=2)
                    highest = np.take_along_axis(kept, action[:, :, None], axis=2)[:, :, 0]
                    up = highest > best
                    best = np.where(up, highest, best)
                    found = np.where(up[:, :, None], policies, found)
                    found[:, :, row] = np.where(up, action, found[:, :, row])
                action = worth.argmax(axis=2)
                highest = np.take_along_axis(worth, action[:, :, None], axis=2)[:, :, 0]
                up = highest > current
                if up.any():
                    moved = True
                    current = np.where(up, highest, current)
                    chosen = action[:, :, None]
                    sums = [
                        np.where(up, np.take_along_axis(new, chosen, axis=2)[:, :, 0], old)
                        for new, old in zip(tries, sums, strict=True)
                    ]
                    policies[:, :, row] = np.where(up, action, here)
            if not moved:
                break
        first = best.argmax(axis=1)
        del units
        return best[self._all, first], found[self._all, first]

    def _starts(self, epsilon: int, parent: Ints) -> Ints:
        """Where the climbs start, (n, k, t): the parent, then policies with some of its rows drawn."""
        width = self.params.lfsr_width
        limit = explore_limit(epsilon, self.params.coef_frac, width)
        starts = np.repeat(parent[:, None], max(1, self._planning("climbs")), axis=1)
        for climb in range(starts.shape[1]):
            for row, count in enumerate(self.counts):
                decision = next_draws(self.lfsr, width)
                self.lfsr = next_draws(decision, width)
                if climb:
                    drawn = self.lfsr * count >> width
                    starts[:, climb, row] = np.where(decision <= limit, drawn, starts[:, climb, row])
        return starts

    def _with_row(self, policies: Ints, sums: Sequence[Ints], row: int) -> tuple[Ints, Ints, Ints, Ints]:
        """The sums of policies (n, k, t) with each action of one row: all (n, k, actions)."""
        count, last, units = self.counts[row], policies.shape[2] - 1, self._all[:, None]
        here, point, actions = policies[:, :, row], policies[:, :, -1], np.arange(self.counts[row])
        effects, doubts, latency, energy = (one[:, :, None] for one in sums)
        if row < last:
            added = self._doubts(self.trials[:, row, :count])
            return (
                effects + self.q[:, row, :count][:, None] - self.q[units, row, here][:, :, None],
                doubts + added[:, None] - np.take_along_axis(added, here, axis=1)[:, :, None],
                latency + self._latency[point, row, :count] - self._latency[point, row, here][:, :, None],
                energy + self._energy[point, row, :count] - self._energy[point, row, here][:, :, None],
            )
        shape = (*here.shape, count)
        places = (actions[None, None, :, None], np.arange(last), policies[:, :, None, :-1])
        return (
            np.broadcast_to(effects, shape),
            np.broadcast_to(doubts, shape),
            self._latency[actions, last, actions] + self._latency[places].sum(axis=-1),
            self._energy[actions, last, actions] + self._energy[places].sum(axis=-1),
        )

    def _known_keys(self, policies: Ints) -> npt.NDArray[np.bool_]:
        """Which policies (n, k, t) were tried, at any operating point, (n, k)."""
        rows = policies.shape[2] - 1
        keys = keys_of(policies[:, :, :-1].reshape(-1, rows)).reshape(*policies.shape[:2], -1)
        stored = self._tried_keys[:, None, : self.stored]
        known: npt.NDArray[np.bool_] = (stored == keys[:, :, None]).all(axis=3).any(axis=2)
        return known

    def _leave_out_tried(self, kept: Ints, better: npt.NDArray[np.bool_], policies: Ints, row: int) -> None:
        unit, climb, action = np.nonzero(better)
        tried = policies[unit, climb]
        tried[:, row] = action
        stored = self._tried_keys[unit, : self.stored]
        known = (stored == keys_of(tried[:, :-1])[:, None]).all(axis=2).any(axis=1)
        kept[unit[known], climb[known], action[known]] = _NEVER

    def _planning(self, field: str) -> int:
        return field_of("PLANNING", field).of(self._settings["PLANNING"])


def _within(values: Ints, width: int) -> Ints:
    """Values limited to what a signed number of ``width`` bits holds."""
    limited: Ints = np.clip(values, -(1 << width - 1), (1 << width - 1) - 1)
    return limited
