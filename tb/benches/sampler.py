"""Bench of `rtl.unit.sampler.PolicySampler` on a Q-table and action counts that the bench keeps.

Timing checked: row ``r``'s action is written ``r + 8`` cycles after ``start``; the last one comes after
``states + 7``, with ``done`` for one cycle; there is one draw per cycle, each before its action.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from rtl.spec.params import LFSR_TAPS
from sim.model.arithmetic import explore_limit, next_draw
from sim.model.golden import Action, Draw, GoldenModel
from tb.kit.bench import Setup, Testbench, pack, random_coefficient, random_q

SETUP = Setup()
PARAMS = SETUP.params
ONE = PARAMS.coef_one
WIDTH = PARAMS.lfsr_width
MANY = PARAMS.states > 1
COVER = SETUP.cover
COVER.points(
    states=[1, "between", "all"] if MANY else [1],
    epsilon=["zero", "between", "one"],
    choice=["explored", "greedy"],
    decision=["at the limit", "one above it"],
    count=range(1, PARAMS.actions + 1),
    random_action=range(PARAMS.actions),
    greedy_action=range(PARAMS.actions),
    greedy_tie=["none", "two or more"],
    seed=["lowest", "highest", "any"],
    start=["at rest", "while running, ignored"],
    random_differs=[True],  # from the greedy action: shows which one was taken
)


def previous_draw(state: int) -> int:
    """The LFSR's state one draw earlier."""
    taps = sum(1 << (tap - 1) for tap in LFSR_TAPS[WIDTH])
    for _ in range(WIDTH):
        # The bit that entered at the bottom is the parity of the taps; the top tap is the bit that left.
        kept = state >> 1
        state = kept | (((kept & taps).bit_count() & 1) ^ (state & 1)) << (WIDTH - 1)
    return state


