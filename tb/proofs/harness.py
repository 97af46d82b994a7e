"""Parts of a proof: a device under test, free inputs, assumptions and assertions in one Amaranth module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.asserts import AnyConst
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, ClockDomain, Fragment, Module, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rtl.spec.buses import ANSWER_CYCLES

#: The only register that keeps its start value in the step of an induction.
AGE = "proof_age"

#: The engine for which a product may be any function of its factors, but the same one in block and specification.
FREE_PRODUCTS = "smtbmc z3, products free"


class Harness:
    """The module in which a proof is stated.

    There is one clock, and no reset after the start. Every register starts with its reset value, or in the
    step of an induction with any value.

    Args:
        step: state an induction step of this many cycles: the claim holds in all of them, from any state, and must
            hold in the cycle after.

    Attributes:
        m: the module; blocks under test are its submodules.
    """

    def __init__(self, step: int | None = None) -> None:
        self.m = Module()
        self._always = Module()  # for statements that must not depend on the current m.If
        self.m.submodules.always = self._always
        self._step = step
        self._age = Signal(range((step or 0) + 2), name=AGE)
        with self.m.If(self._age <= (step or 0)):
            self.m.d.sync += self._age.eq(self._age + 1)
        self.m.domains.sync = self._clock = ClockDomain(reset_less=True)
        self._inputs: list[Signal] = [self._clock.clk]

    def free(self, shape: ShapeLike, name: str) -> Signal:
        """An input that the solver chooses in every cycle."""
        signal = Signal(shape, name=name)
        self._inputs.append(signal)
        return signal

    def constant(self, shape: ShapeLike, name: str) -> Signal:
        """A value that the solver chooses once."""
        signal = Signal(shape, name=name)
        self._always.d.comb += signal.eq(AnyConst(signal.shape()))
        return signal

    def block(self, name: str, component: wiring.Component) -> None:
        """Put a block into the proof."""
        self.m.submodules[name] = component

    def drive(self, component: wiring.Component, *, constant: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> None:
        """Let the solver choose a block's inputs, those in ``constant`` only once, but not those in ``but``."""
        for path, member, port in component.signature.flatten(component):
            name = "__".join(str(part) for part in path)
            if member.flow is In and name not in but:
                value = Value.cast(port)
                chosen = (self.constant if name in constant else self.free)(value.shape(), f"in_{name}")
                self._always.d.comb += value.eq(chosen)

    def delayed(self, value: ValueLike, cycles: int) -> Value:
        """``value`` as it was ``cycles`` cycles ago, 0 before the start."""
        result = Value.cast(value)
        for _ in range(cycles):
            earlier = Signal(result.shape())
            self._always.d.sync += earlier.eq(result)
            result = earlier
        return result

    def after(self, cycles: int) -> Value:
        """Whether ``cycles`` cycles have passed since the start."""
        return self.delayed(1, cycles)

    def assume(self, condition: ValueLike) -> None:
        """Consider only runs in which this holds in every cycle."""
        self._always.d.comb += Assume(condition, src_loc_at=1)

    def prove(self, condition: ValueLike) -> None:
        """This must hold in every cycle (under the current ``m.If``)."""
        if self._step is None:
            self.m.d.comb += Assert(condition, src_loc_at=1)
            return
        with self.m.If(self._age < self._step):
            self.m.d.comb += Assume(condition, src_loc_at=1)
        with self.m.Elif(self._age == self._step):
            self.m.d.comb += Assert(condition, src_loc_at=1)

    def rtlil(self) -> str:
        """The module as Yosys reads it; its name is ``top``."""
        return str(rtlil.convert(self.m, name="top", ports=self._inputs))


def taken(h: Harness, bus: Any) -> list[Value]:
    """Whether the unit took an access in this cycle, in the one before, and so on up to `ANSWER_CYCLES` ago.

    It takes one if none is in progress (the proof `bus-handshake`).
    """
    begins = Signal(name="begins")
    stages: list[Value] = [begins]
    for _ in range(ANSWER_CYCLES):
        stages.append(h.delayed(stages[-1], 1))
    h.m.d.comb += begins.eq(bus.req & ~Cat(stages[1:]).any())
    return stages


def register(block: Fragment, name: str) -> Signal:
    """A register inside a block, found by its name: Amaranth has no public way to it."""
    driven = (signal for statement in block.statements["sync"] for signal in statement._lhs_signals())
    return next(signal for signal in driven if signal.name == name)


@dataclass(frozen=True)
class Method:
    """How a proof is made: by ``unbounded``, ``induction``, ``unrolled`` or ``free_products``.

    Attributes:
        engine: what SymbiYosys runs, or `FREE_PRODUCTS`.
        depth: number of cycles from reset; ``None``: all.
        step: cycles of the induction step; ``None``: there is none.
        reaches: the runs covered, in a few words.
    """

    engine: str
    depth: int | None
    step: int | None
    reaches: str


def unbounded() -> Method:
    """Property-directed reachability."""
    return Method("abc pdr", None, None, "every run of any length, by property-directed reachability")


def induction(step: int, depth: int) -> Method:
    """If it holds for ``step`` cycles from any state, it holds in the next; it holds for ``depth`` from reset."""
    assert depth >= step
    return Method("abc bmc3", depth, step, f"every run of any length, by induction over {step} cycles")


def unrolled(depth: int, reaches: str) -> Method:
    """Every run of ``depth`` cycles from reset."""
    return Method("abc bmc3", depth, None, f"{reaches}, by unrolling {depth} cycles from reset")


def free_products(depth: int, reaches: str) -> Method:
    """Every run of ``depth`` cycles from reset, for any function in place of multiplication.

    What holds for any function holds for multiplication. Equal factors of equal width give equal products.
    """
    return Method(FREE_PRODUCTS, depth, None, f"{reaches}, by unrolling {depth} cycles from reset, for any product")


@dataclass(frozen=True)
class Proof:
    """Something proven of the RTL.

    Attributes:
        name: its name on the command line.
        claim: what is proven, in a sentence.
        size: widths and other parameters for which it is proven.
        method: how it is proven.
        state: writes device, assumptions and assertions into a harness.
        quick: it is part of `make test`.
    """

    name: str
    claim: str
    size: str
    method: Method
    state: Callable[[Harness], None]
    quick: bool = True
