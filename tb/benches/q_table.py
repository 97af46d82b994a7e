"""Bench of `rtl.unit.q_table.QTable`: reads, writes and their collisions against a list of lists.

Timing checked: a read is answered a cycle later; a read in the cycle of a write finds the old value, one in the next
cycle may find anything, and later ones find the new value; both every cycle.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from sim.model.golden import GoldenModel
from tb.kit.bench import Setup, Testbench, place, places, random_q, some_row, unpack

SETUP = Setup()
PARAMS = SETUP.params
COVER = SETUP.cover
COVER.points(
    read=places(PARAMS.states),
    write=places(PARAMS.states),
    mask=["none", "one", "several", "all"] if PARAMS.actions > 2 else ["none", "one", "all"],
    bank=range(PARAMS.actions),
    value=["lowest", "negative", "zero", "positive", "highest"],
    halves=["equal", "different"],
    read_of_written_row=["in the same cycle", "one cycle later", "two cycles later"],
)


class Model:
    """The memory. A read in the cycle after a write to the same place may return anything: ``None``."""

    def __init__(self) -> None:
        self.q = GoldenModel(PARAMS).q
        self.answer: list[int | None] | None = None
        self.given = (0, 0, 0, 0)  # the write of the cycle before

    def cycle(self, read_row: int, write_row: int, write_mask: int, write_even: int, write_odd: int) -> None:
        self.answer = list(self.q[read_row])
        row, mask, even, odd = self.given
        for bank in range(PARAMS.actions):
            if mask >> bank & 1:
                self.q[row][bank] = odd if bank % 2 else even
                if read_row == row:
                    self.answer[bank] = None
        self.given = write_row, write_mask, write_even, write_odd


class QTableBench(Testbench):
    """Drives the ports every cycle and compares every answer."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = Model()

    async def cycle_with(self, **inputs: int) -> None:
        outputs = await self.tick(**inputs)
        if self.model.answer is not None:
            row = unpack(outputs["row"], PARAMS.q_width, PARAMS.actions)
            defined = [seen if value is None else value for value, seen in zip(self.model.answer, row, strict=True)]
            self.checker.equal("row", defined, row)
        self.model.cycle(**inputs)


def idle(read_row: int) -> dict[str, int]:
    return {"read_row": read_row, "write_row": 0, "write_mask": 0, "write_even": 0, "write_odd": 0}


@cocotb.test()
async def power_up(dut: Any) -> None:
    """Every Q-value is 0 before anything was written."""
    bench = QTableBench(dut)
    await bench.start()
    for row in [*range(PARAMS.states), 0]:
        await bench.cycle_with(**idle(row))
    assert bench.checker.compared == PARAMS.states


@cocotb.test()
@cocotb.parametrize(collide=[0.05, 0.5, 0.95])
async def random_traffic(dut: Any, collide: float) -> None:
    """Reads and writes every cycle; ``collide`` is the probability that both go to the same row."""
    bench = QTableBench(dut)
    await bench.start()
    await fill(bench)
    written, before = -1, -1
    full = (1 << PARAMS.actions) - 1
    for _ in range(600 * SETUP.effort):
        write_row = some_row(PARAMS.states)
        read_row = random.choice((write_row, written, before)) if random.random() < collide else some_row(PARAMS.states)
        read_row = max(0, read_row)
        mask = random.choice((0, full, 1 << random.randrange(PARAMS.actions), random.getrandbits(PARAMS.actions)))
        even = random_q(PARAMS)
        odd = random.choice((even, random_q(PARAMS)))
        await bench.cycle_with(read_row=read_row, write_row=write_row, write_mask=mask, write_even=even, write_odd=odd)
        COVER.hit("read", place(read_row, PARAMS.states))
        banks = mask.bit_count()
        COVER.hit("mask", "all" if mask == full else {0: "none", 1: "one"}.get(banks, "several"))
        if mask:
            COVER.hit("write", place(write_row, PARAMS.states))
            COVER.hit("halves", "equal" if even == odd else "different")
            for bank in range(PARAMS.actions):
                if mask >> bank & 1:
                    COVER.hit("bank", bank)
                    COVER.hit("value", kind(odd if bank % 2 else even))
            if read_row == write_row:
                COVER.hit("read_of_written_row", "in the same cycle")
        if read_row == written:
            COVER.hit("read_of_written_row", "one cycle later")
        if read_row == before:
            COVER.hit("read_of_written_row", "two cycles later")
        written, before = write_row if mask else -1, written
    for row in [*range(PARAMS.states), 0]:
        await bench.cycle_with(**idle(row))
    assert bench.checker.compared >= 600


async def fill(bench: QTableBench) -> None:
    """Write every row, so the model knows the memory whatever an earlier test left there."""
    full = (1 << PARAMS.actions) - 1
    for row in range(PARAMS.states):
        inputs = idle(0) | {"write_row": row, "write_mask": full, "write_even": row, "write_odd": -row}
        await bench.tick(**inputs)
        bench.model.cycle(**inputs)
    bench.model.answer = None


def kind(value: int) -> str:
    if value in (PARAMS.q_min, PARAMS.q_max):
        return "lowest" if value < 0 else "highest"
    return "zero" if value == 0 else "negative" if value < 0 else "positive"


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
