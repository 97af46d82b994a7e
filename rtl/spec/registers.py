"""The register description: the single source of the RTL decode, the driver's names and the docs.

Addresses are byte addresses of 32-bit words. A register either has ``fields``, which name its bits, or holds a
``number``. Both say which values are allowed: a write of any other value sets the sticky ``error_value`` flag and
changes nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rtl.spec.buses import DATA_WIDTH
from rtl.spec.params import (
    ACTION_WIDTH,
    ALPHA,
    CANDIDATES,
    CAUTION,
    CLIMBS,
    COUNT_WIDTH,
    DOUBT,
    GAMMA,
    MAX_ACTIONS,
    MAX_STATES,
    PASSES,
    REPLAYS,
    SWEEPS,
    TOURNAMENT,
    WEIGHTS,
    RLUParams,
    words_of_policy,
)

ID_VALUE = 0x524C5531  # "RLU1"
VERSION_VALUE = 0x0001_0003  # major.minor: 16 bit each

#: A number of a unit: the same in all units, the name of a parameter, or a function of the parameters.
OfUnit = int | str | Callable[[RLUParams], int]


class Access(enum.StrEnum):
    """What a master may do with a register or a field; the values are the register map's abbreviations."""

    RO = "ro"  #: It can be read only.
    RW = "rw"  #: It can be read, and holds what is written.
    WO = "wo"  #: A command: a write starts work, a read gives 0.
    W1C = "w1c"  #: It can be read, and writing a 1 clears its bit.

    @property
    def readable(self) -> bool:
        """Whether a read returns what it holds."""
        return self is not Access.WO

    @property
    def writable(self) -> bool:
        """Whether a write does anything."""
        return self is not Access.RO


@dataclass(frozen=True, kw_only=True)
class Field:
    """Some bits of a register, or of a word of a window.

    Attributes:
        name: lower-case name.
        lsb: its lowest bit.
        width: number of bits.
        doc: what it means.
        access: what a master may do with it, ``None`` for the same as with the register.
        needs: parameter of the unit, ``episodes`` or ``points``, without which it reads 0 and accepts only 0.
        reset: value after reset, in a unit that has it.
    """

    name: str
    lsb: int
    width: int
    doc: str
    access: Access | None = None
    needs: str = ""
    reset: OfUnit = 0

    @property
    def mask(self) -> int:
        """A word in which exactly the field's bits are set."""
        return ((1 << self.width) - 1) << self.lsb

    @property
    def text(self) -> str:
        """What it means, for the documentation; says if the field is read-only in a register that is not."""
        return f"{self.doc} (read-only)" if self.access is Access.RO else self.doc

    def of(self, word: int) -> int:
        """The field's value in a word of its register."""
        return (word & self.mask) >> self.lsb

    def present(self, params: RLUParams) -> bool:
        """Whether a unit has the field."""
        return not self.needs or _of_unit(self.needs, params) > 0

    def reset_value(self, params: RLUParams) -> int:
        """Value after reset; 0 in a unit without the field."""
        return _of_unit(self.reset, params) if self.present(params) else 0


@dataclass(frozen=True, kw_only=True)
class Number:
    """What a register without fields holds.

    Attributes:
        width: significant bits.
        low: smallest value that a write may carry.
        high: largest value that a write may carry.
        signed: it is a two's complement number, sign-extended to a word.
    """

    width: OfUnit
    low: OfUnit = 0
    high: OfUnit
    signed: bool = False


WORD = Number(width=DATA_WIDTH, high=(1 << DATA_WIDTH) - 1)
COEFFICIENT = Number(width="coef_width", high="coef_one")
GAIN = Number(width="gain_width", high=lambda params: (1 << params.gain_width) - 1)
Q_VALUE = Number(width="q_width", low="q_min", high="q_max", signed=True)
LFSR_STATE = Number(width="lfsr_width", low=1, high="lfsr_max")
ROWS = Number(width=lambda params: params.states.bit_length(), low=1, high="states")


