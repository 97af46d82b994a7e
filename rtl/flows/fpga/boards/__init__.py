"""The supported boards: one small file each, listed here.

May import: rtl.spec, rtl.unit, rtl.serial, rtl.verilog.
"""

from __future__ import annotations

from rtl.flows.fpga.boards import icebreaker, orangecrab_25f, tang_nano_9k, tang_nano_20k, ulx3s_85f
from rtl.flows.fpga.boards.board import Board

_MODULES = (ulx3s_85f, icebreaker, tang_nano_9k, orangecrab_25f, tang_nano_20k)
BOARDS: dict[str, Board] = {module.BOARD.name: module.BOARD for module in _MODULES}


def board(name: str) -> Board:
    """The board of that name; ValueError, with the known names, for any other."""
    if name not in BOARDS:
        raise ValueError(f"unknown board {name!r}: choose {', '.join(BOARDS)}")
    return BOARDS[name]
