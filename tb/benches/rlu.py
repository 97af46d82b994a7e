"""Bench of the whole unit, `rtl.unit.top.RLU`, through its bus, ``busy`` and the probe port only.

The golden device gives the result of every access. Timing checked: the handshake and ``irq`` in every cycle; ``busy``
in every cycle, against the formulas of `rtl.spec.params` (through the golden device's CYCLES); every draw, action,
Q-table write and reward on the probe port, in order, within the time of its command.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from typing import Any

import cocotb

from rtl.spec.buses import ACCESS_CYCLES
from rtl.spec.params import UNKNOWN, clear_cycles
from rtl.spec.registers import (
    ACTION_COUNT,
    BY_NAME,
    CLEAR,
    GAIN,
    MEMORIES,
    POLICY,
    Q_TABLE,
    RECOMMEND,
    REGISTERS,
    REWARD,
    SAMPLE,
    UPDATE,
    WINDOW_BY_NAME,
    Access,
    field_of,
)
from rtl.unit.top import probe_layout
from sim.devices.device import MEMORY_DATA, GoldenDevice, address_of
from sim.model.golden import Action, Draw, Event, QWrite, RewardEvent
from sim.simulators.simulator import decode_probe
from tb.kit.bench import Setup, Testbench, random_coefficient, random_q
from tb.kit.bus import (
    ALL_ERRORS,
    BY_ADDRESS,
    ERRORS,
    INTERRUPTS,
    IRQ_STATUS,
    MOVING,
    STATUS,
    WORD_MASK,
    Answer,
    BusDriver,
    BusModel,
    compare,
    describe,
    random_address,
    random_plan,
    random_word,
    region,
)

SETUP = Setup()
PARAMS = SETUP.params
ONE = PARAMS.coef_one
PLANNING = field_of("MODE", "planning")
CLIMBS = field_of("PLANNING", "climbs")
CAUTION = field_of("PLANNING", "caution")
EPISODIC = field_of("MODE", "episodic")
COMMANDS = range(1, BY_NAME["COMMAND"].limits(PARAMS)[1] + 1)
JOBS = [field.name for field in BY_NAME["COMMAND"].fields]
CANDIDATES = field_of("EPISODIC", "candidates")
BIG = PARAMS.states > 100
COVER = SETUP.cover
KINDS = {Draw: "draw", Action: "action", QWrite: "write", RewardEvent: "reward"}
COVER.points(
    command=COMMANDS,
    job=["REWARD written", "STATES written"],
    states=[1] if PARAMS.states == 1 else [1, "between", "all"],
    alpha=["zero", "between", "one"],
    gamma=["zero", "between", "one"],
    epsilon=["zero", "between", "one"],
    mode=range(BY_NAME["MODE"].limits(PARAMS)[1] + 1),
    reward=["negative", "zero", "positive"],
    event=list(KINDS.values()),
    explored=[0, 1],
    raised=list(ERRORS),
    while_busy=["register read", "register write", "window read", "window write", "command", "no address"],
    busy_with=[
        *(["clear"] if clear_cycles(PARAMS) >= ACCESS_CYCLES - 1 else []),  # else it is over before an access can come
        "reward",
        "update",
        "sample",
        "share",
    ],
    read=[r.name for r in REGISTERS] + list(WINDOW_BY_NAME),
    write=[r.name for r in REGISTERS if r.access.writable] + list(WINDOW_BY_NAME),
    out_of_range=[r.name for r in REGISTERS if r.access.writable] + ["ACTION_COUNT"],
    read_only=[r.name for r in REGISTERS if not r.access.writable],
    gap=BusDriver.GAPS,
    restored=["into a fresh unit"],
    interrupt=["done", "error"],
)
if PARAMS.states > 1:
    COVER.points(saturated=["lowest", "highest"])
if PARAMS.episodes:
    COVER.points(
        stored=range(PARAMS.episodes + 1),  # before a sample
        tournament=["0 or 1", "more"],
        candidates=["0 or 1", "more"],
        drawn=["as many as candidates", "one again"],  # a repeat, or the winner once more
        replayed=["none", "some"],
        kept=["an action of the row", "one the row has lost"],
    )
if PARAMS.points:
    COVER.points(
        learned=["the first accuracy", "a later one", "none, for it missed"],
        planned=["without an episode", "a policy that was met", "every row drawn"],
        recommended=["without an episode", "a stored policy", "a policy that was met"],
        memory_read=[memory.name for memory in MEMORIES],
        memory_write=[memory.name for memory in MEMORIES],
        memory_lacks=[memory.name for memory in MEMORIES],
    )

_VALID = sum(1 << probe_layout(PARAMS)[name].offset for name in ("draw", "action", "write", "reward"))
_SAVED = [r.name for r in REGISTERS if r.access is Access.RW and r.name != "MEMORY_DATA"]


class RluBench(Testbench):
    """Accesses the unit like a host; the golden device runs in parallel.

    Attributes:
        model: bus and golden device.
    """

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = BusModel(PARAMS)
        self.bus = BusDriver(self, COVER, self._watch)
        self._busy_from, self._busy_cycles = 0, 0
        self._jobs: list[str] = []
        self._expected: dict[type, list[Event]] = {kind: [] for kind in KINDS}
        self._pending: tuple[int, int | None] | None = None

    @property
    def device(self) -> GoldenDevice:
        return self.model.device

    def register(self, name: str) -> int:
        return self.device.model.registers[name]

    async def access(self, address: int, value: int | None = None) -> Answer:
        """One access, compared with the golden device's answer."""
        self._pending = (address, value)
        self._expected_answer: Answer | None = None
        before = self.model.sticky
        got = await self.bus.access(address, value)
        expected = self._expected_answer
        assert expected is not None
        busy = self._was_busy
        if not (busy and value is None and region(address) in MOVING):
            if busy and address == STATUS and expected.data is not None and got.data is not None:
                # It is not known whether the running update has already met its illegal action.
                policy = ERRORS["error_policy"]
                expected = Answer(expected.error, expected.data & ~policy | got.data & policy & self.model.sticky)
            if busy and address == IRQ_STATUS and expected.data is not None and got.data is not None:
                error = INTERRUPTS["error"] if self.model.sticky & ERRORS["error_policy"] else 0
                expected = Answer(expected.error, expected.data & ~error | got.data & error & self.model.interrupts)
            compare(self, describe(address, value), expected, got)
        self._note(address, value, expected.error, self.model.sticky & ~before, busy)
        return got

    async def write(self, name: str, value: int) -> None:
        await self.access(address_of(name), value & WORD_MASK)

    async def read(self, name: str) -> int:
        data = (await self.access(address_of(name))).data
        assert data is not None
        return data

    async def idle(self) -> None:
        """Wait until the unit is idle; all its events must have appeared on the probe port."""
        while self.busy(self.cycle):
            await self.bus.idle()
        await self.bus.idle()
        left = {KINDS[kind]: events for kind, events in self._expected.items() if events}
        self.checker.equal("events not seen", {}, left)

    async def command(self, bits: int) -> None:
        """Run a command to its end and compare CYCLES."""
        await self.write("COMMAND", bits)
        await self.idle()
        await self.read("CYCLES")

    def busy(self, cycle: int) -> bool:
        """Whether the unit is busy in a cycle, according to the model."""
        return self._busy_from <= cycle < self._busy_from + self._busy_cycles

    def _watch(self, effect: bool) -> None:
        """In a settled cycle, check ``busy``, ``irq`` and probe port; the model carries out an access at its effect."""
        busy = self.busy(self.cycle)
        self.checker.equal("busy", int(busy), self.monitor["busy"])
        irq = self.model.cycle(busy)
        self.checker.equal("irq", int(irq), self.monitor["irq"])
        for name, mask in INTERRUPTS.items():
            if irq and self.model.interrupts == mask:
                COVER.hit("interrupt", name)
        for event in self._events():
            waiting = self._expected[type(event)]
            self.checker.equal(KINDS[type(event)], waiting[0] if waiting else None, event)
            del waiting[0]
            self._note_event(event)
        if effect:
            assert self._pending is not None
            address, value = self._pending
            self._was_busy = self.model.busy_seen
            self._expected_answer = self.model.access(address, value)
            if not self._expected_answer.error and self.model.starts(address, value):
                self._started(address, value or 0)

    def _events(self) -> list[Event]:
        """Events on the probe port in this cycle.

        Fields without an event may be unknown, after a read of a row that does not exist.
        """
        word, unknown = self.monitor.known("probe")
        if not (word | unknown) & _VALID:
            return []
        events = decode_probe(PARAMS, word)
        if unknown:
            self.checker.equal("probe with its unknown bits set", events, decode_probe(PARAMS, word | unknown))
        return events

    def _started(self, address: int, value: int) -> None:
        self._busy_from, self._busy_cycles = self.cycle + 1, self.device.read(address_of("CYCLES"))
        if address == address_of("COMMAND"):
            COVER.hit("command", value)
            self._jobs = [name for bit, name in enumerate(JOBS) if value >> bit & 1]
        else:
            COVER.hit("job", f"{region(address)} written")
            self._jobs = ["share"]
        for event in self.device.events():
            self._expected[type(event)].append(event)
        states = self.register("STATES")
        COVER.hit("states", 1 if states == 1 else "all" if states == PARAMS.states else "between")
        if value & UPDATE and address == address_of("COMMAND"):
            for name in ("alpha", "gamma"):
                COVER.hit(name, {0: "zero", ONE: "one"}.get(self.register(name.upper()), "between"))
            reward = self.register("REWARD")
            COVER.hit("mode", self.register("MODE"))
            COVER.hit("reward", "negative" if reward < 0 else "positive" if reward > 0 else "zero")
        if value & SAMPLE and address == address_of("COMMAND"):
            COVER.hit("epsilon", {0: "zero", ONE: "one"}.get(self.register("EPSILON"), "between"))
        if address == address_of("COMMAND") and self.device.model.episodic:
            self._note_episodes(value)
        if address == address_of("COMMAND") and self.device.model.planning:
            self._note_plan(value)

    def _note_episodes(self, command: int) -> None:
        """Cover an episodic command: its settings, and its work."""
        settings = {field.name: field.of(self.register("EPISODIC")) for field in BY_NAME["EPISODIC"].fields}
        if command & UPDATE:
            COVER.hit("replayed", "some" if settings["replays"] else "none")
        if command & SAMPLE:
            COVER.hit("stored", len(self.device.model.episodes))
            for name in ("tournament", "candidates"):
                COVER.hit(name, "0 or 1" if settings[name] < 2 else "more")
            for event in self._expected[Action]:
                assert isinstance(event, Action)
                lost = event.action >= self.device.model.counts[event.row]
                COVER.hit("kept", "one the row has lost" if lost else "an action of the row")
            draws = len(self._expected[Draw])
            asked = self.register("STATES") * max(1, settings["candidates"])
            COVER.hit("drawn", "as many as candidates" if draws == asked else "one again")

    def _note_plan(self, command: int) -> None:
        """Cover a planning command that does nothing else."""
        model = self.device.model
        measured = {tuple(e.actions[: self.register("STATES")]) for e in model.episodes if e.accuracy != UNKNOWN}
        draws = len(self._expected[Draw]) // self.register("STATES")
        if command == UPDATE:
            missed, first = model.episodes[-1].accuracy == UNKNOWN, len(model.episodes) == 1
            COVER.hit("learned", "none, for it missed" if missed else "the first accuracy" if first else "a later one")
        policy = tuple(model.policy[: self.register("STATES")])
        if command == SAMPLE:
            climbs = max(1, CLIMBS.of(self.register("PLANNING")))
            drawn = "without an episode" if not measured else "every row drawn"
            COVER.hit("planned", "a policy that was met" if draws == climbs and measured else drawn)
        if command == RECOMMEND:
            met = "a stored policy" if policy in measured else "a policy that was met"
            COVER.hit("recommended", met if measured else "without an episode")

    def _note_event(self, event: Event) -> None:
        COVER.hit("event", KINDS[type(event)])
        if isinstance(event, Action):
            COVER.hit("explored", event.explored)
        if isinstance(event, QWrite) and PARAMS.states > 1:
            COVER.hit("saturated", {PARAMS.q_min: "lowest", PARAMS.q_max: "highest"}.get(event.value))

    def _note(self, address: int, value: int | None, error: bool, raised: int, busy: bool) -> None:
        name, what = region(address), "read" if value is None else "write"
        for flag, mask in ERRORS.items():
            if raised & mask:
                COVER.hit("raised", flag)
        if name == "MEMORY_DATA" and PARAMS.points and not busy:
            memory = MEMORIES[field_of("MEMORY_ADDRESS", "memory").of(self.register("MEMORY_ADDRESS"))].name
            if not raised & ERRORS["error_value"]:
                COVER.hit("memory_lacks" if error else f"memory_{what}", memory)
        if busy:
            place = "register" if address in BY_ADDRESS else "window" if name in WINDOW_BY_NAME else None
            COVER.hit("while_busy", f"{place} {what}" if place else "no address")
            if name == "COMMAND" and value is not None:
                COVER.hit("while_busy", "command")
            if len(self._jobs) == 1:
                COVER.hit("busy_with", self._jobs[0])
        elif not error:
            COVER.hit(what, name)
        elif value is not None:
            # A refused write to an existing place. Each name is a bin of only one of the two.
            COVER.hit("read_only", name)
            if address in BY_ADDRESS or not raised & ERRORS["error_address"]:
                COVER.hit("out_of_range", name)

    async def set_up(self) -> None:
        """Bring unit and model to the same state, whatever an earlier test left in the memories."""
        await self.start()
        if PARAMS.points:
            await self.write("PLANNING", random_plan(PARAMS))
            for memory in range(len(MEMORIES)):
                await self.fill(memory, lambda: 0)
        await self.command(CLEAR)
        for row in range(PARAMS.states):
            count = random.randint(1, PARAMS.actions)
            await self.access(ACTION_COUNT.address(row), count)
        for address in POLICY.addresses(PARAMS.states):
            await self.access(address, 0)

    async def fill(self, index: int, value: Callable[[], int]) -> None:
        """Write every word of one of the planner's memories."""
        bounds = MEMORIES[index].bounds(PARAMS)
        for numbers in itertools.product(*(range(count) for _, _, count in bounds)):
            word = sum(number << lsb for number, (lsb, _, _) in zip(numbers, bounds, strict=True))
            await self.write("MEMORY_ADDRESS", word | index << field_of("MEMORY_ADDRESS", "memory").lsb)
            await self.write("MEMORY_DATA", value())

    async def read_back(self, at_most: int = 10_000) -> None:
        """Compare every register, and all words of the windows or a number of them."""
        for register in REGISTERS:
            await self.access(register.offset)
        await self.read_windows(at_most)

    async def read_windows(self, at_most: int = 10_000) -> None:
        """Compare all words of the windows, or a number of them, chosen at random."""
        addresses = window_words()
        for address in random.sample(addresses, min(len(addresses), at_most)):
            await self.access(address)

    async def random_measurements(self) -> None:
        """Set measurements, weights and gains; mostly no outlier."""
        for register in REGISTERS:
            if register.number is GAIN:
                await self.write(register.name, random.getrandbits(PARAMS.gain_width))
            elif register.name in _MEASURED:
                await self.write(register.name, random_coefficient(PARAMS))
        lenient = random.random() < 0.7
        await self.write("ACCURACY_TH", 0 if lenient else random_coefficient(PARAMS))
        for name in ("LATENCY_TH", "ENERGY_TH"):
            await self.write(name, ONE if lenient else random_coefficient(PARAMS))


