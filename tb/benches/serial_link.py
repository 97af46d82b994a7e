"""Bench of `rtl.serial.serial_link.SerialLink`: frames, damage and repeats on the line, against `tb.kit.serial_model`.

The bench acts as the unit, which is slow at times. The line's other end is cocotbext-uart.

Timing checked: a response begins 4 clock cycles after the request's last byte is complete, and a WRITE adds the cycles
of its access: one, if the unit acknowledges at once.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.uart import UartSink, UartSource  # type: ignore[import-untyped]

from rtl.spec.serial_protocol import (
    BUS_ERROR,
    NO_SESSION,
    OK,
    OPEN,
    READ,
    START_REQUEST,
    WHEN_IDLE,
    WRITE,
    WRONG_REQUEST,
    WRONG_SEQUENCE,
    WRONG_SESSION,
)
from sim.devices.serial_frames import Request, Response, request_frame, response_frame, response_size
from sim.simulators.masters import HALF_PERIOD_NS
from tb.kit.bench import Setup, Testbench
from tb.kit.serial_model import LinkModel

SETUP = Setup()
COVER = SETUP.cover
COVER.points(
    operation=["open", "read", "write", "read when idle", "write when idle", "unknown"],
    status=[OK, BUS_ERROR, WRONG_SESSION, WRONG_SEQUENCE, WRONG_REQUEST],
    words=[0, 1, 2, "many"],
    sequence=["first time", "again", "wrapped"],
    damage=["flipped bits", "cut short", "byte inserted", "byte lost", "byte doubled", "stop bit", "garbage"],
    busy=["waited for", "not waited for"],
    unit=["at once", "slow"],
)
CYCLE_NS = 2 * HALF_PERIOD_NS


def failing(address: int) -> bool:
    """Whether the bench's unit refuses an address."""
    return address % 4 != 0


def answer(address: int) -> int:
    """The bench's unit's answer to a read."""
    return address * 0x9E3779B1 & 0xFFFF_FFFF


class UnitModel:
    """The model of the bench's unit."""

    def access(self, address: int, value: int | None) -> tuple[int, bool]:
        return (answer(address) if value is None else 0), failing(address)

    def reset(self) -> None:
        pass


class LinkBench(Testbench):
    """Sends bytes to the link, acts as its unit, and compares the answers."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        link = SETUP.bench.instance(SETUP.params)
        self.bit_ns, self.gap_ns = link.divisor * CYCLE_NS, link.gap_bits * link.divisor * CYCLE_NS
        self.model = LinkModel(UnitModel())
        self.accesses: list[tuple[int, int | None]] = []
        self.resets = 0
        self.slow = False

    async def start(self) -> None:
        self.driver.set(rx=1)
        await super().start()
        self.driver.set(rx=1)
        await self.reset()
        rx, tx = self.ports.handles["rx"], self.ports.handles["tx"]
        for pin in (rx, tx):
            logging.getLogger(f"cocotb.{pin._path}").setLevel(logging.WARNING)  # else a line per byte
        baud = 10**9 // self.bit_ns
        self.source, self.sink = UartSource(rx, baud=baud), UartSink(tx, baud=baud)
        cocotb.start_soon(self._unit())
        cocotb.start_soon(self._count_resets())

    async def _unit(self) -> None:
        """Act as the unit: acknowledge each access once, immediately or later."""
        ports = self.ports.handles
        while True:
            if not int(ports["bus__req"].value):
                await RisingEdge(ports["bus__req"])
                await FallingEdge(self.ports.clk)
            delay = random.randint(0, 9) if self.slow else 0
            COVER.hit("unit", "slow" if delay else "at once")
            for _ in range(delay):
                await FallingEdge(self.ports.clk)
            address, write = int(ports["bus__addr"].value), bool(ports["bus__we"].value)
            self.accesses.append((address, int(ports["bus__wdata"].value) if write else None))
            rdata = 0xDEADBEEF if write else answer(address)
            self.driver.set(bus__ack=1, bus__err=failing(address), bus__rdata=rdata)
            await FallingEdge(self.ports.clk)
            self.driver.set(bus__ack=0, bus__err=0, bus__rdata=0xDEADBEEF)

    async def _count_resets(self) -> None:
        while True:
            await RisingEdge(self.ports.handles["unit_reset"])
            self.resets += 1

    async def send(self, data: bytes) -> list[Response]:
        """Send bytes and wait for silence; exactly the model's answers must come back."""
        due: list[Response] = []
        for byte in data:
            response = self.model.take(byte)
            if response is not None:
                due.append(response)
                break  # the rest arrives while the link answers, and is lost
        before = len(self.model.accesses)
        await self.source.write(data)
        await self.source.wait()
        # Wait for the end of the response: until then the link ignores what is sent.
        bits = 10 * sum(response_size(len(response.words)) for response in due) + 20 * max(
            (len(response.words) for response in due), default=0
        )
        await Timer(bits * self.bit_ns + 40 * CYCLE_NS, "ns")
        assert before <= len(self.model.accesses)
        self.checker.equal("answer", b"".join(map(response_frame, due)), bytes(self.sink.read_nowait()))
        self.checker.equal("accesses", self.model.accesses, self.accesses)
        self.checker.equal("resets of the unit", self.model.resets, self.resets)
        return due

    async def silence(self) -> None:
        """Wait for a gap that ends an unfinished request."""
        self.model.pause()
        await Timer(self.gap_ns + 4 * self.bit_ns, "ns")
        await FallingEdge(self.ports.clk)
        self.checker.equal("fault", self.model.fault, bool(self.monitor["fault"]))
        self.checker.equal("active", 0, self.monitor["active"])

    async def ask(self, request: Request) -> Response:
        """Send a request that gets an answer."""
        (response,) = await self.send(request_frame(request))
        COVER.hit("status", response.status)
        if request.operation & 3 == READ and response.status == OK:
            COVER.hit("words", "many" if len(response.words) > 2 else len(response.words))
        self.checker.equal("fault", self.model.fault, bool(self.monitor["fault"]))
        return response

    async def open(self) -> tuple[int, int]:
        """Begin a session; returns the session and its sequence number."""
        session, sequence = random.randint(1, 0xFFFF), random.choice((0, 250, 255, random.randrange(256)))
        await self.ask(Request(sequence, session, OPEN))
        COVER.hit("operation", "open")
        return session, sequence


