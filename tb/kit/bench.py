"""Common parts of all benches: ports, clock, driver, monitor, checker, and functional coverage with its gate.

In the benches, a cycle is the time between two falling clock edges. At its start the driver sets the inputs. When
they have settled, the monitor samples the outputs, including those that depend on inputs of the same cycle. The
rising edge in the middle clocks the block. Nothing is driven or sampled near a rising edge, so all simulators agree.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cocotb
from amaranth.hdl import Shape
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb_coverage.coverage import CoverPoint, coverage_db

from rtl.spec.params import RLUParams
from sim.simulators.masters import HALF_PERIOD_NS
from tb.kit.designs import BENCHES, CONFIGS


class Setup:
    """What this simulation runs, read from the environment that `tb.kit.designs.Bench` makes.

    Attributes:
        bench: the bench.
        config: name of its configuration.
        params: parameters of that configuration.
        effort: factor on the number of random transactions.
        cover: functional coverage of this bench in this configuration.
    """

    def __init__(self) -> None:
        self.bench = BENCHES[os.environ["RLU_BENCH"]]
        self.config = os.environ["RLU_BENCH_CONFIG"]
        self.params: RLUParams = CONFIGS[self.config]
        self.effort = int(os.environ.get("RLU_BENCH_EFFORT", "1"))
        self.cover = Coverage(self.bench.name)


class Ports:
    """The ports of the block under test in one configuration; its build may hold several."""

    def __init__(self, dut: Any, setup: Setup) -> None:
        self.clk, self.rst = dut.clk, getattr(dut, "rst", None)
        component = setup.bench.instance(setup.params)
        self.handles: dict[str, Any] = {}
        self.widths: dict[str, int] = {}
        self.signed: set[str] = set()
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        for path, member, _ in component.signature.flatten(component):
            name = "__".join(map(str, path))
            shape = Shape.cast(member.shape)
            self.handles[name] = getattr(dut, f"{setup.config}__{name}")
            self.widths[name] = shape.width
            if shape.signed:
                self.signed.add(name)
            (self.inputs if member.flow.name == "In" else self.outputs).append(name)


class Driver:
    """Sets inputs of the block; negative numbers are two's complement."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._driven: dict[str, int] = {}

    def set(self, **values: int) -> None:
        """Set inputs by name; an unchanged one costs nothing."""
        for name, value in values.items():
            word = value & ((1 << self._ports.widths[name]) - 1)
            if self._driven.get(name) != word:
                self._driven[name] = word
                self._ports.handles[name].value = word


