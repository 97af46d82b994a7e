"""The register description: the single source of the RTL decode, the driver's names and the docs.

Addresses are byte addresses of 32-bit words. A register's ``fields`` name its bits; one without is a
number. Its ``kind`` gives the values that are allowed: a write of any other sets the sticky
``error_value`` flag and changes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rtl.spec.params import RLUParams

ID_VALUE = 0x524C5531  # "RLU1"
VERSION_VALUE = 0x0001_0002  # major.minor: 16 bit each

Access = Literal["ro", "rw", "wo", "w1c"]


@dataclass(frozen=True)
class Field:
    """Some bits of a register: ``width`` bits from bit ``lsb`` up.

    One that is ``episodic`` is there in units with an episode memory only; in others it reads 0 and takes nothing else.
    ``reset`` is its value after reset.
    """

    name: str
    lsb: int
    width: int
    doc: str
    episodic: bool = False
    reset: int = 0

    @property
    def mask(self) -> int:
        """The field's bits set, in place."""
        return ((1 << self.width) - 1) << self.lsb

    def of(self, word: int) -> int:
        """The field's value in a word of its register."""
        return (word & self.mask) >> self.lsb


@dataclass(frozen=True)
class Register:
    """One 32-bit register.

    Attributes:
        name: upper-case name, also the driver's.
        offset: byte address.
        access: read-only, read-write, write-only, or write 1 to clear.
        doc: what it holds, with units and format.
        kind: gives width and range: a constant, a coefficient, a gain, a Q-value, an LFSR state, a number of
            rows, or named bits.
        reset: value after reset, ``None`` for "depends on the parameters" or "not readable".
        fields: its bits, where they have names.
    """

    name: str
    offset: int
    access: Access
    doc: str
    kind: Literal["const", "coef", "gain", "q", "lfsr", "states", "bits"] = "bits"
    reset: int | None = 0
    fields: tuple[Field, ...] = ()

    def width(self, params: RLUParams) -> int:
        """Significant bits of the register."""
        if self.kind == "bits":
            return max((f.lsb + f.width for f in self._present(params)), default=1)
        return {
            "const": 32,
            "coef": params.coef_width,
            "gain": params.gain_width,
            "q": params.q_width,
            "lfsr": params.lfsr_width,
            "states": params.states.bit_length(),
        }[self.kind]

    def limits(self, params: RLUParams) -> tuple[int, int]:
        """Smallest and largest value a write may carry; signed for the ``q`` kind."""
        if self.kind == "bits":
            return 0, sum(f.mask for f in self._present(params))
        return {
            "const": (0, 2**32 - 1),
            "coef": (0, params.coef_one),
            "gain": (0, 2**params.gain_width - 1),
            "q": (params.q_min, params.q_max),
            "lfsr": (1, params.lfsr_max),
            "states": (1, params.states),
        }[self.kind]

    def reset_value(self, params: RLUParams) -> int:
        """Value after reset, as the 32-bit word that a read returns."""
        if self.kind == "states":
            return params.states
        if self.name == "CONFIG":
            return params.states | params.actions << 16 | params.lfsr_width << 24
        if self.name == "EPISODES":
            return params.episodes << field_of("EPISODES", "capacity").lsb
        if self.name == "FORMATS":
            return params.q_width | params.q_frac << 8 | params.coef_frac << 16 | params.gain_frac << 24
        if self.kind == "coef" and self.reset is not None:
            return self.reset >> (15 - params.coef_frac)  # resets are written down in U1.15
        if self.kind == "gain" and self.reset is not None:
            return self.reset >> (12 - params.gain_frac)  # and in U4.12
        return (self.reset or 0) | sum(f.reset << f.lsb for f in self._present(params))

    def _present(self, params: RLUParams) -> tuple[Field, ...]:
        """The fields that a unit has."""
        return tuple(f for f in self.fields if params.episodes or not f.episodic)


@dataclass(frozen=True)
class Window:
    """A range of words that looks into a memory.

    Attributes:
        name: upper-case name.
        offset: byte address of the first word.
        doc: what a word holds.
    """

    name: str
    offset: int
    doc: str

    def words(self, params: RLUParams) -> int:
        """Words the window spans, gaps included."""
        return {
            "POLICY": (params.states + 7) // 8,
            "ACTION_COUNT": params.states,
            "Q_TABLE": params.states * 8,
        }[self.name]


CLEAR, REWARD, UPDATE, SAMPLE = (1 << bit for bit in range(4))

REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x00, "ro", 'Always 0x524C5531, "RLU1" in ASCII.', "const", ID_VALUE),
    Register(
        "VERSION",
        0x04,
        "ro",
        "Version of this register map: major in bits 31..16, minor in bits 15..0.",
        "const",
        VERSION_VALUE,
    ),
    Register(
        "CONFIG",
        0x08,
        "ro",
        "Size of this unit.",
        "bits",
        None,
        (
            Field("states", 0, 16, "rows of the Q-table"),
            Field("actions", 16, 8, "columns of the Q-table"),
            Field("lfsr_width", 24, 8, "bits of the random number generator"),
        ),
    ),
    Register(
        "FORMATS",
        0x0C,
        "ro",
        "Number formats of this unit.",
        "bits",
        None,
        (
            Field("q_width", 0, 8, "bits of a Q-value"),
            Field("q_frac", 8, 8, "fraction bits of Q-values and rewards"),
            Field("coef_frac", 16, 8, "fraction bits of coefficients"),
            Field("gain_frac", 24, 8, "fraction bits of gains"),
        ),
    ),
    Register(
        "COMMAND",
        0x10,
        "wo",
        "Starts work; several bits run in the order of the fields. Busy until all are done.",
        "bits",
        0,
        (
            Field("clear", 0, 1, "set every Q-value of every row to 0, and forget all episodes"),
            Field("reward", 1, 1, "compute REWARD and SHARE from ACCURACY, LATENCY and ENERGY"),
            Field("update", 2, 1, "update the Q-table along the policy, last row first"),
            Field("sample", 3, 1, "draw a new policy, first row first"),
        ),
    ),
    Register(
        "STATUS",
        0x14,
        "w1c",
        "State of the unit. Error flags stay set until a 1 is written to them.",
        "bits",
        0b10,
        (
            Field("busy", 0, 1, "a command is running (read-only)"),
            Field("accuracy_outlier", 1, 1, "ACCURACY <= ACCURACY_TH (read-only)"),
            Field("latency_outlier", 2, 1, "LATENCY >= LATENCY_TH (read-only)"),
            Field("energy_outlier", 3, 1, "ENERGY >= ENERGY_TH (read-only)"),
            Field(
                "error_address",
                8,
                1,
                "an access to an address that does not exist, or not a multiple of 4; a write to a read-only register",
            ),
            Field("error_busy", 9, 1, "a write, or a window read, while busy"),
            Field("error_value", 10, 1, "a write of a value outside the register's range"),
            Field("error_policy", 11, 1, "an update met an action its row does not have; that row was left alone"),
        ),
    ),
    Register("STATES", 0x18, "rw", "Rows the task uses, T.", "states", None),
    Register(
        "MODE",
        0x1C,
        "rw",
        "Variants of the algorithm.",
        "bits",
        0,
        (
            Field("full_last_reward", 0, 1, "the last row is rewarded with REWARD instead of SHARE"),
            Field(
                "episodic",
                1,
                1,
                "update stores the episode and replays stored ones; sample varies the better of those",
                episodic=True,
            ),
        ),
    ),
    Register("ALPHA", 0x20, "rw", "Learning rate.", "coef", 0x2000),
    Register("GAMMA", 0x24, "rw", "Discount.", "coef", 32440),
    Register("EPSILON", 0x28, "rw", "Probability that a row explores.", "coef", 0x8000),
    Register("LFSR", 0x2C, "rw", "State of the random number generator; write a seed, read to save it.", "lfsr", 1),
    Register("WEIGHT_A", 0x30, "rw", "Weight a of accuracy in the reward.", "coef", 0x2000),
    Register("WEIGHT_L", 0x34, "rw", "Weight b of latency in the reward.", "coef", 0x0CCD),
    Register("WEIGHT_E", 0x38, "rw", "Weight c of energy in the reward.", "coef", 0x5333),
    Register("ACCURACY_TH", 0x3C, "rw", "Accuracy at or below which the policy is an outlier.", "coef", 0),
    Register("LATENCY_TH", 0x40, "rw", "Latency from which the policy is an outlier, of full scale.", "coef", 0x8000),
    Register("ENERGY_TH", 0x44, "rw", "Energy from which the policy is an outlier, of full scale.", "coef", 0x8000),
    Register("LATENCY_HIGH", 0x48, "rw", "Latency that scores 0, of full scale.", "coef", 0x8000),
    Register("ENERGY_HIGH", 0x4C, "rw", "Energy that scores 0, of full scale.", "coef", 0x8000),
    Register("LATENCY_GAIN", 0x50, "rw", "1 / (high - low) of latency, low being what scores 1.", "gain", 0x1000),
    Register("ENERGY_GAIN", 0x54, "rw", "1 / (high - low) of energy, low being what scores 1.", "gain", 0x1000),
    Register("ACCURACY", 0x58, "rw", "Measured accuracy, a fraction.", "coef"),
    Register("LATENCY", 0x5C, "rw", "Measured latency, of full scale.", "coef"),
    Register("ENERGY", 0x60, "rw", "Measured energy, of full scale.", "coef"),
    Register(
        "REWARD",
        0x64,
        "rw",
        "Reward of the policy; computed by the reward command, or written by the host. Writing it computes SHARE.",
        "q",
    ),
    Register("SHARE", 0x68, "ro", "REWARD / STATES, rounded: the reward of each row.", "q"),
    Register(
        "CYCLES",
        0x6C,
        "ro",
        "Clock cycles the last command, or the last write of REWARD or STATES, kept the unit busy.",
        "const",
        0,
    ),
    Register(
        "IRQ_STATUS",
        0x70,
        "w1c",
        "Interrupts that are pending. Each stays set until a 1 is written to it.",
        "bits",
        0,
        (
            Field("done", 0, 1, "work has ended: a command, or the division after a write of REWARD or STATES"),
            Field("error", 1, 1, "an access or an update has set an error flag of STATUS"),
        ),
    ),
    Register(
        "IRQ_ENABLE",
        0x74,
        "rw",
        "Interrupts that raise `irq`.",
        "bits",
        0,
        (Field("done", 0, 1, "raise it when work has ended"), Field("error", 1, 1, "raise it at an error")),
    ),
    Register(
        "EPISODIC",
        0x78,
        "rw",
        "How an episodic unit samples and replays. A field that is 0 counts as 1, but for `replays`.",
        "bits",
        0,
        (
            Field("tournament", 0, 8, "stored episodes drawn for a candidate; it varies the best of them", True, 32),
            Field("candidates", 8, 4, "candidates drawn by a sample; the one with the largest Q-values wins", True, 2),
            Field("replays", 16, 8, "stored episodes drawn and learned from again by an update", True, 16),
        ),
    ),
    Register(
        "EPISODES",
        0x7C,
        "ro",
        "Episode memory. The clear command empties it; a new episode in a full one takes the place of the oldest.",
        "bits",
        None,
        (
            Field("stored", 0, 16, "episodes stored"),
            Field("capacity", 16, 16, "episodes it has room for, 0 in a unit without"),
        ),
    ),
)