@dataclass(frozen=True, kw_only=True)
class Register:
    """One 32-bit register.

    Attributes:
        name: upper-case name, also the driver's.
        offset: byte address.
        access: what a master may do with it.
        doc: what it holds, with units and format.
        number: what it holds, if it has no fields.
        fields: its bits, if they have names.
        reset: value after reset, of a number; ``fields`` have their own.
        external: a block of the unit holds it and changes it at work; the register file does not.
    """

    name: str
    offset: int
    access: Access
    doc: str
    number: Number | None = None
    fields: tuple[Field, ...] = ()
    reset: OfUnit = 0
    external: bool = False

    @property
    def signed(self) -> bool:
        """Whether it holds a signed number."""
        return self.number is not None and self.number.signed

    def width(self, params: RLUParams) -> int:
        """Significant bits of the register."""
        if self.number is not None:
            return _of_unit(self.number.width, params)
        return max((f.lsb + f.width for f in self.fields if f.present(params)), default=1)

    def limits(self, params: RLUParams) -> tuple[int, int]:
        """Smallest and largest value that a write may carry; negative ones only if it is signed."""
        if self.number is not None:
            return _of_unit(self.number.low, params), _of_unit(self.number.high, params)
        return 0, sum(f.mask for f in self.fields if f.present(params))

    def reset_value(self, params: RLUParams) -> int:
        """Value after reset, as the 32-bit word that a read returns."""
        if self.number is not None:
            return _of_unit(self.reset, params)
        return sum(f.reset_value(params) << f.lsb for f in self.fields)

    def access_of(self, field: Field, params: RLUParams) -> Access:
        """What a master may do with a field of the register; a field that the unit does not have is read-only."""
        return (field.access or self.access) if field.present(params) else Access.RO


