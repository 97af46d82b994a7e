"""Golden model: the executable form of docs/understand/arithmetic.md, integers only, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rtl.spec.params import (
    ATTEMPTS,
    DISCOUNT_FRAC,
    GUARD,
    RLUParams,
    sample_cycles,
    score_cycles,
    seen_cycles,
    store_cycles,
    tournament_cycles,
    update_cycles,
)
from rtl.spec.registers import POLICY, REGISTERS, Access, field_of
from sim.model.arithmetic import discount, divide_half_even, explore_limit, next_draw, round_half_even, updated
from sim.model.episode import Episode
from sim.model.planner import Planner


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
        params: parameters of the unit.
        registers: value of every register that a driver can write, by name; ``REWARD`` is signed.
        q: ``states`` rows of ``actions`` Q-values, each in units of 2**-q_frac.
        policy: one action per row; whole words, as the POLICY window has them.
        counts: number of actions of every row.
        share: reward of each row.
        bad_action: an update met an action that its row does not have.
        memory: the episode memory; a clear leaves it as it is.
        stored: number of stored episodes, which take the first places of the memory.
        next: place of the next episode.
        planner: what MODE.planning adds.
        cycles: clock cycles that the last update, sample or recommendation takes the hardware.
        events: what happened, in order, when ``record`` is set.
    """

    def __init__(self, params: RLUParams, *, record: bool = False) -> None:
        self.params = params
        self.record = record
        self.registers = {r.name: r.reset_value(params) for r in REGISTERS if r.access is Access.RW}
        self.q = [[0] * params.actions for _ in range(params.states)]
        self.policy = [0] * (POLICY.words(params) * POLICY.entries_per_word)
        self.counts = list(params.counts)
        self.share = 0
        self.bad_action = False
        nothing = Episode((0,) * len(self.policy), 0, 0)
        self.memory = [nothing] * params.episodes
        self.stored = 0
        self.next = 0  # place of the next episode
        self.planner = Planner(self)
        self.cycles = 0
        self.events: list[Event] = []

    def outlier(self) -> tuple[bool, bool, bool]:
        """Whether accuracy, latency and energy each miss their threshold (docs/understand/arithmetic.md, "Reward")."""
        r = self.registers
        return (
            r["ACCURACY"] <= r["ACCURACY_TH"],
            r["LATENCY"] >= r["LATENCY_TH"],
            r["ENERGY"] >= r["ENERGY_TH"],
        )

    def clear(self) -> None:
        """Set every Q-value to 0, and forget all episodes."""
        for row in self.q:
            row[:] = [0] * len(row)
        self.stored = self.next = 0
        self.planner.clear()

    @property
    def episodes(self) -> list[Episode]:
        """The stored episodes, by their place in memory."""
        return self.memory[: self.stored]

    @property
    def episodic(self) -> bool:
        """Whether MODE.episodic is set."""
        return bool(self.registers["MODE"] & field_of("MODE", "episodic").mask)

    @property
    def planning(self) -> bool:
        """Whether MODE.planning is set."""
        return bool(self.registers["MODE"] & field_of("MODE", "planning").mask)

    def compute_reward(self) -> None:
        """REWARD and the share of a row, from the measurements (docs/understand/arithmetic.md, "Reward")."""
        r = self.registers
        score = self.score(r["ACCURACY"], r["LATENCY"], r["ENERGY"])
        r["REWARD"] = 0 if any(self.outlier()) else score
        self._note(RewardEvent(r["REWARD"]))
        self.compute_share()

    def score(self, accuracy: int, latency: int, energy: int) -> int:
        """Score of measurements that pass all thresholds, in units of 2**-q_frac."""
        p, r = self.params, self.registers
        total = r["WEIGHT_A"] * accuracy
        for name, measured in (("LATENCY", latency), ("ENERGY", energy)):
            margin = max(0, r[f"{name}_HIGH"] - measured)
            term = min(p.coef_one, round_half_even(margin * r[f"{name}_GAIN"], p.gain_frac))
            total += r[f"WEIGHT_{name[0]}"] * term
        shift = 2 * p.coef_frac - p.q_frac
        return min(p.q_max, round_half_even(total, shift) if shift >= 0 else total << -shift)

    def compute_share(self) -> None:
        """The share of each row: REWARD / STATES, rounded."""
        self.share = divide_half_even(self.registers["REWARD"], self.registers["STATES"])

    def update(self) -> None:
        """Learn from the policy and its reward; if episodic, store the episode and learn from stored ones again."""
        if self.planning:
            self.planner.update()
            return
        states = self.registers["STATES"]
        episode = Episode(self.policy, self.registers["REWARD"], self.share)
        self._learn(episode)
        self.cycles = update_cycles(states)
        if not self.episodic:
            return
        self.store(tuple(self.policy), episode.first, episode.second)
        replays = self._setting("replays")
        for _ in range(replays):
            self._learn(self._drawn(1))
        self.cycles += store_cycles(self.params) + replays * (tournament_cycles(1) + update_cycles(states))

    def _learn(self, episode: Episode) -> None:
        """Walk a policy from its last row to its first (docs/understand/arithmetic.md, "Updating")."""
        p, r = self.params, self.registers
        last = r["STATES"] - 1
        coefficient = discount(r["ALPHA"], r["GAMMA"], p.coef_frac)
        maximum = 0
        for row in range(last, -1, -1):
            whole = row == last and r["MODE"] & field_of("MODE", "full_last_reward").mask
            reward = episode.reward(p.q_width) if whole else episode.share(p.q_width)
            following = coefficient * maximum >> DISCOUNT_FRAC - GUARD if row < last else 0
            values, action, count = self.q[row], episode.actions[row], self.counts[row]
            if action < count:
                exact = updated(values[action], reward, following, r["ALPHA"], p.coef_frac, row)
                self.write_q(row, action, max(p.q_min, min(p.q_max, exact)))
            else:
                self.bad_action = True
            maximum = max(values[:count])

    def sample(self) -> None:
        """Draw a new policy: row by row, or the best of several candidates (docs/understand/episodic.md)."""
        self.cycles = sample_cycles(self.registers["STATES"])
        if self.planning:
            self.planner.sample()
            return
        if not self.episodic:
            self.draw(None)
            return
        r = self.registers
        candidates = max(1, self._setting("candidates"))
        best_sum = best_seed = winner = 0
        self.cycles = 2
        for candidate in range(candidates):
            for _ in range(ATTEMPTS):
                seed = r["LFSR"]
                self._vary()
                if not self.seen():
                    break
            self.cycles += 1
            if candidates == 1:
                return
            total = self._score()
            if candidate == 0 or total > best_sum:
                best_sum, best_seed, winner = total, seed, candidate
        self.cycles += 1
        if winner != candidates - 1:  # the same draws give the same policy again
            after = r["LFSR"]
            r["LFSR"] = best_seed
            self._vary()
            r["LFSR"] = after
            self.cycles += 1

    def _vary(self) -> None:
        """Draw a variation of a stored policy: rows that explore take a random action, the others keep theirs."""
        self.cycles += sample_cycles(self.registers["STATES"])
        if not self.stored:
            self.cycles += 1
            self.draw(())
            return
        draws = max(1, self._setting("tournament"))
        self.cycles += tournament_cycles(draws)
        self.draw(self._drawn(draws).actions)

    def draw(self, parent: Sequence[int] | None, *, vary: bool = True) -> None:
        """Draw a policy from the first row to the last (docs/understand/arithmetic.md, "Drawing").

        Rows that do not explore take the action of ``parent``, or with ``None`` the greedy one; with an empty
        parent every row explores. Without ``vary`` no row does, but the numbers are drawn.
        """
        p, r = self.params, self.registers
        limit = explore_limit(r["EPSILON"] if vary else 0, p.coef_frac, p.lfsr_width)
        for row in range(r["STATES"]):
            decision = next_draw(r["LFSR"], p.lfsr_width)
            choice = next_draw(decision, p.lfsr_width)
            r["LFSR"] = choice
            self._note(Draw(row, decision, choice))
            count = self.counts[row]
            explored = decision <= limit or parent == ()
            if explored:
                action = choice * count >> p.lfsr_width
            elif parent:
                action = parent[row]
            else:
                values = self.q[row][:count]
                action = values.index(max(values))  # on a tie the lowest
            self.policy[row] = action
            self._note(Action(row, action, int(explored)))

    def seen(self, rows: int | None = None) -> bool:
        """Whether a stored policy has the same actions in the first rows, by default in all that are in use."""
        states = self.registers["STATES"]
        self.cycles += seen_cycles(states, self.stored) if self.stored else 0
        compared = states if rows is None else rows
        return any(list(episode.actions[:compared]) == self.policy[:compared] for episode in self.episodes)

    def _score(self) -> int:
        """Sum of the policy's Q-values; a row adds nothing if it does not have its action."""
        states = self.registers["STATES"]
        self.cycles += score_cycles(states)
        rows = zip(self.q[:states], self.policy, self.counts, strict=False)
        return sum(values[action] for values, action, count in rows if action < count)

    def _drawn(self, draws: int) -> Episode:
        """The best of some stored episodes, drawn with replacement; on a tie the first drawn."""
        p, r = self.params, self.registers
        found: Episode | None = None
        for _ in range(draws):
            r["LFSR"] = next_draw(r["LFSR"], p.lfsr_width)
            episode = self.memory[r["LFSR"] * self.stored >> p.lfsr_width]
            if found is None or episode.reward(p.q_width) > found.reward(p.q_width):
                found = episode
        assert found is not None
        return found

    def store(self, actions: Sequence[int], first: int, second: int) -> None:
        """Store an episode, in place of the oldest if the memory is full."""
        self.memory[self.next] = Episode(actions, first, second)
        self.next = (self.next + 1) % self.params.episodes
        self.stored = min(self.stored + 1, self.params.episodes)

    def newest_first(self) -> list[int]:
        """Places of all stored episodes, the last one stored first."""
        return [(self.next - 1 - k) % self.params.episodes for k in range(self.stored)]

    def recommend(self) -> None:
        """Make POLICY the one that is believed to be best; without MODE.planning nothing changes, in one cycle."""
        self.cycles = 1
        if self.planning:
            self.planner.recommend()

    def write_q(self, row: int, action: int, value: int) -> None:
        """Replace a Q-value."""
        self.q[row][action] = value
        self._note(QWrite(row, action, value))

    def _setting(self, field: str) -> int:
        """A field of EPISODIC."""
        return field_of("EPISODIC", field).of(self.registers["EPISODIC"])

    def _note(self, event: Event) -> None:
        if self.record:
            self.events.append(event)