class SamplerBench(Testbench):
    """Acts as the memories around the block, and compares draws and actions, with order and time."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = GoldenModel(PARAMS, record=True)

    async def seed(self, value: int) -> None:
        self.model.registers["LFSR"] = value
        await self.tick(lfsr_load=1, lfsr_value=value)
        self.driver.set(lfsr_load=0, lfsr_value=random.getrandbits(WIDTH))
        COVER.hit("seed", {1: "lowest", PARAMS.lfsr_max: "highest"}.get(value, "any"))

    async def sample(self) -> None:
        model = self.model
        states = model.registers["STATES"]
        before = model.registers["LFSR"]
        model.events.clear()
        model.sample()
        draws = [event for event in model.events if isinstance(event, Draw)]
        actions = [event for event in model.events if isinstance(event, Action)]
        self.driver.set(states=states, epsilon=model.registers["EPSILON"], start=1)
        again = random.choice((0, 0, random.randint(1, states)))  # a start to be ignored
        row, drawn, first_draw = 0, 0, None
        for cycle in range(states + 9 + random.randint(1, 4)):
            out = await self.tick(**self._memories(row))
            if cycle == 0:
                self.checker.equal("lfsr before", before, out["lfsr"])
            self.driver.set(start=int(again > 0 and cycle + 1 == again))
            row = out["read_row"]
            action = Action(out["write_row"], out["write_action"], out["explored"]) if out["write_en"] else None
            due = actions[cycle - 8] if 8 <= cycle < states + 8 else None
            self.checker.equal(f"action {cycle} cycles after start", due, action)
            self.checker.equal(f"done {cycle} cycles after start", int(cycle == states + 7), out["done"])
            if out["draw_en"]:
                first_draw = cycle if first_draw is None else first_draw
                self.checker.equal("cycle of the draw", first_draw + drawn, cycle)
                draw = Draw(out["draw_row"], out["draw_decision"], out["draw_choice"])
                self.checker.equal("draw", draws[drawn] if drawn < len(draws) else None, draw)
                drawn += 1
            if action is not None:
                self.checker.equal("drawn before the action", True, drawn > action.row)
        self.checker.equal("number of draws", states, drawn)
        self.checker.equal("lfsr after", model.registers["LFSR"], self.monitor["lfsr"])
        COVER.hit("start", "while running, ignored" if again else "at rest")
        self._note(draws, actions)

    def _memories(self, row: int) -> dict[str, int]:
        """Answer of Q-table and policy store for the row requested a cycle ago; random if out of range."""
        if row >= PARAMS.states:
            return {"row": random.getrandbits(PARAMS.actions * PARAMS.q_width), "count": 1}
        return {"row": pack(self.model.q[row], PARAMS.q_width), "count": self.model.counts[row]}

    def _note(self, draws: list[Draw], actions: list[Action]) -> None:
        model = self.model
        r = model.registers
        limit = explore_limit(r["EPSILON"], PARAMS.coef_frac, WIDTH)
        states = r["STATES"]
        COVER.hit("states", 1 if states == 1 else "all" if states == PARAMS.states else "between")
        COVER.hit("epsilon", {0: "zero", ONE: "one"}.get(r["EPSILON"], "between"))
        for draw, action in zip(draws, actions, strict=True):
            COVER.hit("choice", "explored" if action.explored else "greedy")
            distance = draw.decision - limit
            COVER.hit("decision", {0: "at the limit", 1: "one above it"}.get(distance))
            count = model.counts[action.row]
            values = model.q[action.row][:count]
            COVER.hit("count", count)
            if action.explored:
                COVER.hit("random_action", action.action)
                COVER.hit("random_differs", values[action.action] < max(values))
            else:
                COVER.hit("greedy_action", action.action)
                COVER.hit("greedy_tie", "none" if values.count(max(values)) == 1 else "two or more")

    def fill(self) -> None:
        """New contents of the memories, including equal Q-values."""
        for row in range(PARAMS.states):
            few = (random_q(PARAMS), random_q(PARAMS))
            ties = random.random() < 0.4
            self.model.q[row] = [random.choice(few) if ties else random_q(PARAMS) for _ in range(PARAMS.actions)]
            count = random.randint(1, PARAMS.actions)
            self.model.counts[row] = count
            if random.random() < 0.3:  # every action is the best one in turn
                self.model.q[row][random.choice((count - 1, random.randrange(count)))] = PARAMS.q_max


ROUNDS = (6 if PARAMS.states > 100 else 60) * SETUP.effort


def random_states() -> int:
    return random.choice((1, PARAMS.states, random.randint(1, PARAMS.states)))


@cocotb.test()
async def power_up(dut: Any) -> None:
    """The LFSR is 1 after reset."""
    bench = SamplerBench(dut)
    await bench.start()
    out = await bench.tick()
    bench.checker.equal("lfsr after reset", 1, out["lfsr"])


@cocotb.test()
@cocotb.parametrize(epsilon=[0, None, ONE])
async def random_sampling(dut: Any, epsilon: int | None) -> None:
    """Random tables; epsilon exactly 0, random, exactly 1; the LFSR continues, or starts from a new seed."""
    bench = SamplerBench(dut)
    await bench.start()
    explored = [0, 0]
    for round_ in range(ROUNDS):
        bench.fill()
        if round_ < 3:
            await bench.seed((1, PARAMS.lfsr_max, random.randint(1, PARAMS.lfsr_max))[round_])
        elif random.random() < 0.3:
            await bench.seed(random.randint(1, PARAMS.lfsr_max))
        bench.model.registers.update(
            STATES=PARAMS.states if round_ == 0 else random_states(),
            EPSILON=random_coefficient(PARAMS) if epsilon is None else epsilon,
        )
        await bench.sample()
        for event in bench.model.events:
            if isinstance(event, Action):
                explored[event.explored] += 1
    if epsilon is not None:
        assert explored[0 if epsilon else 1] == 0, "epsilon 1 always explores, epsilon 0 never does"


@cocotb.test()
async def every_decision(dut: Any) -> None:
    """Epsilon 0 and 1 over a whole period of the LFSR, or as much as time allows."""
    bench = SamplerBench(dut)
    await bench.start()
    await bench.seed(random.randint(1, PARAMS.lfsr_max))
    bench.fill()
    drawn = 0
    for epsilon in (0, ONE):
        for _ in range(max(1, 300 // PARAMS.states)):
            bench.model.registers.update(STATES=PARAMS.states, EPSILON=epsilon)
            await bench.sample()
            drawn += PARAMS.states
    assert drawn >= 256


@cocotb.test()
async def decisions_at_the_limit(dut: Any) -> None:
    """A decision that just explores and one that just does not, for epsilons of all sizes."""
    bench = SamplerBench(dut)
    await bench.start()
    bench.fill()
    for _ in range(40 * SETUP.effort):
        epsilon = random.randint(1, ONE - 1)
        limit = explore_limit(epsilon, PARAMS.coef_frac, WIDTH)
        for decision in (limit, limit + 1):
            if not 1 <= decision <= PARAMS.lfsr_max:
                continue
            seed = previous_draw(decision)
            assert next_draw(seed, WIDTH) == decision
            await bench.seed(seed)
            bench.model.registers.update(STATES=1, EPSILON=epsilon)
            await bench.sample()
            first = next(event for event in bench.model.events if isinstance(event, Action))
            assert first.explored == (decision == limit)


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
