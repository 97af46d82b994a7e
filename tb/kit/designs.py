"""The designs that the benches run on: blocks, corner configurations, and their compiled simulations."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from rtl.spec.buses import STANDARD
from rtl.spec.params import RLUParams
from rtl.verilog import emitted
from sim.files import write_atomically
from sim.simulators.build import Simulator, built

ROOT = Path(__file__).resolve().parents[2]

_SHORT = {"q_width": 8, "q_frac": 6, "coef_frac": 6, "gain_frac": 4, "lfsr_width": 8}

#: Corner configurations by name, as parameters of a build.
CONFIGS: dict[str, RLUParams] = {
    # One row, which is the first and the last one: there is no next row. The shortest LFSR.
    "single": RLUParams(states=1, actions=2, lfsr_width=8),
    # The published size.
    "full": RLUParams(),
    # Rows of different length, an odd number of banks, the longest LFSR.
    "mixed": RLUParams(
        states=11, actions=9, action_counts=(9, 1, 3, 9, 2, 8, 7, 1, 4, 5, 6), lfsr_width=32, gain_frac=8
    ),
    # Short numbers: saturation, ties and clipping are frequent.
    "narrow": RLUParams(states=5, actions=3, action_counts=(3, 2, 3, 1, 2), **_SHORT),
    # Short numbers with the longest coefficients.
    "fine": RLUParams(states=4, actions=4, q_width=8, q_frac=6, lfsr_width=8),
    # Very short coefficients: the reward is padded with zeros instead of rounded.
    "coarse": RLUParams(states=6, actions=5, q_width=16, q_frac=14, coef_frac=4, gain_frac=8, lfsr_width=16),
    # An episode memory that is full after four episodes of two words each; policies often repeat.
    "episodic": RLUParams(states=11, actions=3, action_counts=(2, 1, 3, 2, 1, 3, 2, 2, 1, 3, 2), episodes=4, **_SHORT),
}

#: Units that plan: few rows and actions, so that plans meet policies that were tried, and memories that are soon full.
CONFIGS |= {
    "planning": RLUParams(
        states=11, actions=3, action_counts=(2, 1, 3, 2, 1, 3, 2, 2, 1, 3, 3), episodes=4, points=3, **_SHORT
    ),
    "planner": RLUParams(states=5, actions=4, action_counts=(3, 2, 4, 1, 4), episodes=8, points=4),
}


@dataclass(frozen=True)
class Bench:
    """A cocotb bench and what it runs on.

    Attributes:
        name: name of the bench, and of its block in mutation and coverage.
        component: ``module.Class`` of the block under test.
        configs: names of the configurations in which it runs.
        shows: purpose of the bench, in a line.
        arguments: arguments of the block, if they are not the configuration's parameters.
        source: module of `tb.benches` that holds the tests, if it differs from the bench's name.
    """

    name: str
    component: str
    configs: tuple[str, ...]
    shows: str
    arguments: tuple[int, ...] = ()
    source: str = ""

    @property
    def module(self) -> str:
        """Module that holds the tests."""
        return f"tb.benches.{self.source or self.name}"

    def environment(self, config: str, effort: int) -> dict[str, str]:
        """Environment that tells the simulation what it runs (`tb.kit.bench.Setup`)."""
        return {"RLU_BENCH": self.name, "RLU_BENCH_CONFIG": config, "RLU_BENCH_EFFORT": str(effort)}

    @property
    def toplevel(self) -> str:
        """Name of the Verilog module that holds the blocks of a build."""
        return f"bench_{self.name}"

    def instance(self, params: RLUParams) -> wiring.Component:
        """The block under test, made from ``params`` unless the bench has its own arguments."""
        module, _, name = self.component.rpartition(".")
        return getattr(importlib.import_module(module), name)(*(self.arguments or (params,)))


_ALL = ("single", "full", "mixed", "narrow")
_ROUNDED = (*_ALL, "fine", "coarse")

BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        Bench("q_table", "rtl.unit.q_table.QTable", _ALL, "banked memory of the Q-values"),
        Bench("policy_store", "rtl.unit.policy_store.PolicyStore", _ALL, "actions and action counts of the rows"),
        Bench("row_max", "rtl.unit.row_max.RowMax", _ALL, "maximum of a row and its tie rule"),
        Bench("reward", "rtl.unit.reward.RewardCalculator", _ROUNDED, "reward, outliers, share of a row"),
        Bench("updater", "tb.kit.assemblies.Updater", _ROUNDED, "update of the Q-table in reverse order"),
        Bench("sampler", "tb.kit.assemblies.Sampler", _ALL, "epsilon-greedy sampling and its LFSR"),
        Bench("register_file", "rtl.unit.register_file.RegisterFile", _ALL, "decode of the bus, sticky errors"),
        Bench(
            "serial_link",
            "rtl.serial.serial_link.SerialLink",
            ("single",),
            "frames, damage, repeats on a serial line",
            (4, 48),
        ),
        Bench("rlu", "rtl.unit.top.RLU", (*_ALL, "fine"), "the whole unit through its bus and probe port"),
        Bench(
            "episodes",
            "rtl.unit.top.RLU",
            ("episodic",),
            "a unit with an episode memory, as the whole unit",
            source="rlu",
        ),
        Bench(
            "planning",
            "rtl.unit.top.RLU",
            ("planner", "planning"),
            "a unit that plans, as the whole unit",
            source="rlu",
        ),
        # The unit's size hardly matters to a wrapper.
        *(Bench(bus.name, bus.component, ("narrow",), f"the unit behind {bus.title}") for bus in STANDARD),
    )
}

#: The whole unit, mutated in all its parts and judged by `sim.lockstep` alone; by name, as above.
LOCKSTEP: dict[str, Bench] = {
    name: Bench(name, "rtl.unit.top.RLU", (config,), "the whole unit, judged by lockstep alone", source="rlu")
    for name, config in (
        ("lockstep", "full"),
        ("lockstep_narrow", "narrow"),
        ("lockstep_episodic", "episodic"),
        ("lockstep_planning", "planning"),
    )
}


class SideBySide(wiring.Component):
    """One block in several configurations in one module, for one compilation.

    The ports of configuration ``c`` have the prefix ``c__``; the clock is shared.
    """

    def __init__(self, parts: dict[str, wiring.Component]):
        self.parts = parts
        super().__init__({name: Out(part.signature) for name, part in parts.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            wiring.connect(m, part, wiring.flipped(getattr(self, name)))
        return m


def generate(bench: Bench, configs: Iterable[str]) -> str:
    """Verilog of the block under test in each of ``configs``."""
    parts = {name: bench.instance(CONFIGS[name]) for name in configs}
    return emitted(SideBySide(parts), bench.toplevel)


_generated_once = functools.cache(generate)
_generating = threading.Lock()


def compiled(
    bench: Bench,
    config: str,
    simulator: Simulator,
    folder: Path,
    *,
    waves: bool = False,
    rtl: Path | None = None,
    alongside: Iterable[str] | None = None,
) -> Path:
    """Folder of the compiled simulation for a bench in a configuration.

    For Verilator one build holds several configurations, because every build costs seconds, whatever its size. For
    Icarus it holds one: Icarus starts at once, but simulates every part all the time.

    Args:
        bench: the bench.
        config: name of the configuration.
        simulator: ``verilator`` or ``icarus``.
        folder: where the Verilog is written.
        waves: compile with waveforms; then the build holds only this configuration.
        rtl: Verilog file to compile instead of the generated one.
        alongside: other configurations for the same build; default: all of the bench.
    """
    if rtl is None:
        together = simulator == "verilator" and not waves
        wanted = {config, *(bench.configs if alongside is None else alongside)} if together else {config}
        rtl = folder / f"{bench.toplevel}.v"
        with _generating:
            write_atomically(rtl, _generated_once(bench, tuple(c for c in bench.configs if c in wanted)))
    return built(rtl, simulator, toplevel=bench.toplevel, waves=waves, name=bench.toplevel, quick=True)