def random_access(sequence: int, session: int) -> Request:
    """A READ or a WRITE, of any address."""
    operation = random.choice((READ, WRITE)) | random.choice((0, WHEN_IDLE))
    name = ("read", "write")[operation & 3] + (" when idle" if operation & WHEN_IDLE else "")
    COVER.hit("operation", name)
    address = random.choice((4, 4, 1)) * random.randrange(1 << 12)
    if operation & 3 == READ:
        return Request(sequence, session, operation, address, random.choice((0, 1, 2, random.randint(3, 9))))
    return Request(sequence, session, operation, address, random.getrandbits(32))


@cocotb.test()
@cocotb.parametrize(slow=[False, True])
async def requests(dut: Any, slow: bool) -> None:
    """Sessions with accesses, some of them repeated, between refused ones."""
    bench = LinkBench(dut)
    bench.slow = slow
    await bench.start()
    session, sequence = NO_SESSION, 0
    request = random_access(1, NO_SESSION)
    await bench.ask(request)  # before any session
    await bench.ask(Request(0, NO_SESSION, OPEN))
    for i in range(90 * SETUP.effort):
        if i % 30 == 0:
            session, sequence = await bench.open()
            request = Request(sequence, session, OPEN)
        kind = random.choice(("next", "next", "next", "again", "session", "sequence", "unknown", "address"))
        if kind == "next":
            COVER.hit("sequence", "wrapped" if sequence == 255 else "first time")
            sequence = sequence + 1 & 0xFF
            request = random_access(sequence, session)
            await bench.ask(request)
        elif kind == "again":
            COVER.hit("sequence", "again")
            await bench.ask(request)
        elif kind == "session":
            other = random.choice((NO_SESSION, session ^ 1 << random.randrange(16)))
            await bench.ask(random_access(sequence + 1 & 0xFF, other))
        elif kind == "sequence":
            await bench.ask(random_access(sequence + random.choice((-1, 2, 128)) & 0xFF, session))
        elif kind == "unknown":
            COVER.hit("operation", "unknown")
            operation = random.choice((3, 4, 0x42, OPEN | WHEN_IDLE, 0xFF))
            await bench.ask(Request(sequence + 1 & 0xFF, session, operation, 0, 1))
        else:
            await bench.ask(Request(sequence + 1 & 0xFF, session, WRITE, 0x4000 << random.randint(0, 1), 1))


def damaged(frame: bytes) -> tuple[str, bytes]:
    """A damaged frame, and the kind of damage."""
    data, at = bytearray(frame), random.randrange(len(frame))
    what = random.choice(("flipped bits", "cut short", "byte inserted", "byte lost", "byte doubled", "garbage"))
    if what == "flipped bits":
        for _ in range(random.randint(1, 3)):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif what == "cut short":
        del data[at:]
    elif what == "byte inserted":
        data.insert(at, random.choice((START_REQUEST, random.randrange(256))))
    elif what == "byte lost":
        del data[at]
    elif what == "byte doubled":
        data.insert(at, data[at])
    else:
        data = bytearray(random.choices((START_REQUEST, *range(256)), k=random.randint(1, 40)))
    return what, bytes(data)


