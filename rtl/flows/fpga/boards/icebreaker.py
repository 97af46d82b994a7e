"""1BitSquared iCEBreaker with a Lattice iCE40UP5K; serial port through its FT2232H, reset by the user button."""

from __future__ import annotations

from rtl.flows.fpga.boards.board import Board
from rtl.spec.params import RLUParams

BOARD = Board(
    name="icebreaker",
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    family="ice40",
    params=RLUParams(states=16, actions=9),  # enough for the search over VGG8
)
