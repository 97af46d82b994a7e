"""Random stimulus for lockstep: everything that a run, or a host that makes mistakes, can do to a unit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from rtl.spec.buses import ACCESS_CYCLES, ADDRESS_WIDTH, ANSWER_CYCLES, DATA_WIDTH, EFFECT_CYCLES
from rtl.spec.params import (
    DISCOUNT_FRAC,
    LFSR_TAPS,
    RLUParams,
    clear_cycles,
    sample_cycles,
    share_cycles,
    update_cycles,
)
from rtl.spec.registers import (
    ACTION_COUNT,
    BY_NAME,
    CLEAR,
    ERROR_FLAGS,
    MEMORIES,
    POLICY,
    Q_TABLE,
    RECOMMEND,
    REGISTERS,
    REWARD,
    SAMPLE,
    UPDATE,
    WINDOW_BY_NAME,
    Register,
    field_of,
)
from sim.devices.device import READ, RESET, WAIT, WRITE, Op, address_of
from sim.model.arithmetic import to_fixed

#: Read after every episode.
_RESULTS = ("STATUS", "REWARD", "SHARE", "LFSR", "CYCLES", "EPISODES", "IRQ_STATUS", "PLAN")
#: Registers that change while a command runs.
_MOVING = ("LFSR", "CYCLES", "EPISODES", "PLAN")
#: Most accesses while a command runs.
_WHILE_BUSY = 3


def units(seed: int) -> tuple[RLUParams, ...]:
    """The units that lockstep compares by default: the published one, three with short numbers, and a random one.

    With short numbers, saturation, ties and clipping are frequent. Two of these three have an episode memory,
    which is full after four episodes, and each of its policies takes two words of it. One of these two plans.
    """
    short = {"q_width": 8, "q_frac": 6, "coef_frac": 6, "gain_frac": 4, "lfsr_width": 8}
    rng = random.Random(f"unit {seed}")
    q_width = rng.randint(8, 16)
    drawn = RLUParams(
        states=rng.randint(1, 40),
        actions=rng.randint(2, 16),
        q_width=q_width,
        q_frac=rng.randint(2, q_width - 2),
        coef_frac=rng.randint(4, 15),
        gain_frac=rng.randint(4, 12),
        lfsr_width=rng.choice(sorted(LFSR_TAPS)),
        episodes=rng.choice((0, 0, 2, 8)),
    )
    if drawn.episodes and drawn.states > 1:
        drawn = replace(drawn, points=rng.choice((0, 1, 5)))
    return (
        RLUParams(),
        RLUParams(states=5, actions=3, action_counts=(3, 2, 3, 1, 2), **short),
        RLUParams(states=11, actions=3, action_counts=(2, 1, 3, 2, 1, 3, 2, 2, 1, 3, 2), episodes=4, **short),
        RLUParams(states=11, actions=3, action_counts=(2, 1, 3, 2, 1, 3, 2, 2, 1, 3, 3), episodes=4, points=3, **short),
        drawn,
    )


def stimuli(
    params: RLUParams, seed: int, episodes: int, alpha: float | None = None, gamma: float | None = None
) -> Iterator[list[Op]]:
    """Transactions, one list for each episode: settings, sample, measurements, reward, update, and mistakes.

    Args:
        params: the unit.
        seed: the same seed gives the same transactions.
        episodes: number of episodes; the first begins, and the last ends, with a read of everything readable.
        alpha, gamma: learning rate and discount, 0..1, for the whole run; by default they vary.
    """
    source = _Stimulus(params, seed, alpha, gamma)
    for episode in range(episodes):
        ops = [*source.everything(), *source.every_mistake(), *source.first_settings()] if episode == 0 else []
        ops += source.episode()
        yield ops + source.everything() if episode == episodes - 1 else ops


class _Stimulus:
    def __init__(self, params: RLUParams, seed: int, alpha: float | None, gamma: float | None) -> None:
        self.params, self.rng = params, random.Random(seed)
        given = {"ALPHA": alpha, "GAMMA": gamma}
        self.fixed = {name: to_fixed(value, params.coef_frac) for name, value in given.items() if value is not None}
        self.pairs = Q_TABLE.used_words(params)
        self.windows = {
            "POLICY": POLICY.addresses(params.states),
            "ACTION_COUNT": ACTION_COUNT.addresses(params.states),
            "Q_TABLE": Q_TABLE.addresses(params.states, params.actions),
        }
        self.registers = [register.offset for register in REGISTERS]
        self.existing = {*self.registers, *(address for window in self.windows.values() for address in window)}

    def everything(self) -> list[Op]:
        """Reads of all registers and memories."""
        return [Op(READ, address) for address in sorted(self.existing)]

    def every_mistake(self) -> list[Op]:
        """Writes one bit above each range, and reads one address bit off; the errors of both are cleared."""
        values = [
            Op(WRITE, register.offset, value)
            for register in REGISTERS
            if register.access.writable
            for value in self._illegal_values(register)
        ]
        count = ACTION_COUNT.address(0)
        counts = [Op(WRITE, count, self.params.actions + (1 << bit)) for bit in range(31)]
        places = (*self.registers, *(window[0] for window in self.windows.values()))
        strays = [Op(READ, address ^ 1 << bit) for address in places for bit in range(ADDRESS_WIDTH)]
        flags = Op(READ, address_of("STATUS")), self._write("STATUS", sum(flag.mask for flag in ERROR_FLAGS))
        return [*values, *flags, *counts, *flags, *strays, *flags]

    def first_settings(self) -> list[Op]:
        """The start of a run: random contents of the memories, coefficients, the LFSR's seed."""
        return [
            *self._coefficients(1.0),
            self._write("LFSR", self._lfsr()),
            *(Op(WRITE, address, self._count()) for address in self.windows["ACTION_COUNT"]),
            *(op for row in range(self.params.states) for op in self._q_row(row)),
        ]

    def episode(self) -> list[Op]:
        """One round of a run, mistakes included."""
        ops = [*self._settings(), *self._memories(), *self._planning(), *self._sample()]
        for _ in range(self.rng.randint(0, 3)):  # rewards alone cost little
            ops += [*self._measurements(), *self._work(self._write("COMMAND", REWARD))]
            ops += [Op(READ, address_of(name)) for name in ("REWARD", "SHARE")]
        ops += [*self._measurements(), *self._learn()]
        if self._chance(0.4):
            ops += self._mistake()
        return ops + self._look()

    # The numbers.

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _coefficient(self) -> int:
        rng, p = self.rng, self.params
        bit = 1 << rng.randint(0, p.coef_frac)
        return rng.choice((0, p.coef_one, bit, p.coef_one - bit, *(rng.randint(0, p.coef_one) for _ in range(4))))

    def _near(self, value: int) -> int:
        """A coefficient that differs in at most one bit."""
        other = value ^ self.rng.choice((0, *(1 << bit for bit in range(self.params.coef_frac))))
        return min(other, self.params.coef_one)

    def _q_value(self) -> int:
        rng, p = self.rng, self.params
        bit = 1 << rng.randint(0, p.q_width - 2)
        return rng.choice((p.q_min, p.q_max, 0, bit, -bit, *(rng.randint(p.q_min, p.q_max) for _ in range(5))))

    def _count(self) -> int:
        return self.rng.choice((self.params.actions, self.rng.randint(1, self.params.actions)))

    def _lfsr(self) -> int:
        rng, p = self.rng, self.params
        return rng.choice((rng.randint(1, p.lfsr_max), 1 << rng.randrange(p.lfsr_width), p.lfsr_max))

    def _tie(self, bits: int, limit: int, other_limit: int) -> tuple[int, int] | None:
        """Two numbers whose product is on a rounding tie of ``bits`` bits, or next to it; ``None`` if none is found.

        The first is odd and in 1..``limit``, the other in 0..``other_limit``.
        """
        rng = self.rng
        for _ in range(6 if bits >= 1 and limit >= 1 else 0):
            one = rng.randint(1, limit) | 1
            off = rng.choice((0, 1, -1, 1 << rng.randrange(bits), -1 << rng.randrange(bits)))
            other = ((1 << (bits - 1)) + off) * pow(one, -1, 1 << bits) % (1 << bits)
            if one <= limit and other <= other_limit:
                return one, other
        return None

    # The operations.

    def _write(self, name: str, value: int) -> Op:
        return Op(WRITE, address_of(name), value & 0xFFFF_FFFF)

    def _coefficients(self, probability: float) -> list[Op]:
        """ALPHA and GAMMA: the fixed ones, or new ones with a probability."""
        p = self.params
        values = dict(self.fixed)
        if not self.fixed and self._chance(probability):
            values = {"ALPHA": self._coefficient(), "GAMMA": self._coefficient()}
            tie = self._tie(2 * p.coef_frac - DISCOUNT_FRAC, p.coef_one, p.coef_one)
            if tie is not None and self._chance(0.3):
                # The product of the two is rounded: choose its high bits at random.
                low, step = tie[1], 1 << (2 * p.coef_frac - DISCOUNT_FRAC)
                values = {"ALPHA": tie[0], "GAMMA": low + step * self.rng.randint(0, (p.coef_one - low) // step)}
        elif self._chance(probability):
            values |= {name: self._coefficient() for name in ("ALPHA", "GAMMA") if name not in self.fixed}
        return [self._write(name, value) for name, value in values.items()]

    def _q_row(self, row: int) -> list[Op]:
        """Writes of a row's words in any order: any values, or values that differ in single bits and often tie."""
        rng = self.rng
        values = [self._q_value() for _ in range(2 * self.pairs)]
        if self._chance(0.6):
            base, same = rng.choice(values), rng.choice((0.2, 0.5, 0.9))
            values = [base if self._chance(same) else self._flipped(base) for _ in values]
        return [
            Op(WRITE, Q_TABLE.address(row, 2 * pair), Q_TABLE.pack(values[2 * pair : 2 * pair + 2])[0])
            for pair in rng.sample(range(self.pairs), self.pairs)
        ]

    def _flipped(self, q_value: int) -> int:
        """The Q-value with one bit inverted, the sign included."""
        p = self.params
        word = (q_value ^ 1 << self.rng.randrange(p.q_width)) & (1 << p.q_width) - 1
        return word - (1 << p.q_width) if word > p.q_max else word

    def _row(self) -> int:
        """A row, often one of the first rows, which every policy has."""
        return self.rng.randrange(self.rng.choice((self.params.states, min(8, self.params.states))))

    def _settings(self) -> list[Op]:
        p, rng = self.params, self.rng
        ops = self._coefficients(0.4)
        if self._chance(0.3):
            rows = rng.choice((p.states, 1, rng.randint(1, p.states), rng.randint(1, min(8, p.states))))
            ops += self._work(self._write("STATES", rows))
        if self._chance(0.3):
            ops.append(self._write("MODE", rng.randint(0, BY_NAME["MODE"].limits(p)[1])))
        if p.episodes and self._chance(0.3):
            # Not all of them large: the sample would take longer than the longest wait.
            settings = {"tournament": rng.choice((0, 1, 2, 3, 32)), "candidates": rng.choice((0, 1, 2, 3, 4, 8))}
            if self._chance(0.3):
                settings = {"tournament": rng.choice((128, rng.getrandbits(8))), "candidates": rng.randint(0, 1)}
            settings["replays"] = rng.choice((0, 1, 2, 3, 20, 1 << rng.randrange(8)))
            word = sum(value << field_of("EPISODIC", name).lsb for name, value in settings.items())
            ops.append(self._write("EPISODIC", word))
        if p.points and self._chance(0.3):
            ops.append(self._write("MODE", field_of("MODE", "planning").mask | rng.randint(0, 3)))
        if p.points and self._chance(0.3):
            # A plan of many climbs would take long.
            plan = {"climbs": rng.choice((0, 1, 2, 3)), "sweeps": rng.choice((0, 1, 2, 3))}
            plan |= {"passes": rng.choice((0, 1, 2, 15)), "caution": rng.getrandbits(4), "trust": rng.getrandbits(1)}
            ops.append(self._write("PLANNING", sum(v << field_of("PLANNING", k).lsb for k, v in plan.items())))
        if p.points and self._chance(0.3):
            ops.append(self._write("DOUBT", rng.choice((0, 0xFFFF, 1 << rng.randrange(16), self._coefficient() // 16))))
        if p.points and self._chance(0.3):
            ops.append(self._write("RIDGE", rng.choice((0, 0xFFFF, rng.getrandbits(16), 1 << p.gain_frac))))
        if self._chance(0.3):
            ops.append(self._write("IRQ_ENABLE", rng.randint(0, 3)))
        if self._chance(0.1):
            ops.append(self._write("LFSR", self._lfsr()))
        return ops

    def _memories(self) -> list[Op]:
        rng = self.rng
        ops: list[Op] = []
        if self._chance(0.3):
            rows = [self._row() for _ in range(rng.randint(1, 8))]
            ops += [Op(WRITE, ACTION_COUNT.address(row), self._count()) for row in rows]
        if self._chance(0.6):
            ops += [op for _ in range(rng.randint(1, 4)) for op in self._q_row(self._row())]
        if self._chance(0.5):
            ops += self._q_row(self._row())[:1]
        if self._chance(0.02):
            ops += [op for row in range(self.params.states) for op in self._q_row(row)]
        return ops

    def _planning(self) -> list[Op]:
        """Writes and reads of a planning unit's memories, and now and then a recommendation."""
        p, rng = self.params, self.rng
        if not p.points:
            return []
        ops: list[Op] = []
        if self._chance(0.3):  # a whole row's costs, or any words, some of which the unit does not have
            point, row = rng.randrange(p.points), self._row()
            ops += self._memory("costs", point, row, 0, values=[self._cost() for _ in range(p.actions)])
        if self._chance(0.3):
            ops += self._memory("trials", self._row(), rng.randrange(p.actions), values=[rng.choice((0, 254, 255, 3))])
        if self._chance(0.2):
            ops += self._memory("policies", rng.randrange(p.episodes), 0, values=[self._actions()])
        if self._chance(0.1):
            accuracy = rng.choice((0xFFFF, p.coef_one, rng.getrandbits(16), self._coefficient()))
            ops += self._memory("results", rng.randrange(p.episodes), values=[accuracy | rng.getrandbits(16) << 16])
        for _ in range(rng.randint(0, 3)):
            ops += [self._write("MEMORY_ADDRESS", self._memory_word()), Op(READ, address_of("MEMORY_DATA"))]
            if self._chance(0.1):
                ops += [self._write("MEMORY_DATA", rng.getrandbits(32)), Op(READ, address_of("MEMORY_ADDRESS"))]
        if self._chance(0.2):
            ops += self._work(self._write("COMMAND", RECOMMEND))
        return ops

    def _memory(self, name: str, *numbers: int, values: list[int]) -> list[Op]:
        """Writes of words that follow one another."""
        index = next(i for i, memory in enumerate(MEMORIES) if memory.name == name)
        word = MEMORIES[index].word(*numbers)
        address = word | index << field_of("MEMORY_ADDRESS", "memory").lsb
        return [self._write("MEMORY_ADDRESS", address), *(self._write("MEMORY_DATA", value) for value in values)]

    def _memory_word(self) -> int:
        """A value of MEMORY_ADDRESS: mostly a word that the unit has, sometimes one bit away from it."""
        rng = self.rng
        index = rng.randrange(len(MEMORIES))
        bounds = MEMORIES[index].bounds(self.params)
        word = sum(rng.randrange(count) << lsb for lsb, _, count in bounds)
        word |= index << field_of("MEMORY_ADDRESS", "memory").lsb
        return word ^ 1 << rng.randrange(16) if self._chance(0.2) else word

    def _cost(self) -> int:
        """Latency and energy of an action; mostly small, so that a policy passes the thresholds."""
        usual = self.params.coef_one // self.params.states
        rng = self.rng
        numbers = (rng.randint(0, usual), rng.randint(0, usual), self._coefficient() // 4, rng.getrandbits(16))
        return rng.choice(numbers) | rng.choice(numbers) << 16

    def _actions(self) -> int:
        """A word of a policy."""
        highest = self.rng.choice((self.params.actions - 1, 15))
        return POLICY.pack([self.rng.randint(0, highest) for _ in range(POLICY.entries_per_word)])[0]

    def _sample(self) -> list[Op]:
        rng = self.rng
        ops = []
        if self._chance(0.9):
            ops.append(self._write("EPSILON", rng.choice((0, self._coefficient()))))
            ops += self._work(self._write("COMMAND", SAMPLE))
        if self._chance(0.2):  # often with actions that the rows do not have
            for address in rng.sample(self.windows["POLICY"], min(2, len(self.windows["POLICY"]))):
                ops.append(Op(WRITE, address, self._actions()))
        return ops

    def _measurements(self) -> list[Op]:
        """Measurements, weights and thresholds; mostly the measurements pass, sometimes by just enough or not quite."""
        p, rng = self.params, self.rng
        names = ("WEIGHT_A", "WEIGHT_L", "WEIGHT_E", "LATENCY_HIGH", "ENERGY_HIGH", "ACCURACY", "LATENCY", "ENERGY")
        values = {name: self._coefficient() for name in names}
        # Small gains, too: most of the others clip their term.
        values |= {f"{name}_GAIN": rng.getrandbits(p.gain_width - rng.choice((0, 3))) for name in ("LATENCY", "ENERGY")}
        tie = self._tie(2 * p.coef_frac - p.q_frac, p.coef_one, p.coef_one) if self._chance(0.3) else None
        if tie is not None:  # of the score
            values |= {"WEIGHT_A": tie[0], "ACCURACY": tie[1], "WEIGHT_L": 0, "WEIGHT_E": 0}
            values |= {
                "LATENCY": min(values["LATENCY"], p.coef_one - 1),
                "ENERGY": min(values["ENERGY"], p.coef_one - 1),
            }
        for name in ("LATENCY", "ENERGY"):
            of_term = self._tie(p.gain_frac, p.coef_one - values[name], (1 << p.gain_width) - 1)
            if of_term is not None and self._chance(0.3):
                values |= {f"{name}_HIGH": values[name] + of_term[0], f"{name}_GAIN": of_term[1]}
        passing = {"ACCURACY": 0, "LATENCY": p.coef_one, "ENERGY": p.coef_one}
        for name, threshold in passing.items():
            near = self._chance(0.25) and tie is None
            values[f"{name}_TH"] = self._near(values[name]) if near else threshold
        return [self._write(name, value) for name, value in values.items()]

    def _learn(self) -> list[Op]:
        kind = self.rng.random()
        if kind < 0.5:
            return self._work(self._write("COMMAND", REWARD | UPDATE))
        if kind < 0.85:
            reward = self._work(self._write("REWARD", self._q_value()))
            return reward + self._work(self._write("COMMAND", UPDATE))
        return self._work(self._write("COMMAND", self.rng.randint(0, BY_NAME["COMMAND"].limits(self.params)[1])))

    def _work(self, begin: Op) -> list[Op]:
        """A write that starts work, the wait for its end, and its cycles; sometimes accesses or a reset in between."""
        ops = [begin]
        command = begin.value if begin.address == address_of("COMMAND") else REWARD
        possible = self._accesses_while_busy(command)
        if self._chance(0.2) and possible:
            ops += [self._while_busy() for _ in range(self.rng.randint(1, possible))]
        # Work that has changed a memory cannot be dropped; reward and share come first, and take the longest.
        early = UPDATE if self.params.points else 0  # in planning mode it begins with storing
        dropped = command and not command & CLEAR and ((len(ops) == 1 and not command & early) or command & REWARD)
        if dropped and self._chance(0.03):
            return ops + self._reset()
        return [*ops, Op(WAIT), Op(READ, address_of("STATUS")), Op(READ, address_of("CYCLES"))]

    def _accesses_while_busy(self, command: int) -> int:
        """How many accesses are answered before a command ends, however short it is."""
        update = update_cycles(1) if not self.params.points else 7  # a plan's missed measurement is only stored
        shortest = {
            CLEAR: clear_cycles(self.params),
            REWARD: share_cycles(self.params),  # also of a write of REWARD or STATES
            UPDATE: update,
            SAMPLE: sample_cycles(1),
        }
        cycles = sum(count for bit, count in shortest.items() if command & bit)
        return max(0, min(_WHILE_BUSY, (cycles - (ANSWER_CYCLES - EFFECT_CYCLES)) // ACCESS_CYCLES))

    def _while_busy(self) -> Op:
        """An access that a busy unit refuses, or a read of a register that keeps its value."""
        kind = self.rng.random()
        if kind < 0.4:
            return Op(WRITE, self.rng.choice((*self.registers, *self._any_word())), self.rng.getrandbits(32))
        if kind < 0.6:
            return Op(READ, self.rng.choice(self._any_word()))
        return Op(READ, self.rng.choice([r.offset for r in REGISTERS if r.name not in _MOVING]))

    def _any_word(self) -> list[int]:
        """A word of each window."""
        return [self.rng.choice(addresses) for addresses in self.windows.values()]

    def _reset(self) -> list[Op]:
        registers = [Op(READ, address) for address in self.registers] if self._chance(0.5) else []
        return [Op(RESET), *registers, *(self._write(name, value) for name, value in self.fixed.items())]

    def _mistake(self) -> list[Op]:
        """An access that the unit refuses, and the host's reaction."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            any_word = (0, (1 << DATA_WIDTH) - 1)
            register = rng.choice([r for r in REGISTERS if r.access.writable and r.limits(self.params) != any_word])
            op = Op(WRITE, register.offset, rng.choice(self._illegal_values(register)))
        elif kind < 0.5:
            op = Op(WRITE, rng.choice([r.offset for r in REGISTERS if not r.access.writable]), rng.getrandbits(32))
        elif kind < 0.6:
            op = Op(WRITE, self._any_word()[1], rng.choice((0, self.params.actions + 1, 1 << rng.randrange(5, 32))))
        elif kind < 0.7 and self.params.q_width < 16:
            beyond = rng.choice((self.params.q_max + 1, self.params.q_min - 1)) & 0xFFFF
            op = Op(WRITE, self._any_word()[2], rng.choice((beyond, beyond << 16)))
        else:
            op = self._stray()
        ops = [op, Op(READ, address_of("STATUS"))]
        if self._chance(0.5):
            ops.append(self._write("STATUS", rng.getrandbits(4) << 8))
        return ops

    def _illegal_values(self, register: Register) -> list[int]:
        """Words just outside the register's range, and words with a bit above it."""
        low, high = register.limits(self.params)
        beyond = [low - 1, *(high + (1 << bit) for bit in range(32))]
        if register.fields:
            beyond = [self.rng.randint(0, high) & high | 1 << bit for bit in range(32) if not high >> bit & 1]
        elif register.signed:
            beyond += [self._q_value() ^ 1 << bit for bit in range(self.params.q_width, 32)]
        top = 1 << 31 if register.signed else 1 << 32  # a wider one is a different number on the bus
        return [value & 0xFFFF_FFFF for value in beyond if -(1 << 31) <= value < top and not low <= value <= high]

    def _stray(self) -> Op:
        """An access to an address that differs from a good one in one bit."""
        address = self.rng.choice((*self.registers, *self._any_word())) ^ 1 << self.rng.randrange(ADDRESS_WIDTH)
        if address in self.existing or self._chance(0.5):
            return Op(READ, address)
        return Op(WRITE, address, self.rng.getrandbits(32))

    def _look(self) -> list[Op]:
        """Reads of the results and of other registers; clearing of flags, and resets of an idle unit."""
        rng = self.rng
        ops = [Op(READ, address_of(name)) for name in _RESULTS]
        ops += [Op(READ, rng.choice((*self.registers, *self._any_word()))) for _ in range(8)]
        if self._chance(0.1):
            ops += [Op(READ, address) for address in (*self.registers, *self.windows["POLICY"])]
        if self._chance(0.3):
            ops += [self._write("IRQ_STATUS", rng.randint(0, 3)), Op(READ, address_of("IRQ_STATUS"))]
        if self._chance(0.1):
            ops.append(self._write("STATUS", rng.getrandbits(4) << 8 | rng.getrandbits(4)))
        if self._chance(0.1):
            ops.append(Op(WAIT))  # a pause
        return ops + self._reset() if self._chance(0.02) else ops


def place(params: RLUParams, address: int) -> tuple[str, int]:
    """Name of a word that can be read, and its number if it is in a memory."""
    name = next((r.name for r in REGISTERS if r.offset == address), "")
    if name:
        return f"register {name}", 0
    for window in WINDOW_BY_NAME.values():
        if (found := window.place(address, params)) is not None:
            row, column = found
            if window.words_per_row > 1:
                return f"{window.name} row {row}, word", column // window.entries_per_word
            return f"{window.name} word", row // window.rows_per_word
    return f"address 0x{address:04X}", 0
