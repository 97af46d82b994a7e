"""Fields of the planner's registers."""

from __future__ import annotations

from amaranth.hdl import Mux

from rtl.spec.registers import field_of


def setting(word, register: str, name: str):
    """A field in the word of a register (combinational)."""
    field = field_of(register, name)
    return word[field.lsb : field.lsb + field.width]


def at_least_one(word, register: str, name: str):
    """A field in the word of a register, where 0 counts as 1 (combinational)."""
    value = setting(word, register, name)
    return Mux(value == 0, 1, value)
