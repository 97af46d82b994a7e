"""Bench of `rtl.unit.register_file.RegisterFile`, compared with the golden device.

The bench acts as the rest of the unit.

Timing checked: acknowledge and error line come four cycles after the access was taken; the strobes of a write last one
cycle, two cycles after it; the memories are read in that cycle and answer two later; ``irq`` in every cycle.
"""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import cocotb

from rtl.spec.buses import ADDRESS_WIDTH, EFFECT_CYCLES
from rtl.spec.params import MAX_ACTIONS, MAX_STATES
from rtl.spec.registers import POLICY, Q_TABLE, REGISTERS, WINDOW_BY_NAME
from rtl.unit.register_file import settings_layout
from sim.devices.device import GoldenDevice, address_of
from sim.model.golden import GoldenModel
from tb.kit.bench import Setup, Testbench, pack
from tb.kit.bus import (
    BY_ADDRESS,
    ERRORS,
    INTERRUPTS,
    IRQ_STATUS,
    STATUS,
    WORD_MASK,
    Answer,
    BusDriver,
    BusModel,
    compare,
    describe,
    random_address,
    random_word,
    region,
)

SETUP = Setup()
PARAMS = SETUP.params
COVER = SETUP.cover
LAYOUT = settings_layout(PARAMS)


def _access_bins() -> list[str]:
    bins = ["read nothing", "write nothing", "misaligned"]
    for register in REGISTERS:
        bins += [f"read {register.name}", f"read {register.name} while busy", f"write {register.name}"]
        if register.access.writable:
            bins.append(f"write {register.name} while busy")
            bins.append(f"write {register.name} out of range")
    for name in WINDOW_BY_NAME:
        bins += [f"{what} {name}{when}" for what in ("read", "write") for when in ("", " while busy")]
        bins += [f"read beyond {name}", f"write beyond {name}"] if _has_gap(name) else []
    bins.append("write ACTION_COUNT out of range")
    if PARAMS.q_width < 16:
        bins.append("write Q_TABLE out of range")
    return bins


def _has_gap(name: str) -> bool:
    """Whether this unit uses only a part of the window."""
    return PARAMS.states < MAX_STATES or (name == "Q_TABLE" and PARAMS.actions < MAX_ACTIONS - 1)


COVER.points(
    access=_access_bins(),
    gap=BusDriver.GAPS,
    command=range(16),
    raised=list(ERRORS),
    cleared=list(ERRORS),
    kept_by_a_clear_of_others=list(ERRORS),
    interrupt=[
        "raised",
        "withdrawn while busy",
        *(f"{name} {what}" for name in INTERRUPTS for what in ("read", "cleared", "kept", "enabled alone")),
    ],
    states_written=["lowest", "highest"],
    q_pair=range(Q_TABLE.used_words(PARAMS)),
)

STROBES = (
    "command",
    "states_written",
    "lfsr_load",
    "reward_load",
    "policy_write",
    "count_write",
    "q_write_mask",
)


class WithoutUpdater(GoldenModel):
    """Does not update: this bench has no updater, and reports refused actions itself."""

    def update(self) -> None:
        pass


