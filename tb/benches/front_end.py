"""Common parts of the standard buses' benches: the golden unit behind a wrapper, and a monitor of its ports."""

from __future__ import annotations

import logging
import random
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from itertools import chain
from typing import Any, NamedTuple

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, Timer

from rtl.spec.params import RLUParams
from rtl.spec.registers import ACTION_COUNT, CLEAR, POLICY, REGISTERS, REWARD, SAMPLE, UPDATE, WINDOW_BY_NAME
from sim.devices.device import GoldenDevice, address_of
from sim.model.golden import Event
from sim.simulators.simulator import decode_probe
from tb.kit.bench import Setup, Testbench
from tb.kit.bus import ERRORS, INTERRUPTS, IRQ_STATUS, MOVING, STATUS, WORD_MASK, BusModel, region

Sample = dict[str, int]


class Access(NamedTuple):
    """A wrapper's access to the unit; ``value`` is ``None`` for a read."""

    address: int
    value: int | None


class Expected(NamedTuple):
    """The unit's answer: whether it refuses, the word read, and a mask of its certain bits."""

    error: bool
    data: int
    mask: int


class Follower:
    """The golden unit, cycle by cycle: takes the access of each cycle and returns the unit's outputs.

    Attributes:
        model: bus model and golden device.
        events: events that the probe port must still show, by kind, in order.
    """

    def __init__(self, params: RLUParams) -> None:
        self.model = BusModel(params)
        self.events: dict[type[Event], deque[Event]] = defaultdict(deque)
        self._cycle = 0
        self._busy_from, self._busy_cycles = 0, 0

    @property
    def device(self) -> GoldenDevice:
        return self.model.device

    @property
    def busy(self) -> bool:
        """Whether the unit is busy in the current cycle."""
        return self._busy_from <= self._cycle < self._busy_from + self._busy_cycles

    def reset(self) -> None:
        """Reset the registers; the memories stay."""
        before = self.device.model
        self.model = BusModel(self.model.params)
        after = self.device.model
        after.q, after.policy, after.counts = before.q, before.policy, before.counts
        self._busy_cycles = 0
        self.events.clear()

    def cycle(self, access: Access | None) -> tuple[bool, bool, Expected | None]:
        """One clock cycle in which ``access`` is carried out, if any: ``busy``, ``irq``, and its answer."""
        busy = self.busy
        irq = self.model.cycle(busy)
        expected = None
        if access is not None:
            address, value = access
            answer = self.model.access(address, value)
            expected = Expected(answer.error, answer.data or 0, self._certain(address, value))
            if not answer.error and self.model.starts(address, value):
                self._busy_from, self._busy_cycles = self._cycle + 1, self.device.read(address_of("CYCLES"))
        self._cycle += 1
        for event in self.device.events():
            self.events[type(event)].append(event)
        return busy, irq, expected

    def _certain(self, address: int, value: int | None) -> int:
        """Bits of the answer that are certain."""
        busy = self.model.busy_seen
        if value is not None or (busy and region(address) in MOVING):
            return 0
        if busy and self.model.sticky & ERRORS["error_policy"]:
            # It is not known whether the running update has already met its illegal action.
            return WORD_MASK & ~{STATUS: ERRORS["error_policy"], IRQ_STATUS: INTERRUPTS["error"]}.get(address, 0)
        return WORD_MASK