def random_settings() -> int:
    """A value of EPISODIC that does not take long."""
    return sum(random.choice((0, 1, random.randrange(6))) << field.lsb for field in BY_NAME["EPISODIC"].fields)


def window_words() -> list[int]:
    """Address of every word of every window."""
    columns = ((POLICY, 1), (ACTION_COUNT, 1), (Q_TABLE, PARAMS.actions))
    return [address for window, count in columns for address in window.addresses(PARAMS.states, count)]


_MEASURED = (
    "WEIGHT_A",
    "WEIGHT_L",
    "WEIGHT_E",
    "LATENCY_HIGH",
    "ENERGY_HIGH",
    "ACCURACY",
    "LATENCY",
    "ENERGY",
)


@cocotb.test()
async def power_up(dut: Any) -> None:
    """Reset values of all registers; the Q-table is 0, the action counts are those of the parameters."""
    bench = RluBench(dut)
    await bench.start()
    await bench.read_back()
    for name in ("ID", "VERSION", "CONFIG", "FORMATS"):
        bench.checker.equal(name, BY_NAME[name].reset_value(PARAMS), await bench.read(name))


@cocotb.test()
async def every_register(dut: Any) -> None:
    """Every register at the ends of its range, just beyond them and between; read-only ones refuse."""
    bench = RluBench(dut)
    await bench.set_up()
    for register in REGISTERS:
        low, high = register.limits(PARAMS)
        for value in (low, high, high + 1, low - 1, random.randint(low, high)):
            await bench.access(register.offset, value & WORD_MASK)
            await bench.idle()
            await bench.access(register.offset)
        await bench.access(STATUS)
        if random.random() < 0.5:
            await bench.access(STATUS, random.choice((ALL_ERRORS, *ERRORS.values())))
    await bench.access(address_of("ACTION_COUNT"), 0)
    await bench.access(address_of("ACTION_COUNT"), PARAMS.actions + 1)
    await bench.read_back(at_most=300)


