"""Selection of one value of many."""

from __future__ import annotations

from amaranth.hdl import Mux, Value


def first_of(choices: list[tuple[Value, Value]], otherwise: Value) -> Value:
    """The value of the first choice whose condition holds, else ``otherwise`` (combinational).

    For conditions that come early: each value waits for one AND and the OR of all, not for the choices before it.
    """
    selected, above = [], None
    for condition, value in choices:
        selected.append(Mux(condition if above is None else condition & ~above, value, 0))
        above = condition if above is None else above | condition
    result = otherwise if above is None else Mux(above, 0, otherwise)
    for value in selected:
        result |= value
    return result