@dataclass(frozen=True, kw_only=True)
class Window:
    """A range of words that looks into a memory of rows.

    Entries are packed without gaps, from bit 0 of the first word up. Every unit leaves as much room for a row as the
    largest unit needs, so an entry's address does not depend on the unit.

    Attributes:
        name: upper-case name.
        offset: byte address of the first word, a multiple of `span`.
        doc: what a word holds.
        entry_width: bits of an entry, a divisor of 32.
        room: entries that a row has room for, a power of two.
        columns: entries that a row has.
        fields: bits of a word.
        signed: entries are two's complement numbers.
        access: what a master may do with a word.
    """

    name: str
    offset: int
    doc: str
    entry_width: int
    room: int = 1
    columns: OfUnit = 1
    fields: Callable[[RLUParams], tuple[Field, ...]]
    signed: bool = False
    access: Access = Access.RW

    @cached_property
    def entries_per_word(self) -> int:
        """Entries that a word holds."""
        return DATA_WIDTH // self.entry_width

    @property
    def rows_per_word(self) -> int:
        """Number of rows with entries in the same word."""
        return max(1, self.entries_per_word // self.room)

    @property
    def words_per_row(self) -> int:
        """Words from a row to the next row in another word, gaps included."""
        return max(1, self.room // self.entries_per_word)

    @property
    def stride(self) -> int:
        """Bytes from a row to the next row in another word."""
        return self.words_per_row * DATA_WIDTH // 8

    @property
    def span(self) -> int:
        """Bytes of the window in the largest unit."""
        return MAX_STATES // self.rows_per_word * self.stride

    def strides(self, params: RLUParams) -> int:
        """Number of strides in the window of a unit."""
        return -(-params.states // self.rows_per_word)

    def words(self, params: RLUParams) -> int:
        """Words that the window of a unit spans, gaps included."""
        return self.strides(params) * self.words_per_row

    def used_words(self, params: RLUParams) -> int:
        """Words of a stride that a unit has; the others are a gap."""
        return -(-_of_unit(self.columns, params) // self.entries_per_word)

    def address(self, row: int, column: int = 0) -> int:
        """Byte address of the word that holds an entry."""
        word = (row * self.room + column) // self.entries_per_word
        return self.offset + word * DATA_WIDTH // 8

    def addresses(self, rows: int, columns: int = 1, *, first: int = 0) -> list[int]:
        """Byte addresses of the words that hold the first entries of some rows, in order.

        Args:
            rows: number of rows.
            columns: number of entries of each, at least 1.
            first: the first row; its entries must begin a word.
        """
        return [
            address
            for row in range(first, first + rows, self.rows_per_word)
            for address in range(self.address(row), self.address(row, columns - 1) + 1, DATA_WIDTH // 8)
        ]

    def place(self, address: int, params: RLUParams) -> tuple[int, int] | None:
        """Row and column of the first entry of the word at a byte address; None if the unit has no such word."""
        word, within = divmod(address - self.offset, DATA_WIDTH // 8)
        if within or not 0 <= word < self.words(params):
            return None
        row, column = divmod(word * self.entries_per_word, self.room)
        return (row, column) if column < _of_unit(self.columns, params) else None

    def pack(self, entries: Sequence[int]) -> list[int]:
        """Words that hold the entries, beginning at the first bit of a word; the rest of the last word is 0."""
        mask, step, packed = (1 << self.entry_width) - 1, self.entries_per_word, []
        for start in range(0, len(entries), step):
            word = 0
            for entry in reversed(entries[start : start + step]):
                word = word << self.entry_width | entry & mask
            packed.append(word)
        return packed

    def unpack(self, words: Sequence[int], count: int) -> tuple[int, ...]:
        """The first entries of some words."""
        mask, sign = (1 << self.entry_width) - 1, 1 << self.entry_width - 1 if self.signed else 0
        entries = [word >> low & mask for word in words for low in range(0, DATA_WIDTH, self.entry_width)]
        return tuple((entry ^ sign) - sign for entry in entries[:count])


def _of_unit(value: OfUnit, params: RLUParams) -> int:
    if isinstance(value, str):
        named: int = getattr(params, value)
        return named
    return value if isinstance(value, int) else value(params)


def _coefficient(value: float) -> OfUnit:
    """A coefficient, rounded to U1.15 and then down to the unit's format."""
    return lambda params: round(value * 2**15) >> (15 - params.coef_frac)


def _gain(value: int) -> OfUnit:
    """A gain, given in U4.12."""
    return lambda params: value >> (12 - params.gain_frac)


REGISTERS: tuple[Register, ...] = (
    Register(
        name="ID",
        offset=0x00,
        access=Access.RO,
        number=WORD,
        reset=ID_VALUE,
        doc='Always 0x524C5531, "RLU1" in ASCII.',
    ),
    Register(
        name="VERSION",
        offset=0x04,
        access=Access.RO,
        number=WORD,
        reset=VERSION_VALUE,
        doc="Version of this register map: major in bits 31..16, minor in bits 15..0.",
    ),
    Register(
        name="CONFIG",
        offset=0x08,
        access=Access.RO,
        doc="Size of this unit.",
        fields=(
            Field(name="states", lsb=0, width=16, reset="states", doc="rows of the Q-table"),
            Field(name="actions", lsb=16, width=8, reset="actions", doc="columns of the Q-table"),
            Field(name="lfsr_width", lsb=24, width=8, reset="lfsr_width", doc="bits of the random number generator"),
        ),
    ),
    Register(
        name="FORMATS",
        offset=0x0C,
        access=Access.RO,
        doc="Number formats of this unit.",
        fields=(
            Field(name="q_width", lsb=0, width=8, reset="q_width", doc="bits of a Q-value"),
            Field(name="q_frac", lsb=8, width=8, reset="q_frac", doc="fraction bits of Q-values and rewards"),
            Field(name="coef_frac", lsb=16, width=8, reset="coef_frac", doc="fraction bits of coefficients"),
            Field(name="gain_frac", lsb=24, width=8, reset="gain_frac", doc="fraction bits of gains"),
        ),
    ),
    Register(
        name="COMMAND",
        offset=0x10,
        access=Access.WO,
        doc="Starts work; several bits run in the order of the fields. Busy until all are done.",
        fields=(
            Field(name="clear", lsb=0, width=1, doc="set every Q-value of every row to 0, and forget all episodes"),
            Field(name="reward", lsb=1, width=1, doc="compute REWARD and SHARE from ACCURACY, LATENCY and ENERGY"),
            Field(name="update", lsb=2, width=1, doc="update the Q-table along the policy, last row first"),
            Field(name="sample", lsb=3, width=1, doc="draw a new policy, first row first"),
            Field(
                name="recommend",
                lsb=4,
                width=1,
                needs="points",
                doc="only with MODE.planning: make POLICY the one that is believed to be best",
            ),
        ),
    ),
    Register(
        name="STATUS",
        offset=0x14,
        access=Access.W1C,
        doc="State of the unit. Error flags stay set until a 1 is written to them.",
        fields=(
            Field(name="busy", lsb=0, width=1, access=Access.RO, doc="a command is running"),
            Field(name="accuracy_outlier", lsb=1, width=1, access=Access.RO, reset=1, doc="ACCURACY <= ACCURACY_TH"),
            Field(name="latency_outlier", lsb=2, width=1, access=Access.RO, doc="LATENCY >= LATENCY_TH"),
            Field(name="energy_outlier", lsb=3, width=1, access=Access.RO, doc="ENERGY >= ENERGY_TH"),
            Field(
                name="error_address",
                lsb=8,
                width=1,
                doc="an access to an address that does not exist, or not a multiple of 4; "
                "a write to a read-only register",
            ),
            Field(name="error_busy", lsb=9, width=1, doc="a write or a window read while the unit is busy"),
            Field(name="error_value", lsb=10, width=1, doc="a write of a value outside the register's range"),
            Field(
                name="error_policy",
                lsb=11,
                width=1,
                doc="an update met an action that its row does not have; that row was not updated",
            ),
        ),
    ),
    Register(name="STATES", offset=0x18, access=Access.RW, number=ROWS, reset="states", doc="Rows the task uses, T."),
    Register(
        name="MODE",
        offset=0x1C,
        access=Access.RW,
        doc="Variants of the algorithm.",
        fields=(
            Field(name="full_last_reward", lsb=0, width=1, doc="the last row is rewarded with REWARD instead of SHARE"),
            Field(
                name="episodic",
                lsb=1,
                width=1,
                needs="episodes",
                doc="update stores the episode and replays stored ones; sample varies the better stored ones",
            ),
            Field(
                name="planning",
                lsb=2,
                width=1,
                needs="points",
                doc="update learns effects on accuracy; sample plans with known costs; `episodic` does not matter then",
            ),
        ),
    ),
    Register(
        name="ALPHA",
        offset=0x20,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(ALPHA),
        doc="Learning rate.",
    ),
    Register(
        name="GAMMA",
        offset=0x24,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(GAMMA),
        doc="Discount.",
    ),
    Register(
        name="EPSILON",
        offset=0x28,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(1.0),
        doc="Probability that a row explores.",
    ),
    Register(
        name="LFSR",
        offset=0x2C,
        access=Access.RW,
        number=LFSR_STATE,
        reset=1,
        external=True,
        doc="State of the random number generator; write a seed, read to save it.",
    ),
    Register(
        name="WEIGHT_A",
        offset=0x30,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(WEIGHTS[0]),
        doc="Weight a of accuracy in the reward.",
    ),
    Register(
        name="WEIGHT_L",
        offset=0x34,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(WEIGHTS[1]),
        doc="Weight b of latency in the reward.",
    ),
    Register(
        name="WEIGHT_E",
        offset=0x38,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(WEIGHTS[2]),
        doc="Weight c of energy in the reward.",
    ),
    Register(
        name="ACCURACY_TH",
        offset=0x3C,
        access=Access.RW,
        number=COEFFICIENT,
        doc="Accuracy at or below which the policy is an outlier.",
    ),
    Register(
        name="LATENCY_TH",
        offset=0x40,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(1.0),
        doc="Latency from which the policy is an outlier, of full scale.",
    ),
    Register(
        name="ENERGY_TH",
        offset=0x44,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(1.0),
        doc="Energy from which the policy is an outlier, of full scale.",
    ),
    Register(
        name="LATENCY_HIGH",
        offset=0x48,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(1.0),
        doc="Latency that scores 0, of full scale.",
    ),
    Register(
        name="ENERGY_HIGH",
        offset=0x4C,
        access=Access.RW,
        number=COEFFICIENT,
        reset=_coefficient(1.0),
        doc="Energy that scores 0, of full scale.",
    ),
    Register(
        name="LATENCY_GAIN",
        offset=0x50,
        access=Access.RW,
        number=GAIN,
        reset=_gain(0x1000),
        doc="1 / (high - low) of latency; low is the latency that scores 1.",
    ),
    Register(
        name="ENERGY_GAIN",
        offset=0x54,
        access=Access.RW,
        number=GAIN,
        reset=_gain(0x1000),
        doc="1 / (high - low) of energy; low is the energy that scores 1.",
    ),
    Register(name="ACCURACY", offset=0x58, access=Access.RW, number=COEFFICIENT, doc="Measured accuracy, a fraction."),
    Register(name="LATENCY", offset=0x5C, access=Access.RW, number=COEFFICIENT, doc="Measured latency, of full scale."),
    Register(name="ENERGY", offset=0x60, access=Access.RW, number=COEFFICIENT, doc="Measured energy, of full scale."),
    Register(
        name="REWARD",
        offset=0x64,
        access=Access.RW,
        number=Q_VALUE,
        external=True,
        doc="Reward of the policy; computed by the reward command, or written by the host. Writing it computes SHARE.",
    ),
    Register(
        name="SHARE",
        offset=0x68,
        access=Access.RO,
        number=Q_VALUE,
        external=True,
        doc="REWARD / STATES, rounded: the reward of each row.",
    ),
    Register(
        name="CYCLES",
        offset=0x6C,
        access=Access.RO,
        number=WORD,
        external=True,
        doc="Clock cycles that the last command, or the last write of REWARD or STATES, kept the unit busy.",
    ),
    Register(
        name="IRQ_STATUS",
        offset=0x70,
        access=Access.W1C,
        doc="Pending interrupts. Each stays set until a 1 is written to it.",
        fields=(
            Field(
                name="done",
                lsb=0,
                width=1,
                doc="work has ended: a command, or the division after a write of REWARD or STATES",
            ),
            Field(name="error", lsb=1, width=1, doc="an access or an update has set an error flag of STATUS"),
        ),
    ),
    Register(
        name="IRQ_ENABLE",
        offset=0x74,
        access=Access.RW,
        doc="Interrupts that raise `irq`.",
        fields=(
            Field(name="done", lsb=0, width=1, doc="raise it when work has ended"),
            Field(name="error", lsb=1, width=1, doc="raise it at an error"),
        ),
    ),
    Register(
        name="EPISODIC",
        offset=0x78,
        access=Access.RW,
        doc="How an episodic unit samples and replays. A 0 counts as 1, except in `replays`.",
        fields=(
            Field(
                name="tournament",
                lsb=0,
                width=8,
                needs="episodes",
                reset=TOURNAMENT,
                doc="stored episodes drawn for a candidate; it varies the best of them",
            ),
            Field(
                name="candidates",
                lsb=8,
                width=4,
                needs="episodes",
                reset=CANDIDATES,
                doc="candidates drawn by a sample; the one with the largest Q-values wins",
            ),
            Field(
                name="replays",
                lsb=16,
                width=8,
                needs="episodes",
                reset=REPLAYS,
                doc="stored episodes that an update draws and learns from again",
            ),
        ),
    ),
    Register(
        name="EPISODES",
        offset=0x7C,
        access=Access.RO,
        external=True,
        doc="Episode memory. The clear command empties it; if it is full, a new episode replaces the oldest.",
        fields=(
            Field(name="stored", lsb=0, width=16, doc="episodes stored"),
            Field(
                name="capacity", lsb=16, width=16, reset="episodes", doc="episodes it has room for, 0 without a memory"
            ),
        ),
    ),
    Register(
        name="PLANNING",
        offset=0x80,
        access=Access.RW,
        doc="How a planning unit plans. A 0 counts as 1, except in `caution` and `trust`.",
        fields=(
            Field(
                name="climbs",
                lsb=0,
                width=8,
                needs="points",
                reset=CLIMBS,
                doc="starts from which a plan changes row after row for the better",
            ),
            Field(
                name="sweeps", lsb=8, width=4, needs="points", reset=SWEEPS, doc="times that a climb visits all rows"
            ),
            Field(
                name="passes",
                lsb=12,
                width=4,
                needs="points",
                reset=PASSES,
                doc="times that an update learns from all stored episodes",
            ),
            Field(
                name="caution",
                lsb=16,
                width=4,
                needs="points",
                reset=CAUTION,
                doc="how many times its doubt is taken off an accuracy that must not be too low",
            ),
            Field(
                name="trust",
                lsb=20,
                width=1,
                needs="points",
                doc="measured accuracies have no error: an episode is worth what was measured",
            ),
        ),
    ),
    Register(
        name="DOUBT",
        offset=0x84,
        access=Access.RW,
        doc="Doubt about accuracy for each row whose action was never tried, a fraction.",
        fields=(
            Field(
                name="doubt",
                lsb=0,
                width=16,
                needs="points",
                reset=_coefficient(DOUBT),
                doc="in units of 2^-coef_frac; after n trials 1 / sqrt(1 + 3 n) of it is left",
            ),
        ),
    ),
    Register(
        name="RIDGE",
        offset=0x88,
        access=Access.RW,
        doc="Variance of a measured accuracy's error, in units of the variance of one action's effect.",
        fields=(
            Field(name="ridge", lsb=0, width=16, needs="points", reset=_gain(0x1000), doc="in units of 2^-gain_frac"),
        ),
    ),
    Register(
        name="PLAN",
        offset=0x8C,
        access=Access.RO,
        external=True,
        doc="What the last plan is, where the next episode goes, and for how many operating points there is room.",
        fields=(
            Field(
                name="accuracy", lsb=0, width=16, needs="points", doc="accuracy predicted for the policy, 2^-coef_frac"
            ),
            Field(name="next", lsb=16, width=11, needs="points", doc="place of the next episode in memory"),
            Field(
                name="points",
                lsb=27,
                width=5,
                needs="points",
                reset="points",
                doc="operating points whose costs the unit can hold",
            ),
        ),
    ),
    Register(
        name="MEMORY_ADDRESS",
        offset=0x90,
        access=Access.RW,
        external=True,
        doc="Which word of a planning unit's memories MEMORY_DATA is. A write of MEMORY_DATA adds 1 to `word`.",
        fields=(
            Field(
                name="word",
                lsb=0,
                width=16,
                needs="points",
                doc="costs: 4096 point + 16 row + action; trials: 16 row + action; policies: 32 episode + row / 8; "
                "results: episode",
            ),
            Field(name="memory", lsb=16, width=2, needs="points", doc="0 costs, 1 trials, 2 policies, 3 results"),
        ),
    ),
    Register(
        name="MEMORY_DATA",
        offset=0x94,
        access=Access.RW,
        external=True,
        doc="A word of a memory. Costs: latency in bits 15..0, energy in bits 31..16, what the action adds, of full "
        "scale. Trials: how often the action was tried. Policies: eight actions. Results: accuracy in bits 15..0, "
        "0xFFFF if it was not measured, and in bits 31..16 the episode's part of the effects, sign-extended; the "
        "episode counts as the newest then.",
        fields=(Field(name="data", lsb=0, width=32, needs="points", doc="the word"),),
    ),
)

WINDOWS: tuple[Window, ...] = (
    Window(
        name="POLICY",
        offset=0x0200,
        entry_width=ACTION_WIDTH,
        doc="Eight actions per word, four bits each: row 8*k + i in bits 4*i+3..4*i of word k.",
        fields=lambda params: tuple(
            Field(name=f"row{i}", lsb=ACTION_WIDTH * i, width=ACTION_WIDTH, doc=f"action of row 8*k + {i} in word k")
            for i in range(DATA_WIDTH // ACTION_WIDTH)
        ),
    ),
    Window(
        name="ACTION_COUNT",
        offset=0x0400,
        entry_width=DATA_WIDTH,
        doc="One word per row: its number of actions.",
        fields=lambda params: (
            Field(name="count", lsb=0, width=COUNT_WIDTH, doc=f"number of actions, 1..{params.actions}"),
        ),
    ),
    Window(
        name="Q_TABLE",
        offset=0x2000,
        entry_width=16,
        room=MAX_ACTIONS,
        columns="actions",
        signed=True,
        doc="Eight words per row (32 bytes): Q[row][2*k] in the low half of word k and "
        "Q[row][2*k+1] in the high half, each sign-extended to 16 bit. Fewer actions, fewer words per row.",
        fields=lambda params: (
            Field(name="even", lsb=0, width=16, doc="Q-value of action 2*k in word k of the row, sign-extended"),
            Field(name="odd", lsb=16, width=16, doc="Q-value of action 2*k + 1, sign-extended"),
        ),
    ),
)
POLICY, ACTION_COUNT, Q_TABLE = WINDOWS


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory of a planning unit, which MEMORY_ADDRESS and MEMORY_DATA reach word by word.

    Attributes:
        name: lower-case name.
        parts: what a word's number is made of, the lowest bits first: width in bits, and how many there are.
    """

    name: str
    parts: tuple[tuple[int, OfUnit], ...]

    def bounds(self, params: RLUParams) -> list[tuple[int, int, int]]:
        """Of each part of a word's number: its lowest bit, its width, and how many there are in a unit."""
        found, lsb = [], 0
        for width, count in self.parts:
            found.append((lsb, width, _of_unit(count, params)))
            lsb += width
        return found

    def holds(self, word: int, params: RLUParams) -> bool:
        """Whether a unit has the word of a number."""
        parts = self.bounds(params)
        top = sum(width for _, width, _ in parts)
        return word >> top == 0 and all(word >> lsb & (1 << width) - 1 < count for lsb, width, count in parts)

    def word(self, *numbers: int) -> int:
        """Number of a word from its parts, the highest bits first: of point, row and action, or of episode and word."""
        found = 0
        for (width, _), number in zip(reversed(self.parts), numbers, strict=True):
            found = found << width | number
        return found


#: The memories, by MEMORY_ADDRESS.memory.
MEMORIES: tuple[Memory, ...] = (
    Memory(name="costs", parts=((4, "actions"), (8, "states"), (4, "points"))),
    Memory(name="trials", parts=((4, "actions"), (8, "states"))),
    Memory(name="policies", parts=((5, lambda params: words_of_policy(params.states)), (11, "episodes"))),
    Memory(name="results", parts=((11, "episodes"),)),
)

BY_NAME: dict[str, Register] = {register.name: register for register in REGISTERS}
WINDOW_BY_NAME: dict[str, Window] = {window.name: window for window in WINDOWS}


def field_of(register: str, field: str) -> Field:
    """The named field; raises KeyError for an unknown one."""
    return {f.name: f for f in BY_NAME[register].fields}[field]


#: Bits of COMMAND.
CLEAR, REWARD, UPDATE, SAMPLE, RECOMMEND = (
    field_of("COMMAND", name).mask for name in ("clear", "reward", "update", "sample", "recommend")
)
#: The sticky error flags of STATUS.
ERROR_FLAGS: tuple[Field, ...] = tuple(f for f in BY_NAME["STATUS"].fields if f.access is not Access.RO)


def markdown(params: RLUParams) -> str:
    """The register map as the Markdown that docs/integrate/registers.md holds."""
    lines = ["| address | name | access | reset | range | holds |", "| --- | --- | --- | --- | --- | --- |"]
    for register in REGISTERS:
        low, high = register.limits(params)
        span = "" if register.access in (Access.RO, Access.W1C) else f"{low}..{high}"
        reset = f"0x{register.reset_value(params):X}" if register.access.readable else ""
        lines.append(
            f"| 0x{register.offset:03X} | {register.name} | {register.access} | {reset} | {span} | {register.doc} |"
        )
    for window in WINDOWS:
        last = window.offset + 4 * window.words(params) - 4
        lines.append(f"| 0x{window.offset:04X}..0x{last:04X} | {window.name} | {window.access} | | | {window.doc} |")
    for register in REGISTERS:
        if register.fields:
            lines += ["", f"**{register.name}**", "", "| bits | field | meaning |", "| --- | --- | --- |"]
            for f in register.fields:
                bits = f"{f.lsb + f.width - 1}..{f.lsb}" if f.width > 1 else f"{f.lsb}"
                lines.append(f"| {bits} | {f.name} | {f.text} |")
    return "\n".join(lines) + "\n"
