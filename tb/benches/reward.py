"""Bench of `rtl.unit.reward.RewardCalculator`: reward, outlier decision and share against the golden model.

Timing checked: ``done`` comes ``q_width + 20`` cycles after ``start`` and ``q_width + 4`` after ``divide``,
for one cycle; ``reward_valid`` is high for one cycle for each computed reward; the outlier bits are combinational.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from sim.model.golden import GoldenModel
from tb.kit.bench import Setup, Testbench, random_coefficient, random_q

SETUP = Setup()
PARAMS = SETUP.params
ONE = PARAMS.coef_one
SHIFT = 2 * PARAMS.coef_frac - PARAMS.q_frac  # bits that rounding removes from the score
COVER = SETUP.cover
COVER.points(
    job=["compute", "load and divide", "divide"],
    outlier=[f"{a}{latency}{e}" for a in "-A" for latency in "-L" for e in "-E"],
    accuracy=["below", "at", "one above"],
    latency=["one below", "at", "above"],
    energy=["one below", "at", "above"],
    term=["zero", "between", "one", "clipped", "tie down", "tie up"],
    score=["zero", "between", "saturated", *(["tie down", "tie up"] if SHIFT > 0 else [])],
    loaded=["lowest", "negative", "zero", "positive", "highest"],
    states=[1] if PARAMS.states == 1 else [1, "between", "all"],
    share=["exact"] if PARAMS.states == 1 else
          ["exact", "down", "up", "tie down", "tie up", "negative down", "negative up"],
)  # fmt: skip

COEFFICIENTS = (
    "ACCURACY", "LATENCY", "ENERGY", "WEIGHT_A", "WEIGHT_L", "WEIGHT_E", "ACCURACY_TH", "LATENCY_TH",
    "ENERGY_TH", "LATENCY_HIGH", "ENERGY_HIGH",
)  # fmt: skip
GAINS = ("LATENCY_GAIN", "ENERGY_GAIN")


class RewardBench(Testbench):
    """Sets measurements and settings, and compares the answer with the golden model."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut, SETUP)
        self.model = GoldenModel(PARAMS, record=True)
        self.lent: tuple[int, int] | None = None  # factors of the multiplier's other user in the last cycle

    async def lend(self) -> None:
        """Give the multiplier's other user a few products while the block is idle."""
        for _ in range(random.randint(1, 4)):
            factors = random.getrandbits(PARAMS.lfsr_width), random.randint(0, 31)
            await self._cycle(idle_factor_a=factors[0], idle_factor_b=factors[1])
            self.lent = factors
        await self._cycle()

    def apply(self, **registers: int) -> None:
        """Give model and block settings and measurements, by register name."""
        self.model.registers.update(registers)
        inputs = (*COEFFICIENTS, *GAINS, "STATES")
        self.driver.set(**{name.lower(): self.model.registers[name] for name in inputs})

    async def compute(self) -> None:
        self.model.compute_reward()
        await self._run("start", PARAMS.q_width + 20, computes=True)
        COVER.hit("job", "compute")

    async def divide(self, reward: int | None = None) -> None:
        """Compute a new share, of the block's reward or of a given one."""
        if reward is not None:
            self.model.registers["REWARD"] = reward
            await self._cycle(load=1, load_value=reward)
            self.driver.set(load=0, load_value=random_q(PARAMS))
        self.model.compute_share()
        await self._run("divide", PARAMS.q_width + 4, computes=False)
        COVER.hit("job", "divide" if reward is None else "load and divide")

    async def _run(self, strobe: str, latency: int, *, computes: bool) -> None:
        valid = 0
        self.driver.set(**{strobe: 1})
        for cycle in range(latency + 1 + random.randint(1, 3)):
            outputs = await self._cycle()
            self.driver.set(**{strobe: 0})
            self.checker.equal(f"done {cycle} cycles after {strobe}", int(cycle == latency), outputs["done"])
            if outputs["reward_valid"]:
                valid += 1
                self.checker.equal("reward with reward_valid", self.model.registers["REWARD"], outputs["reward"])
            if cycle >= latency:
                self.checker.equal("reward", self.model.registers["REWARD"], outputs["reward"])
                self.checker.equal("share", self.model.share, outputs["share"])
        self.checker.equal("number of cycles with reward_valid", int(computes), valid)

    async def _cycle(self, **inputs: int) -> dict[str, int]:
        outputs = await self.tick(**inputs)
        if self.lent:
            a, b = self.lent
            self.checker.equal("product for the other user", a * b, outputs["product"])
        self.lent = None
        missed = tuple(bool(outputs[f"{name}_outlier"]) for name in ("accuracy", "latency", "energy"))
        self.checker.equal("outlier bits", self.model.outlier(), missed)
        return outputs


