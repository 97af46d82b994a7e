"""The planner's multiplier, for one user at a time."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.interface import Interface

#: Bits of the factors, both signed: a coefficient, and what it is multiplied by.
COEFFICIENT_WIDTH, OTHER_WIDTH = 17, 18


class ProductSignature(Interface):
    """Use of the multiplier, seen from the user.

    Members
    -------
    coefficient : Out(signed(17))
        One factor.
    other : Out(signed(18))
        The other one.
    product : In(signed(35))
        The product of the factors given two cycles ago.
    """

    def __init__(self):
        super().__init__(
            {
                "coefficient": Out(signed(COEFFICIENT_WIDTH)),
                "other": Out(signed(OTHER_WIDTH)),
                "product": In(signed(COEFFICIENT_WIDTH + OTHER_WIDTH)),
            }
        )


class Multiplier(wiring.Component):
    """A multiplier with registers before and behind it: latency 2 cycles, throughput one product per cycle.

    Members
    -------
    user : In(ProductSignature())
        Factors and product.
    """

    def __init__(self):
        super().__init__({"user": In(ProductSignature())})

    def elaborate(self, platform):
        m = Module()
        user = self.user
        coefficient, other = Signal.like(user.coefficient), Signal.like(user.other)
        m.d.sync += [
            coefficient.eq(user.coefficient),
            other.eq(user.other),
            user.product.eq(coefficient * other),
        ]
        return m
