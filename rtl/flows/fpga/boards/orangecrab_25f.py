"""OrangeCrab r0.2 with a Lattice ECP5-25F; reset by its button.

It has no serial port of its own: this one is on the pins 0 (rx) and 1 (tx) of its header, for a 3.3 V adapter.
"""

from __future__ import annotations

from typing import Any

from rtl.flows.fpga.boards.board import Board
from rtl.spec.params import RLUParams


def _platform() -> Any:
    """amaranth-boards' platform with the serial port, and with the colours of its light as two lights."""
    from amaranth.build import Attrs
    from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform
    from amaranth_boards.resources import LEDResources, UARTResource

    platform = OrangeCrabR0_2_25FPlatform()
    volts = Attrs(IO_TYPE="LVCMOS33")
    platform.add_resources([UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=volts)])
    platform.add_resources(LEDResources(pins="M3 K4", invert=True, attrs=volts))  # green, red
    return platform


BOARD = Board(name="orangecrab-25f", platform=_platform, family="ecp5", params=RLUParams())
