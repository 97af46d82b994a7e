"""Fixed-point operators of the datapath; docs/understand/arithmetic.md defines what they compute."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Value


def round_half_even(value: Value, shift: int) -> Value:
    """``value / 2**shift`` rounded to the nearest integer, ties to the even one (combinational).

    Adds a half and cuts. On a tie, an odd result is one too large, so its last bit is cleared.
    """
    if shift == 0:
        return value
    half = 1 << (shift - 1)
    rounded = (value + half) >> shift
    tie = value[:shift] == half
    even = Cat(rounded[0] & ~tie, rounded[1:])
    return even.as_signed() if value.shape().signed else even


def round_half_up(value: Value, shift: int) -> Value:
    """``value / 2**shift``, with ``shift`` above 0, rounded to the nearest integer, ties upwards (combinational)."""
    return (value + (1 << (shift - 1))) >> shift


def less(left: Value, right: Value) -> Value:
    """``left < right`` of two signed values of one width (combinational).

    With the sign bits exchanged, this is a comparison of unsigned numbers, which is a single carry chain.
    """
    assert len(left) == len(right)
    return Cat(left[:-1], right[-1]) < Cat(right[:-1], left[-1])


def signed_of(value: Value, width: int) -> Value:
    """The low ``width`` bits of a bus word, read as a signed number."""
    return value[:width].as_signed()


def sign_extended(value: Value, width: int) -> Value:
    """A signed value widened to ``width`` bits, as the unsigned word a bus carries."""
    return Cat(value, value[-1].replicate(width - len(value))) if len(value) < width else value[:width]


def saturated(value: Value, width: int) -> Value:
    """A signed value limited to what ``width`` bits hold, as a signed value of that width (combinational)."""
    if len(value) <= width:
        return value
    sign = value[-1]
    fits = ~(value[width - 1 :] ^ sign.replicate(len(value) - width + 1)).any()
    return Mux(fits, value[:width], Cat((~sign).replicate(width - 1), sign)).as_signed()


def shifted(value: Value, shift: int) -> Value:
    """``value * 2**shift``, rounded down (combinational)."""
    return value << shift if shift >= 0 else value >> -shift
