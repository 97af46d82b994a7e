"""Bench of `rtl.unit.updater.QTableUpdater` on a Q-table and a policy that the bench keeps.

Timing checked: row number ``k`` of those visited (from 0) is written, or refused, ``k + 9`` cycles after ``start``;
the last one comes after ``states + 8``, with ``done`` for one cycle.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import cocotb

from rtl.spec.params import DISCOUNT_FRAC, GUARD
from sim.model.arithmetic import discount, updated
from sim.model.golden import GoldenModel, QWrite
from tb.kit.bench import Setup, Testbench, pack, place, places, random_coefficient, random_coefficients, random_q

SETUP = Setup()
PARAMS = SETUP.params
ONE = PARAMS.coef_one
MANY = PARAMS.states > 1
COVER = SETUP.cover
COVER.points(
    states=[1, "between", "all"] if MANY else [1],
    alpha=["zero", "between", "one"],
    gamma=["zero", "between", "one"],
    share=["negative", "zero", "positive"],
    last_reward=["share", "another"],
    rounds=["exact", "tie up", "down", "up", *(["tie down"] if MANY else [])],  # ties go down in odd rows
    action=["lowest", "highest"],
    count=[1, 2, PARAMS.actions],
    refused=places(PARAMS.states),
)
if MANY:
    COVER.points(
        # Origin of the next row's discounted maximum.
        maximum=["the new value", "another", "another, the old value was larger", "a refused row"],
        # A single row moves between its old value and the reward, so it never leaves the range.
        saturates=["lowest", "highest"],
    )
COVER.points(start=["at rest", "while running, ignored"])


class UpdaterBench(Testbench):
    """Acts as the memories around the block, and compares its writes, with order and time.

    Attributes:
        q: the Q-table that the block works on.
        model: the golden model, which works on a copy.
    """

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = GoldenModel(PARAMS, record=True)
        self.q = [list(row) for row in self.model.q]

    async def update(self) -> None:
        model = self.model
        registers = model.registers
        states = registers["STATES"]
        model.events.clear()
        model.bad_action = False
        model.update()
        expected = {event.row: event for event in model.events if isinstance(event, QWrite)}
        self.driver.set(
            states=states, alpha=registers["ALPHA"], gamma=registers["GAMMA"], share=model.share,
            reward=registers["REWARD"], full_last_reward=registers["MODE"], start=1,
        )  # fmt: skip
        latency = states + 8
        again = random.choice((0, 0, random.randint(1, states)))  # a start to be ignored
        row, refused = 0, 0
        for cycle in range(latency + 1 + random.randint(1, 4)):
            self.driver.set(**self._memories(row))
            out = await self.tick()
            self.driver.set(start=int(again > 0 and cycle + 1 == again))
            row = out["read_row"]
            self.checker.equal(f"done {cycle} cycles after start", int(cycle == latency), out["done"])
            visited = states - 1 - (cycle - 9) if 9 <= cycle <= latency else None
            write = QWrite(out["write_row"], out["write_action"], out["write_value"]) if out["write_en"] else None
            self.checker.equal("write", expected.get(visited) if visited is not None else None, write)
            illegal = visited is not None and visited not in expected
            self.checker.equal("bad_action", int(illegal), out["bad_action"])
            refused += out["bad_action"]
            if write:
                self.q[write.row][write.action] = write.value
        self.checker.equal("some action refused", model.bad_action, refused > 0)
        self.checker.equal("Q-table", model.q, self.q)
        COVER.hit("start", "while running, ignored" if again else "at rest")

    def _memories(self, row: int) -> dict[str, int]:
        """Answer of Q-table and policy store for the row requested a cycle ago; random if out of range."""
        if row >= PARAMS.states:
            return {"row": random.getrandbits(PARAMS.actions * PARAMS.q_width), "action": 0, "count": 1}
        return {
            "row": pack(self.q[row], PARAMS.q_width),
            "action": self.model.policy[row],
            "count": self.model.counts[row],
        }

    def fill(self, kind: str) -> None:
        """New contents of the memories."""
        model = self.model
        for row in range(PARAMS.states):
            if kind == "saturating":
                values = [random.choice((PARAMS.q_min, PARAMS.q_max)) for _ in range(PARAMS.actions)]
            else:
                values = [random_q(PARAMS) for _ in range(PARAMS.actions)]
            model.q[row] = values
            self.q[row] = list(values)
            model.counts[row] = random.choice((1, 2, PARAMS.actions, random.randint(1, PARAMS.actions)))
        self.new_policy(0.0)

    def new_policy(self, illegal: float) -> None:
        """Actions that the rows have, or with probability ``illegal`` one that a row does not have."""
        model = self.model
        for row in range(PARAMS.states):
            count = model.counts[row]
            model.policy[row] = random.choice((0, count - 1, random.randrange(count)))
            if random.random() < illegal:
                model.policy[row] = random.randint(count, 15) if count < 16 else model.policy[row]


def note(bench: UpdaterBench, before: list[list[int]]) -> None:
    """Coverage of an update, from the model's steps."""
    model = bench.model
    r, states = model.registers, model.registers["STATES"]
    COVER.hit("states", 1 if states == 1 else "all" if states == PARAMS.states else "between")
    for name in ("alpha", "gamma"):
        COVER.hit(name, {0: "zero", ONE: "one"}.get(r[name.upper()], "between"))
    COVER.hit("share", "negative" if model.share < 0 else "positive" if model.share > 0 else "zero")
    COVER.hit("last_reward", "another" if r["MODE"] and r["REWARD"] != model.share else "share")
    for row in range(states):
        action, count, old = model.policy[row], model.counts[row], before[row]
        COVER.hit("count", count)
        if action >= count:
            COVER.hit("refused", place(row, states) if MANY else "only")
            if row:
                COVER.hit("maximum", "a refused row")
            continue
        COVER.hit("action", "lowest" if action == 0 else "highest" if action == count - 1 else None)
        new = model.q[row][action]
        if row and model.policy[row - 1] < model.counts[row - 1]:
            others = [value for i, value in enumerate(model.q[row][:count]) if i != action]
            if new > max(others, default=PARAMS.q_min):
                COVER.hit("maximum", "the new value")
            elif max(others, default=PARAMS.q_min) > new:
                was_larger = old[action] > max(others)
                COVER.hit("maximum", "another, the old value was larger" if was_larger else "another")
        reward, following = model.share, 0
        if row == states - 1:
            reward = r["REWARD"] if r["MODE"] else model.share
        else:
            maximum = max(model.q[row + 1][: model.counts[row + 1]])
            following = discount(r["ALPHA"], r["GAMMA"], PARAMS.coef_frac) * maximum >> DISCOUNT_FRAC - GUARD
        rounded = updated(old[action], reward, following, r["ALPHA"], PARAMS.coef_frac, row)
        if not PARAMS.q_min <= rounded <= PARAMS.q_max:
            COVER.hit("saturates", "lowest" if rounded < 0 else "highest")
        # The same in units of 2**-GUARD: how far it was moved to a whole number.
        step = Fraction(r["ALPHA"] * (reward - old[action]), ONE) * (1 << GUARD) // 1
        moved = (rounded << GUARD) - ((old[action] << GUARD) + step + following)
        if 2 * abs(moved) == 1 << GUARD:
            COVER.hit("rounds", "tie up" if moved > 0 else "tie down")
        else:
            COVER.hit("rounds", "exact" if moved == 0 else "up" if moved > 0 else "down")