@cocotb.test()
@cocotb.parametrize(alpha=[0, None, ONE])
@cocotb.parametrize(gamma=[0, None, ONE])
async def episodes(dut: Any, alpha: int | None, gamma: int | None) -> None:
    """Sample, reward and update, in any combination of command bits; alpha and gamma 0, anything, 1."""
    bench = RluBench(dut)
    await bench.set_up()
    await bench.write("LFSR", random.randint(1, PARAMS.lfsr_max))
    commands = list(COMMANDS) if alpha is None and gamma is None else [SAMPLE, REWARD | UPDATE]
    for _ in range((1 if BIG else 2 if PARAMS.points else 6) * SETUP.effort):
        random.shuffle(commands)
        for command in commands:
            await bench.write("ALPHA", random_coefficient(PARAMS) if alpha is None else alpha)
            await bench.write("GAMMA", random_coefficient(PARAMS) if gamma is None else gamma)
            await bench.write("EPSILON", random.choice((0, ONE, random_coefficient(PARAMS))))
            await bench.write("MODE", random.randint(0, BY_NAME["MODE"].limits(PARAMS)[1]))
            if PARAMS.episodes and random.random() < 0.5:
                await bench.write("EPISODIC", random_settings())
            if PARAMS.points and random.random() < 0.5:
                await bench.write("PLANNING", random_plan(PARAMS))
            if random.random() < 0.4:
                await bench.write("STATES", random.choice((1, PARAMS.states, random.randint(1, PARAMS.states))))
                await bench.idle()
                await bench.read("SHARE")
            if random.random() < 0.4:
                await bench.write("REWARD", random_q(PARAMS))
                await bench.idle()
                await bench.read("SHARE")
            else:
                await bench.random_measurements()
            if random.random() < 0.1:  # actions that not every row has
                await bench.access(random.choice(POLICY.addresses(PARAMS.states)), random.getrandbits(32))
            await bench.command(command)
            for name in ("STATUS", "REWARD", "SHARE", "LFSR"):
                await bench.read(name)
            if random.random() < 0.3:
                await bench.write("STATUS", ALL_ERRORS)
        await bench.read_windows(at_most=300)


