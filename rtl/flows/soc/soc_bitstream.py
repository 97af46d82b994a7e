"""Makes the bitstream of the SoC for a board with an ECP5, with the same open tools as for the unit alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rtl.files import check_folder
from rtl.flows.fpga.bitstream import Bitstream, Recipe, make
from rtl.flows.fpga.boards import BOARDS
from rtl.flows.fpga.boards.board import Board
from rtl.flows.fpga.synth_targets import OPTIONS
from rtl.flows.soc.system import System

_ABLE = ", ".join(name for name, one in BOARDS.items() if one.family == "ecp5")


def soc_board(name: str) -> Board:
    """The board of that name; ValueError, with the boards that can, for one that is unknown or has no ECP5."""
    if name not in BOARDS:
        raise ValueError(f"unknown board {name!r}: choose {_ABLE}")
    _check(BOARDS[name])
    return BOARDS[name]


def _check(board: Board) -> None:
    if board.family != "ecp5":
        raise ValueError(f"the SoC is for boards with a Lattice ECP5, not {board.name}: choose {_ABLE}")


def build(
    system: System,
    board: Board,
    firmware: Sequence[int],
    unit: str,
    out: Path,
    *,
    cache: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Bitstream:
    """Make the bitstream of a SoC.

    Args:
        system: the SoC.
        board: an ECP5 board.
        firmware: the words of its ROM.
        unit: Verilog of the unit on Wishbone.
        out: folder for the bitstream, which appears there whole or not at all.
        cache: as for `rtl.flows.fpga.bitstream.build`, whose other errors this one has too.
        say: called with what is being done.

    Raises:
        ValueError: for a board without an ECP5.
        ModuleNotFoundError: without the extra ``soc``.
    """
    _check(board)
    check_folder(out)
    from rtl.flows.soc.litex_soc import TOP, on_board  # the extra soc

    say(f"{board.name}: LiteX SoC with {system.cpu.name}")
    design = on_board(system, board, firmware)
    files = {**design.texts, "unit.v": unit, **{path.name: path.read_text() for path in design.sources}}
    verilog = [name for name in files if name.endswith(".v")]
    files[f"{TOP}.ys"] = "\n".join(
        [f"read_verilog {' '.join(verilog)}", f"synth_ecp5 {OPTIONS['ecp5']} -top {TOP} -json {TOP}.json", ""]
    )

    def extract(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text)

    recipe = Recipe(
        name=board.name,
        family=board.family,
        digest=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        extract=extract,
        commands=[
            ["yosys", "-q", "-l", f"{TOP}.rpt", f"{TOP}.ys"],
            ["nextpnr-ecp5", "--quiet", "--log", f"{TOP}.tim", *design.chip, "--json", f"{TOP}.json",
             "--lpf", f"{TOP}.lpf", "--textcfg", f"{TOP}.config", "--report", "report.json", "--timing-allow-fail"],
            ["ecppack", "--compress", "--input", f"{TOP}.config", "--bit", f"{TOP}.bit"],
        ],
        product=f"{TOP}.bit",
        faster="choose a lower --clock, or a unit with fewer --actions",
        smaller="one with fewer --states or --actions is smaller",
    )  # fmt: skip
    size = f"{system.params.states}x{system.params.actions}"
    name = f"soc-{board.name}-{system.cpu.name}-{size}-{system.clock_mhz:g}mhz.bit"
    return make(recipe, out / name, clock_mhz=system.clock_mhz, baud=system.baud, cache=cache, say=say)