def random_settings() -> dict[str, int]:
    """Random settings, then thresholds that the measurements just meet or just miss."""
    registers = {name: random_coefficient(PARAMS) for name in COEFFICIENTS}
    registers |= {name: random.getrandbits(PARAMS.gain_width) for name in GAINS}
    for name, near in (("ACCURACY", (0, -1, 1)), ("LATENCY", (0, 1, -1)), ("ENERGY", (0, 1, -1))):
        if random.random() < 0.8:
            threshold = registers[name] + random.choice((*near, near[1], near[1]))
            registers[f"{name}_TH"] = max(0, min(ONE, threshold))
    return registers


def passing_settings() -> dict[str, int]:
    """Settings without outliers, so the score is visible."""
    registers = {name: random_coefficient(PARAMS) for name in COEFFICIENTS}
    registers |= {"ACCURACY": random.randint(1, ONE), "ACCURACY_TH": 0}
    for name in ("LATENCY", "ENERGY"):
        registers |= {name: random.randint(0, ONE - 1), f"{name}_TH": ONE}
        margin = max(1, registers[f"{name}_HIGH"] - registers[name])
        # Any gain, or one that neither clips nor vanishes.
        gain = random.randint(1, max(1, min(2**PARAMS.gain_width - 1, (ONE << PARAMS.gain_frac) // margin)))
        registers[f"{name}_GAIN"] = random.choice((gain, random.getrandbits(PARAMS.gain_width)))
        if random.random() < 0.1:  # scores exactly 1
            registers |= {name: 0, f"{name}_HIGH": ONE, f"{name}_GAIN": 1 << PARAMS.gain_frac}
    if random.random() < 0.1:  # all three weights count fully
        registers |= {name: ONE for name in ("ACCURACY", "WEIGHT_A", "WEIGHT_L", "WEIGHT_E")}
        registers |= {"LATENCY_HIGH": ONE, "ENERGY_HIGH": ONE}
        registers |= dict.fromkeys(GAINS, 2**PARAMS.gain_width - 1)
    return registers


def tie_settings() -> dict[str, int]:
    """Settings with products exactly half-way between two results."""
    registers = passing_settings()
    for name in ("LATENCY", "ENERGY"):
        measured = random.randint(0, ONE - 2)
        margin = random.choice((1, 3, 5)) if measured + 5 <= ONE else 1
        registers |= {name: measured, f"{name}_HIGH": measured + margin}
        registers[f"{name}_GAIN"] = random.choice((1, 3)) << (PARAMS.gain_frac - 1)
    if random.random() < 0.5 and SHIFT > 0:
        # The accuracy's product alone, an odd multiple of half a unit of the score.
        low = max(0, SHIFT - 1 - PARAMS.coef_frac)
        bits = random.randint(low, min(SHIFT - 1, PARAMS.coef_frac))
        odd = random.randrange(1, max(2, 1 << (PARAMS.coef_frac - (SHIFT - 1 - bits))), 2)
        registers |= {
            "WEIGHT_A": 1 << bits,
            "ACCURACY": odd << (SHIFT - 1 - bits),
            "WEIGHT_L": 0,
            "WEIGHT_E": 0,
        }
    return registers


def note(model: GoldenModel, computed: bool) -> None:
    """Coverage of a transaction, from the model's inputs."""
    r = model.registers
    if computed:
        missed = model.outlier()
        COVER.hit("outlier", "".join(letter if bit else "-" for letter, bit in zip("ALE", missed, strict=True)))
        distance = r["ACCURACY"] - r["ACCURACY_TH"]
        COVER.hit("accuracy", "below" if distance < 0 else {0: "at", 1: "one above"}.get(distance))
        for name in ("LATENCY", "ENERGY"):
            distance = r[name] - r[f"{name}_TH"]
            COVER.hit(name.lower(), "above" if distance > 0 else {0: "at", -1: "one below"}.get(distance))
            product = max(0, r[f"{name}_HIGH"] - r[name]) * r[f"{name}_GAIN"]
            exact, rest = divmod(product, 1 << PARAMS.gain_frac)
            if exact > ONE:
                COVER.hit("term", "clipped")
            elif 2 * rest == 1 << PARAMS.gain_frac:
                COVER.hit("term", "tie up" if exact % 2 else "tie down")
            else:
                COVER.hit("term", {0: "zero", ONE << PARAMS.gain_frac: "one"}.get(product, "between"))
        if not any(missed):
            score = r["REWARD"]
            if score == PARAMS.q_max:
                COVER.hit("score", "saturated")
            elif SHIFT > 0 and not r["WEIGHT_L"] and not r["WEIGHT_E"]:
                exact, rest = divmod(r["WEIGHT_A"] * r["ACCURACY"], 1 << SHIFT)
                if 2 * rest == 1 << SHIFT:
                    COVER.hit("score", "tie up" if exact % 2 else "tie down")
            COVER.hit("score", "between" if 0 < score < PARAMS.q_max else "zero" if score == 0 else None)
    else:
        ends = {PARAMS.q_min: "lowest", PARAMS.q_max: "highest", 0: "zero"}
        COVER.hit("loaded", ends.get(r["REWARD"], "negative" if r["REWARD"] < 0 else "positive"))
    states, reward = r["STATES"], r["REWARD"]
    COVER.hit("states", 1 if states == 1 else "all" if states == PARAMS.states else "between")
    quotient, rest = divmod(abs(reward), states)
    if rest == 0:
        COVER.hit("share", "exact")
    elif 2 * rest == states:
        COVER.hit("share", "tie up" if quotient % 2 else "tie down")
    else:
        COVER.hit("share", ("negative " if reward < 0 else "") + ("up" if 2 * rest > states else "down"))


def random_states() -> int:
    return random.choice((1, PARAMS.states, 2 if PARAMS.states > 1 else 1, random.randint(1, PARAMS.states)))


@cocotb.test()
@cocotb.parametrize(settings=[random_settings, passing_settings, tie_settings])
async def computed_rewards(dut: Any, settings: Any) -> None:
    """Rewards from measurements: all thresholds, sums of weights far from 1, saturation, ties."""
    bench = RewardBench(dut)
    await bench.start()
    for _ in range(150 * SETUP.effort):
        bench.apply(**settings(), STATES=random_states())
        await bench.lend()
        await bench.compute()
        note(bench.model, computed=True)
    assert bench.checker.compared > 150


@cocotb.test()
async def rewards_of_the_host(dut: Any) -> None:
    """Loaded rewards, also negative ones, and another number of states for the current reward."""
    bench = RewardBench(dut)
    await bench.start()
    bench.apply(**random_settings(), STATES=random_states())
    for _ in range(120 * SETUP.effort):
        reward = random_q(PARAMS)
        await bench.lend()
        await bench.divide(reward)
        note(bench.model, computed=False)
        bench.apply(STATES=random_states())
        await bench.divide()
        note(bench.model, computed=False)
    assert bench.checker.compared > 240


@cocotb.test(stage=1)
async def coverage(dut: Any) -> None:
    """Every bin was met."""
    COVER.gate()