@cocotb.test(skip=not PARAMS.episodes)
async def episode_memory(dut: Any) -> None:
    """Episodic mode until the memory is full and drops the oldest, then again after a clear; counts change."""
    bench = RluBench(dut)
    await bench.set_up()
    await bench.write("LFSR", random.randint(1, PARAMS.lfsr_max))
    await bench.write("STATES", PARAMS.states)
    await bench.idle()
    await bench.write("MODE", EPISODIC.mask)
    for _ in range(2 * SETUP.effort):
        await bench.command(CLEAR)
        for _ in range(10 * PARAMS.episodes):
            for row in random.sample(range(PARAMS.states), 3):  # stored policies may have actions that the row loses
                await bench.access(ACTION_COUNT.address(row), random.choice((1, PARAMS.actions)))
                for address in Q_TABLE.addresses(1, PARAMS.actions, first=row):  # also of lost actions
                    await bench.access(address, random.getrandbits(32))
            await bench.write("EPSILON", random.choice((0, ONE // 8, ONE // 8, ONE)))
            candidates = random.choice((1, 2, 4, 4)) << CANDIDATES.lsb
            await bench.write("EPISODIC", random_settings() & ~CANDIDATES.mask | candidates)
            await bench.write("REWARD", random_q(PARAMS))
            await bench.idle()
            await bench.command(random.choice((UPDATE | SAMPLE, UPDATE | SAMPLE, SAMPLE, UPDATE)))
            await bench.read("EPISODES")
        await bench.read_windows(at_most=300)


def random_cost(usual: int) -> int:
    """A cost of which a policy's rows mostly add up to less than full scale, but sometimes to more."""
    return random.randrange(2 * usual if random.random() < 0.95 else 1 << 16)


@cocotb.test(skip=not PARAMS.points)
async def plans(dut: Any) -> None:
    """Searches that plan: costs, many episodes, some of which miss a threshold, until all policies have been tried."""
    bench = RluBench(dut)
    await bench.set_up()
    usual = ONE // PARAMS.states
    for round_ in range(3 * SETUP.effort):
        await bench.command(CLEAR)
        await bench.fill(0, lambda: random_cost(usual) | random_cost(usual) << 16)
        rows = PARAMS.states if round_ % 3 else random.randint(1, 3)
        await bench.write("STATES", rows)
        await bench.idle()
        await bench.write("ALPHA", ONE // (rows + 1))
        await bench.write("DOUBT", random.choice((0, ONE // 16, ONE // 64)))
        for row in range(rows):
            await bench.access(ACTION_COUNT.address(row), random.randint(1, 1 + PARAMS.actions // 2))
        if round_ % 3:  # counts that a search of this length does not reach
            await bench.fill(1, lambda: random.choice((0, random.randrange(16), random.getrandbits(8), 255)))
        for number, command in enumerate((RECOMMEND, *[SAMPLE, UPDATE, RECOMMEND] * (2 * PARAMS.episodes))):
            await bench.write("MODE", PLANNING.mask | random.getrandbits(2))  # the other bits change nothing
            many = random.getrandbits(CLIMBS.width) << CLIMBS.lsb if rows <= 3 and number % 8 == 1 else 0
            await bench.write("PLANNING", random_plan(PARAMS) | many)
            await bench.write("EPSILON", random.choice((0, ONE // 2, ONE)))
            await bench.random_measurements()
            if random.random() < 0.3:  # policies below the threshold are compared by their accuracy alone
                await bench.write("ACCURACY_TH", ONE - random.getrandbits(PARAMS.coef_frac - 2))
            await bench.command(command)
            await bench.read("PLAN")
        for index, memory in enumerate(MEMORIES):
            for _ in range(10):
                bounds = memory.bounds(PARAMS)
                word = sum(random.randrange(count) << lsb for lsb, _, count in bounds)
                word ^= random.choice((0, 0, 1 << random.randrange(16)))
                await bench.write("MEMORY_ADDRESS", word | index << field_of("MEMORY_ADDRESS", "memory").lsb)
                await bench.access(MEMORY_DATA.offset)
        await bench.read_back(at_most=300)


#: Counts of trials about the longest that have a doubt of their own, and those whose last bits are small.
_MANY_TRIALS = (14, 15, 16, 17, 31, 32, 48, 255)


@cocotb.test(skip=not PARAMS.points)
@cocotb.parametrize(decides=["sum of costs", "doubt", "hope", "effect"])
async def contests(dut: Any, decides: str) -> None:
    """Plans among policies that differ in one thing: costs of which two are full scale, doubts, hopes, and limits."""
    bench = RluBench(dut)
    await bench.set_up()
    rows, whole = PARAMS.states, 1 << PARAMS.q_width - 1
    await bench.write("STATES", rows)
    await bench.idle()
    await bench.write("MODE", PLANNING.mask)
    for name in ("ACCURACY_TH", "RIDGE"):
        await bench.write(name, 0)
    for name in ("LATENCY_TH", "ENERGY_TH"):
        await bench.write(name, ONE - 1)
    for row in range(rows):
        await bench.access(ACTION_COUNT.address(row), random.randint(min(2, PARAMS.actions), PARAMS.actions))
    for _ in range(8 * SETUP.effort):
        await bench.command(CLEAR)
        for name in ("LATENCY", "ENERGY"):
            await bench.write(name, ONE // 4)
        if decides == "sum of costs":
            await bench.fill(0, lambda: near_half() | near_half() << 16)
        if decides in ("doubt", "hope"):
            trials = _MANY_TRIALS if decides == "doubt" else (0, 1, 2, 15, 255)
            await bench.fill(1, lambda trials=trials: random.choice(trials))  # type: ignore[misc]
        for name in ("WEIGHT_A", "WEIGHT_L", "WEIGHT_E"):
            await bench.write(name, random.randint(ONE // 8, ONE // 4))
        await bench.write("DOUBT", random.randint(ONE // 16, ONE // 4))
        await bench.write("ALPHA", ONE if decides == "effect" else 0)
        await bench.write("PLANNING", random_plan(PARAMS) | (CAUTION.mask if decides == "doubt" else 0))
        for row in range(rows):
            effects = [random.randint(-whole // 32, whole // 32) for _ in range(PARAMS.actions)]
            if decides == "effect":
                effects = [random.choice((-whole, whole - 1)) for _ in effects]
            elif row == rows - 1:
                effects[0] = 5 * whole // 8  # the constant
            for address, word in zip(
                Q_TABLE.addresses(1, PARAMS.actions, first=row), Q_TABLE.pack(effects), strict=True
            ):
                await bench.access(address, word)
        for address in POLICY.addresses(rows):
            await bench.access(address, 0)
        await bench.write("ACCURACY", random.randint(ONE // 2, ONE))
        for command in (UPDATE, RECOMMEND, SAMPLE) if decides != "effect" else (UPDATE, UPDATE):
            await bench.command(command)
            await bench.read("PLAN")
            await bench.read_windows(at_most=100)


def near_half() -> int:
    """A cost that is small, or just above half of what 16 bits hold: the sum of two large ones then looks small."""
    return random.randrange(64) if random.random() < 0.6 else (1 << 15) + random.randrange(64)


@cocotb.test()
@cocotb.parametrize(sign=[-1, 1])
async def saturation(dut: Any, sign: int) -> None:
    """Updates beyond the range of a Q-value end at its limit; they never wrap."""
    bench = RluBench(dut)
    await bench.set_up()
    for row in range(PARAMS.states):
        await bench.access(ACTION_COUNT.address(row), 1 if sign < 0 else PARAMS.actions)
    await bench.write("ALPHA", ONE)
    await bench.write("GAMMA", ONE)
    await bench.write("MODE", 1)
    await bench.write("REWARD", PARAMS.q_max if sign > 0 else PARAMS.q_min)
    await bench.idle()
    for _ in range(2):
        await bench.command(UPDATE)
        # The next pass starts with rows at the limit, and adds more to each of them.
        await bench.write("STATES", min(2, PARAMS.states))
        await bench.idle()
    await bench.read_windows(at_most=300)


@cocotb.test()
@cocotb.parametrize(command=[CLEAR, REWARD, UPDATE, SAMPLE, 0])
async def busy_refuses(dut: Any, command: int) -> None:
    """Writes and window reads while busy are refused and change nothing; register reads are answered.

    Command 0 is the division after a write of REWARD.
    """
    bench = RluBench(dut)
    await bench.set_up()
    await bench.random_measurements()
    for _ in range(6 * SETUP.effort):
        await bench.write("STATES", random.randint(1, PARAMS.states))
        await bench.idle()
        if command:
            await bench.write("COMMAND", command)
        else:
            await bench.write("REWARD", random_q(PARAMS))
        while bench.busy(bench.cycle):
            kind = random.random()
            address = random_address(PARAMS)
            if kind < 0.2:
                address = address_of("COMMAND")
            elif kind < 0.4:
                address = random.choice(REGISTERS).offset
            value = random_word(PARAMS, address) if random.random() < 0.6 else None
            await bench.access(address, value)
        await bench.idle()
        await bench.read("STATUS")
        await bench.read("CYCLES")
        await bench.write("STATUS", ALL_ERRORS)
    await bench.read_back(at_most=300)


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Any access at any time, including commands."""
    bench = RluBench(dut)
    await bench.set_up()
    for _ in range((500 if BIG else 1500) * SETUP.effort):
        address = random_address(PARAMS)
        value = random_word(PARAMS, address) if random.random() < 0.5 else None
        await bench.access(address, value)
        if random.random() < 0.3:
            await bench.idle()
    await bench.idle()
    await bench.read_back(at_most=300)


@cocotb.test()
async def interrupts(dut: Any) -> None:
    """Every kind of work, and errors, raise ``irq`` when the unit is idle again, if enabled."""
    bench = RluBench(dut)
    await bench.set_up()
    for _ in range(3 * SETUP.effort):
        for enabled in (0, *INTERRUPTS.values(), sum(INTERRUPTS.values())):
            await bench.write("IRQ_ENABLE", enabled)
            for name, value in (("COMMAND", SAMPLE), ("COMMAND", REWARD), ("REWARD", 1), ("STATES", 1)):
                await bench.write("IRQ_STATUS", sum(INTERRUPTS.values()))
                await bench.write(name, value)
                if random.random() < 0.3:
                    await bench.write("IRQ_STATUS", random.randrange(4))  # refused, which is an error
                await bench.idle()
                await bench.read("IRQ_STATUS")
                if random.random() < 0.5:
                    await bench.write("ID", 0)
                    await bench.write("IRQ_STATUS", random.randrange(4))
                    await bench.idle()
    for address in POLICY.addresses(PARAMS.states):
        await bench.access(address, WORD_MASK)
    await bench.write("IRQ_STATUS", sum(INTERRUPTS.values()))
    await bench.write("STATES", PARAMS.states)
    await bench.idle()
    await bench.command(UPDATE)  # with actions that no row has, unless every row has all 16
    await bench.read("IRQ_STATUS")


@cocotb.test()
async def save_and_restore(dut: Any) -> None:
    """State read from one unit and written to another makes the second continue like the first."""
    bench = RluBench(dut)
    await bench.set_up()
    await bench.write("LFSR", random.randint(1, PARAMS.lfsr_max))
    await bench.random_measurements()
    await bench.command(SAMPLE)
    await bench.command(REWARD | UPDATE)
    saved = [(name, await bench.read(name)) for name in _SAVED]
    addresses = window_words()
    words = [(address, (await bench.access(address)).data) for address in addresses]
    original = copy.deepcopy(bench.device)

    # The unit forgets everything, and the golden device is replaced by a new one.
    await bench.write("COMMAND", CLEAR | SAMPLE)
    await bench.idle()
    await bench.reset()
    bench.model = BusModel(PARAMS)
    bench.bus = BusDriver(bench, COVER, bench._watch)
    bench._busy_from, bench._busy_cycles = 0, 0
    await bench.command(CLEAR)
    for name, value in saved:
        await bench.write(name, value)
        await bench.idle()
    for address, word in words:
        await bench.access(address, word)

    commands = (SAMPLE, UPDATE, REWARD | UPDATE | SAMPLE)
    for command in commands:
        await bench.command(command)
        original.write(address_of("COMMAND"), command)
    for name in _SAVED:
        bench.checker.equal(f"{name} after restoring", original.read(address_of(name)), await bench.read(name))
    for address in random.sample(addresses, min(len(addresses), 300)):
        data = (await bench.access(address)).data
        bench.checker.equal(f"word 0x{address:04X} after restoring", original.read(address), data)
    COVER.hit("restored", "into a fresh unit")


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
