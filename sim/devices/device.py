"""The host's view of an RL unit: reads and writes of its registers, and waits, wherever the unit runs.

Devices are interchangeable: the driver does not know which one it has. They are the golden model here, the
simulated RTL in `sim.simulators.simulator`, and a board on a serial port in `sim.devices.serial_device`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from rtl.spec.buses import ADDRESS_WIDTH, DATA_WIDTH
from rtl.spec.params import RLUParams, clear_cycles, reward_cycles, share_cycles
from rtl.spec.registers import (
    BY_NAME,
    CLEAR,
    MEMORIES,
    POLICY,
    Q_TABLE,
    RECOMMEND,
    REGISTERS,
    REWARD,
    SAMPLE,
    UPDATE,
    WINDOW_BY_NAME,
    WINDOWS,
    Register,
    Window,
    field_of,
)
from sim.model.golden import Event, GoldenModel

READ, WRITE, WAIT, RESET = range(4)
MEMORY_DATA, _NEXT = BY_NAME["MEMORY_DATA"], field_of("PLAN", "next")
_DONE, _ERROR = (field_of("IRQ_STATUS", name).mask for name in ("done", "error"))


class Op(NamedTuple):
    """One step of a transaction.

    Attributes:
        kind: ``READ`` a word, ``WRITE`` a word, ``WAIT`` until the unit is idle, or ``RESET`` it (golden model and
            simulation only).
        address: byte address, 0 for a wait or a reset.
        value: 32-bit word to write, 0 otherwise.
    """

    kind: int
    address: int = 0
    value: int = 0


class Pins(NamedTuple):
    """The unit's outputs when it answers an access: each 0 or 1.

    Attributes:
        busy: a command is running, which may be one that this access started.
        irq: interrupt request, after the effect of this access.
        err: the access is refused.
    """

    busy: int
    irq: int
    err: int


class DeviceError(RuntimeError):
    """The device cannot be reached any more; what the host has saved stays valid."""


class Device(Protocol):
    """A register-level connection to an RL unit."""

    def transact(self, ops: Sequence[Op]) -> list[int]:
        """Carry out ``ops`` in order; returns the words read. Raises DeviceError if the device is gone."""
        ...

    def close(self) -> None:
        """Release the device; may be called twice."""
        ...


class GoldenDevice:
    """Register-accurate model of the unit, including the sticky error flags, CYCLES and interrupts.

    By default its commands take no time: the unit is never busy, and ``error_busy`` is never set. With
    ``busy_until_wait`` a command does its work at the next ``WAIT``. Until then the unit is busy and refuses what the
    hardware refuses; a ``RESET`` drops the command.

    Attributes:
        model: the golden model, which computes.
        irq_status: the pending interrupts, as IRQ_STATUS reads.
        pins: the outputs at every access since the list was last emptied, if ``record`` is set.
    """

    def __init__(self, params: RLUParams, *, record: bool = False, busy_until_wait: bool = False) -> None:
        self.params = params
        self.model = GoldenModel(params, record=record)
        self.irq_status = 0
        self.pins: list[Pins] = []
        self._short = False  # the work takes a single cycle
        self._record = record
        self._flags = 0
        self._cycles = 0
        self._refused = False
        self._busy_until_wait = busy_until_wait
        self._work: Callable[[], None] | None = None  # the work that a command has started
        self._by_address = {r.offset: r for r in REGISTERS}
        self._places: dict[int, tuple[str, int, int] | None] = {}  # by address; filled when asked for

    def transact(self, ops: Sequence[Op]) -> list[int]:
        """Carry out ``ops`` in order; returns the words read."""
        check_ops(ops)
        answers = []
        for op in ops:
            self._refused = False
            if op.kind == READ:
                answers.append(self.read(op.address))
            elif op.kind == WRITE:
                self.write(op.address, op.value)
            elif op.kind == WAIT:
                self._finish()
            else:
                self.reset()
            if self._record and op.kind in (READ, WRITE):
                self.pins.append(Pins(int(self.busy and not self._short), int(self.irq), int(self._refused)))
        return answers

    def reset(self) -> None:
        """Do what the unit's reset does: the memories stay, everything else is as at power-up."""
        before = self.model
        self.model = GoldenModel(self.params, record=self._record)
        self.model.q, self.model.policy, self.model.counts = before.q, before.policy, before.counts
        self.model.memory = before.memory
        self.model.planner.costs, self.model.planner.trials = before.planner.costs, before.planner.trials
        self.model.events = before.events
        self.irq_status = self._flags = self._cycles = 0
        self._work = None

    def close(self) -> None:
        """Nothing to release."""

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self.model.events = self.model.events, []
        return events

    @property
    def irq(self) -> bool:
        """The interrupt request: an enabled bit of IRQ_STATUS is set, and the unit is not busy."""
        return bool(self.irq_status & self.model.registers["IRQ_ENABLE"]) and not self.busy

    @property
    def busy(self) -> bool:
        """Whether a command waits for the next ``WAIT``."""
        return self._work is not None

    def read(self, address: int) -> int:
        """One bus read: the word, 0 for an address that does not exist."""
        register = self._by_address.get(address)
        if register is not None:
            return self._memory_read() if register is MEMORY_DATA else self._register_value(register) & 0xFFFF_FFFF
        place = self._window(address)
        if place is None:
            self._set_flag("error_address")
            return 0
        if self.busy:
            self._set_flag("error_busy")
            return 0
        window, row, column = place
        if window is POLICY:
            return window.pack(self.model.policy[row : row + window.entries_per_word])[0]
        if window is Q_TABLE:
            return window.pack(self.model.q[row][column : column + window.entries_per_word])[0]
        return self.model.counts[row]

    def write(self, address: int, value: int) -> None:
        """One bus write; a refused one only sets a sticky flag."""
        register = self._by_address.get(address)
        if register is not None:
            self._write_register(register, value)
            return
        place = self._window(address)
        if place is None:
            self._set_flag("error_address")
            return
        if self.busy:
            self._set_flag("error_busy")
            return
        window, row, column = place
        model, entries = self.model, window.unpack([value], window.entries_per_word)
        if window is POLICY:
            model.policy[row : row + len(entries)] = entries
        elif window is Q_TABLE:
            if all(self.params.q_min <= entry <= self.params.q_max for entry in entries):
                for i, entry in zip(range(column, self.params.actions), entries, strict=False):
                    model.q[row][i] = entry
            else:
                self._set_flag("error_value")
        elif 1 <= value <= self.params.actions:
            model.counts[row] = value
        else:
            self._set_flag("error_value")

    def _register_value(self, register: Register) -> int:
        if register.name == "STATUS":
            status = self._flags
            names = ("accuracy_outlier", "latency_outlier", "energy_outlier")
            for name, missed in zip(names, self.model.outlier(), strict=True):
                status |= missed << field_of("STATUS", name).lsb
            if self.model.bad_action:
                status |= field_of("STATUS", "error_policy").mask
            return status | (field_of("STATUS", "busy").mask if self.busy else 0)
        if register.name == "SHARE":
            return self.model.share
        if register.name == "CYCLES":
            return self._cycles
        if register.name == "IRQ_STATUS":
            return self.irq_status
        if register.name == "EPISODES":
            return register.reset_value(self.params) | len(self.model.episodes)
        if register.name == "PLAN" and self.params.points:
            return register.reset_value(self.params) | self.model.planner.predicted | self.model.next << _NEXT.lsb
        return self.model.registers.get(register.name, register.reset_value(self.params))

    def _write_register(self, register: Register, word: int) -> None:
        low, high = register.limits(self.params)
        value = _signed(word) if register.signed else word
        legal = low <= value <= high if register.number else (value & ~high) == 0
        if not register.access.writable:
            self._set_flag("error_address")
        elif self.busy:
            self._set_flag("error_busy")
        elif not legal:
            self._set_flag("error_value")
        elif register.name == "STATUS":
            self._flags &= ~value
            if value & field_of("STATUS", "error_policy").mask:
                self.model.bad_action = False
        elif register.name == "IRQ_STATUS":
            self.irq_status &= ~value
        elif register.name == "COMMAND":
            if value:
                self._begin(partial(self._command, value))
                # Without planning this takes one cycle, which is over when the write is answered.
                self._short = value == RECOMMEND and not self.model.planning
        elif register is MEMORY_DATA:
            self._memory_write(value)
        else:
            self.model.registers[register.name] = value
            if register.name in ("REWARD", "STATES"):
                self._begin(self._divide)

    def _begin(self, work: Callable[[], None]) -> None:
        self._work, self._short = work, False
        if not self._busy_until_wait:
            self._finish()

    def _finish(self) -> None:
        """Do the work that a command has started."""
        work, self._work = self._work, None
        if work is not None:
            work()
            self.irq_status |= _DONE

    def _divide(self) -> None:
        self.model.compute_share()
        self._cycles = share_cycles(self.params)

    def _command(self, bits: int) -> None:
        jobs: tuple[tuple[int, Callable[[], None], int | None], ...] = (
            (CLEAR, self.model.clear, clear_cycles(self.params)),
            (REWARD, self.model.compute_reward, reward_cycles(self.params)),
            (UPDATE, self.model.update, None),
            (SAMPLE, self.model.sample, None),
            (RECOMMEND, self.model.recommend, None),
        )
        self._cycles = 0
        bad_action_before, self.model.bad_action = self.model.bad_action, False
        for bit, job, cycles in jobs:
            if bits & bit:
                job()
                self._cycles += self.model.cycles if cycles is None else cycles
        self.irq_status |= _ERROR if self.model.bad_action else 0
        self.model.bad_action |= bad_action_before

    def _memory_read(self) -> int:
        """The word of a planning unit's memory that MEMORY_ADDRESS selects."""
        if self.params.points and self.busy:
            self._set_flag("error_busy")
            return 0
        place = self._memory_place()
        if place is None:
            if self.params.points:
                self._set_flag("error_address")
            return 0
        return self.model.planner.read(*place)

    def _memory_write(self, word: int) -> None:
        place = self._memory_place()
        if place is not None:
            self.model.planner.write(*place, word)
            field = field_of("MEMORY_ADDRESS", "word")
            address = self.model.registers["MEMORY_ADDRESS"]
            self.model.registers["MEMORY_ADDRESS"] = address & ~field.mask | (address + 1) & field.mask
        elif self.params.points:
            self._set_flag("error_address")

    def _memory_place(self) -> tuple[str, int] | None:
        """Memory and word that MEMORY_ADDRESS selects; ``None`` if the unit has no such word."""
        address = self.model.registers["MEMORY_ADDRESS"]
        memory = MEMORIES[field_of("MEMORY_ADDRESS", "memory").of(address)]
        word = field_of("MEMORY_ADDRESS", "word").of(address)
        return (memory.name, word) if memory.holds(word, self.params) else None

    def _window(self, address: int) -> tuple[Window, int, int] | None:
        """Window, row and column of the first entry at an address."""
        if address not in self._places:
            found = ((window.name, window.place(address, self.params)) for window in WINDOWS)
            self._places[address] = next(((name, *place) for name, place in found if place), None)
        place = self._places[address]
        return (WINDOW_BY_NAME[place[0]], *place[1:]) if place else None

    def _set_flag(self, name: str) -> None:
        self._flags |= field_of("STATUS", name).mask
        self.irq_status |= _ERROR
        self._refused = True


def check_ops(ops: Sequence[Op]) -> None:
    """Raise ValueError for an address or a word that is too wide for the bus."""
    for op in ops:
        if not 0 <= op.address < 1 << ADDRESS_WIDTH or not 0 <= op.value < 1 << DATA_WIDTH:
            raise ValueError(
                f"the bus carries addresses below 0x{1 << ADDRESS_WIDTH:X} and words of {DATA_WIDTH} bits, "
                f"not address 0x{op.address:X} with word 0x{op.value:X}"
            )


def address_of(name: str) -> int:
    """Byte address of the register or window ``name``."""
    return BY_NAME[name].offset if name in BY_NAME else WINDOW_BY_NAME[name].offset


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