WINDOWS: tuple[Window, ...] = (
    Window("POLICY", 0x0200, "Eight actions a word, four bits each: row 8*k + i in bits 4*i+3..4*i of word k."),
    Window("ACTION_COUNT", 0x0400, "One word a row: its number of actions."),
    Window(
        "Q_TABLE",
        0x2000,
        "Eight words a row (32 bytes): Q[row][2*k] in the low half of word k and "
        "Q[row][2*k+1] in the high half, each sign-extended to 16 bit. Fewer actions, fewer words a row.",
    ),
)

BY_NAME: dict[str, Register] = {register.name: register for register in REGISTERS}
WINDOW_BY_NAME: dict[str, Window] = {window.name: window for window in WINDOWS}


def field_of(register: str, field: str) -> Field:
    """The named field; raises KeyError for an unknown one."""
    return next(f for f in BY_NAME[register].fields if f.name == field)


def markdown(params: RLUParams) -> str:
    """The register map as the Markdown that docs/integrate/registers.md holds."""
    lines = ["| address | name | access | reset | range | holds |", "| --- | --- | --- | --- | --- | --- |"]
    for register in REGISTERS:
        low, high = register.limits(params)
        span = "" if register.access in ("ro", "w1c") else f"{low}..{high}"
        reset = "" if register.access == "wo" else f"0x{register.reset_value(params):X}"
        lines.append(
            f"| 0x{register.offset:03X} | {register.name} | {register.access} | {reset} | {span} | {register.doc} |"
        )
    for window in WINDOWS:
        last = window.offset + 4 * window.words(params) - 4
        lines.append(f"| 0x{window.offset:04X}..0x{last:04X} | {window.name} | rw | | | {window.doc} |")
    for register in REGISTERS:
        if register.fields:
            lines += ["", f"**{register.name}**", "", "| bits | field | meaning |", "| --- | --- | --- |"]
            for f in register.fields:
                bits = f"{f.lsb + f.width - 1}..{f.lsb}" if f.width > 1 else f"{f.lsb}"
                lines.append(f"| {bits} | {f.name} | {f.doc} |")
    return "\n".join(lines) + "\n"
