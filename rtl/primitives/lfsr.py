"""Leap-forward Fibonacci LFSR: many shifts in one clock, as a tree of XORs."""

from __future__ import annotations

from amaranth.hdl import Cat, Value

from rtl.spec.params import LFSR_TAPS


def step(state: int, width: int) -> int:
    """One shift of the register as integers: left, the parity of the taps enters at bit 0."""
    taps = sum(1 << (tap - 1) for tap in LFSR_TAPS[width])
    return (state << 1 | ((state & taps).bit_count() & 1)) & ((1 << width) - 1)


def leap(state: Value, width: int, steps: int) -> Value:
    """The register ``steps`` shifts later (combinational, 0 cycles).

    The shift is linear over GF(2), so each bit of the result is the parity of a fixed set of bits of ``state``.
    """
    columns = []
    for bit in range(width):
        column = 1 << bit
        for _ in range(steps):
            column = step(column, width)
        columns.append(column)
    return Cat(Cat(state[j] for j in range(width) if columns[j] >> i & 1).xor() for i in range(width))
