"""The description of a board, and the pins that every board's top needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rtl.spec.params import RLUParams
from rtl.spec.serial_protocol import DEFAULT_BAUD

Resource = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board with a serial port to the host.

    Attributes:
        name: its name on the command line.
        platform: ``module:Class`` of its Amaranth platform, which knows pins, polarities and the clock. Or a function
            that makes the platform, where amaranth-boards has none, or one without a serial port.
        family: which tools make its bitstream.
        params: the unit that is put on it by default.
        uart: serial port of the platform.
        reset: push button that resets the unit.
        lights: lights for "at work" and for "the last request was refused or damaged".
        baud: bits per second on the serial port.
    """

    name: str
    platform: str | Callable[[], Any]
    family: Literal["ecp5", "ice40", "gowin"]
    params: RLUParams
    uart: Resource = ("uart", 0)
    reset: Resource = ("button", 0)
    lights: tuple[Resource, Resource] = (("led", 0), ("led", 1))
    baud: int = DEFAULT_BAUD

    def make_platform(self) -> Any:
        """The board's Amaranth platform, for one build with the open toolchain."""
        if callable(self.platform):
            return self.platform()
        module, name = self.platform.split(":")
        made = getattr(importlib.import_module(module), name)
        return made(toolchain="Apicula") if self.family == "gowin" else made()


@dataclass(frozen=True)
class Pins:
    """The pins that a board's top uses: Amaranth I/O ports, which know their polarity."""

    clk: Any
    rx: Any
    tx: Any
    reset: Any
    lights: tuple[Any, Any]


def request_pins(board: Board, platform: Any) -> Pins:
    """Ask the platform for the pins of ``board``."""
    uart = platform.request(*board.uart, dir="-")
    return Pins(
        clk=platform.request(platform.default_clk, dir="-"),
        rx=uart.rx,
        tx=uart.tx,
        reset=platform.request(*board.reset, dir="-"),
        lights=(platform.request(*board.lights[0], dir="-"), platform.request(*board.lights[1], dir="-")),
    )
