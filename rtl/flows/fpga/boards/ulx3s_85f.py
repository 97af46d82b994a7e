"""Radiona ULX3S with a Lattice ECP5-85F; serial port through its FT231X, reset by the button F1."""

from __future__ import annotations

from rtl.flows.fpga.boards.board import Board
from rtl.spec.params import RLUParams

BOARD = Board(
    name="ulx3s-85f",
    platform="amaranth_boards.ulx3s:ULX3S_85F_Platform",
    family="ecp5",
    params=RLUParams(),
    reset=("button_fire", 0),
)
