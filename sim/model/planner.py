"""What MODE.planning adds to the golden model: effects on accuracy, known costs, and the search for the next policy.

The executable form of docs/understand/planning.md, integers only, one step at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from rtl.spec.params import (
    ACTIONS_PER_WORD,
    DOUBT_FRAC,
    DOUBTS,
    HOPES,
    TRIALS_WIDTH,
    UNKNOWN,
    UNMEASURED_CYCLES,
    RLUParams,
    accuracy_width,
    candidate_cycles,
    count_cycles,
    doubt_width,
    effect_shift,
    error_width,
    keep_cycles,
    learn_cycles,
    missed_worth,
    sample_cycles,
    store_cycles,
    stored_policy_cycles,
    walk_cycles,
    words_of_policy,
)
from rtl.spec.registers import POLICY, field_of
from sim.model.arithmetic import round_half_up
from sim.model.episode import Episode

_MOST_TRIALS = (1 << TRIALS_WIDTH) - 1


class Appraisal(NamedTuple):
    """What is predicted of a policy, in units of 2**-coef_frac.

    Attributes:
        accuracy: -4..4.
        doubt: about the accuracy, 0..4.
        latency, energy: of full scale, at most 1.
    """

    accuracy: int
    doubt: int
    latency: int
    energy: int


class Worth(NamedTuple):
    """What a policy is worth.

    Attributes:
        value: in units of 2**-q_frac, as a score; negative if the score would be 0.
        scores: number of scores that it took.
    """

    value: int
    scores: int


class Unit(Protocol):
    """What the planning part uses of the unit that it is in: see `sim.model.golden.GoldenModel`."""

    params: RLUParams
    registers: dict[str, int]
    q: list[list[int]]
    policy: list[int]
    counts: list[int]
    memory: list[Episode]
    stored: int
    next: int
    cycles: int

    @property
    def episodes(self) -> list[Episode]: ...  # noqa: D102 (described there)

    def outlier(self) -> tuple[bool, bool, bool]: ...  # noqa: D102

    def score(self, accuracy: int, latency: int, energy: int) -> int: ...  # noqa: D102

    def draw(self, parent: Sequence[int] | None, *, vary: bool = True) -> None: ...  # noqa: D102

    def seen(self, rows: int) -> bool: ...  # noqa: D102

    def store(self, actions: Sequence[int], first: int, second: int) -> None: ...  # noqa: D102

    def newest_first(self) -> list[int]: ...  # noqa: D102

    def write_q(self, row: int, action: int, value: int) -> None: ...  # noqa: D102


class Planner:
    """The planning part of a unit.

    Attributes:
        costs: latency and energy of each (point, row, action), 16 bits each, of full scale.
        trials: how often the action of each row was tried, at most 255.
        predicted: accuracy predicted for the last plan, 0..1 in units of 2**-coef_frac.
        started: an accuracy was measured since the last clear.
    """

    def __init__(self, model: Unit) -> None:
        self._model = model
        p = model.params
        self.costs = [[[(0, 0)] * p.actions for _ in range(p.states)] for _ in range(p.points)]
        self.trials = [[0] * p.actions for _ in range(p.states)]
        self.predicted = 0
        self.started = False

    def read(self, memory: str, word: int) -> int:
        """A word of a memory (`rtl.spec.registers.MEMORIES`)."""
        if memory == "costs":
            latency, energy = self.costs[word >> 12][word >> 4 & 0xFF][word & 15]
            return latency | energy << 16
        if memory == "trials":
            return self.trials[word >> 4][word & 15]
        if memory == "policies":
            return POLICY.pack(self._model.memory[word >> 5].actions)[word & 31]
        episode = self._model.memory[word]
        return episode.accuracy | (episode.part & 0xFFFF) << 16

    def write(self, memory: str, word: int, value: int) -> None:
        """Replace a word of a memory; an episode whose results are written counts as the newest."""
        model = self._model
        if memory == "costs":
            self.costs[word >> 12][word >> 4 & 0xFF][word & 15] = value & 0xFFFF, value >> 16
        elif memory == "trials":
            self.trials[word >> 4][word & 15] = value & _MOST_TRIALS
        elif memory == "policies":
            episode, first = model.memory[word >> 5], POLICY.entries_per_word * (word & 31)
            actions = list(episode.actions)
            actions[first : first + POLICY.entries_per_word] = POLICY.unpack([value], POLICY.entries_per_word)
            model.memory[word >> 5] = episode._replace(actions=tuple(actions))
        else:
            model.memory[word] = model.memory[word]._replace(first=value & 0xFFFF, second=value >> 16)
            model.stored, model.next = max(model.stored, word + 1), (word + 1) % model.params.episodes
            self.started |= value & 0xFFFF != UNKNOWN

    # Learning.

    def update(self) -> None:
        """Store the policy with its accuracy, count its trials, and learn effects from all stored episodes."""
        model, r = self._model, self._model.registers
        missed = any(model.outlier()[1:])
        accuracy = UNKNOWN if missed else r["ACCURACY"]
        model.store(tuple(model.policy), accuracy, 0)
        model.cycles = store_cycles(model.params)
        if not missed:
            model.cycles += count_cycles(r["STATES"])
            for row in range(r["STATES"]):
                trials, action = self.trials[row], model.policy[row]
                if action < model.counts[row]:
                    trials[action] = min(_MOST_TRIALS, trials[action] + 1)
        if not missed and not self.started:
            self.started = True
            model.cycles += 1
            self._set_effect(r["STATES"] - 1, 0, self._as_effect(accuracy))
        for _ in range(max(1, self._setting("passes"))):
            model.cycles += 1
            for place in model.newest_first():
                self._learn(place)

    def _learn(self, place: int) -> None:
        """Move the effects of a stored policy's actions towards its measured accuracy, each by the same amount."""
        model, p, r = self._model, self._model.params, self._model.registers
        episode = model.memory[place]
        if episode.accuracy == UNKNOWN:
            model.cycles += UNMEASURED_CYCLES
            return
        model.cycles += learn_cycles(r["STATES"])
        expected = round_half_up(field_of("RIDGE", "ridge").of(r["RIDGE"]) * episode.part, p.gain_frac)
        error = self._as_effect(min(episode.accuracy, p.coef_one)) - self._effects(episode.actions) - expected
        step = round_half_up(r["ALPHA"] * _within(error, error_width(p)), p.coef_frac)
        model.memory[place] = episode._replace(second=self._limited(episode.part + step))
        for row, action in self._own(episode.actions):
            self._set_effect(row, action, model.q[row][action] + step)

    def _own(self, actions: Sequence[int]) -> list[tuple[int, int]]:
        """Row and action of every effect of a policy; the last row comes first, and its effect is the constant."""
        last = self._model.registers["STATES"] - 1
        counts = self._model.counts
        return [(last, 0), *((row, actions[row]) for row in range(last - 1, -1, -1) if actions[row] < counts[row])]

    def _effects(self, actions: Sequence[int]) -> int:
        return sum(self._model.q[row][action] for row, action in self._own(actions))

    def _set_effect(self, row: int, action: int, value: int) -> None:
        self._model.write_q(row, action, self._limited(value))

    def _limited(self, value: int) -> int:
        return _within(value, self._model.params.q_width)

    def _as_effect(self, accuracy: int) -> int:
        """An accuracy in the unit of effects, 2**-(q_width - 1)."""
        shift = effect_shift(self._model.params)
        return accuracy << shift if shift >= 0 else accuracy >> -shift

    def clear(self) -> None:
        """Forget all trials; costs stay."""
        for row in self.trials:
            row[:] = [0] * len(row)
        self.started = False

    # Appraising.

    def appraise(self, actions: Sequence[int]) -> Appraisal:
        """Predictions for a policy: sums over its rows; a row adds nothing if it does not have its action."""
        model, p, r = self._model, self._model.params, self._model.registers
        last = r["STATES"] - 1
        point = actions[last]
        doubt = latency = energy = 0
        for row in range(last + 1):
            action = actions[row]
            if action >= model.counts[row]:
                continue
            if row < last:
                doubt += DOUBTS[min(self.trials[row][action], len(DOUBTS) - 1)]
            if point < p.points:
                one = self.costs[point][row][action]
                latency, energy = latency + one[0], energy + one[1]
        shift = effect_shift(p)
        accuracy = self._effects(actions)
        return Appraisal(
            _within(accuracy >> shift if shift >= 0 else accuracy << -shift, accuracy_width(p)),
            min((1 << doubt_width(p)) - 1, field_of("DOUBT", "doubt").of(r["DOUBT"]) * doubt >> DOUBT_FRAC),
            min(p.coef_one, latency),
            min(p.coef_one, energy),
        )

    def cautious(self, of: Appraisal) -> Worth:
        """What a policy is worth if its accuracy is lower than predicted: its score, negative if it would be 0."""
        p, r = self._model.params, self._model.registers
        if self._missed(of):
            return Worth(missed_worth(p), 0)
        accuracy = self._fraction(of.accuracy - self._setting("caution") * of.doubt)
        score = self._model.score(accuracy, of.latency, of.energy)
        return Worth(score if accuracy > r["ACCURACY_TH"] else accuracy - p.coef_one - 1, 1)

    def hopeful(self, of: Appraisal, best: int) -> Worth:
        """What is to be gained from trying a policy.

        ``best`` plus what it may gain on it, weighed over several accuracies about the prediction; if it cannot be
        better than ``best``, its score at the highest of these; negative if that would be 0.
        """
        p, r = self._model.params, self._model.registers
        if self._missed(of):
            return Worth(missed_worth(p), 0)
        gain = 0
        for quarters, weight in HOPES:
            accuracy = self._fraction(of.accuracy + (quarters * of.doubt >> 2))
            score = self._model.score(accuracy, of.latency, of.energy) if accuracy > r["ACCURACY_TH"] else 0
            if quarters == HOPES[0][0]:
                if accuracy <= r["ACCURACY_TH"]:
                    return Worth(accuracy - p.coef_one - 1, 1)
                if score <= best:
                    return Worth(score, 1)
            gain += weight * max(0, score - best)
        return Worth(best + gain, len(HOPES))

    def _missed(self, of: Appraisal) -> bool:
        r = self._model.registers
        return of.latency >= r["LATENCY_TH"] or of.energy >= r["ENERGY_TH"]

    def _fraction(self, accuracy: int) -> int:
        return max(0, min(self._model.params.coef_one, accuracy))

    # Planning.

    def sample(self) -> None:
        """Make POLICY the untried policy from which most is to be gained, as far as the climbs find it."""
        model = self._model
        parent, worth = self._incumbent()
        best = max(0, worth)
        if parent is None or not self._climb(parent, lambda of: self.hopeful(of, best), untried=True):
            model.draw(())
            model.cycles += sample_cycles(model.registers["STATES"])
        self._foresee()

    def recommend(self) -> None:
        """Make POLICY the one that is believed to be best, as far as the climbs find it."""
        parent, best = self._incumbent()
        if parent is not None:
            self._climb(parent, self.cautious, untried=False, best=best)
        self._foresee()

    def _foresee(self) -> None:
        model = self._model
        model.cycles += walk_cycles(model.registers["STATES"])
        self.predicted = self._fraction(self.appraise(model.policy).accuracy)

    def _incumbent(self) -> tuple[tuple[int, ...] | None, int]:
        """The best stored policy that was measured, and its worth; the first in memory, if several are as good."""
        model = self._model
        found: tuple[tuple[int, ...] | None, int] = None, 0
        model.cycles = 2
        for episode in model.episodes:
            if episode.accuracy == UNKNOWN:
                model.cycles += UNMEASURED_CYCLES
                continue
            of = self.appraise(episode.actions)
            if self._setting("trust"):
                of = of._replace(accuracy=min(episode.accuracy, self._model.params.coef_one), doubt=0)
            worth, scores = self.cautious(of)
            model.cycles += stored_policy_cycles(model.registers["STATES"], scores)
            if found[0] is None or worth > found[1]:
                found = tuple(episode.actions), worth
        return found

    def _climb(
        self, parent: tuple[int, ...], worth_of: Callable[[Appraisal], Worth], *, untried: bool, best: int | None = None
    ) -> bool:
        """Put the best policy that climbs from a parent meet into POLICY; whether there was one above ``best``.

        A recommendation without one is the parent. Whole words that have rows in use are copied. A climb visits row
        after row and takes the row's best action. The first climb starts from the parent, the others from policies with
        some rows drawn.
        """
        model, states = self._model, self._model.registers["STATES"]
        found, policy = parent, model.policy

        def judged() -> int:
            nonlocal best, found
            worth, scores = worth_of(self.appraise(policy))
            model.cycles += candidate_cycles(states, scores)
            if (best is None or worth > best) and not (untried and model.seen(states - 1)):
                best, found = worth, tuple(policy)
                model.cycles += keep_cycles(states)
            return worth

        for climb in range(max(1, self._setting("climbs"))):
            model.draw(parent, vary=climb > 0)
            model.cycles += 2 + sample_cycles(states)
            current = judged()
            for _ in range(max(1, self._setting("sweeps"))):
                model.cycles += 1
                moved = False
                for row in range(states):
                    here = chosen = policy[row]
                    model.cycles += 3 + model.counts[row]
                    for action in range(model.counts[row]):
                        if action == here:
                            continue
                        policy[row] = action
                        worth = judged()
                        if worth > current:
                            current, chosen = worth, action
                    policy[row] = chosen
                    moved |= chosen != here
                if not moved:
                    break
        if found is parent and untried:
            return False
        whole = words_of_policy(states) * ACTIONS_PER_WORD
        policy[:whole] = found[:whole]
        model.cycles += 2 + keep_cycles(states)
        return True

    def _setting(self, field: str) -> int:
        return field_of("PLANNING", field).of(self._model.registers["PLANNING"])


def _within(value: int, width: int) -> int:
    """A value limited to what a signed number of ``width`` bits holds."""
    return max(-(1 << width - 1), min((1 << width - 1) - 1, value))
