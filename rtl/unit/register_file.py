"""Register file: decodes the bus into registers and memory windows, using the table in registers.py."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from rtl.planning.planner import HostSignature
from rtl.primitives.fixed import sign_extended
from rtl.primitives.pipeline import later
from rtl.spec.buses import ADDRESS_WIDTH, DATA_WIDTH
from rtl.spec.params import COUNT_WIDTH, RLUParams
from rtl.spec.registers import (
    ACTION_COUNT,
    BY_NAME,
    ERROR_FLAGS,
    MEMORIES,
    POLICY,
    Q_TABLE,
    REGISTERS,
    Access,
    Register,
    Window,
    field_of,
)

#: The bus of the unit, seen from the master.
BUS = wiring.Signature(
    {
        "req": Out(1),
        "we": Out(1),
        "addr": Out(ADDRESS_WIDTH),
        "wdata": Out(DATA_WIDTH),
        "ack": In(1),
        "err": In(1),
        "rdata": In(DATA_WIDTH),
    }
)

#: Registers that the planner holds.
_PLANNER = ("PLAN", "MEMORY_ADDRESS", "MEMORY_DATA")

#: Bits of IRQ_STATUS and IRQ_ENABLE.
_DONE, _ERROR = (field_of("IRQ_STATUS", name).lsb for name in ("done", "error"))


def stored(register: Register, params: RLUParams) -> bool:
    """Whether the register file itself holds the register's bits; it holds none of the planner's without one."""
    planners = register.fields and all(field.needs == "points" for field in register.fields)
    return register.access is Access.RW and not register.external and not (planners and not params.points)


def halves_of(word: Value) -> tuple[Value, Value]:
    """The two Q-values in a word of the Q_TABLE window, the even action's first."""
    return word[: Q_TABLE.entry_width], word[Q_TABLE.entry_width :]


def settings_layout(params: RLUParams) -> data.StructLayout:
    """The registers that the register file holds, by lower-case name."""
    return data.StructLayout({r.name.lower(): r.width(params) for r in REGISTERS if stored(r, params)})


class CoreSignature(wiring.Signature):
    """The signals between the register file and the core, seen from the register file.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    command : Out(4)
        Bits of the COMMAND register just written, for one cycle.
    word : Out(32)
        The word being written, for the strobes below.
    lfsr_load, reward_load : Out(1)
        ``word`` is a new LFSR state, or a new reward.
    policy_write, count_write : Out(1)
        Write ``word`` to the policy store: eight actions, or the row's number of actions.
    q_write_mask : Out(actions)
        Banks of the Q-table to which the halves of ``word`` are written.
    row : Out(row_width)
        Row of the window access, to read and to write.
    q_row, policy_word, count : In
        Contents of the memories in the row given two cycles ago; only while not ``busy``.
    busy : In(1)
        A command is running: there are no strobes, and writes and window reads are refused.
    episodes_stored : In(stored_width)
        Number of stored episodes; 0 in a unit without an episode memory.
    memory, predicted, episode_place
        Only in a planning unit: access to its memories (`HostSignature`), the accuracy predicted for the last plan, and
        the place of the next episode.
    lfsr : In(lfsr_width)
        State of the random number generator.
    reward, share : In(signed(q_width))
        Reward of the policy, and of each row.
    accuracy_outlier, latency_outlier, energy_outlier : In(1)
        The measurement misses its threshold.
    bad_action : In(1)
        High for one cycle when an update meets an action that its row does not have.
    """

    def __init__(self, params: RLUParams):
        q = signed(params.q_width)
        super().__init__(
            {
                "command": Out(BY_NAME["COMMAND"].width(params)),
                "word": Out(DATA_WIDTH),
                "lfsr_load": Out(1),
                "reward_load": Out(1),
                "policy_write": Out(1),
                "count_write": Out(1),
                "q_write_mask": Out(params.actions),
                "row": Out(params.row_width),
                "q_row": In(data.ArrayLayout(q, params.actions)),
                "policy_word": In(DATA_WIDTH),
                "count": In(COUNT_WIDTH),
                "busy": In(1),
                "episodes_stored": In(max(1, params.stored_width)),
                "lfsr": In(params.lfsr_width),
                "reward": In(q),
                "share": In(q),
                "accuracy_outlier": In(1),
                "latency_outlier": In(1),
                "energy_outlier": In(1),
                "bad_action": In(1),
                **(
                    {
                        "memory": Out(HostSignature(params)),
                        "predicted": In(params.coef_width),
                        "episode_place": In(range(params.episodes)),
                    }
                    if params.points
                    else {}
                ),
            }
        )