class RegisterFileBench(Testbench):
    """Accesses the bus like a master, and acts as the memories and blocks behind the register file.

    Attributes:
        model: bus and golden device.
        memory: everything that the block's strobes have written, to compare with the golden model's memories.
    """

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = BusModel(PARAMS)
        self.model.device.model = WithoutUpdater(PARAMS, record=True)
        self.bus = BusDriver(self, COVER, self._watch)
        self.memory = GoldenModel(PARAMS)
        self.busy = False
        self._busy_seen = False  # by the last access
        self._busy_next = False
        self._busy_stage = 0  # of the access, in which that comes
        self._rows = [0, 0]  # asked for in the two cycles before
        self._irq = False
        self._pending: tuple[int, int | None] = (0, None)
        self._expected = Answer(False, None)
        self._strobes = dict.fromkeys(STROBES, 0)
        self._policy_error = False

    @property
    def device(self) -> GoldenDevice:
        return self.model.device

    async def access(self, address: int, value: int | None = None) -> Answer:
        """One access, with all comparisons: answer, strobes, stored registers."""
        self._busy_next, self._busy_stage = random.random() < 0.25, random.randint(0, EFFECT_CYCLES)
        before = self.model.sticky
        self._pending = address, value
        self._drive_blocks()
        got = await self.bus.access(address, value)
        expected = self._expected
        compare(self, describe(address, value), expected, got)
        golden = self.device.model
        stored = self.monitor["values"]
        for name, field in LAYOUT:
            word = stored >> field.offset & ((1 << field.width) - 1)
            self.checker.equal(f"stored {name}", golden.registers[name.upper()], word)
        self._note(address, value, expected, before)
        return got

    async def refuse_an_action(self) -> None:
        """The updater reports an action that its row does not have."""
        self._policy_error = True
        await self.bus.idle()
        self._policy_error = False
        self.model.note_error("error_policy")
        COVER.hit("raised", "error_policy")

    def _expect_strobes(self, address: int, value: int | None, answer: Answer) -> None:
        self._strobes = dict.fromkeys(STROBES, 0)
        if value is None or answer.error:
            return
        name = region(address)
        if name == "COMMAND":
            self._strobes["command"] = value
        elif name == "Q_TABLE":
            place = Q_TABLE.place(address, PARAMS)
            assert place is not None, "the access was not refused"
            self._strobes["q_write_mask"] = 3 << place[1] & ((1 << PARAMS.actions) - 1)
            COVER.hit("q_pair", place[1] // 2)
        strobe = {
            "STATES": "states_written", "LFSR": "lfsr_load", "REWARD": "reward_load",
            "POLICY": "policy_write", "ACTION_COUNT": "count_write",
        }.get(name)  # fmt: skip
        if strobe:
            self._strobes[strobe] = 1
        self._written = value

    def _drive_blocks(self) -> None:
        """Registers held by other blocks get the golden model's values."""
        model = self.device.model
        missed = model.outlier()
        self.driver.set(
            lfsr=model.registers["LFSR"], reward=model.registers["REWARD"], share=model.share,
            cycles=self.device.read(address_of("CYCLES")),
            accuracy_outlier=missed[0], latency_outlier=missed[1], energy_outlier=missed[2],
        )  # fmt: skip

    def _watch(self, effect: bool) -> None:
        """In a settled cycle, compare ``irq`` and the strobes, and do what the strobes say."""
        irq = self.model.cycle(self.busy)
        self.checker.equal("irq", int(irq), self.monitor["irq"])
        if irq and not self._irq:
            COVER.hit("interrupt", "raised")
        if self._irq and self.busy and not irq:
            COVER.hit("interrupt", "withdrawn while busy")
        self._irq = irq
        if effect:
            address, value = self._pending
            self._note_interrupts(address, value)
            self._busy_seen = self.model.busy_seen
            self._expected = self.model.access(address, value)
            self._expect_strobes(address, value, self._expected)
        out = self.monitor.sample((*STROBES, "row", "word"))
        for name in STROBES:
            self.checker.equal(name, self._strobes[name] if effect else 0, out[name])
        row, word, memory = out["row"], out["word"], self.memory
        if any(out[name] for name in STROBES):
            self.checker.equal("word", self._written, word)
        if out["policy_write"]:
            first = row // POLICY.rows_per_word * POLICY.rows_per_word
            actions = POLICY.unpack([word], POLICY.entries_per_word)
            memory.policy[first : first + len(actions)] = actions
        if out["count_write"]:
            memory.counts[row] = word & 0x1F
        for bank in range(PARAMS.actions):
            if out["q_write_mask"] >> bank & 1:
                memory.q[row][bank] = Q_TABLE.unpack([word], 2)[bank % 2]
        self._rows = [*self._rows[1:], row]

    async def settle(self) -> None:
        """The memories answer for the row of two cycles ago; the unit may become busy, or idle."""
        row, memory = self._rows[0], self.memory
        if self.bus.stage == self._busy_stage:
            self.busy = self._busy_next
        if row >= PARAMS.states:
            row = 0
        first = row // POLICY.rows_per_word * POLICY.rows_per_word
        self.driver.set(
            q_row=pack(memory.q[row], PARAMS.q_width), count=memory.counts[row],
            policy_word=POLICY.pack(memory.policy[first : first + POLICY.entries_per_word])[0],
            busy=self.busy, bad_action=self._policy_error,
        )  # fmt: skip
        await super().settle()

    def check_memories(self) -> None:
        """Check that everything written so far has arrived in the same place as in the golden device."""
        golden = self.device.model
        self.checker.equal("policy", golden.policy, self.memory.policy)
        self.checker.equal("action counts", golden.counts, self.memory.counts)
        self.checker.equal("Q-table", golden.q, self.memory.q)

    def follow_commands(self) -> None:
        """Copy the changes that the golden device's commands made in its memories."""
        golden = self.device.model
        self.memory.policy = list(golden.policy)
        self.memory.q = [list(row) for row in golden.q]
        golden.events.clear()

    def _note(self, address: int, value: int | None, answer: Answer, before: int) -> None:
        what, name = "read" if value is None else "write", region(address)
        raised = self.model.sticky & ~before
        refused_as = next((flag for flag, mask in ERRORS.items() if answer.error and raised & mask), None)
        if address % 4:
            COVER.hit("access", "misaligned")
        elif self._missing(address) and name != "nothing":
            COVER.hit("access", f"{what} beyond {name}")
        elif answer.error and not self._busy_seen and value is not None and name in _WRITABLE:
            COVER.hit("access", f"write {name} out of range")
        else:
            COVER.hit("access", f"{what} {name}" + (" while busy" if self._busy_seen else ""))
        if refused_as:
            COVER.hit("raised", refused_as)
        if address == STATUS and value is not None and not answer.error:
            for flag, mask in ERRORS.items():
                if before & mask:
                    COVER.hit("cleared" if value & mask else "kept_by_a_clear_of_others", flag)
        if value is not None and not answer.error:
            if name == "COMMAND":
                COVER.hit("command", value)
            elif name == "STATES":
                ends = {1: "lowest", PARAMS.states: "highest"}
                COVER.hit("states_written", ends.get(value))
                if PARAMS.states == 1:
                    COVER.hit("states_written", "lowest")

    def _note_interrupts(self, address: int, value: int | None) -> None:
        """Cover the interrupts around an access that is about to be taken."""
        pending, enabled = self.model.interrupts, self.device.model.registers["IRQ_ENABLE"]
        for name, mask in INTERRUPTS.items():
            if enabled == mask and pending & mask:
                COVER.hit("interrupt", f"{name} enabled alone")
            if address == IRQ_STATUS and pending & mask and not self.model.busy_seen:
                if value is None:
                    COVER.hit("interrupt", f"{name} read")
                elif value <= sum(INTERRUPTS.values()):
                    COVER.hit("interrupt", f"{name} cleared" if value & mask else f"{name} kept")

    @staticmethod
    def _missing(address: int) -> bool:
        if address in BY_ADDRESS:
            return False
        _PROBE.write(STATUS, ERRORS["error_address"])
        _PROBE.read(address)
        return bool(_PROBE.read(STATUS) & ERRORS["error_address"])


_PROBE = GoldenDevice(PARAMS)  # used only to check whether an address exists
_WRITABLE = {r.name for r in REGISTERS if r.access.writable} | set(WINDOW_BY_NAME)


@cocotb.test()
async def power_up(dut: Any) -> None:
    """Every register has its reset value."""
    bench = RegisterFileBench(dut)
    await bench.start()
    for register in REGISTERS:
        got = await bench.access(register.offset)
        # The bench makes the unit busy at times, which sets IRQ_STATUS.
        if register.access.readable and register.name not in ("STATUS", "IRQ_STATUS"):
            bench.checker.equal(f"reset value of {register.name}", register.reset_value(PARAMS), got.data)


@cocotb.test()
async def every_register(dut: Any) -> None:
    """Reads and writes of every register at the ends of its range, just beyond them, and between."""
    bench = RegisterFileBench(dut)
    await bench.start()
    for _ in range(6 * SETUP.effort):
        for register in REGISTERS:
            low, high = register.limits(PARAMS)
            for value in (low, high, high + 1, low - 1, random.randint(low, high)):
                await bench.access(register.offset, value & WORD_MASK)
                bench.follow_commands()
                await bench.access(register.offset)


@cocotb.test()
async def one_bit_more(dut: Any) -> None:
    """A legal value with one additional bit, each of the 32, in every register and memory."""
    bench = RegisterFileBench(dut)
    await bench.start()
    legal = {register.offset: register.limits(PARAMS)[0] for register in REGISTERS}
    for address, low in (legal | {window.offset: 1 for window in WINDOW_BY_NAME.values()}).items():
        for bit in range(32):
            await bench.access(address, (low | 1 << bit) & WORD_MASK)
            bench.follow_commands()


@cocotb.test()
async def one_address_bit(dut: Any) -> None:
    """Reads and writes at addresses one bit away from every register and from both ends of every memory."""
    bench = RegisterFileBench(dut)
    await bench.start()
    ends = [(window.offset, window.offset + 4 * window.words(PARAMS) - 4) for window in WINDOW_BY_NAME.values()]
    for address in (*(register.offset for register in REGISTERS), *chain(*ends)):
        for bit in range(ADDRESS_WIDTH):
            for value in (None, 1):
                await bench.access(address ^ 1 << bit, value)
                bench.follow_commands()


@cocotb.test()
async def error_flags(dut: Any) -> None:
    """The cause of each flag sets it; it stays set, and only its own bit clears it."""
    bench = RegisterFileBench(dut)
    await bench.start()
    for _ in range(60 * SETUP.effort):
        for address, value in (
            (random.choice((0x80, 0x1FC, 0x12, 0x3FF)), random.choice((None, 0))),
            (address_of("ID"), 0),
            (address_of("ALPHA"), PARAMS.coef_one + 1),
            (address_of("ACTION_COUNT"), 0),
        ):
            await bench.access(address, value)
        await bench.refuse_an_action()
        await bench.access(STATUS)
        await bench.access(
            STATUS,
            random.choice((*ERRORS.values(), *(a | b for a in ERRORS.values() for b in ERRORS.values()))),
        )
        await bench.access(STATUS)


@cocotb.test()
async def interrupts(dut: Any) -> None:
    """Interrupts in all combinations, cleared in any order."""
    bench = RegisterFileBench(dut)
    await bench.start()
    for _ in range(200 * SETUP.effort):
        await bench.access(address_of("IRQ_ENABLE"), random.choice((None, *range(4))))
        if random.random() < 0.5:
            await bench.refuse_an_action()
        for _ in range(random.randint(1, 3)):
            address = random.choice((IRQ_STATUS, IRQ_STATUS, STATUS, address_of("ID")))
            await bench.access(address, random.choice((None, *range(4))))


@cocotb.test()
@cocotb.parametrize(writes=[0.3, 0.9])
async def random_traffic(dut: Any, writes: float) -> None:
    """Any access to any address, with the unit busy at times."""
    bench = RegisterFileBench(dut)
    await bench.start()
    for _ in range(1500 * SETUP.effort):
        address = random_address(PARAMS)
        value = random_word(PARAMS, address) if random.random() < writes else None
        if address == address_of("COMMAND") and value is not None and random.random() < 0.7:
            value = random.randrange(16)
        answer = await bench.access(address, value)
        if address == address_of("COMMAND") and value is not None and not answer.error:
            bench.follow_commands()
        if random.random() < 0.05:
            await bench.refuse_an_action()
    bench.check_memories()


@cocotb.test()
async def every_command(dut: Any) -> None:
    """Every combination of the command bits gives strobes of one cycle."""
    bench = RegisterFileBench(dut)
    await bench.start()
    commands = 4 * list(range(16))
    random.shuffle(commands)
    for command in commands:
        await bench.access(address_of("COMMAND"), command)
        bench.follow_commands()


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
