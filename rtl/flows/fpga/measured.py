"""Clock and area as `rlu synth` measured them, for the documentation and for packages.

The figures are in measured.json, which ``python -m rtl.flows.fpga.measure_all`` writes.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Literal, NamedTuple

from rtl.spec.buses import BUSES
from rtl.spec.params import RLUParams

#: The target of the packages' clocks, see `rtl.flows.fpga.synth_targets`.
TARGET = "ecp5-85k"
#: Other targets, on which the small unit is measured with one seed.
OTHERS = ("ice40-up5k", "gowin", "xilinx")
#: Seeds of its placements.
SEEDS = (1, 2, 3)
FIGURES = Path(__file__).with_name("measured.json")

#: What a unit can do, which bounds its clock: the published algorithm alone, or with a memory of episodes. The second
#: kind is measured as a unit that plans, which has all that an episodic one has, and more.
Kind = Literal["published", "remembering"]
KINDS: tuple[Kind, ...] = ("published", "remembering")


class Design(NamedTuple):
    """What is measured.

    Attributes:
        bus: in front of the unit, or ``core``: the unit without bus and registers.
        technology: whose cells its Verilog names.
        states, actions: its size; other parameters are the defaults.
        episodes: episodes that the unit remembers.
        points: operating points whose costs it can hold; above 0 it plans.
        target: the FPGA.
    """

    bus: str
    technology: str
    states: int
    actions: int
    episodes: int = 0
    points: int = 0
    target: str = TARGET

    @property
    def params(self) -> RLUParams:
        """Parameters of the unit."""
        return RLUParams(states=self.states, actions=self.actions, episodes=self.episodes, points=self.points)

    @property
    def kind(self) -> Kind:
        """What the unit can do."""
        return kind_of(self.params)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its placements."""
        return SEEDS if self.target == TARGET else (1,)

    @property
    def options(self) -> str:
        """Options of `rlu synth` that measure it, besides target and size."""
        words = ["--core" if self.bus == "core" else f"--bus {self.bus}"]
        words += ["--technology generic"] if self.target == TARGET and self.technology == "generic" else []
        words += [f"--episodes {self.episodes}"] if self.episodes else []
        words += [f"--points {self.points}"] if self.points else []
        return " ".join(words)


class Measurement(NamedTuple):
    """Measured figures of a design.

    Attributes:
        design: what was measured.
        luts, flip_flops, block_rams, multipliers: area.
        fmax_mhz: clock with each seed of the design; empty for synthesis only.
    """

    design: Design
    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int
    fmax_mhz: tuple[float, ...]

    @property
    def median_mhz(self) -> float:
        """The median clock, which is the published figure."""
        return statistics.median_low(self.fmax_mhz)


def kind_of(params: RLUParams) -> Kind:
    """What a unit can do."""
    return "remembering" if params.episodes else "published"


def _designs() -> tuple[Design, ...]:
    designs = [Design("core", "ecp5", 256, 16)]
    designs += [Design(bus, "ecp5", 256, 16) for bus in BUSES]
    # A unit that plans, and plain Verilog: behind the front end with the most logic.
    designs += [Design(bus, "ecp5", 16, 16, episodes=64, points=9) for bus in BUSES]
    designs += [Design("axi4lite", "generic", 256, 16), Design("axi4lite", "generic", 16, 16, episodes=64, points=9)]
    designs += [Design(bus, "generic", 16, 4, target=target) for target in OTHERS for bus in BUSES]
    return tuple(designs)


#: Everything that is measured.
DESIGNS = _designs()

_read = json.loads(FIGURES.read_text(encoding="utf-8"))
#: Day of the measurement, and versions of the tools.
DATE: str = _read["date"]
TOOLS: dict[str, str] = _read["tools"]
#: What was measured, in the order of `DESIGNS`.
MEASURED = tuple(
    Measurement(Design(**one["design"]), **{**one["figures"], "fmax_mhz": tuple(one["figures"]["fmax_mhz"])})
    for one in _read["measured"]
)


def package_measurements(technology: str = "generic", kind: Kind = "published") -> list[Measurement]:
    """Measurements of units like a package's: of the same technology and kind. The bus does not bound the clock."""
    like = (TARGET, technology, kind)
    return [
        m for m in MEASURED if (m.design.target, m.design.technology, m.design.kind) == like and m.design.bus != "core"
    ]


def package_clock_mhz(technology: str = "generic", kind: Kind = "published") -> float:
    """The clock that a package's constraints require: the lowest median of such designs, rounded down to 5 MHz.

    At least two of the three placements of each reached it; a package's own flow tries the same seeds.
    """
    return 5.0 * math.floor(min(m.median_mhz for m in package_measurements(technology, kind)) / 5)
