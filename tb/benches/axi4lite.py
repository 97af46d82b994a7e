"""Bench of `rtl.bus.axi4lite.AXI4LiteRLU`: the unit behind AXI4-Lite, driven by cocotbext-axi's master.

The golden device gives the result of every access. The monitor checks in every cycle: valid stays until ready, with
its payload; one answer for each request, in order, and no other; each within the latency of the docstring, even
under a steady stream of reads and writes; no output follows an input within a cycle; ``busy`` and ``irq``.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, NamedTuple

import cocotb
from cocotb.triggers import ClockCycles, Combine
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp  # type: ignore[import-untyped]

from rtl.bus.axi4lite import OKAY, SLVERR
from rtl.spec.buses import ACCESS_CYCLES, EFFECT_CYCLES, front_end
from rtl.spec.registers import REGISTERS
from sim.devices.device import address_of
from tb.benches.front_end import (
    Access,
    Expected,
    Sample,
    WrappedBench,
    gaps,
    places,
    raise_and_clear_interrupts,
    write_every_register,
)
from tb.kit.bench import Setup
from tb.kit.bus import STATUS, WORD_MASK, describe, random_address, random_word, region

SETUP = Setup()
PARAMS = SETUP.params
COVER = SETUP.cover
FULL = 0xF
STROBES = range(16)
BUS = front_end("axi4lite")
#: Cycles from the request to its answer: a write may wait for a read that has just begun, a read for a whole write.
LATENCY = {
    "write": range(BUS.latency_cycles, BUS.latency_cycles + ACCESS_CYCLES),
    "read": range(BUS.latency_cycles, BUS.latency_cycles + ACCESS_CYCLES + 1),
}
CHANNELS = ("aw", "w", "b", "ar", "r")
PAYLOAD = {"aw": ("addr", "prot"), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr", "prot"), "r": ("data", "resp")}

COVER.points(
    strobe=STROBES,
    order=["address first", "data first", "together"],
    waited=[*CHANNELS],
    answer=["write OKAY", "write SLVERR", "read OKAY", "read SLVERR"],
    turns=["read then write", "write then read"],
    both_wait=["yes"],
    ahead=["next address", "next data", "next read"],
    touched=places(),
    latency=["nothing written 2", *(f"{what} {cycles}" for what in LATENCY for cycles in LATENCY[what])],
    interrupt=["down with the answer that clears it"],
    reset=["with an answer waiting", "with a request waiting"],
)


class Write(NamedTuple):
    """A write as a master starts it."""

    address: int
    data: int
    strobe: int = FULL


class AxiBench(WrappedBench):
    """Requests by cocotbext-axi's master; every answer is compared as it appears."""

    delay = BUS.latency_cycles - 1 - EFFECT_CYCLES  # the request is taken a cycle after its handshake
    done, refused = AxiResp.OKAY, AxiResp.SLVERR

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.forget()

    async def start(self) -> None:
        await super().start()
        bus = AxiLiteBus.from_prefix(self.dut, f"{SETUP.config}__s_axi")
        self.master = AxiLiteMaster(bus, self.ports.clk, self.ports.rst)
        write, read = self.master.write_if, self.master.read_if
        self.aw, self.w, self.b = write.aw_channel, write.w_channel, write.b_channel
        self.ar, self.r = read.ar_channel, read.r_channel

    def pauses(self, likelihood: float) -> None:
        """From now on every channel pauses independently, with this probability in a cycle."""
        for channel in (self.aw, self.w, self.b, self.ar, self.r):
            channel.set_pause_generator(gaps(likelihood, random.choice((1, 3, 8))))

    async def write(self, address: int, word: int) -> AxiResp:
        return (await self.master.write(address, (word & WORD_MASK).to_bytes(4, "little"))).resp

    async def read(self, address: int) -> int:
        answer = await self.master.read(address, 4)
        word = int.from_bytes(answer.data, "little")
        access, seen = self.answers[-1]
        self.checker.equal("word that the master read", f"0x{seen:08X}", f"0x{word:08X}")
        assert access == Access(address, None)
        return word

    async def stream(self, writes: list[Write], reads: list[int]) -> None:
        """Writes and reads at the same time, as fast as the channels take them; until the last answer."""
        accesses = len(writes) + len(reads)
        goal = len(self.answers) + self.skipped + accesses
        addresses = [{"awaddr": write.address, "awprot": random.randrange(8)} for write in writes]
        data = [{"wdata": write.data, "wstrb": write.strobe} for write in writes]
        read_addresses = [{"araddr": address, "arprot": random.randrange(8)} for address in reads]
        jobs = (
            self._send(self.aw, addresses),
            self._send(self.w, data),
            self._send(self.ar, read_addresses),
            self._take(self.b, len(writes)),
            self._take(self.r, len(reads)),
        )
        self.tasks = [cocotb.start_soon(job) for job in jobs]
        await Combine(*self.tasks)
        self.checker.equal("answers", goal, len(self.answers) + self.skipped)

    async def _send(self, channel: Any, payloads: list[dict[str, int]]) -> None:
        for payload in payloads:
            await channel.send(channel._transaction_obj(**payload))

    async def _take(self, channel: Any, count: int) -> None:
        for _ in range(count):
            await channel.recv()

    # The monitor.

    def forget(self) -> None:
        self._addresses: deque[tuple[int, int]] = deque()  # cycle of the handshake, address
        self._data: deque[tuple[int, int, int]] = deque()  # cycle, data, strobe
        self._reads: deque[tuple[int, int]] = deque()
        self._free = {"b": -1, "r": -1}  # first cycle after the last answer was taken
        self._last = ""
        self.skipped = 0  # writes without a strobe, which do not reach the unit

    def observe(self, now: Sample, before: Sample | None) -> Access | None:
        if before is not None:
            self._check_held(now, before)
        written = self._new(now, before, "b") and self._answer_write(now)
        read = self._new(now, before, "r") and self._answer_read()
        if written and read:
            raise AssertionError(f"cycle {self.cycle}: two answers of the unit, which gives one at a time")
        access = written or read or None
        if access:
            kind = "read" if access.value is None else "write"
            if self._last:
                COVER.hit("turns", f"{self._last} then {kind}")
            self._last = kind
        self._requests(now)
        return access

    def _new(self, now: Sample, before: Sample | None, channel: str) -> bool:
        valid, ready = f"s_axi_{channel}valid", f"s_axi_{channel}ready"
        return bool(now[valid] and (before is None or not before[valid] or before[ready]))

    def _check_held(self, now: Sample, before: Sample) -> None:
        """A channel that waits for ready does not change."""
        for channel in CHANNELS:
            prefix = f"s_axi_{channel}"
            if before[f"{prefix}valid"] and not before[f"{prefix}ready"]:
                COVER.hit("waited", channel)
                self.checker.equal(f"{prefix}valid, waiting,", 1, now[f"{prefix}valid"])
                for name in PAYLOAD[channel]:
                    self.checker.equal(f"{prefix}{name}, waiting,", before[f"{prefix}{name}"], now[f"{prefix}{name}"])

    def _answer_write(self, now: Sample) -> Access | None:
        self.checker.equal("requests before an answer to a write", True, bool(self._addresses and self._data))
        (at, address), (data_at, data, strobe) = self._addresses.popleft(), self._data.popleft()
        asked = max(at, data_at, self._free["b"] - 1)
        COVER.hit("order", "together" if at == data_at else "address first" if at < data_at else "data first")
        COVER.hit("strobe", strobe)
        if not strobe:
            self.checker.equal("cycles to the answer of a write of nothing", 2, self.cycle - asked)
            self.checker.equal("s_axi_bresp of a write of nothing", OKAY, now["s_axi_bresp"])
            COVER.hit("latency", "nothing written 2")
            self.skipped += 1
            return None
        self._check_latency("write", self.cycle - asked)
        return Access(address | (strobe != FULL), data)

    def _answer_read(self) -> Access:
        self.checker.equal("requests before an answer to a read", True, bool(self._reads))
        at, address = self._reads.popleft()
        self._check_latency("read", self.cycle - max(at, self._free["r"] - 1))
        return Access(address, None)

    def _check_latency(self, what: str, cycles: int) -> None:
        self.checker.equal(f"{cycles} cycles to the answer of a {what}", True, cycles in LATENCY[what])
        COVER.hit("latency", f"{what} {cycles}")

    def _requests(self, now: Sample) -> None:
        """Record the handshakes of this cycle, and check that no request waits forever."""
        if now["s_axi_awvalid"] and now["s_axi_awready"]:
            self._addresses.append((self.cycle, now["s_axi_awaddr"]))
        if now["s_axi_wvalid"] and now["s_axi_wready"]:
            self._data.append((self.cycle, now["s_axi_wdata"], now["s_axi_wstrb"]))
        if now["s_axi_arvalid"] and now["s_axi_arready"]:
            self._reads.append((self.cycle, now["s_axi_araddr"]))
        for channel in "br":
            if now[f"s_axi_{channel}valid"]:
                waiting = {
                    "next address": channel == "b" and self._addresses,
                    "next data": channel == "b" and self._data,
                    "next read": channel == "r" and self._reads,
                }
                for name, there in waiting.items():
                    COVER.hit("ahead", name if there else None)
                if now[f"s_axi_{channel}ready"]:
                    self._free[channel] = self.cycle + 1
        write = max(self._addresses[0][0], self._data[0][0]) if self._addresses and self._data else None
        read = self._reads[0][0] if self._reads else None
        if write is not None and read is not None:
            COVER.hit("both_wait", "yes")
        for what, channel, asked in (("write", "b", write), ("read", "r", read)):
            if asked is not None and not now[f"s_axi_{channel}valid"]:
                cycles = self.cycle - max(asked, self._free[channel] - 1)
                self.checker.equal(
                    f"a {what} without an answer after {cycles} cycles", False, cycles >= LATENCY[what][-1]
                )

    def answered(self, access: Access, expected: Expected, now: Sample) -> None:
        response = SLVERR if expected.error else OKAY
        what = describe(*access)
        COVER.hit("touched", region(access.address))
        kind, word = ("read", now["s_axi_rdata"]) if access.value is None else ("write", 0)
        COVER.hit("answer", f"{kind} {'SLVERR' if expected.error else 'OKAY'}")
        self.checker.equal(
            f"response to {what}", response, now["s_axi_rresp" if access.value is None else "s_axi_bresp"]
        )
        if access.value is None:
            data = f"0x{expected.data & expected.mask:08X}"
            self.checker.equal(f"word of {what}", data, f"0x{word & expected.mask:08X}")
        self.answers.append((access, word))


