"""Registers that keep values in step with a pipeline."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value


def later(m: Module, value: Value, cycles: int) -> Value:
    """``value`` as it was ``cycles`` cycles ago; the registers are added to ``m`` and reset to 0."""
    for _ in range(cycles):
        delayed = Signal(value.shape(), name="later")
        m.d.sync += delayed.eq(value)
        value = delayed
    return value
