"""Sipeed Tang Nano 9K with a Gowin GW1NR-9C; serial port through its BL702, reset by the button on pin 3."""

from __future__ import annotations

from rtl.flows.fpga.boards.board import Board
from rtl.spec.params import RLUParams

BOARD = Board(
    name="tang-nano-9k",
    platform="amaranth_boards.tang_nano_9k:TangNano9kPlatform",
    family="gowin",
    params=RLUParams(states=16, actions=9),  # enough for the search over VGG8
)
