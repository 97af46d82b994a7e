"""Sipeed Tang Nano 20K with a Gowin GW2AR-18C; serial port through its BL616, reset by the button S1."""

from __future__ import annotations

from typing import Any

from rtl.flows.fpga.boards.board import Board
from rtl.spec.params import RLUParams


def _platform() -> Any:
    """The platform, which amaranth-boards 0.0.21 lacks; pins as in LiteX's file of the board."""
    from amaranth.build import Attrs, Clock, Pins, Resource
    from amaranth.vendor import GowinPlatform
    from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource

    volts = Attrs(IO_TYPE="LVCMOS33")

    class TangNano20kPlatform(GowinPlatform):
        part = "GW2AR-LV18QN88C8/I7"
        family = "GW2AR-18C"
        _chipdb_device = "GW2A-18C"  # the same chip beside a DRAM; the tools know it by this name
        default_clk = "clk27"
        resources = (
            Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), volts),
            *ButtonResources(pins="88 87", attrs=volts),
            *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=volts),
            UARTResource(0, rx="70", tx="69", attrs=volts),
        )
        connectors = ()

    return TangNano20kPlatform(toolchain="Apicula")


BOARD = Board(
    name="tang-nano-20k",
    platform=_platform,
    family="gowin",
    params=RLUParams(states=16, actions=9),  # enough for the search over VGG8
)
