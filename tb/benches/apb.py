"""Bench of `rtl.bus.apb.ApbRLU`: the unit behind APB, driven by cocotbext-apb's requester.

The golden device gives the result of every access. The monitor checks in every cycle: ``pready`` is high four cycles
after each setup phase, or one if it strobes nothing, and in no other; ``pslverr`` only with it; no output follows an
input within a cycle; ``busy`` and ``irq``. The same traffic comes from an APB4 requester and from an APB3
one, which has neither strobes nor protection.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.apb import Apb3Bus, Apb4Bus, ApbHost, ApbProt  # type: ignore[import-untyped]

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
BUS = front_end("apb")
FULL = 0xF
MODES = ("APB3", "APB4")

COVER.points(
    strobe=range(16),
    strobe_read=[0, FULL],
    protection=range(8),
    answer=["write okay", "write error", "read okay", "read error"],
    follows=[f"{mode}, {pause}" for mode in MODES for pause in ("at once", "after a pause")],
    touched=places(),
    interrupt=["down when clearing it is done"],
    reset=["in a setup phase", "in an access phase"],
)


class Transfer(NamedTuple):
    """A transfer as a requester starts it; ``value`` is ``None`` for a read."""

    address: int
    value: int | None = None
    strobe: int = FULL


class Reply:
    """What the requester saw on ``pslverr``: passed as the expected error, this equals any and records it."""

    error: bool | None = None

    def __eq__(self, seen: object) -> bool:
        self.error = bool(seen)
        return True

    __hash__ = None  # type: ignore[assignment]


class ApbBench(WrappedBench):
    """Requests by cocotbext-apb's requester; every answer is compared as it appears."""

    delay = BUS.latency_cycles - EFFECT_CYCLES
    done, refused = False, True  # pslverr

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.errors: list[bool] = []  # pslverr of every answer, in order
        self.forget()

    async def start(self, mode: str = "APB4") -> None:
        """Start clock, reset and a requester of one of `MODES`."""
        await super().start()
        self._mode = mode
        await self.connect()

    async def connect(self) -> None:
        """A new requester, without the state of an earlier one."""
        prefix = f"{SETUP.config}__s_apb"
        if self._mode == "APB4":
            bus = Apb4Bus.from_prefix(self.dut, prefix)
        else:
            bus = Apb3Bus.from_prefix(self.dut, prefix, optional_signals=["penable", "pslverr"])
            self.ports.handles["s_apb_pstrb"].value = FULL  # as in a design
        self.requester = ApbHost(bus, self.ports.clk)
        await RisingEdge(self.ports.clk)  # it counts from here

    async def transfer(self, *transfers: Transfer) -> list[bool]:
        """Transfers without a pause between them; returns, for each, whether the requester saw a refusal.

        The requester's view is compared with the monitor's.
        """
        first, first_error = len(self.answers), len(self.errors)
        replies = [Reply() for _ in transfers]
        for (address, value, strobe), reply in zip(transfers, replies, strict=True):
            protection = ApbProt(random.randrange(8))
            if value is None:
                self.requester.read_nowait(address, prot=protection, error_expected=reply)
            else:
                self.requester.write_nowait(address, value & WORD_MASK, strobe, protection, reply)
        await self.requester.wait()
        await self._after_the_watch()
        errors = [bool(reply.error) for reply in replies]
        self.checker.equal("errors that the requester saw", self.errors[first_error:], errors)
        words = [int.from_bytes(word, "little") for word, _ in self.requester.queue_rx]
        self.requester.queue_rx.clear()
        read = [word for access, word in self.answers[first:] if access.value is None]
        self.checker.equal("words that the requester read", read, words)
        return errors

    async def write(self, address: int, word: int) -> bool:
        return (await self.transfer(Transfer(address, word)))[0]

    async def read(self, address: int) -> int:
        await self.transfer(Transfer(address))
        return self.answers[-1][1]

    # The monitor.

    def forget(self) -> None:
        self._asked: Sample | None = None  # the setup phase of the transfer in progress
        self._since = 0  # cycles since it

    def observe(self, now: Sample, before: Sample | None) -> Access | None:
        self._since += 1
        asked = self._asked
        due = asked is not None and self._since == (1 if is_empty(asked) else BUS.latency_cycles)
        self.checker.equal("s_apb_pready", int(due), now["s_apb_pready"])
        if now["s_apb_psel"] and not now["s_apb_penable"]:
            self._asked, self._since = now, 0
        elif due:
            self._asked = None
        if self._asked is now and before is not None:
            COVER.hit("follows", f"{self._mode}, {'at once' if before['s_apb_psel'] else 'after a pause'}")
        if asked is None or not due:
            self.checker.equal("s_apb_pslverr without an answer", 0, now["s_apb_pslverr"])
            return None
        self.errors.append(bool(now["s_apb_pslverr"]))
        address, strobe = asked["s_apb_paddr"], asked["s_apb_pstrb"]
        COVER.hit("protection", asked["s_apb_pprot"])
        COVER.hit("strobe" if asked["s_apb_pwrite"] else "strobe_read", strobe)
        if not asked["s_apb_pwrite"]:
            return Access(address, None)
        if not strobe:
            self.checker.equal("s_apb_pslverr of a write of nothing", 0, now["s_apb_pslverr"])
            return None
        return Access(address | (strobe != FULL), asked["s_apb_pwdata"])

    def answered(self, access: Access, expected: Expected, now: Sample) -> None:
        what, kind = describe(*access), "read" if access.value is None else "write"
        COVER.hit("touched", region(access.address))
        COVER.hit("answer", f"{kind} {'error' if expected.error else 'okay'}")
        self.checker.equal(f"s_apb_pslverr of {what}", int(expected.error), now["s_apb_pslverr"])
        if access.value is None:
            data = f"0x{expected.data & expected.mask:08X}"
            self.checker.equal(f"word of {what}", data, f"0x{now['s_apb_prdata'] & expected.mask:08X}")
        self.answers.append((access, now["s_apb_prdata"]))


