"""The unit's bus: a driver that acts as the master, a monitor of the bus rules, and the golden device behind it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from rtl.spec.buses import ADDRESS_WIDTH, ANSWER_CYCLES, EFFECT_CYCLES
from rtl.spec.params import RLUParams
from rtl.spec.registers import (
    ACTION_COUNT,
    BY_NAME,
    ERROR_FLAGS,
    Q_TABLE,
    REGISTERS,
    WINDOWS,
    Register,
    field_of,
)
from sim.devices.device import MEMORY_DATA, GoldenDevice, address_of
from tb.kit.bench import Coverage, Testbench

WORD_MASK = 0xFFFF_FFFF
STATUS = address_of("STATUS")
ERRORS = {f.name: f.mask for f in ERROR_FLAGS}
ALL_ERRORS = sum(ERRORS.values())
BUSY = field_of("STATUS", "busy").mask
IRQ_STATUS = address_of("IRQ_STATUS")
INTERRUPTS = {f.name: f.mask for f in BY_NAME["IRQ_STATUS"].fields}
#: Registers that a running command changes: until it ends, a read may return anything.
MOVING = tuple(r.name for r in REGISTERS if r.external)
BY_ADDRESS: dict[int, Register] = {register.offset: register for register in REGISTERS}


class Answer(NamedTuple):
    """The bus in the cycle of an acknowledge; ``data`` is ``None`` if it does not matter."""

    error: bool
    data: int | None


class BusModel:
    """`GoldenDevice` with additions: the error line, refusals while busy, and the exact cycle of interrupts.

    Attributes:
        device: the golden device, which carries out the accesses.
        sticky: error flags that are set.
        interrupts: value of IRQ_STATUS in this cycle.
        busy_seen: whether the unit was busy in the cycle before, which is what an access sees.
    """

    def __init__(self, params: RLUParams) -> None:
        self.params = params
        self.device = GoldenDevice(params, record=True)
        self.sticky = 0
        self.interrupts = 0
        self.busy_seen = False
        self._was_busy = False
        self._irq = False  # in the next cycle

    def cycle(self, busy: bool) -> bool:
        """Begin a clock cycle, before the access that may have its effect in it; returns whether ``irq`` is high."""
        irq = self._irq
        self.busy_seen = self._was_busy
        if self._was_busy and not busy:
            self.interrupts |= INTERRUPTS["done"]
        self._irq = bool(self.interrupts & self.device.model.registers["IRQ_ENABLE"]) and not busy
        self._was_busy = busy
        return irq

    def note_error(self, flag: str) -> None:
        """Set an error flag and its interrupt."""
        self.sticky |= ERRORS[flag]
        self.interrupts |= INTERRUPTS["error"]

    def access(self, address: int, value: int | None) -> Answer:
        """Carry out an access, or refuse it; ``value`` is ``None`` for a read."""
        busy = self.busy_seen
        if self._missing(address, value):
            return self._refuse("error_address")
        in_memory = self.params.points and address == MEMORY_DATA.offset
        if busy and (value is not None or address not in BY_ADDRESS or in_memory):
            return self._refuse("error_busy")
        if value is None:
            data = self.device.read(address)
            if in_memory and self._raised():
                return self._refuse("error_address")
            if address == STATUS:
                data = data & ~ALL_ERRORS | self.sticky | (BUSY if busy else 0)
            elif address == IRQ_STATUS:
                data = self.interrupts
            return Answer(False, data)
        self.device.write(address, value)
        raised = self._raised()
        for flag in ("error_value", "error_address"):
            if raised & ERRORS[flag]:
                return self._refuse(flag)
        if raised:  # an update met an action that its row does not have
            self.note_error("error_policy")
        if address == STATUS:
            self.sticky &= ~value
        elif address == IRQ_STATUS:
            self.interrupts &= ~value
        return Answer(False, None)

    def starts(self, address: int, value: int | None) -> bool:
        """Whether an accepted write of ``value`` makes the unit busy."""
        if value is None:
            return False
        command = address == address_of("COMMAND") and value != 0
        return command or address in (address_of("REWARD"), address_of("STATES"))

    def _missing(self, address: int, value: int | None) -> bool:
        register = BY_ADDRESS.get(address)
        if register is not None:
            return value is not None and not register.access.writable
        self.device.read(address)
        return bool(self._raised() & ERRORS["error_address"])

    def _refuse(self, flag: str) -> Answer:
        self.note_error(flag)
        return Answer(True, 0)

    def _raised(self) -> int:
        """Return and clear the error flags of the device."""
        flags = self.device.read(STATUS) & ALL_ERRORS
        if flags:
            self.device.write(STATUS, flags)
        return flags


class BusDriver:
    """Acts as the master, with random gaps, and checks the handshake in every cycle.

    Checked: the acknowledge comes `ANSWER_CYCLES` after the access was taken, for one cycle only, and ``err`` only with
    it.

    Attributes:
        stage: cycles since the access in progress was taken; ``None`` if there is none.

    Args:
        bench: the bench whose block has the bus.
        cover: its coverage, with a point ``gap``.
        each_cycle: called in every cycle, when the outputs have settled; the argument says whether an
            access has its effect in this cycle.
    """

    GAPS = ("none, next access shown early", "none", "one cycle", "longer")

    def __init__(self, bench: Testbench, cover: Coverage, each_cycle: Callable[[bool], None]) -> None:
        self._bench = bench
        self._cover = cover
        self._each_cycle = each_cycle
        self.stage: int | None = None
        self._answer = (False, 0)

    async def access(self, address: int, value: int | None = None) -> Answer:
        """Write ``value``, or read if it is ``None``, after some idle cycles."""
        gap = random.choice((0, 0, 0, 0, 0, 0, 1, random.randint(2, 4)))
        if gap == 0:
            self._cover.hit("gap", "none")
        else:
            self._cover.hit("gap", "one cycle" if gap == 1 else "longer")
        for _ in range(gap):
            await self.idle()
        self._show(address, value)
        for self.stage in range(ANSWER_CYCLES):
            await self._cycle()
        # The answer has come: the master may already show another access, which is not taken yet.
        self.stage = ANSWER_CYCLES
        behaviour = random.choice(("hold", "let go", "early"))
        if behaviour == "let go":
            self._bench.driver.set(bus__req=0)
        elif behaviour == "early":
            self._show(random.getrandbits(ADDRESS_WIDTH), random.choice((None, random.getrandbits(32))))
            self._cover.hit("gap", "none, next access shown early")
        await self._cycle()
        self.stage = None
        error, data = self._answer
        return Answer(error, data)

    async def idle(self) -> None:
        """A cycle without a request, and with random values on the other lines."""
        self._show(random.getrandbits(ADDRESS_WIDTH), random.choice((None, random.getrandbits(32))))
        self._bench.driver.set(bus__req=0)
        await self._cycle()

    def _show(self, address: int, value: int | None) -> None:
        data = random.getrandbits(32) if value is None else value
        self._bench.driver.set(bus__req=1, bus__we=int(value is not None), bus__addr=address, bus__wdata=data)

    async def _cycle(self) -> None:
        bench = self._bench
        await bench.settle()
        acknowledged = bench.monitor["bus__ack"]
        bench.checker.equal("bus__ack", int(self.stage == ANSWER_CYCLES), acknowledged)
        error = bench.monitor["bus__err"]
        if not acknowledged:
            bench.checker.equal("bus__err without acknowledge", 0, error)
        else:
            self._answer = (bool(error), bench.monitor["bus__rdata"])
        self._each_cycle(self.stage == EFFECT_CYCLES)
        await bench.advance()


def compare(bench: Testbench, what: str, expected: Answer, got: Answer) -> None:
    """Compare the error line and, for a read, the word."""
    bench.checker.equal(f"bus__err of {what}", expected.error, got.error)
    if expected.data is not None:
        bench.checker.equal(f"word of {what}", f"0x{expected.data:08X}", f"0x{got.data:08X}")


def describe(address: int, value: int | None) -> str:
    """An access in words."""
    name = region(address)
    if name in BY_NAME:
        where = name
    else:
        where = f"{name} at 0x{address:04X}"
    return f"reading {where}" if value is None else f"writing 0x{value:08X} to {where}"


def region(address: int) -> str:
    """Name of the register or window at an address, ``nothing`` if there is none near it."""
    if address in BY_ADDRESS:
        return BY_ADDRESS[address].name
    for window in WINDOWS:
        if window.offset <= address < window.offset + window.span:
            return window.name
    return "nothing"


def random_address(params: RLUParams) -> int:
    """A random address: of a register, in or next to a window, or any."""
    kind = random.random()
    if kind < 0.55:
        return random.choice(REGISTERS).offset
    if kind < 0.9:
        return window_address(params)
    if kind < 0.95:
        return random.choice(REGISTERS).offset + random.randint(1, 3)
    return random.getrandbits(ADDRESS_WIDTH)


def window_address(params: RLUParams) -> int:
    """A random address in a window, mostly one that exists."""
    window = random.choice(WINDOWS)
    words = window.words(params)
    word = random.choice((0, words - 1, random.randrange(words), random.randrange(words), words))
    if window is Q_TABLE and random.random() < 0.8:  # the others have no gaps
        word = word // window.words_per_row * window.words_per_row + random.randrange(window.used_words(params))
    return (window.offset + 4 * word) % (1 << ADDRESS_WIDTH)


def random_plan(params: RLUParams) -> int:
    """A value of PLANNING with which a plan does not take long; 0 for a unit that does not plan."""
    few = {"climbs": random.randrange(4), "sweeps": random.randrange(3), "passes": random.randrange(3)}
    words = (few.get(field.name, random.getrandbits(field.width)) << field.lsb for field in BY_NAME["PLANNING"].fields)
    return sum(words) if params.points else 0


def random_word(params: RLUParams, address: int) -> int:
    """A random word to write: mostly an allowed one, often at the ends of the range or just beyond."""
    register = BY_ADDRESS.get(address)
    if register is not None:
        low, high = register.limits(params)
        if register.name == "PLANNING" and random.random() < 0.9:
            return random_plan(params)
        if register.number is None:
            fields = random.getrandbits(32) & high
            return random.choice((fields, fields, fields, high, fields | 1 << random.randrange(32)))
        inside = random.randint(low, high)
        return random.choice((low, high, low - 1, high + 1, inside, inside, inside, random.getrandbits(32))) & WORD_MASK
    name = region(address)
    if name == ACTION_COUNT.name:
        count = random.randint(1, params.actions)
        return random.choice((count, count, count, 1, params.actions, 0, params.actions + 1, random.getrandbits(32)))
    if name == Q_TABLE.name:
        halves = [
            random.choice((params.q_min, params.q_max, 0, *[random.randint(params.q_min, params.q_max)] * 6))
            for _ in range(2)
        ]
        if random.random() < 0.2:
            halves[random.randrange(2)] = random.choice((params.q_min - 1, params.q_max + 1, random.getrandbits(16)))
        return Q_TABLE.pack(halves)[0]
    return random.getrandbits(32)
