"""The sum in the updater's loop, in the logic cells that a technology has for it."""

from __future__ import annotations

from amaranth.hdl import Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class ChosenSum(wiring.Component):
    """``base`` plus one of two terms (combinational, 0 cycles).

    Lattice ECP5's carry cells have two inputs to spare in each bit, so the choice costs neither logic nor time there.
    Synthesis does not find that by itself, so the cells are named if the platform is of that family. A test proves
    that both forms are equal.

    Parameters
    ----------
    width : int
        Bits of all operands and of the sum, two's complement; it wraps.

    Members
    -------
    base : In(signed(width))
        First summand.
    choice : In(1)
        Take ``if_chosen`` as the other one, else ``otherwise``.
    if_chosen, otherwise : In(signed(width))
        Candidates.
    sum : Out(signed(width))
        The sum.
    """

    def __init__(self, width: int):
        self.width = width
        operand = In(signed(width))
        super().__init__(
            {"base": operand, "choice": In(1), "if_chosen": operand, "otherwise": operand, "sum": Out(signed(width))}
        )

    def elaborate(self, platform):
        m = Module()
        if not is_ecp5(platform):
            m.d.comb += self.sum.eq(self.base + Mux(self.choice, self.if_chosen, self.otherwise))
            return m
        carry = Const(0, 1)
        for low in range(0, self.width, 2):
            bits = range(low, low + 2)
            out, carry_out = Signal(2, name=f"sum_{low}"), Signal(name=f"carry_{low + 2}")
            pins = {}
            for i, bit in enumerate(bits):
                operands = (self.base, self.if_chosen, self.otherwise)
                a, b, d = (word[bit] if bit < self.width else Const(0, 1) for word in operands)
                pins |= {f"i_A{i}": a, f"i_B{i}": b, f"i_C{i}": self.choice, f"i_D{i}": d, f"o_S{i}": out[i]}
            m.submodules[f"cell_{low}"] = Instance(
                "CCU2C",
                p_INIT0=Const(_INIT, 16),
                p_INIT1=Const(_INIT, 16),
                p_INJECT1_0="NO",
                p_INJECT1_1="NO",
                i_CIN=carry,
                o_COUT=carry_out,
                **pins,
            )
            carry = carry_out
            m.d.comb += [self.sum[bit].eq(out[i]) for i, bit in enumerate(bits) if bit < self.width]
        return m


def is_ecp5(platform: object) -> bool:
    """Whether the platform is Lattice ECP5: an Amaranth platform of that family, or `ECP5`."""
    return str(getattr(platform, "device", "")).startswith("LFE5U")


class ECP5:
    """Stands for the family where there is no board: ``verilog.convert(..., platform=ECP5())``."""

    device = "LFE5U"


#: Truth table of A xor (B if C else D); A is the lowest bit of the index. With C and D 0 it is A, which the carry uses.
_INIT = sum(((i & 1) ^ ((i >> 1 if i & 4 else i >> 3) & 1)) << i for i in range(16))