def is_empty(setup: Sample) -> bool:
    """Whether a transfer writes nothing."""
    return bool(setup["s_apb_pwrite"] and not setup["s_apb_pstrb"])


def random_transfers(count: int) -> list[Transfer]:
    """Random transfers; three in four writes are of whole words."""
    transfers = []
    for _ in range(count):
        address = random_address(PARAMS)
        word = random_word(PARAMS, address) if random.random() < 0.5 else None
        transfers.append(Transfer(address, word, FULL if random.random() < 0.75 else random.randrange(FULL)))
    return transfers


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def power_up(dut: Any, mode: str) -> None:
    """Every register has its reset value."""
    bench = ApbBench(dut)
    await bench.start(mode)
    words = reset_words(PARAMS)
    await bench.transfer(*(Transfer(address) for address, _ in words))
    for (address, word), (_, read) in zip(words, bench.answers, strict=True):
        bench.checker.equal(f"reset value at 0x{address:03X}", word, read)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def every_register(dut: Any, mode: str) -> None:
    """Every register at the ends of its range and just beyond; the requester sees the errors."""
    bench = ApbBench(dut)
    await bench.start(mode)
    await bench.set_up()
    await write_every_register(bench)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def byte_strobes(dut: Any) -> None:
    """Every combination of strobes, at aligned and unaligned addresses: only whole words are written."""
    bench = ApbBench(dut)
    await bench.start()
    await bench.set_up()
    alpha = address_of("ALPHA")
    for strobe in range(16):
        for address in (alpha, address_of("ACTION_COUNT"), alpha + 1, 0x1FC, address_of("ID")):
            (error,) = await bench.transfer(Transfer(address, 1, strobe))
            good = strobe == 0 or (strobe == FULL and address in (alpha, address_of("ACTION_COUNT")))
            bench.checker.equal("error that the requester saw", not good, error)
            await bench.transfer(Transfer(address & ~3), Transfer(STATUS))
            await bench.write(STATUS, bench.follower.model.sticky)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def random_traffic(dut: Any, mode: str) -> None:
    """Random transfers, alone and in a row, while commands run."""
    bench = ApbBench(dut)
    await bench.start(mode)
    await bench.set_up()
    for _ in range(60 * SETUP.effort):
        await bench.transfer(*random_transfers(random.choice((1, 2, 20))))
        if random.random() < 0.5:
            await bench.idle()
    await bench.idle()
    await bench.transfer(*(Transfer(register.offset) for register in REGISTERS))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def not_selected(dut: Any) -> None:
    """Without ``psel`` a transfer is for another completer on the bus."""
    bench = ApbBench(dut)
    await bench.start()
    await bench.set_up()
    for cycle in range(20):
        await RisingEdge(bench.ports.clk)
        bench.driver.set(
            s_apb_penable=cycle % 2, s_apb_pwrite=1, s_apb_paddr=address_of("ALPHA"), s_apb_pwdata=1, s_apb_pstrb=FULL
        )
    await RisingEdge(bench.ports.clk)
    bench.driver.set(**dict.fromkeys(bench.ports.inputs, 0))
    alpha = bench.follower.device.read(address_of("ALPHA"))
    bench.checker.equal("ALPHA", alpha, await bench.read(address_of("ALPHA")))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def interrupt(dut: Any) -> None:
    """A command raises ``irq``; after the transfer that clears it, it is low."""
    bench = ApbBench(dut)
    await bench.start()
    await bench.set_up()
    await raise_and_clear_interrupts(bench)
    COVER.hit("interrupt", "down when clearing it is done")


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mode=MODES)
async def reset_in_mid_transfer(dut: Any, mode: str) -> None:
    """A reset at any time drops the current transfer; after it the unit is like new."""
    bench = ApbBench(dut)
    await bench.start(mode)
    await bench.set_up()
    handles = bench.ports.handles
    for _ in range(15 * SETUP.effort):
        traffic = cocotb.start_soon(bench.transfer(*random_transfers(20)))
        await ClockCycles(bench.ports.clk, random.randint(3, 20))
        COVER.hit("reset", "in an access phase" if handles["s_apb_penable"].value else "in a setup phase")
        traffic.cancel()
        bench.requester._run_coroutine_obj.cancel()
        handles["s_apb_psel"].value = handles["s_apb_penable"].value = 0
        await bench.reset_now(random.randint(1, 3))
        await bench.connect()
        await bench.check_reset("s_apb_pready", "s_apb_pslverr", "busy", "irq")
        await bench.set_up()


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
