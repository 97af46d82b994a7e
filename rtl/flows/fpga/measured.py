"""Clock and area on a Lattice ECP5 as `rlu synth` measured them, for the documentation and for packages."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from rtl.spec.params import RLUParams

#: The target of all measurements, see `rtl.flows.fpga.synth_targets`.
TARGET = "ecp5-85k"


class Measurement(NamedTuple):
    """Measured figures of a design.

    Attributes:
        design: the bus in front of the unit, or ``core``: the unit without bus and registers.
        technology: whose cells its Verilog names.
        states, actions: its size; other parameters are the defaults.
        luts, flip_flops, block_rams, multipliers: area.
        fmax_mhz: clock with the seeds 1, 2 and 3 of the placement.
        episodes: episodes that the unit remembers.
        points: operating points whose costs it can hold; above 0 it plans.
    """

    design: str
    technology: str
    states: int
    actions: int
    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int
    fmax_mhz: tuple[float, float, float]
    episodes: int = 0
    points: int = 0

    @property
    def median_mhz(self) -> float:
        """The median clock, which is the published figure."""
        return statistics.median(self.fmax_mhz)

    @property
    def params(self) -> RLUParams:
        """Parameters of the unit."""
        return RLUParams(states=self.states, actions=self.actions, episodes=self.episodes, points=self.points)

    @property
    def options(self) -> str:
        """Options of `rlu synth` that measure it, besides target and size."""
        words = ["--core" if self.design == "core" else f"--bus {self.design}"]
        words += [] if self.technology == "ecp5" else [f"--technology {self.technology}"]
        words += [f"--episodes {self.episodes}"] if self.episodes else []
        words += [f"--points {self.points}"] if self.points else []
        return " ".join(words)


#: Measure again when the hardware or the tools change; slow tests compare.
MEASURED = (
    Measurement("core", "ecp5", 256, 16, 2049, 1804, 17, 4, (109.23, 106.72, 110.27)),
    Measurement("core", "ecp5", 16, 4, 1370, 1024, 0, 4, (110.77, 108.99, 107.55)),
    Measurement("none", "ecp5", 256, 16, 2898, 2145, 17, 4, (95.96, 105.7, 105.4)),
    Measurement("none", "ecp5", 16, 4, 2037, 1367, 0, 4, (111.5, 109.88, 110.69)),
    Measurement("axi4lite", "ecp5", 256, 16, 2916, 2247, 17, 4, (73.88, 73.07, 72.35)),
    Measurement("axi4lite", "ecp5", 16, 4, 2060, 1469, 0, 4, (75.81, 82.98, 86.55)),
    Measurement("wishbone", "ecp5", 256, 16, 2883, 2146, 17, 4, (102.6, 102.06, 106.22)),
    Measurement("wishbone", "ecp5", 16, 4, 2036, 1368, 0, 4, (105.24, 110.51, 110.67)),
    Measurement("apb", "ecp5", 256, 16, 2868, 2146, 17, 4, (103.71, 109.54, 102.03)),
    Measurement("apb", "ecp5", 16, 4, 2045, 1368, 0, 4, (106.53, 110.99, 103.64)),
    Measurement("none", "generic", 256, 16, 2891, 2145, 17, 4, (94.41, 101.14, 94.95)),
    Measurement("none", "generic", 16, 4, 2066, 1367, 0, 4, (98.14, 96.74, 96.63)),
    Measurement("axi4lite", "generic", 256, 16, 2925, 2247, 17, 4, (70.53, 73.84, 72.23)),
    Measurement("axi4lite", "generic", 16, 4, 2091, 1468, 0, 4, (82.49, 81.2, 83.13)),
    Measurement("wishbone", "generic", 256, 16, 2911, 2146, 17, 4, (99.18, 102.12, 94.45)),
    Measurement("wishbone", "generic", 16, 4, 2082, 1368, 0, 4, (98.04, 100.42, 95.67)),
    Measurement("apb", "generic", 256, 16, 2895, 2146, 17, 4, (92.68, 99.87, 93.21)),
    Measurement("apb", "generic", 16, 4, 2065, 1368, 0, 4, (97.86, 98.25, 98.33)),
    Measurement("none", "ecp5", 16, 4, 2608, 1702, 3, 4, (94.34, 93.04, 94.54), 512),
    Measurement("none", "generic", 16, 4, 2634, 1702, 3, 4, (93.14, 94.4, 93.21), 512),
    Measurement("axi4lite", "ecp5", 16, 4, 2668, 1804, 3, 4, (76.84, 79.38, 83.88), 512),
    Measurement("axi4lite", "generic", 16, 4, 2683, 1804, 3, 4, (79.65, 79.59, 80.35), 512),
    Measurement("wishbone", "ecp5", 16, 4, 2654, 1703, 3, 4, (91.78, 92.92, 92.62), 512),
    Measurement("wishbone", "generic", 16, 4, 2647, 1703, 3, 4, (86.57, 92.82, 93.35), 512),
    Measurement("apb", "ecp5", 16, 4, 2654, 1703, 3, 4, (93.43, 92.11, 92.64), 512),
    Measurement("apb", "generic", 16, 4, 2616, 1703, 3, 4, (92.2, 93.25, 92.99), 512),
    Measurement("none", "ecp5", 16, 4, 4936, 2572, 4, 5, (92.88, 93.69, 89.64), 64, 9),
    Measurement("none", "ecp5", 16, 9, 5630, 3045, 7, 5, (93.33, 90.25, 94.66), 64, 9),
)


def package_measurements(bus: str, technology: str = "generic", *, episodic: bool = False) -> list[Measurement]:
    """Measurements of units like a package's: behind the same bus, with or without an episode memory.

    A unit that plans has an episode memory, so the two kinds share a clock.
    """
    return [m for m in MEASURED if (m.design, m.technology, m.episodes > 0) == (bus, technology, episodic)]


def package_clock_mhz(bus: str, technology: str = "generic", *, episodic: bool = False) -> float:
    """The clock that a package's constraints require: what every placement reached, rounded down to 5 MHz."""
    measured = package_measurements(bus, technology, episodic=episodic)
    return 5.0 * math.floor(min(min(m.fmax_mhz) for m in measured) / 5)
