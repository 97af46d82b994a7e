"""The parameter object from which both the hardware and the golden model are made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

MAX_STATES = 256
MAX_ACTIONS = 16
MAX_EPISODES = 1024
MAX_POINTS = MAX_ACTIONS

#: Bits of an action's number, and of a number of actions.
ACTION_WIDTH = (MAX_ACTIONS - 1).bit_length()
COUNT_WIDTH = MAX_ACTIONS.bit_length()

#: Actions in a word of a policy, in memory and on the bus.
ACTIONS_PER_WORD = 32 // ACTION_WIDTH
#: Bits of a row's number that select its action in a word of the policy.
LANE_WIDTH = (ACTIONS_PER_WORD - 1).bit_length()

#: Learning rate, discount, and weights of accuracy, latency and energy in the reward (Chen 2023): what the unit's
#: registers hold after reset, and the defaults of everything above it.
ALPHA, GAMMA = 0.25, 0.99
WEIGHTS = (0.25, 0.10, 0.65)

#: The same of an episodic unit: stored episodes drawn for a candidate, candidates drawn for a policy, replays.
TOURNAMENT, CANDIDATES, REPLAYS = 32, 2, 16

#: The same of a planning unit (docs/understand/planning.md): climbs of a plan, sweeps of a climb, passes over the
#: stored episodes, caution, the doubt about an action never tried, the share of rows that the start of a climb changes.
CLIMBS, SWEEPS, PASSES, CAUTION, DOUBT, VARIED_ROWS = 16, 2, 2, 3, 80 / 2**15, 0.5

#: How much of the doubt is left after 0, 1, 2 ... trials: 1 / sqrt(1 + 3 trials), in units of 2**-DOUBT_FRAC.
DOUBT_FRAC = 8
DOUBTS = (256, 128, 97, 81, 71, 64, 59, 55, 51, 48, 46, 44, 42, 40, 39, 38)

#: Where a plan looks at the accuracy of a candidate: quarters of its doubt above the prediction, and the weight there.
HOPES = ((8, 1), (4, 2), (1, 2), (-2, 2))

#: Bits of a count of trials; it stays at its largest value.
TRIALS_WIDTH = 8

#: Accuracy of an episode that was not measured.
UNKNOWN = 0xFFFF

#: Draws of a candidate; the last one is taken even if it has been tried already.
ATTEMPTS = 16

#: Fraction bits of alpha gamma, one coefficient of the update. With its sign it fills an 18-bit multiplier.
DISCOUNT_FRAC = 17

#: Bits below the last one of a Q-value that are kept until the end of an update.
GUARD = 8

#: Feedback taps of the maximal-length LFSRs, by width: bit ``k`` is the coefficient of ``x^k``, 1-based
#: (primitive polynomials, e.g. ``x^16 + x^15 + x^13 + x^4 + 1``).
LFSR_TAPS = {8: (8, 6, 5, 4), 16: (16, 15, 13, 4), 32: (32, 22, 2, 1)}


@dataclass(frozen=True, kw_only=True)
class RLUParams:
    """Shape and number formats of one RL unit.

    ``RLU(params)`` is its hardware and ``GoldenModel(params)`` is its model. Nothing else decides a width.

    Attributes:
        states: rows of the Q-table, 1..256. The STATES register says how many of them a task uses.
        actions: columns (banks) of the Q-table, 2..16.
        action_counts: number of actions of every row at power-up, each 1..``actions``; ``None`` means
            ``actions`` for every row. The ACTION_COUNT window changes them; a reset does not restore them.
        q_width: bits of a Q-value, 8..16 (two's complement).
        q_frac: fraction bits of a Q-value and of the reward, 2..``q_width - 2``: the range is at
            least [-2, 2).
        coef_frac: fraction bits of alpha, gamma, epsilon, the weights, the thresholds and A, L, E,
            4..15; they are unsigned with one integer bit, so 1.0 is exact.
        gain_frac: fraction bits of the two normalising gains, 4..12; they have four integer bits.
        lfsr_width: bits of the random number generator, 8, 16 or 32.
        episodes: episodes that the unit remembers, 0 or a power of two in 2..1024. With 0 it is the published unit;
            otherwise MODE.episodic turns on what docs/understand/episodic.md describes.
        points: operating points whose costs the unit can hold, 0..16. Above 0, MODE.planning turns on what
            docs/understand/planning.md describes, and the unit needs ``episodes``.

    Raises:
        ValueError: for a value outside its range; the message names the value, the range and the field.
    """

    states: int = 256
    actions: int = 16
    action_counts: tuple[int, ...] | None = None
    q_width: int = 16
    q_frac: int = 14
    coef_frac: int = 15
    gain_frac: int = 12
    lfsr_width: int = 16
    episodes: int = 0
    points: int = 0

    def __post_init__(self) -> None:
        _check_range("states", self.states, 1, MAX_STATES)
        _check_range("actions", self.actions, 2, MAX_ACTIONS)
        _check_range("q_width", self.q_width, 8, 16)
        _check_range("q_frac", self.q_frac, 2, self.q_width - 2)
        _check_range("coef_frac", self.coef_frac, 4, 15)
        _check_range("gain_frac", self.gain_frac, 4, 12)
        if self.lfsr_width not in LFSR_TAPS:
            raise ValueError(f"lfsr_width must be one of {sorted(LFSR_TAPS)}, not {self.lfsr_width!r}")
        _check_range("episodes", self.episodes, 0, MAX_EPISODES)
        if self.episodes == 1 or self.episodes & (self.episodes - 1):
            raise ValueError(f"episodes must be 0 or a power of two in 2..{MAX_EPISODES}, not {self.episodes}")
        _check_range("points", self.points, 0, MAX_POINTS)
        if self.points and not self.episodes:
            raise ValueError(
                f"a unit with points ({self.points}) plans from its episodes: give it episodes of 2 or more"
            )
        if self.points and self.states < 2:
            raise ValueError("a unit with points needs at least 2 states: its last row chooses the operating point")
        if self.action_counts is not None:
            object.__setattr__(self, "action_counts", tuple(self.action_counts))
            if len(self.action_counts) != self.states:
                raise ValueError(
                    f"action_counts must have one entry for each of the {self.states} states, "
                    f"not {len(self.action_counts)}"
                )
            for row, count in enumerate(self.action_counts):
                _check_range(f"action_counts[{row}]", count, 1, self.actions)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of actions of every row at power-up."""
        return self.action_counts if self.action_counts is not None else (self.actions,) * self.states

    @property
    def q_min(self) -> int:
        """Smallest Q-value, as an integer in units of ``2**-q_frac``."""
        return -(1 << (self.q_width - 1))

    @property
    def q_max(self) -> int:
        """Largest Q-value, as an integer in units of ``2**-q_frac``."""
        return (1 << (self.q_width - 1)) - 1

    @property
    def coef_one(self) -> int:
        """The integer that stands for 1.0 in coefficient format."""
        return 1 << self.coef_frac

    @property
    def coef_width(self) -> int:
        """Bits of a coefficient: one integer bit and the fraction."""
        return self.coef_frac + 1

    @property
    def gain_width(self) -> int:
        """Bits of a gain: four integer bits and the fraction."""
        return self.gain_frac + 4

    @property
    def lfsr_max(self) -> int:
        """Largest LFSR state, ``2**lfsr_width - 1``: also its period."""
        return (1 << self.lfsr_width) - 1

    @property
    def row_width(self) -> int:
        """Bits of a row number, at least 1."""
        return max(1, (self.states - 1).bit_length())

    @property
    def policy_words(self) -> int:
        """Words of eight actions that the policy of an episode takes in memory: a power of two."""
        return 1 << (words_of_policy(self.states) - 1).bit_length()

    @property
    def stored_width(self) -> int:
        """Bits of the number of episodes stored, 0..``episodes``."""
        return self.episodes.bit_length()

    def to_json(self) -> str:
        """All fields as one line of JSON with sorted keys."""
        fields = dataclasses.asdict(self)
        if not self.points:
            del fields["points"]  # as in earlier versions, so that what they saved still fits
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RLUParams:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        if fields.get("action_counts") is not None:
            fields["action_counts"] = tuple(fields["action_counts"])
        return cls(**fields)

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json`: two units with the same digest are the same hardware."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}")


def words_of_policy(states: int) -> int:
    """Words that hold the actions of ``states`` rows."""
    return -(-states // ACTIONS_PER_WORD)


def effect_shift(params: RLUParams) -> int:
    """Left shift from an accuracy's unit, 2**-coef_frac, to that of effects, 2**-(q_width - 1)."""
    return params.q_width - 1 - params.coef_frac


def accuracy_width(params: RLUParams) -> int:
    """Bits of a predicted accuracy, signed: -4..4 - 2**-coef_frac, beyond which it is limited."""
    return params.coef_frac + 3


def doubt_width(params: RLUParams) -> int:
    """Bits of the doubt about a predicted accuracy: 0..4 - 2**-coef_frac, beyond which it is limited."""
    return params.coef_frac + 2


def error_width(params: RLUParams) -> int:
    """Bits of the error from which a step is made, signed: four times the range of effects; beyond it is limited."""
    return params.q_width + 2


def worth_width(params: RLUParams) -> int:
    """Bits of a policy's worth, signed: eight times the largest score, and `missed_worth`."""
    return max(params.q_width, params.coef_frac) + 3


def missed_worth(params: RLUParams) -> int:
    """Worth of a policy that misses the threshold of latency or energy: below all others."""
    return -4 * params.coef_one


# The timing contract: how many clock cycles each command keeps the unit busy, from the cycle after the bus
# write is accepted. The CYCLES register shows them; the golden model uses these formulas.


def clear_cycles(params: RLUParams) -> int:
    """Clearing the Q-table: one row per cycle."""
    return params.states + 2


def reward_cycles(params: RLUParams) -> int:
    """Computing REWARD, then SHARE by one quotient bit per cycle."""
    return 16 + share_cycles(params)


def share_cycles(params: RLUParams) -> int:
    """Recomputing SHARE after REWARD or STATES was written."""
    return params.q_width + 5


def update_cycles(states: int) -> int:
    """Updating a policy of ``states`` rows: one cycle per row."""
    return states + 9


def sample_cycles(states: int) -> int:
    """Sampling a policy of ``states`` rows: one cycle per row."""
    return states + 8


def tournament_cycles(draws: int) -> int:
    """Drawing stored episodes and keeping the best: one per cycle."""
    return draws + 6


def seen_cycles(states: int, stored: int) -> int:
    """Comparing a policy with every stored one: eight rows per cycle."""
    return stored * words_of_policy(states) + 4


def score_cycles(states: int) -> int:
    """Adding up a policy's Q-values: one row per cycle."""
    return states + 6


def store_cycles(params: RLUParams) -> int:
    """Storing an episode: all rows of the unit, eight per cycle."""
    return params.policy_words + 2


# The same of a planning unit.


def walk_cycles(states: int) -> int:
    """Walking along a policy: one row per cycle."""
    return states + 6


def value_cycles(hopes: int) -> int:
    """Finding what a policy is worth from ``hopes`` scores; with none, because its costs miss a threshold."""
    return 12 + 7 * hopes if hopes else 2


def stored_policy_cycles(states: int, hopes: int) -> int:
    """Finding what a stored policy is worth that was measured; for one that was not, see `UNMEASURED_CYCLES`."""
    return walk_cycles(states) + value_cycles(hopes) + 4


def candidate_cycles(states: int, hopes: int) -> int:
    """Finding what a candidate is worth, and weighing it against the others."""
    return walk_cycles(states) + value_cycles(hopes) + 2


def keep_cycles(states: int) -> int:
    """Keeping a policy: eight rows per cycle."""
    return words_of_policy(states)


def count_cycles(states: int) -> int:
    """Counting the trials of a policy's actions."""
    return walk_cycles(states)


def learn_cycles(states: int) -> int:
    """Learning effects from a stored episode that was measured; for another see `UNMEASURED_CYCLES`."""
    return 2 * walk_cycles(states) + 7


#: Passing over a stored episode that was not measured.
UNMEASURED_CYCLES = 4


def longest_plan_cycles(params: RLUParams) -> int:
    """Cycles that no plan of a unit is much longer than, with any settings; 0 for a unit that does not plan."""
    if not params.points:
        return 0
    candidates = 255 * 15 * params.states * params.actions
    learned = 15 * params.episodes * learn_cycles(params.states)
    return candidates * (candidate_cycles(params.states, len(HOPES)) + 4) + learned
