"""Bench of `rtl.bus.wishbone.WishboneRLU`: the unit behind Wishbone, driven by cocotbext-wishbone's master.

The golden device gives the result of every access. The monitor checks in every cycle: a request is answered four
cycles after it was taken (one if it selects nothing to write), by ``wb_ack`` or by ``wb_err``, and there are no other
answers; ``wb_stall`` is high from the next cycle to the answer, so no request is taken then; a cycle that was ended
gets no answer; no output follows an input within a cycle; ``busy`` and ``irq``. The same traffic
comes from a standard master, which has no ``wb_stall``, and from a pipelined one, which does not wait for answers.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.wishbone.driver import WBOp, WBRes, WishboneMaster  # type: ignore[import-untyped]

from rtl.spec.buses import EFFECT_CYCLES, front_end
from rtl.spec.registers import REGISTERS
from sim.devices.device import address_of
from tb.benches.front_end import (
    Access,
    Expected,
    Sample,
    WrappedBench,
    places,
    raise_and_clear_interrupts,
    reset_words,
    write_every_register,
)
from tb.kit.bench import Setup
from tb.kit.bus import STATUS, WORD_MASK, describe, random_address, random_word, region

SETUP = Setup()
PARAMS = SETUP.params
COVER = SETUP.cover
BUS = front_end("wishbone")
FULL = 0xF
ACK, ERR = 1, 2  # how the master reports an answer
MODES = ("standard", "pipelined")

COVER.points(
    select_write=range(16),
    select_read=range(16),
    answer=["write ack", "write err", "read ack", "read err"],
    request=[
        "standard, held until the answer", "standard, next one at once",
        "pipelined, next one before the answer", "pipelined, gone before the answer",
    ],
    cycle_kept=["between accesses", "dropped between accesses"],
    touched=places(),
    interrupt=["down when clearing it is done"],
    ended=["before its answer", "in its last cycle before it", "and a new one waits"],
    reset=["with a request", "in the cycle of an answer"],
)  # fmt: skip


class StandardMaster(WishboneMaster):
    """The package's master without ``stall``: it holds a request until it is answered."""

    _optional_signals = ["sel", "err"]  # noqa: RUF012, the base class has it so


class PipelinedMaster(WishboneMaster):
    """The package's master with ``stall``, but this one continues before the answer comes."""

    async def _wait_ack(self) -> int:
        self.bus.stb.value = 0
        return 0


