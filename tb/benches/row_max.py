"""Bench of `rtl.unit.row_max.RowMax`: the masked maximum and its tie rule, a new row every cycle.

Timing checked: the answer comes five cycles after the row, at one row per cycle.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb

from tb.kit.bench import Setup, Testbench, pack, random_q

LATENCY = 5  # cycles, the block's contract

SETUP = Setup()
PARAMS = SETUP.params
COVER = SETUP.cover
COVER.points(
    winner=range(PARAMS.actions),
    tie=["none", "two", "all"],
    mask=["none", "one", "some", "all"] if PARAMS.actions > 2 else ["none", "one", "all"],
    maximum=["lowest", "negative", "zero", "positive", "highest"],
    # The largest entry is masked, so another one must win.
    largest_masked=[True, False],
)


def reference(row: list[int], mask: int) -> tuple[int, int]:
    """Maximum and action: a masked entry counts as the smallest Q-value; on a tie the lowest action wins."""
    entries = [value if mask >> i & 1 else PARAMS.q_min for i, value in enumerate(row)]
    return max(entries), entries.index(max(entries))


class RowMaxBench(Testbench):
    """Feeds a row each cycle and compares the answer five cycles later."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.expected: deque[tuple[int, int]] = deque()

    async def feed(self, row: list[int], mask: int) -> None:
        outputs = await self.tick(row=pack(row, PARAMS.q_width), mask=mask)
        if len(self.expected) == LATENCY:
            value, index = self.expected.popleft()
            self.checker.equal("value", value, outputs["value"])
            self.checker.equal("index", index, outputs["index"])
        self.expected.append(reference(row, mask))


def random_row(kind: str) -> list[int]:
    if kind == "any":
        return [random_q(PARAMS) for _ in range(PARAMS.actions)]
    if kind == "equal":
        return [random_q(PARAMS)] * PARAMS.actions
    if kind == "negative":
        return [random.randint(PARAMS.q_min, -1) for _ in range(PARAMS.actions)]
    # Few values, so the largest occurs more than once.
    low = random.randint(PARAMS.q_min, PARAMS.q_max - 1)
    return [random.randint(low, low + 1) for _ in range(PARAMS.actions)]


@cocotb.test()
@cocotb.parametrize(kind=["any", "tie", "equal", "negative"])
@cocotb.parametrize(masked=[False, True])
async def random_rows(dut: Any, kind: str, masked: bool) -> None:
    """Random rows of one kind, whole or with entries masked."""
    bench = RowMaxBench(dut)
    await bench.start()
    full = (1 << PARAMS.actions) - 1
    rows = 300 * SETUP.effort
    for _ in range(rows):
        row, mask = random_row(kind), full
        if masked:
            mask = random.choice(
                (0, 1 << random.randrange(PARAMS.actions), random.getrandbits(PARAMS.actions),
                 (1 << random.randint(1, PARAMS.actions)) - 1)
            )  # fmt: skip
        await bench.feed(row, mask)
        value, index = reference(row, mask)
        taking_part = [entry for i, entry in enumerate(row) if mask >> i & 1]
        if taking_part:
            COVER.hit("winner", index)
            COVER.hit("largest_masked", max(row) > value)
        ties = taking_part.count(value)
        COVER.hit("tie", "all" if ties == PARAMS.actions else {1: "none", 2: "two"}.get(ties))
        if PARAMS.actions == 2 and ties == 2:
            COVER.hit("tie", "two")
        COVER.hit("mask", "all" if mask == full else {0: "none", 1: "one"}.get(mask.bit_count(), "some"))
        if value in (PARAMS.q_min, PARAMS.q_max):
            COVER.hit("maximum", "lowest" if value < 0 else "highest")
        else:
            COVER.hit("maximum", "zero" if value == 0 else "negative" if value < 0 else "positive")
    assert bench.checker.compared == 2 * (rows - LATENCY)


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
