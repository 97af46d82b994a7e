"""1BitSquared iCEBreaker with a Lattice iCE40UP5K; serial port through its FT2232H, reset by the user button."""

from __future__ import annotations

from ..params import RLUParams
from .board import Board

BOARD = Board(
    name="icebreaker",
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    family="ice40",
    params=RLUParams(states=16, actions=9),  # as many as the search over VGG8 needs
)