@cocotb.test()
async def damage(dut: Any) -> None:
    """Damaged frames do nothing; after a silence the next whole frame is understood."""
    bench = LinkBench(dut)
    await bench.start()
    session, sequence = await bench.open()
    for _ in range(90 * SETUP.effort):
        sequence = sequence + 1 & 0xFF
        request = random_access(sequence, session)
        what, data = damaged(request_frame(request))
        COVER.hit("damage", what)
        await bench.send(data)
        await bench.silence()
        await bench.ask(request)


@cocotb.test()
async def broken_bytes(dut: Any) -> None:
    """A byte without its stop bit ends its request; half a start bit is not a byte."""
    bench = LinkBench(dut)
    await bench.start()
    session, sequence = await bench.open()
    rx = bench.ports.handles["rx"]
    for cut in range(1, 13, 3):
        sequence = sequence + 1 & 0xFF
        frame = request_frame(Request(sequence, session, WRITE, 8, sequence))
        await bench.send(frame[:cut])
        bench.model.broken()
        rx.value = 0
        await Timer(10 * bench.bit_ns, "ns")
        rx.value = 1
        await Timer(20 * bench.bit_ns, "ns")
        bench.checker.equal("fault", bench.model.fault, bool(bench.monitor["fault"]))
        COVER.hit("damage", "stop bit")
        await bench.send(frame)
        for _ in range(3):
            rx.value = 0
            await Timer(bench.bit_ns // 4, "ns")
            rx.value = 1
            await Timer(bench.bit_ns, "ns")
        await bench.ask(Request(sequence, session, READ, 8, 1))


@cocotb.test()
async def waiting(dut: Any) -> None:
    """An access "when idle" waits until the unit is idle; others do not wait."""
    bench = LinkBench(dut)
    await bench.start()
    session, sequence = await bench.open()
    for i in range(24):
        sequence = sequence + 1 & 0xFF
        patient = bool(i & 1)
        operation = (READ, WRITE)[i // 2 % 2] | (WHEN_IDLE if patient else 0)
        request = Request(sequence, session, operation, 16, i // 4 % 2)
        bench.driver.set(busy=1)
        await bench.source.write(request_frame(request))
        await bench.source.wait()
        await Timer(random.randint(20, 40) * CYCLE_NS, "ns")
        asked = operation & 3 == WRITE or i // 4 % 2
        if patient:
            bench.checker.equal("accesses while busy", len(bench.model.accesses), len(bench.accesses))
        elif operation & 3 == WRITE:
            bench.checker.equal("accesses while busy", len(bench.model.accesses) + 1, len(bench.accesses))
        bench.driver.set(busy=0)
        (due,) = [r for byte in request_frame(request) if (r := bench.model.take(byte)) is not None]
        await Timer(response_size(2) * 10 * bench.bit_ns, "ns")
        bench.checker.equal("answer", response_frame(due), bytes(bench.sink.read_nowait()))
        bench.checker.equal("accesses", bench.model.accesses, bench.accesses)
        COVER.hit("busy", "waited for" if patient else "not waited for")
        assert asked or due.words == ()


@cocotb.test()
@cocotb.parametrize(percent=[-2, 2])
async def rates(dut: Any, percent: int) -> None:
    """A host whose rate is 2 % off is understood."""
    bench = LinkBench(dut)
    await bench.start()
    bench.source = UartSource(bench.ports.handles["rx"], baud=10**9 // bench.bit_ns * (100 + percent) // 100)
    session, sequence = await bench.open()
    for i in range(10):
        sequence = sequence + 1 & 0xFF
        await bench.ask(Request(sequence, session, WRITE, 4 * i, random.choice((0, 0xFFFF_FFFF, 0x5555_5555))))


@cocotb.test()
async def latency(dut: Any) -> None:
    """Clock cycles from a request to its response."""
    bench = LinkBench(dut)
    await bench.start()
    session, sequence = await bench.open()
    for operation, cycles in ((READ, 4), (WRITE, 5)):
        sequence = sequence + 1 & 0xFF
        await bench.source.write(request_frame(Request(sequence, session, operation, 0, 0)))
        await bench.source.wait()
        # The stop bit ends now; the byte was complete half a bit and two synchronising cycles after its beginning.
        ended = get_sim_time("ns")
        there = ended - bench.bit_ns // 2 + 3 * CYCLE_NS
        started: list[float] = []

        async def watch(started: list[float] = started) -> None:
            while int(bench.ports.handles["tx"].value):
                await FallingEdge(bench.ports.clk)
            started.append(get_sim_time("ns"))

        await watch()
        bench.checker.equal("cycles to the response", cycles, round((started[0] - there) / CYCLE_NS))
        await Timer(200 * bench.bit_ns, "ns")


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
