"""The register file follows the rules of its bus, and a refused access changes only a sticky flag."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Signal, Value

from rtl.spec.buses import ANSWER_CYCLES, EFFECT_CYCLES
from rtl.spec.params import RLUParams
from rtl.spec.registers import ACTION_COUNT, BY_NAME, POLICY, Q_TABLE, REGISTERS, WINDOWS, Register, Window, field_of
from rtl.unit.register_file import RegisterFile, stored
from tb.proofs.harness import Harness, taken

#: Cycles from an access's effect to its answer.
_TO_ANSWER = ANSWER_CYCLES - EFFECT_CYCLES


def _register_file(h: Harness, params: RLUParams) -> RegisterFile:
    """A register file with any inputs, even if its master does not hold a request."""
    dut = RegisterFile(params)
    h.block("dut", dut)
    h.drive(dut)
    return dut


def handshake(h: Harness, params: RLUParams) -> None:
    """An acknowledgement comes once, four cycles after a request, never without one; an error comes only with it."""
    bus = _register_file(h, params).bus
    h.prove(bus.ack == taken(h, bus)[ANSWER_CYCLES])
    h.prove(~bus.err | bus.ack)


def _is_q(half: Value, params: RLUParams) -> Value:
    number = half.as_signed()
    return (number >= params.q_min) & (number <= params.q_max)


def _word_of_row(address: Value, window: Window) -> Value:
    return address[2:] & (window.words_per_row - 1)


def _in_range(register: Register, word: Value, params: RLUParams) -> Value:
    low, high = register.limits(params)
    if register.number is None:
        return (word & (high ^ 0xFFFF_FFFF)) == 0
    number = word.as_signed() if register.signed else word
    return (number >= low) & (number <= high)


class _Verdict:
    """What docs/integrate/registers.md says about the access that has its effect in this cycle.

    It comes from the table of registers and windows, and the bus as it was when the access was taken.
    """

    def __init__(self, h: Harness, dut: RegisterFile, params: RLUParams) -> None:
        signals = (dut.bus.addr, dut.bus.wdata, dut.bus.we)
        addr, word, we = (h.delayed(signal, EFFECT_CYCLES) for signal in signals)
        self.addr, self.word, self.we = addr, word, we
        stages = taken(h, dut.bus)
        self.access = stages[EFFECT_CYCLES]
        h.prove(dut.bus.ack == stages[ANSWER_CYCLES])
        exists, writable, in_range, window = (Signal(name=n) for n in ("exists", "writable", "in_range", "window"))
        for register in REGISTERS:
            with h.m.If(addr == register.offset):
                h.m.d.comb += [
                    exists.eq(1),
                    writable.eq(register.access.writable),
                    in_range.eq(_in_range(register, word, params)),
                ]
        fits = {
            POLICY.name: Const(1),
            ACTION_COUNT.name: (word >= 1) & (word <= params.actions),
            Q_TABLE.name: _is_q(word[:16], params) & _is_q(word[16:], params),
        }
        self.inside: dict[str, Value] = {}
        for w in WINDOWS:
            there = (addr >= w.offset) & (addr < w.offset + 4 * w.words(params)) & (addr[:2] == 0)
            if w.words_per_row > 1:
                there &= _word_of_row(addr, w) < w.used_words(params)
            self.inside[w.name] = there
            with h.m.If(there):
                h.m.d.comb += [exists.eq(1), writable.eq(1), window.eq(1), in_range.eq(fits[w.name])]
        bad_address = ~exists | (we & ~writable)
        bad_time = h.delayed(dut.busy, 1) & (we | window)
        bad_value = we & ~in_range
        #: The flag that an access sets, by name; an allowed one sets none.
        self.flags = {
            "error_address": self.access & bad_address,
            "error_busy": self.access & ~bad_address & bad_time,
            "error_value": self.access & ~bad_address & ~bad_time & bad_value,
        }
        allowed = Signal(name="allowed")
        h.m.d.comb += allowed.eq(self.access & ~bad_address & ~bad_time & ~bad_value)
        self.allowed = allowed
        self.write = allowed & we

    def written(self, name: str) -> Value:
        """The access writes the named register."""
        return self.write & (self.addr == BY_NAME[name].offset)


def accesses(h: Harness, params: RLUParams) -> None:
    """Which accesses are refused, what the others change, and that nothing else changes a register."""
    dut = _register_file(h, params)
    bus = dut.bus
    verdict = _Verdict(h, dut, params)
    addr, word = verdict.addr, verdict.word
    with h.m.If(h.after(ANSWER_CYCLES)):
        h.prove(bus.err == h.delayed(verdict.access & ~verdict.allowed, _TO_ANSWER))
        h.prove(~bus.err | (bus.rdata == 0))
        for register in REGISTERS:
            if stored(register, params):
                value = dut.values[register.name.lower()]
                written = verdict.written(register.name)
                h.prove(value == h.delayed(Mux(written, word[: len(value)], value), 1))
                read = h.delayed(verdict.access & ~verdict.we & (addr == register.offset), _TO_ANSWER)
                h.prove(~read | (bus.rdata == h.delayed(value, _TO_ANSWER)))
    h.prove(dut.command == Mux(verdict.written("COMMAND"), word[:4], 0))
    h.prove(dut.states_written == verdict.written("STATES"))
    h.prove(dut.lfsr_load == verdict.written("LFSR"))
    h.prove(dut.reward_load == verdict.written("REWARD"))
    h.prove(dut.policy_write == (verdict.write & verdict.inside["POLICY"]))
    h.prove(dut.count_write == (verdict.write & verdict.inside["ACTION_COUNT"]))
    pair = Const(3, 16) << (_word_of_row(addr, Q_TABLE) << 1)
    h.prove(dut.q_write_mask == Mux(verdict.write & verdict.inside["Q_TABLE"], pair[: params.actions], 0))


def sticky_flags(h: Harness, params: RLUParams) -> None:
    """An error sets the flag of the first rule that it breaks; the flag stays until a 1 is written to it."""
    dut = _register_file(h, params)
    bus = dut.bus
    h.assume(~dut.bad_action | dut.busy)  # there are no updates while idle
    verdict = _Verdict(h, dut, params)
    clear = verdict.written("STATUS")
    read = h.delayed(verdict.access & ~verdict.we & (verdict.addr == BY_NAME["STATUS"].offset), _TO_ANSWER)
    for name, sets in (verdict.flags | {"error_policy": dut.bad_action}).items():
        flag, bit = Signal(name=f"expected_{name}"), field_of("STATUS", name).lsb
        h.m.d.sync += flag.eq((flag | sets) & ~(clear & verdict.word[bit]))
        h.prove(~read | (bus.rdata[bit] == h.delayed(flag, _TO_ANSWER)))


def busy_write(h: Harness, params: RLUParams) -> None:
    """A write while busy raises no strobe, changes no register, and is answered with an error."""
    dut = _register_file(h, params)
    bus = dut.bus
    strobes = (
        dut.command, dut.states_written, dut.lfsr_load, dut.reward_load, dut.policy_write, dut.count_write,
        dut.q_write_mask,
    )  # fmt: skip
    stages = taken(h, bus)
    h.prove(bus.ack == stages[ANSWER_CYCLES])
    write = stages[EFFECT_CYCLES] & h.delayed(bus.we, EFFECT_CYCLES) & h.delayed(dut.busy, 1)
    with h.m.If(write):
        for strobe in strobes:
            h.prove(strobe == 0)
    values = Value.cast(dut.values)
    with h.m.If(h.delayed(write, 1)):
        h.prove(values == h.delayed(values, 1))
    with h.m.If(h.delayed(write, _TO_ANSWER)):
        h.prove(bus.ack & bus.err & (bus.rdata == 0))