class WishboneBench(WrappedBench):
    """Requests by cocotbext-wishbone's master; every answer is compared as it appears."""

    delay = BUS.latency_cycles - EFFECT_CYCLES
    done, refused = ACK, ERR

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.forget()

    async def start(self, mode: str = "standard") -> None:
        """Start clock, reset and a master of one of `MODES`."""
        await super().start()
        self._mode = mode
        self.connect()

    def connect(self) -> None:
        """A new master, without the state of an earlier one."""
        kind = StandardMaster if self._mode == "standard" else PipelinedMaster
        names = {"cyc": "cyc", "stb": "stb", "we": "we", "adr": "adr", "datwr": "dat_w", "datrd": "dat_r", "ack": "ack"}
        self.master = kind(self.dut, f"{SETUP.config}__wb", self.ports.clk, timeout=50, signals_dict=names)

    async def cycle_of(self, operations: list[WBOp]) -> list[WBRes]:
        """One bus cycle of several accesses; the master's view is compared with the monitor's."""
        first = len(self.answers)
        results = await self.master.send_cycle(operations)
        seen = self.answers[first:]
        self.checker.equal("answers", len(operations), len(results))
        asked = iter(operations)
        for result, operation in zip(results, asked, strict=True):
            if operation.dat is not None and not operation.sel:
                self.checker.equal("reply to a write of nothing", ACK, result.ack)
                continue
            access, word = seen.pop(0)
            self.checker.equal("address of an answer", operation.adr, access.address >> 2)
            if access.value is None:
                self.checker.equal(f"word of {describe(*access)} that the master read", word, int(result.datrd))
        return list(results)

    async def write(self, address: int, word: int, select: int = FULL) -> int:
        return (await self.cycle_of([WBOp(address // 4, word & WORD_MASK, sel=select)]))[0].ack

    async def read(self, address: int) -> int:
        return int((await self.cycle_of([WBOp(address // 4)]))[0].datrd)

    # The monitor.

    def forget(self) -> None:
        self._taken: Sample | None = None  # the request in progress
        self._since = 0  # cycles since it was taken
        self._kept = False  # its bus cycle has not been ended

    def observe(self, now: Sample, before: Sample | None) -> Access | None:
        taken, answer = self._taken, now["wb_ack"] + now["wb_err"]
        self._since += 1
        due = taken is not None and self._since == (1 if is_empty(taken) else BUS.latency_cycles)
        self.checker.equal("wb_ack and wb_err together", int(due and self._kept), answer)
        self.checker.equal("wb_stall", int(taken is not None), now["wb_stall"])
        request = now["wb_cyc"] and now["wb_stb"]
        self._note(now, before, bool(request), due)
        kept, self._kept = self._kept, self._kept and bool(now["wb_cyc"])
        if request and not now["wb_stall"]:
            self._taken, self._since, self._kept = now, 0, True
        elif due:
            self._taken = None
        if taken is None or not due:
            return None
        self._answered = kept
        address, select = taken["wb_adr"] << 2, taken["wb_sel"]
        COVER.hit("select_write" if taken["wb_we"] else "select_read", select)
        if not taken["wb_we"]:
            return Access(address, None)
        if not select:
            self.checker.equal("wb_err of a write of nothing", 0, now["wb_err"])
            return None
        return Access(address | (select != FULL), taken["wb_dat_w"])

    def _note(self, now: Sample, before: Sample | None, request: bool, due: bool) -> None:
        if before is None:
            return
        answered_before = before["wb_ack"] or before["wb_err"]
        if self._taken is not None:
            held = "held until the answer" if request else "gone before the answer"
            if self._mode == "pipelined" and request:
                held = "next one before the answer"
            if self._kept:
                COVER.hit("request", f"{self._mode}, {held}")
                if not now["wb_cyc"] and not due:
                    last = not is_empty(self._taken) and self._since == BUS.latency_cycles - 1
                    COVER.hit("ended", "in its last cycle before it" if last else "before its answer")
            elif request:
                COVER.hit("ended", "and a new one waits")
        elif answered_before and request:
            COVER.hit("request", f"{self._mode}, next one at once")
        if answered_before and not request:
            COVER.hit("cycle_kept", "between accesses" if now["wb_cyc"] else "dropped between accesses")

    def answered(self, access: Access, expected: Expected, now: Sample) -> None:
        what, kind = describe(*access), "read" if access.value is None else "write"
        if not self._answered:
            return
        COVER.hit("touched", region(access.address))
        COVER.hit("answer", f"{kind} {'err' if expected.error else 'ack'}")
        self.checker.equal(f"wb_err of {what}", int(expected.error), now["wb_err"])
        if access.value is None:
            data = f"0x{expected.data & expected.mask:08X}"
            self.checker.equal(f"word of {what}", data, f"0x{now['wb_dat_r'] & expected.mask:08X}")
        self.answers.append((access, now["wb_dat_r"]))


def is_empty(request: Sample) -> bool:
    """Whether an access writes nothing."""
    return bool(request["wb_we"] and not request["wb_sel"])


def random_operations(count: int) -> list[WBOp]:
    """Random accesses, three in four of whole words, with pauses between some of them."""
    operations = []
    for _ in range(count):
        address = random_address(PARAMS) & ~3
        word = random_word(PARAMS, address) if random.random() < 0.5 else None
        select = FULL if random.random() < 0.75 else random.randrange(16)
        operations.append(WBOp(address // 4, word, idle=random.choice((0, 0, 0, 1, random.randint(2, 5))), sel=select))
    return operations


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def power_up(dut: Any, mode: str) -> None:
    """Every register has its reset value."""
    bench = WishboneBench(dut)
    await bench.start(mode)
    words = reset_words(PARAMS)
    results = await bench.cycle_of([WBOp(address // 4) for address, _ in words])
    for (address, word), result in zip(words, results, strict=True):
        bench.checker.equal(f"reset value at 0x{address:03X}", word, int(result.datrd))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_register(dut: Any) -> None:
    """Every register at the ends of its range and just beyond; the master sees the errors."""
    bench = WishboneBench(dut)
    await bench.start()
    await bench.set_up()
    await write_every_register(bench)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def byte_selects(dut: Any, mode: str) -> None:
    """Every combination of selects: only whole words are written, and reads return the whole word."""
    bench = WishboneBench(dut)
    await bench.start(mode)
    await bench.set_up()
    alpha = address_of("ALPHA")
    for select in range(16):
        for address in (alpha, address_of("ACTION_COUNT"), 0x1FC, address_of("ID")):
            reply = await bench.write(address, 1, select)
            good = select == 0 or (select == FULL and address not in (0x1FC, address_of("ID")))
            bench.checker.equal("reply that the master saw", ACK if good else ERR, reply)
            await bench.cycle_of([WBOp(address // 4, sel=select), WBOp(STATUS // 4, sel=select)])
            await bench.write(STATUS, bench.follower.model.sticky)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def random_traffic(dut: Any, mode: str) -> None:
    """Cycles of one or many random accesses, with and without pauses, while commands run."""
    bench = WishboneBench(dut)
    await bench.start(mode)
    await bench.set_up()
    for _ in range(60 * SETUP.effort):
        await bench.cycle_of(random_operations(random.choice((1, 2, 20))))
        if random.random() < 0.5:
            await bench.idle()
    await bench.idle()
    await bench.cycle_of([WBOp(register.offset // 4) for register in REGISTERS])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def not_selected(dut: Any) -> None:
    """A strobe without ``wb_cyc`` is for another slave, on a bus that several slaves share."""
    bench = WishboneBench(dut)
    await bench.start()
    await bench.set_up()
    clk = bench.ports.clk
    for _ in range(20):
        await RisingEdge(clk)
        bench.driver.set(
            wb_stb=random.randint(0, 1), wb_we=1, wb_adr=address_of("ALPHA") // 4, wb_dat_w=1, wb_sel=FULL, wb_cyc=0
        )
    await RisingEdge(clk)
    bench.driver.set(wb_stb=0)
    alpha = bench.follower.device.read(address_of("ALPHA"))
    bench.checker.equal("ALPHA", alpha, await bench.read(address_of("ALPHA")))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def ended_cycle(dut: Any) -> None:
    """A master ends its cycle before the answer, and begins the next: every access is made, none of these answered."""
    bench = WishboneBench(dut)
    await bench.start()
    await bench.set_up()
    clk = bench.ports.clk
    for _ in range(40 * SETUP.effort):
        address = random_address(PARAMS) & ~3
        word = random_word(PARAMS, address)
        bench.driver.set(
            wb_cyc=1, wb_stb=1, wb_we=random.randint(0, 1), wb_adr=address // 4, wb_dat_w=word & WORD_MASK, wb_sel=FULL
        )
        await ClockCycles(clk, random.randint(1, BUS.latency_cycles))
        bench.driver.set(wb_cyc=0, wb_stb=random.randint(0, 1))
        await ClockCycles(clk, random.choice((1, 1, 2, 8)))
        if random.random() < 0.5:
            bench.driver.set(wb_stb=0)
            await bench.read(address_of("ALPHA"))
    bench.driver.set(wb_cyc=0, wb_stb=0)
    await bench.idle()
    for register in REGISTERS:
        await bench.read(register.offset)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def interrupt(dut: Any) -> None:
    """A command raises ``irq``; it is low when the cycle of the write that clears it ends."""
    bench = WishboneBench(dut)
    await bench.start()
    await bench.set_up()
    await raise_and_clear_interrupts(bench)
    COVER.hit("interrupt", "down when clearing it is done")


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def reset_in_mid_transaction(dut: Any, mode: str) -> None:
    """A reset at any time drops the current cycle; after it the unit is like new."""
    bench = WishboneBench(dut)
    await bench.start(mode)
    await bench.set_up()
    handles = bench.ports.handles
    for _ in range(15 * SETUP.effort):
        traffic = cocotb.start_soon(bench.cycle_of(random_operations(20)))
        await ClockCycles(bench.ports.clk, random.randint(3, 20))
        answer = handles["wb_ack"].value or handles["wb_err"].value
        COVER.hit("reset", "in the cycle of an answer" if answer else "with a request")
        traffic.cancel()
        bench.master.busy = False  # which ends the current cycle
        handles["wb_cyc"].value = handles["wb_stb"].value = 0
        await bench.reset_now(random.randint(1, 3))
        bench.connect()
        await bench.check_reset("wb_ack", "wb_err", "wb_stall", "busy", "irq")
        await bench.set_up()


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