def random_writes(count: int) -> list[Write]:
    """Random writes; three in four are of whole words."""
    writes = []
    for _ in range(count):
        address = random_address(PARAMS)
        strobe = FULL if random.random() < 0.75 else random.randrange(FULL)
        writes.append(Write(address, random_word(PARAMS, address), strobe))
    return writes


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def power_up(dut: Any) -> None:
    """Every register has its reset value."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.check_reset()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_register(dut: Any) -> None:
    """Every register at the ends of its range and just beyond; the master sees the errors."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    await write_every_register(bench)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def byte_strobes(dut: Any) -> None:
    """Every combination of strobes, at aligned and unaligned addresses: only whole words are written."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    alpha = address_of("ALPHA")
    for strobe in STROBES:
        for address in (alpha, address_of("ACTION_COUNT"), alpha + 1, 0x1FC, address_of("ID")):
            await bench.stream([Write(address, 1, strobe)], [])
            await bench.stream([], [STATUS, address & ~3])
            await bench.write(STATUS, bench.follower.model.sticky)
    # The same with the master's own calls: bytes, half-words, and two words at once.
    for address, size, refused in ((alpha, 1, True), (alpha + 2, 2, True), (alpha + 3, 1, True), (alpha, 8, False)):
        response = (await bench.master.write(address, bytes(size))).resp
        bench.checker.equal("response that the master saw", AxiResp.SLVERR if refused else AxiResp.OKAY, response)
        await bench.stream([], [STATUS, alpha, alpha + 4])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def either_order(dut: Any) -> None:
    """The address long before the data, the data long before the address, and both together."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    for lead in (-20, -3, -2, -1, 0, 1, 2, 3, 20):
        for address in (address_of("ALPHA"), address_of("ID")):
            bench.aw.pause, bench.w.pause = lead < 0, lead > 0
            sent = cocotb.start_soon(bench.stream([Write(address, 0x10 + lead)], [address_of("GAMMA")]))
            await ClockCycles(bench.ports.clk, 4 + abs(lead))
            bench.aw.pause = bench.w.pause = False
            await sent
            await bench.read(address)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_waits_for_the_other(dut: Any) -> None:
    """A read comes at each moment of a write, and a write at each moment of a read."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    for lead in range(-BUS.latency_cycles - 2, BUS.latency_cycles + 3):
        bench.aw.pause, bench.ar.pause = lead < 0, lead > 0
        sent = cocotb.start_soon(bench.stream([Write(address_of("ALPHA"), 0x10)], [address_of("GAMMA")]))
        await ClockCycles(bench.ports.clk, 1 + abs(lead))
        bench.aw.pause = bench.ar.pause = False
        await sent


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=[0.0, 0.15, 0.6])
async def random_traffic(dut: Any, pauses: float) -> None:
    """Random reads and writes at the same time, while commands run, with pauses on all channels."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    bench.pauses(pauses)
    for _ in range(10 * SETUP.effort):
        writes, reads = random_writes(random.choice((0, 1, 40))), [random_address(PARAMS) for _ in range(40)]
        await bench.stream(writes, reads[: random.choice((1, 40))])
        if random.random() < 0.5:
            await bench.idle()
    await bench.idle()
    await bench.stream([], [r.offset for r in REGISTERS])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def interrupt(dut: Any) -> None:
    """A command raises ``irq``; it is low when the write that clears it is answered."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    await raise_and_clear_interrupts(bench)
    COVER.hit("interrupt", "down with the answer that clears it")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_mid_transaction(dut: Any) -> None:
    """A reset at any time drops the current requests; after it the unit is like new."""
    bench = AxiBench(dut)
    await bench.start()
    await bench.set_up()
    for trial in range(20 * SETUP.effort):
        bench.b.pause = bench.r.pause = trial % 2 == 0
        traffic = cocotb.start_soon(bench.stream(random_writes(6), [random_address(PARAMS) for _ in range(6)]))
        await ClockCycles(bench.ports.clk, random.randint(1, 12))
        handles = bench.ports.handles
        waiting = handles["s_axi_bvalid"].value or handles["s_axi_rvalid"].value
        asked = not (handles["s_axi_awready"].value and handles["s_axi_arready"].value)
        COVER.hit("reset", "with an answer waiting" if waiting else "with a request waiting" if asked else "at rest")
        for task in (traffic, *bench.tasks):
            task.cancel()
        await bench.reset_now(random.randint(1, 3))
        bench.b.pause = bench.r.pause = False
        await bench.check_reset("s_axi_bvalid", "s_axi_rvalid", "busy", "irq")
        await bench.set_up()


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