class RegisterFile(wiring.Component):
    """The unit's memory map behind a request/acknowledge bus.

    The master holds ``req`` with ``we``, ``addr`` and ``wdata`` until the cycle in which ``ack`` is high;
    ``rdata`` and ``err`` are valid in that cycle only. ``err`` means that the access changed only a
    sticky error flag. Latency 4 cycles from ``req`` to ``ack``, throughput one access in 5 cycles.

    The access goes through stages, so that no path is long: inputs into registers, decoding, effect (two cycles after
    ``req``), answers of the memories. What ``req`` and the others do after the first cycle does not matter. The access
    is refused, and STATUS reads busy, if the unit was busy in the cycle before the effect.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    bus : In(BUS)
        Request/acknowledge bus.
    values : Out(StructLayout)
        Every register that the register file holds, by lower-case name.
    states_written : Out(1)
        STATES was just written, for one cycle.
    cycles : In(32)
        The CYCLES register.
    irq : Out(1)
        Interrupt request, a level: an enabled bit of IRQ_STATUS is set and the unit is not busy. IRQ_STATUS.done
        is set in the cycle in which ``busy`` falls, IRQ_STATUS.error together with the flag of STATUS. ``irq``
        follows a cycle later.
    others
        `CoreSignature`.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "bus": In(BUS),
                "values": Out(settings_layout(params)),
                "states_written": Out(1),
                "cycles": In(DATA_WIDTH),
                "irq": Out(1),
                **CoreSignature(params).members,
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        bus = self.bus

        registers = {
            r.name: Signal(r.width(p), name=r.name.lower(), init=r.reset_value(p)) for r in REGISTERS if stored(r, p)
        }
        m.d.comb += [self.values[name.lower()].eq(register) for name, register in registers.items()]
        flags = {f.name: Signal(name=f.name) for f in ERROR_FLAGS}

        # An access is taken if none is in progress, then decoded, then it has its effect, then the memories answer.
        taken, decoding, access, answering = Signal(), Signal(), Signal(), Signal()
        we, addr = Signal(), Signal(ADDRESS_WIDTH)
        m.d.comb += taken.eq(bus.req & ~Cat(decoding, access, answering, bus.ack).any())
        m.d.sync += [decoding.eq(taken), access.eq(decoding), answering.eq(access), bus.ack.eq(answering)]
        with m.If(taken):
            m.d.sync += [we.eq(bus.we), addr.eq(bus.addr), self.word.eq(bus.wdata)]

        # Pending interrupts: those from before, and one that comes in this cycle.
        kept = Signal(2)
        pending = Signal(2)
        enabled = registers["IRQ_ENABLE"]
        was_busy = Signal()
        erring = Signal()
        ended = was_busy & ~self.busy
        m.d.comb += pending.eq(kept | ended << _DONE)
        m.d.sync += [
            was_busy.eq(self.busy),
            # No interrupt while busy: the handler could not clear it.
            self.irq.eq((pending & enabled).any() & ~self.busy),
        ]

        known = Signal()
        writable = Signal()
        legal = Signal()
        is_window = Signal()
        word_address = addr[2:]
        strobes = {r.name: Signal(name=f"write_{r.name.lower()}") for r in REGISTERS if r.access.writable}
        with m.Switch(word_address):
            for register in REGISTERS:
                with m.Case(register.offset // 4):
                    m.d.comb += [
                        known.eq(1),
                        writable.eq(register.access.writable),
                        legal.eq(self._in_range(register)),
                    ]

        in_policy, row_policy, _ = self._window(POLICY, word_address)
        in_counts, row_counts, _ = self._window(ACTION_COUNT, word_address)
        in_q, row_q, pair = self._window(Q_TABLE, word_address)
        even, odd = halves_of(self.word)
        row = Signal.like(self.row)
        m.d.comb += is_window.eq(in_policy | in_counts | in_q)
        with m.If(in_policy):
            m.d.comb += [
                known.eq(row_policy < p.states),
                legal.eq(1),
                row.eq(row_policy),
            ]
        with m.Elif(in_counts):
            m.d.comb += [
                known.eq(row_counts < p.states),
                legal.eq((self.word >= 1) & (self.word <= p.actions)),
                row.eq(row_counts),
            ]
        with m.Elif(in_q):
            m.d.comb += [
                known.eq((row_q < p.states) & (pair < Q_TABLE.used_words(p))),
                legal.eq(self._q_fits(even) & self._q_fits(odd)),
                row.eq(row_q),
            ]
        with m.If(is_window):
            m.d.comb += writable.eq(1)

        # A word of a planning unit's memories is accessed like one of a window.
        memory_lacks = Const(0, 1)
        if p.points:
            memory_lacks = Signal()
            in_memory = Signal()
            m.d.comb += in_memory.eq(word_address == BY_NAME["MEMORY_DATA"].offset // 4)
            # The address was written by an access before.
            has = later(m, self._memory_has(m, self.memory.address), 1)
            with m.If(in_memory):
                m.d.comb += [is_window.eq(1), memory_lacks.eq(~has)]

        # What was decoded, for the cycle of the effect.
        bad_address, bad_value, at_window, at_policy, at_counts, at_q, banks = (
            later(m, value, 1)
            for value in (
                (addr[:2] != 0) | ~known | (we & ~writable),
                we & ~legal,
                is_window,
                in_policy,
                in_counts,
                in_q,
                Mux(in_q, Const(3, 16) << (pair << 1), 0)[: p.actions],
            )
        )
        m.d.sync += self.row.eq(row)
        selected = {r.name: later(m, word_address == r.offset // 4, 1) for r in REGISTERS}
        values = (Mux(selected[r.name], self._read_value(r, registers, flags, pending, was_busy), 0) for r in REGISTERS)
        register_value = reduce(or_, values)

        # The first error that applies to the access, which then changes nothing else.
        wrong, refused = Signal(), Signal()
        with m.If(access):
            m.d.comb += wrong.eq(1)
            with m.If(bad_address):
                m.d.sync += flags["error_address"].eq(1)
            with m.Elif(was_busy & (we | at_window)):
                m.d.sync += flags["error_busy"].eq(1)
            with m.Elif(bad_value):
                m.d.sync += flags["error_value"].eq(1)
            if p.points:
                with m.Elif(memory_lacks):
                    m.d.sync += flags["error_address"].eq(1)
            with m.Else():
                m.d.comb += wrong.eq(0)
            m.d.sync += refused.eq(wrong)
        m.d.sync += bus.err.eq(answering & refused)
        with m.If(self.bad_action):
            m.d.sync += flags["error_policy"].eq(1)
        m.d.comb += erring.eq(wrong | self.bad_action)

        write = Signal()
        m.d.comb += write.eq(access & we & ~wrong)
        with m.If(write):
            for name, strobe in strobes.items():
                with m.If(selected[name]):
                    m.d.comb += strobe.eq(1)
                    if name in registers:
                        m.d.sync += registers[name].eq(self.word)
            m.d.comb += [self.policy_write.eq(at_policy), self.count_write.eq(at_counts)]
            m.d.comb += self.q_write_mask.eq(banks)
        with m.If(strobes["STATUS"]):
            for name, flag in flags.items():
                with m.If(self.word[field_of("STATUS", name).lsb]):
                    m.d.sync += flag.eq(0)
        cleared = Mux(strobes["IRQ_STATUS"], self.word[:2], 0)
        m.d.sync += kept.eq((kept & ~cleared) | ended << _DONE | erring << _ERROR)
        m.d.comb += [
            self.command.eq(Mux(strobes["COMMAND"], self.word[: len(self.command)], 0)),
            self.states_written.eq(strobes["STATES"]),
            self.lfsr_load.eq(strobes["LFSR"]),
            self.reward_load.eq(strobes["REWARD"]),
        ]
        if p.points:
            self._memory_address(m, strobes)

        # The answer: registers are read in the cycle of the effect; memories answer two cycles later.
        answer = Signal(DATA_WIDTH)
        from_register = Signal()
        from_policy = Signal()
        from_counts = Signal()
        from_q = Signal()
        readable = Signal()
        m.d.comb += readable.eq(~we & ~wrong)
        with m.If(access):
            m.d.sync += [
                answer.eq(register_value),
                from_register.eq(readable & ~at_window),
                from_policy.eq(readable & at_policy),
                from_counts.eq(readable & at_counts),
                from_q.eq(readable & at_q),
            ]
        halves = [sign_extended(self.q_row[i], Q_TABLE.entry_width) for i in range(p.actions)]
        if p.actions % 2:
            halves.append(Const(0, Q_TABLE.entry_width))
        q_word = Signal(DATA_WIDTH)
        with m.Switch(pair):
            for i in range(Q_TABLE.used_words(p)):
                with m.Case(i):
                    m.d.comb += q_word.eq(Cat(halves[2 * i], halves[2 * i + 1]))
        sources = [
            (from_register, answer),
            (from_policy, self.policy_word),
            (from_counts, self.count),
            (from_q, q_word),
        ]
        if p.points:
            from_memory = Signal()
            with m.If(access):
                m.d.sync += from_memory.eq(readable & in_memory)
            sources.append((from_memory, self.memory.data))
        m.d.comb += bus.rdata.eq(reduce(or_, (Mux(here, word, 0) for here, word in sources)))
        return m

    def _memory_address(self, m, strobes):
        """MEMORY_ADDRESS: written by the host; a write of MEMORY_DATA goes on to the next word."""
        address, word = self.memory.address, field_of("MEMORY_ADDRESS", "word")
        # A cycle late: no access comes early enough to see that.
        set_address, next_word = (later(m, strobes[name], 1) for name in ("MEMORY_ADDRESS", "MEMORY_DATA"))
        m.d.comb += [self.memory.write.eq(strobes["MEMORY_DATA"]), self.memory.write_data.eq(self.word)]
        with m.If(set_address):
            m.d.sync += address.eq(self.word)
        with m.Elif(next_word):
            m.d.sync += address[word.lsb : word.lsb + word.width].eq(address[word.lsb : word.lsb + word.width] + 1)

    def _memory_has(self, m, address):
        """Whether the unit has the word that MEMORY_ADDRESS selects."""
        found = Signal()
        word, select = (field_of("MEMORY_ADDRESS", name) for name in ("word", "memory"))
        with m.Switch(address[select.lsb : select.lsb + select.width]):
            for i, memory in enumerate(MEMORIES):
                bounds = memory.bounds(self.params)
                top = sum(width for _, width, _ in bounds)
                parts = [address[lsb : lsb + width] < count for lsb, width, count in bounds]
                with m.Case(i):
                    m.d.comb += found.eq(Cat(*parts, address[top : word.width] == 0).all())
        return found

    @staticmethod
    def _window(window: Window, word_address):
        """Whether the address lies in the window's naturally aligned span; the row; the word within the row."""
        bits, within = exact_log2(window.span // 4), exact_log2(window.words_per_row)
        word = word_address[:bits]
        row = word[within:]
        if window.rows_per_word > 1:
            row = row << exact_log2(window.rows_per_word)
        return word_address[bits:] == window.offset // window.span, row, word[:within]

    def _q_fits(self, half):
        value = half.as_signed()
        return (value >= self.params.q_min) & (value <= self.params.q_max)

    def _in_range(self, register):
        """Whether the word on the bus is a value that the register accepts."""
        low, high = register.limits(self.params)
        if register.number is None:
            return (self.word & ~Const(high, DATA_WIDTH)) == 0
        word = self.word.as_signed() if register.signed else self.word
        return (word >= low) & (word <= high)

    def _read_value(self, register, registers, flags, pending, busy):
        """The word that a read of the register returns."""
        if register.name == "STATUS":
            status = Const(0, DATA_WIDTH)
            read_only = (f.name for f in register.fields if f.access is Access.RO and f.name != "busy")
            bits = {name: getattr(self, name) for name in read_only} | flags | {"busy": busy}
            for name, bit in bits.items():
                status = status | (bit << field_of("STATUS", name).lsb)
            return status
        if register.name == "IRQ_STATUS":
            return pending
        if register.name == "EPISODES":
            return self.episodes_stored | register.reset_value(self.params)
        if self.params.points and register.name in _PLANNER:
            place = field_of("PLAN", "next").lsb
            return {
                "PLAN": self.predicted | self.episode_place << place | register.reset_value(self.params),
                "MEMORY_ADDRESS": self.memory.address,
                "MEMORY_DATA": Const(0, DATA_WIDTH),  # memories answer later
            }[register.name]
        if register.external and register.name not in _PLANNER:
            value = getattr(self, register.name.lower())
            return sign_extended(value, DATA_WIDTH) if register.signed else value
        if register.name in registers:
            return registers[register.name]
        return Const(register.reset_value(self.params), DATA_WIDTH)
