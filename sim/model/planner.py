"""What MODE.planning adds to the golden model: effects on accuracy, known costs, and the search for the next policy.

The executable form of docs/understand/planning.md, integers only, one step at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from rtl.spec.params import DOUBT_FRAC, DOUBTS, HOPES, TRIALS_WIDTH, RLUParams
from rtl.spec.registers import POLICY, field_of
from sim.model.arithmetic import round_half_up
from sim.model.episode import Episode

#: Accuracy of an episode that was not measured.
UNKNOWN = 0xFFFF

_MOST_TRIALS = (1 << TRIALS_WIDTH) - 1


class Appraisal(NamedTuple):
    """What is predicted of a policy, in units of 2**-coef_frac.

    Attributes:
        accuracy: not limited to 0..1.
        doubt: about the accuracy, 0 or more.
        latency, energy: of full scale, at most 1.
    """

    accuracy: int
    doubt: int
    latency: int
    energy: int


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

    @property
    def episodes(self) -> list[Episode]: ...  # noqa: D102 (described there)

    def outlier(self) -> tuple[bool, bool, bool]: ...  # noqa: D102

    def score(self, accuracy: int, latency: int, energy: int) -> int: ...  # noqa: D102

    def draw(self, parent: Sequence[int] | None, *, vary: bool = True) -> None: ...  # noqa: D102

    def seen(self) -> bool: ...  # noqa: D102

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
        if not missed:
            for row in range(r["STATES"]):
                trials, action = self.trials[row], model.policy[row]
                if action < model.counts[row]:
                    trials[action] = min(_MOST_TRIALS, trials[action] + 1)
        if not missed and not self.started:
            self.started = True
            self._set_effect(r["STATES"] - 1, 0, self._as_effect(accuracy))
        for _ in range(max(1, self._setting("passes"))):
            for place in model.newest_first():
                self._learn(place)

    def _learn(self, place: int) -> None:
        """Move the effects of a stored policy's actions towards its measured accuracy, each by the same amount."""
        model, p, r = self._model, self._model.params, self._model.registers
        episode = model.memory[place]
        if episode.accuracy == UNKNOWN:
            return
        expected = round_half_up(field_of("RIDGE", "ridge").of(r["RIDGE"]) * episode.part, p.gain_frac)
        error = self._as_effect(min(episode.accuracy, p.coef_one)) - self._effects(episode.actions) - expected
        step = round_half_up(r["ALPHA"] * error, p.coef_frac)
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
        return max(self._model.params.q_min, min(self._model.params.q_max, value))

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
            accuracy >> shift if shift >= 0 else accuracy << -shift,
            field_of("DOUBT", "doubt").of(r["DOUBT"]) * doubt >> DOUBT_FRAC,
            min(p.coef_one, latency),
            min(p.coef_one, energy),
        )

    def cautious(self, of: Appraisal) -> int:
        """What a policy is worth if its accuracy is lower than predicted: its score, negative if it would be 0."""
        p, r = self._model.params, self._model.registers
        if self._missed(of):
            return missed_worth(p)
        accuracy = self._fraction(of.accuracy - self._setting("caution") * of.doubt)
        score = self._model.score(accuracy, of.latency, of.energy)
        return score if accuracy > r["ACCURACY_TH"] else accuracy - p.coef_one - 1

    def hopeful(self, of: Appraisal, best: int) -> int:
        """What is to be gained from trying a policy.

        ``best`` plus what it may gain on it, weighed over several accuracies about the prediction; if it cannot be
        better than ``best``, its score at the highest of these; negative if that would be 0.
        """
        p, r = self._model.params, self._model.registers
        if self._missed(of):
            return missed_worth(p)
        gain = top = 0
        for quarters, weight in HOPES:
            accuracy = self._fraction(of.accuracy + (quarters * of.doubt >> 2))
            score = self._model.score(accuracy, of.latency, of.energy) if accuracy > r["ACCURACY_TH"] else 0
            if quarters == HOPES[0][0]:
                top = score
                if accuracy <= r["ACCURACY_TH"]:
                    return accuracy - p.coef_one - 1
                if top <= best:
                    return top
            gain += weight * max(0, score - best)
        return best + gain

    def _missed(self, of: Appraisal) -> bool:
        r = self._model.registers
        return of.latency >= r["LATENCY_TH"] or of.energy >= r["ENERGY_TH"]

    def _fraction(self, accuracy: int) -> int:
        return max(0, min(self._model.params.coef_one, accuracy))

    # Planning.

    def sample(self) -> None:
        """Make POLICY the untried policy from which most is to be gained, as far as the climbs find it."""
        parent, worth = self._incumbent()
        best = max(0, worth)
        if parent is None or not self._climb(parent, lambda of: self.hopeful(of, best), untried=True):
            self._model.draw(())
        self._foresee()

    def recommend(self) -> None:
        """Make POLICY the one that is believed to be best, as far as the climbs find it."""
        parent, best = self._incumbent()
        if parent is not None:
            self._climb(parent, self.cautious, untried=False, best=best)
        self._foresee()

    def _foresee(self) -> None:
        self.predicted = self._fraction(self.appraise(self._model.policy).accuracy)

    def _incumbent(self) -> tuple[tuple[int, ...] | None, int]:
        """The best stored policy that was measured, and its worth; the first in memory, if several are as good."""
        found: tuple[tuple[int, ...] | None, int] = None, 0
        for episode in self._model.episodes:
            if episode.accuracy == UNKNOWN:
                continue
            of = self.appraise(episode.actions)
            if self._setting("trust"):
                of = of._replace(accuracy=min(episode.accuracy, self._model.params.coef_one), doubt=0)
            worth = self.cautious(of)
            if found[0] is None or worth > found[1]:
                found = tuple(episode.actions), worth
        return found

    def _climb(
        self, parent: tuple[int, ...], worth_of: Callable[[Appraisal], int], *, untried: bool, best: int | None = None
    ) -> bool:
        """Put the best policy that climbs from a parent meet into POLICY; whether there was one above ``best``.

        Without one POLICY is the parent. A climb visits row after row and takes the row's best action. The first climb
        starts from the parent, the others from policies with some rows drawn.
        """
        model, states = self._model, self._model.registers["STATES"]
        found, policy = parent, model.policy

        def keep(worth: int) -> None:
            nonlocal best, found
            if (best is None or worth > best) and not (untried and model.seen()):
                best, found = worth, tuple(policy)

        for climb in range(max(1, self._setting("climbs"))):
            model.draw(parent, vary=climb > 0)
            current = worth_of(self.appraise(policy))
            keep(current)
            for _ in range(max(1, self._setting("sweeps"))):
                moved = False
                for row in range(states):
                    here = chosen = policy[row]
                    for action in range(model.counts[row]):
                        if action == here:
                            continue
                        policy[row] = action
                        worth = worth_of(self.appraise(policy))
                        keep(worth)
                        if worth > current:
                            current, chosen = worth, action
                    policy[row] = chosen
                    moved |= chosen != here
                if not moved:
                    break
        policy[: len(found)] = found
        return found is not parent

    def _setting(self, field: str) -> int:
        return field_of("PLANNING", field).of(self._model.registers["PLANNING"])


def effect_shift(params: RLUParams) -> int:
    """Left shift from an accuracy's unit, 2**-coef_frac, to that of effects, 2**-(q_width - 1)."""
    return params.q_width - 1 - params.coef_frac


def missed_worth(params: RLUParams) -> int:
    """Worth of a policy that misses the threshold of latency or energy: below all others."""
    return -4 * params.coef_one
