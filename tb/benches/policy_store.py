"""Bench of `rtl.unit.policy_store.PolicyStore`: the policy and the action counts against the golden model's lists.

Timing checked: a read is answered a cycle later; the reads of the next cycle see a write; all ports every cycle.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from rtl.spec.params import ACTION_WIDTH, ACTIONS_PER_WORD
from rtl.spec.registers import POLICY
from sim.model.golden import GoldenModel
from tb.kit.bench import Setup, Testbench, pack, place, places, some_row

SETUP = Setup()
PARAMS = SETUP.params
COVER = SETUP.cover
COVER.points(
    read=places(PARAMS.states),
    write=["nothing", "action", "word", "count", "action and count", "word and count"],
    lane=range(min(ACTIONS_PER_WORD, PARAMS.states)),
    action=["lowest", "middle", "highest"],
    count=[1, 2, PARAMS.actions, 16],
    read_of_written_row=["in the same cycle", "in the next cycle"],
)


class Model:
    """Policy and counts of the golden model behind the block's ports."""

    def __init__(self) -> None:
        golden = GoldenModel(PARAMS)
        self.policy, self.counts = golden.policy, golden.counts
        self.answer: dict[str, int] | None = None

    def cycle(self, inputs: dict[str, int]) -> None:
        row = inputs["read_row"]
        first = row // ACTIONS_PER_WORD * ACTIONS_PER_WORD
        self.answer = {
            "word": pack(self.policy[first : first + ACTIONS_PER_WORD], ACTION_WIDTH),
            "action": self.policy[row],
            "count": self.counts[row],
            "last": self.counts[row] - 1,
        }
        # A read in the cycle of a write to the same place may return anything.
        row = inputs["write_row"]
        if inputs["write_word_en"] and row // ACTIONS_PER_WORD == inputs["read_row"] // ACTIONS_PER_WORD:
            del self.answer["word"], self.answer["action"]
        elif inputs["write_action_en"] and row // ACTIONS_PER_WORD == inputs["read_row"] // ACTIONS_PER_WORD:
            del self.answer["word"]
            if row == inputs["read_row"]:
                del self.answer["action"]
        if inputs["write_count_en"] and row == inputs["read_row"]:
            del self.answer["count"], self.answer["last"]
        if inputs["write_word_en"]:
            first = row // ACTIONS_PER_WORD * ACTIONS_PER_WORD
            self.policy[first : first + ACTIONS_PER_WORD] = POLICY.unpack([inputs["write_word"]], ACTIONS_PER_WORD)
        if inputs["write_action_en"]:
            self.policy[row] = inputs["write_action"]
        if inputs["write_count_en"]:
            self.counts[row] = inputs["write_count"]


class PolicyStoreBench(Testbench):
    """Drives the ports every cycle and compares every answer."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = Model()

    async def cycle_with(self, **inputs: int) -> None:
        values = dict.fromkeys(self.ports.inputs, 0) | inputs
        outputs = await self.tick(**values)
        if self.model.answer is not None:
            for name, expected in self.model.answer.items():
                self.checker.equal(name, expected, outputs[name])
        self.model.cycle(values)


@cocotb.test()
async def power_up(dut: Any) -> None:
    """The policy is all 0, and every row has the parameters' number of actions."""
    bench = PolicyStoreBench(dut)
    await bench.start()
    for row in [*range(PARAMS.states), 0]:
        await bench.cycle_with(read_row=row)
    assert bench.checker.compared == 4 * PARAMS.states


@cocotb.test()
@cocotb.parametrize(collide=[0.05, 0.5, 0.95])
async def random_traffic(dut: Any, collide: float) -> None:
    """Reads and writes every cycle; ``collide`` is the probability that both go to the same row."""
    bench = PolicyStoreBench(dut)
    await bench.start()
    await fill(bench)
    written = -1
    for _ in range(600 * SETUP.effort):
        write_row = some_row(PARAMS.states)
        near = max(0, random.choice((write_row, written)))
        read_row = near if random.random() < collide else some_row(PARAMS.states)
        what = random.choice(("", "action", "action", "word"))
        inputs = {
            "read_row": read_row,
            "write_row": write_row,
            "write_action": random.choice((0, 15, random.randrange(16))),
            "write_word": random.getrandbits(32),
            "write_count": random.choice((1, 2, PARAMS.actions, 16, random.randint(1, 16))),
            "write_action_en": what == "action",
            "write_word_en": what == "word",
            "write_count_en": random.random() < 0.4,
        }
        await bench.cycle_with(**inputs)
        COVER.hit("read", place(read_row, PARAMS.states))
        parts = [what] if what else []
        if inputs["write_count_en"]:
            parts.append("count")
            COVER.hit("count", inputs["write_count"])
        COVER.hit("write", " and ".join(parts) or "nothing")
        if what == "action":
            COVER.hit("lane", write_row % 8)
            COVER.hit("action", {0: "lowest", 15: "highest"}.get(inputs["write_action"], "middle"))
        if parts and read_row == write_row:
            COVER.hit("read_of_written_row", "in the same cycle")
        if read_row == written:
            COVER.hit("read_of_written_row", "in the next cycle")
        written = write_row if parts else -1
    for row in [*range(PARAMS.states), 0]:
        await bench.cycle_with(read_row=row)
    assert bench.checker.compared >= 900


async def fill(bench: PolicyStoreBench) -> None:
    """Write every row, so the model knows the memories whatever an earlier test left there."""
    for row in range(PARAMS.states):
        inputs = dict.fromkeys(bench.ports.inputs, 0) | {
            "write_row": row, "write_word_en": 1, "write_count_en": 1, "write_count": 1 + row % 16,
        }  # fmt: skip
        await bench.tick(**inputs)
        bench.model.cycle(inputs)
    bench.model.answer = None


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
