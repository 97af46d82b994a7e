"""Fixed-point operators of the datapath; what they compute is fixed in docs/arithmetic.md."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Value, signed


def round_half_even(value: Value, shift: int) -> Value:
    """``value / 2**shift`` rounded to the nearest integer, ties to the even one (combinational)."""
    if shift == 0:
        return value
    kept = value >> shift
    return (value + Const((1 << (shift - 1)) - 1, shift) + kept[0]) >> shift


def saturate(value: Value, low: int, high: int, width: int) -> Value:
    """``value`` limited to ``low..high``, as a signed number of ``width`` bits (combinational)."""
    limited = Mux(value > high, high, Mux(value < low, low, value))
    return limited[:width].as_signed()


def signed_of(value: Value, width: int) -> Value:
    """The low ``width`` bits of a bus word, read as a signed number."""
    return value[:width].as_signed()


def sign_extended(value: Value, width: int) -> Value:
    """A signed value widened to ``width`` bits, as the unsigned word a bus carries."""
    return (value | Const(0, signed(width)))[:width]