@cocotb.test()
@cocotb.parametrize(alpha=[0, None, ONE])
@cocotb.parametrize(gamma=[0, None, ONE])
async def random_updates(dut: Any, alpha: int | None, gamma: int | None) -> None:
    """Random tables, policies and rewards; alpha and gamma 0, random, 1."""
    await run(dut, "any", alpha, gamma)


@cocotb.test()
@cocotb.parametrize(reward=["negative", "positive"])
async def saturation(dut: Any, reward: str) -> None:
    """Rewards and Q-values at the ends of their range, so results are beyond it."""
    await run(dut, "saturating", ONE, ONE, PARAMS.q_min if reward == "negative" else PARAMS.q_max)


@cocotb.test()
async def ties(dut: Any) -> None:
    """Alpha is a half, so every other result is half-way between two Q-values."""
    await run(dut, "any", ONE // 2, None)


@cocotb.test()
async def low_bits_of_the_discount(dut: Any) -> None:
    """Alpha and gamma are any numbers, so every bit of their product matters, but each only now and then."""
    await run(dut, "any", None, None, times=4, special=False)


async def run(
    dut: Any,
    kind: str,
    alpha: int | None,
    gamma: int | None,
    reward: int | None = None,
    times: int = 1,
    special: bool = True,
) -> None:
    bench = UpdaterBench(dut)
    await bench.start()
    rounds = (4 if PARAMS.states > 100 else 30) * SETUP.effort * times

    def coefficient() -> int:
        return random_coefficient(PARAMS) if special else random_coefficients(PARAMS, 1)[0]

    for round_ in range(rounds):
        if round_ % 4 == 0:
            bench.fill(kind)
        bench.new_policy(illegal=random.choice((0.0, 0.0, 0.2, 1.0)))
        states = random.choice((1, PARAMS.states, random.randint(1, PARAMS.states)))
        bench.model.registers.update(
            STATES=PARAMS.states if round_ == 0 else states,
            ALPHA=coefficient() if alpha is None else alpha,
            GAMMA=coefficient() if gamma is None else gamma,
            MODE=random.randint(0, 1),
            REWARD=random_q(PARAMS) if reward is None else reward,
        )
        bench.model.share = random_q(PARAMS) if reward is None else reward
        before = [list(row) for row in bench.model.q]
        await bench.update()
        note(bench, before)
    assert bench.checker.compared > rounds


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