class Monitor:
    """Samples outputs of the block."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def __getitem__(self, name: str) -> int:
        ports = self._ports
        word = int(ports.handles[name].value)
        if name in ports.signed and word >> (ports.widths[name] - 1):
            word -= 1 << ports.widths[name]
        return word

    def known(self, name: str) -> tuple[int, int]:
        """An output, its unknown bits read as 0, and a mask of those bits."""
        text = str(self._ports.handles[name].value)
        try:
            return int(text, 2), 0
        except ValueError:
            word = "".join(bit if bit in "01" else "0" for bit in text)
            unknown = "".join("0" if bit in "01" else "1" for bit in text)
            return int(word, 2), int(unknown, 2)

    def sample(self, names: Iterable[str] | None = None) -> dict[str, int]:
        """The outputs of this cycle, or only the named ones."""
        return {name: self[name] for name in (self._ports.outputs if names is None else names)}


class Checker:
    """Compares the block with the reference model, and stops at the first difference."""

    def __init__(self, bench: Testbench) -> None:
        self._bench = bench
        self.compared = 0

    def equal(self, what: str, expected: object, got: object) -> None:
        """Raise AssertionError, with place and both values, unless ``got`` is ``expected``."""
        self.compared += 1
        if expected != got:
            raise AssertionError(f"cycle {self._bench.cycle}: {what} is {got}, the model says {expected}")


class Testbench:
    """Clock, reset and the four parts of a bench around one block.

    Attributes:
        cycle: number of the current cycle, from the start of this test.
    """

    def __init__(self, dut: Any, setup: Setup) -> None:
        self.setup = setup
        self.params = setup.params
        self.ports = Ports(dut, setup)
        self.driver = Driver(self.ports)
        self.monitor = Monitor(self.ports)
        self.checker = Checker(self)
        self.cycle = 0
        self._settled = ReadOnly()
        self._next = FallingEdge(self.ports.clk)

    async def start(self) -> None:
        """Start the clock and reset the block, with all inputs at 0."""
        self.driver.set(**dict.fromkeys(self.ports.inputs, 0))
        Clock(self.ports.clk, 2 * HALF_PERIOD_NS, "ns").start()
        await self.reset()

    async def reset(self) -> None:
        """Hold reset for three cycles."""
        for level, cycles in ((1, 3), (0, 1)):
            if self.ports.rst is not None:
                self.ports.rst.value = level
            for _ in range(cycles):
                await self._next
        self.cycle = 0

    async def settle(self) -> None:
        """Wait until the outputs follow the inputs of this cycle."""
        await self._settled

    async def advance(self) -> None:
        """Wait for the start of the next cycle."""
        await self._next
        self.cycle += 1

    async def tick(self, **inputs: int) -> dict[str, int]:
        """One cycle: drive, settle, sample, advance; returns the sampled outputs."""
        self.driver.set(**inputs)
        await self._settled
        outputs = self.monitor.sample()
        await self._next
        self.cycle += 1
        return outputs


class Coverage:
    """Functional coverage of one bench: cover points with named bins; each bin must be met."""

    def __init__(self, bench: str) -> None:
        self._bench = bench
        self._points: dict[str, Any] = {}
        self._bins: dict[str, set[object]] = {}

    def point(self, name: str, bins: Sequence[object]) -> None:
        """Declare a cover point. Values other than its bins are ignored."""
        self._bins[name] = set(bins)
        cover = CoverPoint(f"{self._bench}.{name}", xf=lambda value: value, bins=list(bins))
        self._points[name] = cover(lambda value: None)

    def points(self, **bins: Sequence[object]) -> None:
        """Declare several cover points."""
        for name, values in bins.items():
            self.point(name, values)

    def hit(self, name: str, value: object) -> None:
        """Record a value of a cover point."""
        if value in self._bins[name]:
            self._points[name](value)

    def gate(self) -> None:
        """Print every bin with its hits; AssertionError, with the bins that were never met, if there are any."""
        log = cocotb.log.info
        lines, missed, total = [], [], 0
        for name in self._points:
            hits: Mapping[object, int] = coverage_db[f"{self._bench}.{name}"].detailed_coverage
            total += len(hits)
            missed += [f"{name}={value}" for value, count in hits.items() if not count]
            lines.append(f"  {name}: " + ", ".join(f"{value}: {count}" for value, count in hits.items()))
        percent = 100.0 * (total - len(missed)) / total
        verdict = f"coverage of {self._bench}: {total - len(missed)} of {total} bins, {percent:.1f} %"
        log("\n".join([verdict, *lines]))
        coverage_db.export_to_xml(str(Path.cwd() / "coverage.xml"))
        if missed:
            raise AssertionError(f"{verdict}; never met: {', '.join(missed)}")


def pack(values: Iterable[int], width: int) -> int:
    """Numbers of ``width`` bits in one integer, the first one lowest, as in an array port."""
    mask = (1 << width) - 1
    word = 0
    for i, value in enumerate(values):
        word |= (value & mask) << width * i
    return word


def unpack(word: int, width: int, count: int) -> list[int]:
    """The inverse of `pack`, for two's complement numbers."""
    half, mask = 1 << (width - 1), (1 << width) - 1
    return [((word >> width * i & mask) ^ half) - half for i in range(count)]


def random_q(params: RLUParams) -> int:
    """A Q-value: any, or a special one."""
    return random.choice(
        (
            params.q_min, params.q_max, 0, random.randint(-3, 3),
            random.randint(params.q_min, params.q_max), random.randint(params.q_min, params.q_max),
        )
    )  # fmt: skip


def random_coefficient(params: RLUParams) -> int:
    """A coefficient: any, or a special one."""
    return random.choice((0, params.coef_one, 1, params.coef_one - 1, *random_coefficients(params, 4)))


def random_coefficients(params: RLUParams, count: int) -> list[int]:
    """Uniform coefficients, both ends included."""
    return [random.randint(0, params.coef_one) for _ in range(count)]


def some_row(rows: int) -> int:
    """A row: any, or the first or last one."""
    return random.choice((0, rows - 1, random.randrange(rows), random.randrange(rows)))


def place(row: int, rows: int) -> str:
    """Whether a row is the ``first``, the ``last``, the ``only`` one or in the ``middle``."""
    if rows == 1:
        return "only"
    return "first" if row == 0 else "last" if row == rows - 1 else "middle"


def places(rows: int) -> list[str]:
    """The values of `place`."""
    return ["only"] if rows == 1 else ["first", "last"] if rows == 2 else ["first", "last", "middle"]