class WrappedBench(Testbench, ABC):
    """A unit behind a standard bus, driven by a third-party master and watched at its ports.

    A cycle is the time between two rising clock edges, as for the master. The ports are sampled in its middle.
    Sometimes the inputs are changed briefly there, to check that no output follows them within the cycle.

    Attributes:
        follower: the golden unit, for comparison.
        answers: all answers so far, in order: the access, and the word read.
    """

    delay: int  # cycles from an access's effect in the unit to its answer on the bus
    done: Any  # how the master reports that an access was carried out
    refused: Any  # and that it was refused

    def __init__(self, dut: Any, setup: Setup) -> None:
        super().__init__(dut, setup)
        self.dut = dut
        self.follower = Follower(setup.params)
        self.answers: list[tuple[Access, int]] = []
        self._history: deque[Sample] = deque()
        self._before: Sample | None = None
        self._outputs = [name for name in self.ports.outputs if name != "probe"]
        self._in_reset = True

    async def start(self) -> None:
        await super().start()
        logging.getLogger(f"cocotb.{self.dut._name}").setLevel(logging.ERROR)  # masters log everything
        self._in_reset = False
        cocotb.start_soon(self._watch())

    @abstractmethod
    async def write(self, address: int, word: int) -> Any:
        """Write a whole word through the master; returns its report, ``done`` or ``refused``."""

    @abstractmethod
    async def read(self, address: int) -> int:
        """Read a word through the master, and compare it with the golden unit's."""

    async def set_up(self) -> None:
        """Bring the memories, which no reset touches, to a known state."""
        words = [(address_of("COMMAND"), CLEAR)]
        states, actions = self.params.states, self.params.actions
        words += [(ACTION_COUNT.address(row), random.randint(1, actions)) for row in range(states)]
        words += [(address, 0) for address in POLICY.addresses(states)]
        for address, word in words:
            await self.write(address, word)
            await self.idle()

    async def idle(self) -> None:
        """Wait until the output ``busy`` is low."""
        await ClockCycles(self.ports.clk, 2)
        while self.ports.handles["busy"].value:
            await ClockCycles(self.ports.clk, 1)

    @abstractmethod
    def observe(self, now: Sample, before: Sample | None) -> Access | None:
        """Check a cycle of the bus; returns the unit's access that is answered in it, if any.

        ``before`` is the cycle before, ``None`` after a reset.
        """

    @abstractmethod
    def answered(self, access: Access, expected: Expected, now: Sample) -> None:
        """Compare an answer, in the cycle ``now``, with that of the golden unit."""

    @abstractmethod
    def forget(self) -> None:
        """Take a reset: no access is in progress any more."""

    async def reset_now(self, cycles: int) -> None:
        """Reset the unit, whatever it is doing."""
        reset = self.ports.rst
        assert reset is not None
        await self._after_the_watch()
        reset.value = 1
        self._in_reset = True
        for _ in range(cycles):
            await self._after_the_watch()
        self._history.clear()
        self._before = None
        self.forget()
        self.follower.reset()
        reset.value = 0
        self._in_reset = False

    async def check_reset(self, *low: str) -> None:
        """After a reset: the outputs ``low`` are 0, and every register has its reset value."""
        for name in low:
            self.checker.equal(f"{name} after a reset", 0, int(self.ports.handles[name].value))
        for address, word in reset_words(self.params):
            self.checker.equal(f"reset value at 0x{address:03X}", word, await self.read(address))

    async def _after_the_watch(self) -> None:
        """Wait until the current cycle has been checked and its inputs are the master's again."""
        await FallingEdge(self.ports.clk)
        await Timer(3, "ns")

    async def _watch(self) -> None:
        edge, settled = FallingEdge(self.ports.clk), ReadOnly()
        while True:
            await edge
            if random.random() < 0.05:
                await self._shake()
            await settled
            if not self._in_reset:
                self._follow(self._sample())
            self.cycle += 1

    def _sample(self) -> Sample:
        """The ports in this cycle. A master may leave unused inputs unknown."""
        inputs = {name: self.monitor.known(name)[0] for name in self.ports.inputs}
        return inputs | {name: self.monitor[name] for name in self._outputs} | {"probe": self.monitor.known("probe")[0]}

    def _follow(self, now: Sample) -> None:
        access = self.observe(now, self._before)
        self._before = now
        self._history.append(now)
        if len(self._history) <= self.delay:
            assert access is None, "an answer before anything was asked"
            return
        then = self._history.popleft()
        self._follow_probe(then["probe"])
        busy, irq, expected = self.follower.cycle(access)
        self.checker.equal("busy", int(busy), then["busy"])
        self.checker.equal("irq", int(irq), then["irq"])
        if access is not None and expected is not None:
            self.answered(access, expected, now)

    def _follow_probe(self, word: int) -> None:
        expected = self.follower.events
        for event in decode_probe(self.params, word):
            kind = type(event)
            self.checker.equal(f"{kind.__name__} on probe", expected[kind].popleft() if expected[kind] else None, event)
        if not self.follower.busy:
            self.checker.equal("events that probe has not shown", [], [*chain(*expected.values())])

    async def _shake(self) -> None:
        """Change all inputs for a moment, far from a clock edge: the outputs must not change."""
        handles, inputs = self.ports.handles, self.ports.inputs
        before = {name: handles[name].value for name in (*inputs, *self._outputs)}
        for name in inputs:
            handles[name].value = random.getrandbits(self.ports.widths[name])
        await Timer(1, "ns")
        for name in self._outputs:
            self.checker.equal(f"{name} after a change of inputs", before[name], handles[name].value)
        for name in inputs:
            handles[name].value = before[name]
        await Timer(1, "ns")


async def write_every_register(bench: WrappedBench) -> None:
    """Every register at the ends of its range and just beyond; the master sees the errors."""
    for register in REGISTERS:
        low, high = register.limits(bench.params)
        for value in (low, high, high + 1, low - 1):
            refused = not register.access.writable or not low <= value <= high
            reply = await bench.write(register.offset, value)
            bench.checker.equal("reply that the master saw", bench.refused if refused else bench.done, reply)
            await bench.idle()
            await bench.read(register.offset)
        await bench.read(STATUS)


async def raise_and_clear_interrupts(bench: WrappedBench) -> None:
    """Each interrupt, raised by a command or an error: ``irq`` is low when the write that clears it is answered."""
    irq, clk = bench.ports.handles["irq"], bench.ports.clk
    for enabled in INTERRUPTS.values():
        await bench.write(IRQ_STATUS, sum(INTERRUPTS.values()))
        await bench.write(address_of("IRQ_ENABLE"), enabled)
        for command in (SAMPLE, REWARD | UPDATE):
            bench.checker.equal("irq before", 0, int(irq.value))
            if enabled == INTERRUPTS["done"]:
                await bench.write(address_of("COMMAND"), command)
            else:
                await bench.write(address_of("ID"), 0)
            while not irq.value:
                await ClockCycles(clk, 1)
            bench.checker.equal("IRQ_STATUS", enabled, await bench.read(IRQ_STATUS) & enabled)
            await bench.write(IRQ_STATUS, enabled)
            bench.checker.equal("irq when clearing is answered", 0, int(irq.value))


def reset_words(params: RLUParams) -> list[tuple[int, int]]:
    """Every readable register, with its value after a reset."""
    return [(r.offset, r.reset_value(params)) for r in REGISTERS if r.access.readable]


def places() -> list[str]:
    """Names of every register and window."""
    return [r.name for r in REGISTERS] + list(WINDOW_BY_NAME)


def gaps(probability: float, longest: int) -> Any:
    """Endless back-pressure: whether to pause, cycle by cycle, in runs of random length."""
    while True:
        if random.random() < probability:
            yield from [True] * random.randint(1, longest)
        yield False
