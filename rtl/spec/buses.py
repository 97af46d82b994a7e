"""The buses a unit can be had with, and what its Verilog modules are called."""

from __future__ import annotations

from typing import Literal

#: ``none`` is the unit's own request/acknowledge bus.
Bus = Literal["none", "axi4lite", "wishbone"]
BUSES: tuple[Bus, ...] = ("none", "axi4lite", "wishbone")


def top_name(bus: Bus = "none") -> str:
    """Name of the Verilog module of the unit behind ``bus``; ValueError for a bus there is none for."""
    if bus not in BUSES:
        raise ValueError(f"bus must be one of {', '.join(BUSES)}, not {bus!r}")
    return "rlu" if bus == "none" else f"rlu_{bus}"
