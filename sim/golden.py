"""Golden model: the executable form of docs/arithmetic.md, integers only, one step at a time."""

from __future__ import annotations

from typing import NamedTuple

from rtl.params import DISCOUNT_FRAC, GUARD, RLUParams
from rtl.registers import REGISTERS

from .arithmetic import discount, divide_half_even, explore_limit, next_draw, round_half_even, updated


class Draw(NamedTuple):
    """The two numbers drawn for a row."""

    row: int
    decision: int
    choice: int


class Action(NamedTuple):
    """The action sampled for a row."""

    row: int
    action: int
    explored: int


class QWrite(NamedTuple):
    """A new Q-value, in units of 2**-q_frac."""

    row: int
    action: int
    value: int


class RewardEvent(NamedTuple):
    """A computed reward, in units of 2**-q_frac."""

    value: int


Event = Draw | Action | QWrite | RewardEvent


class GoldenModel:
    """One RL unit as integers.

    Attributes:
        params: what the unit looks like.
        registers: value of every register that a driver can write, by name; ``REWARD`` is signed.
        q: ``states`` rows of ``actions`` Q-values, each in units of 2**-q_frac.
        policy: one action a row; a multiple of eight entries, as the POLICY window has them.
        counts: number of actions of every row.
        share: what each row is rewarded with.
        bad_action: an update met an action its row does not have.
        events: what happened, in order, when ``record`` is set.
    """

    def __init__(self, params: RLUParams, *, record: bool = False) -> None:
        self.params = params
        self.record = record
        self.registers = {r.name: r.reset_value(params) for r in REGISTERS if r.access == "rw"}
        self.q = [[0] * params.actions for _ in range(params.states)]
        self.policy = [0] * (8 * ((params.states + 7) // 8))
        self.counts = list(params.counts)
        self.share = 0
        self.bad_action = False
        self.events: list[Event] = []

    def outlier(self) -> tuple[bool, bool, bool]:
        """Whether accuracy, latency and energy each miss their threshold (docs/arithmetic.md, "Reward")."""
        r = self.registers
        return (
            r["ACCURACY"] <= r["ACCURACY_TH"],
            r["LATENCY"] >= r["LATENCY_TH"],
            r["ENERGY"] >= r["ENERGY_TH"],
        )

    def clear(self) -> None:
        """Set every Q-value to 0."""
        for row in self.q:
            row[:] = [0] * len(row)

    def compute_reward(self) -> None:
        """REWARD and the share of a row, from the measurements (docs/arithmetic.md, "Reward")."""
        p, r = self.params, self.registers
        total = r["WEIGHT_A"] * r["ACCURACY"]
        for name in ("LATENCY", "ENERGY"):
            margin = max(0, r[f"{name}_HIGH"] - r[name])
            term = min(p.coef_one, round_half_even(margin * r[f"{name}_GAIN"], p.gain_frac))
            total += r[f"WEIGHT_{name[0]}"] * term
        shift = 2 * p.coef_frac - p.q_frac
        score = round_half_even(total, shift) if shift >= 0 else total << -shift
        r["REWARD"] = 0 if any(self.outlier()) else min(p.q_max, score)
        self._note(RewardEvent(r["REWARD"]))
        self.compute_share()

    def compute_share(self) -> None:
        """The share of each row: REWARD / STATES, rounded."""
        self.share = divide_half_even(self.registers["REWARD"], self.registers["STATES"])

    def update(self) -> None:
        """Walk the policy from its last row to its first (docs/arithmetic.md, "Updating")."""
        p, r = self.params, self.registers
        last = r["STATES"] - 1
        coefficient = discount(r["ALPHA"], r["GAMMA"], p.coef_frac)
        maximum = 0
        for row in range(last, -1, -1):
            reward = r["REWARD"] if row == last and r["MODE"] else self.share
            following = coefficient * maximum >> DISCOUNT_FRAC - GUARD if row < last else 0
            values, action, count = self.q[row], self.policy[row], self.counts[row]
            if action < count:
                exact = updated(values[action], reward, following, r["ALPHA"], p.coef_frac, row)
                values[action] = max(p.q_min, min(p.q_max, exact))
                self._note(QWrite(row, action, values[action]))
            else:
                self.bad_action = True
            maximum = max(values[:count])

    def sample(self) -> None:
        """Draw a new policy from the first row to the last (docs/arithmetic.md, "Drawing")."""
        p, r = self.params, self.registers
        limit = explore_limit(r["EPSILON"], p.coef_frac, p.lfsr_width)
        for row in range(r["STATES"]):
            decision = next_draw(r["LFSR"], p.lfsr_width)
            choice = next_draw(decision, p.lfsr_width)
            r["LFSR"] = choice
            self._note(Draw(row, decision, choice))
            count = self.counts[row]
            explored = decision <= limit
            if explored:
                action = choice * count >> p.lfsr_width
            else:
                values = self.q[row][:count]
                action = values.index(max(values))  # the lowest of equals
            self.policy[row] = action
            self._note(Action(row, action, int(explored)))

    def _note(self, event: Event) -> None:
        if self.record:
            self.events.append(event)
