"""Lockstep: RTL and golden model get the same random stimulus, and all their events are compared in order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtl.spec.params import RLUParams
from sim.devices.device import READ, WRITE, DeviceError, GoldenDevice, Op, Pins
from sim.files import scratch_folder
from sim.model.golden import Action, Draw, Event, QWrite, RewardEvent
from sim.simulators.build import Simulator
from sim.simulators.simulator import SimDevice
from sim.stimulus import place, stimuli
from sim.waves import cut_vcd

_NAMES = {Draw: "drawn number", Action: "sampled action", QWrite: "Q-table write", RewardEvent: "reward"}
_USUAL = RLUParams()
_MARGIN_CYCLES = 40  # kept in the waveform before and after the divergence


@dataclass(frozen=True)
class Divergence:
    """The first place where RTL and golden model differ.

    Attributes:
        episode: number of the episode, from 0.
        cycle: clock cycle since the start of the simulation; for a register, a memory or an output, the cycle in
            which the access was answered.
        what: kind of event, register, memory or output.
        index: its number among those of its kind in the episode.
        golden, rtl: the value in each of them, ``nothing`` if there is none.
        unit: the unit that was compared.
    """

    episode: int
    cycle: int
    what: str
    index: int
    golden: str
    rtl: str
    unit: str = ""

    def __str__(self) -> str:
        return (
            f"episode {self.episode}, cycle {self.cycle}: {self.what} {self.index} differs\n"
            f"  golden model: {self.golden}\n  RTL:          {self.rtl}\n  unit:         {self.unit}"
        )


@dataclass
class Report:
    """Outcome of a lockstep run.

    Attributes:
        episodes: number of episodes run.
        cycles: number of clock cycles simulated.
        compared: number of events compared, by kind.
        divergence: the first difference, ``None`` if there is none.
        units: the units that were compared.
    """

    episodes: int = 0
    cycles: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    divergence: Divergence | None = None
    units: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether nothing differed."""
        return self.divergence is None


def described(params: RLUParams) -> str:
    """A unit in words: its size, and any other difference from the published one."""
    fields = [f.name for f in dataclasses.fields(params) if f.name not in ("states", "actions")]
    others = [f"{name}={getattr(params, name)}" for name in fields if getattr(params, name) != getattr(_USUAL, name)]
    return " ".join([f"{params.states} states x {params.actions} actions", *others])


def run_units(units: Sequence[RLUParams], **settings: Any) -> Report:
    """Calls `run`, with its settings, for one unit after the other, up to the first divergence."""
    total = Report()
    for params in units:
        report = run(params, **settings)
        total.episodes += report.episodes
        total.cycles += report.cycles
        total.compared += report.compared
        total.units += report.units
        total.divergence = report.divergence
        if not report.identical:
            break
    return total


def run(
    params: RLUParams,
    *,
    seed: int = 1,
    episodes: int = 200,
    alpha: float | None = None,
    gamma: float | None = None,
    simulator: Simulator = "verilator",
    verilog: Path | None = None,
    waves: Path | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Report:
    """Run ``episodes`` episodes and compare; stop at the first divergence.

    Args:
        params: the unit.
        seed: of the stimulus.
        episodes: number of episodes, at least 1.
        alpha, gamma: learning rate and discount, 0..1; by default they vary.
        simulator: ``verilator`` or ``icarus``.
        verilog: a Verilog file to run instead of the generated one.
        waves: VCD file for the clock cycles around a divergence; written only if there is one.
        progress: called after every episode.

    Raises:
        ValueError: for ``alpha``, ``gamma`` or ``episodes`` out of range.
        ToolMissing, BuildFailed: if the simulator is missing or refuses the Verilog.
    """
    for name, value in (("alpha", alpha), ("gamma", gamma)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be in 0..1, not {value:g}")
    if waves is not None and simulator != "verilator":
        raise ValueError(f"waveforms are written with the simulator verilator, not {simulator}")
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, not {episodes}")

    def stimulus() -> Iterator[list[Op]]:
        return stimuli(params, seed, episodes, alpha, gamma)

    with SimDevice(params, simulator=simulator, verilog=verilog, record=True) as device:
        report = _compare(params, device, stimulus(), progress)
    if report.divergence is not None and waves is not None:
        _save_waves(params, simulator, verilog, waves, stimulus(), report.divergence)
    return report


def _compare(
    params: RLUParams, device: SimDevice, episodes: Iterator[list[Op]], progress: Callable[[], object]
) -> Report:
    golden = GoldenDevice(params, record=True, busy_until_wait=True)
    report = Report(units=[described(params)])
    for episode, ops in enumerate(episodes):
        golden.pins.clear()
        expected = golden.transact(ops)
        try:
            words = device.transact(ops)
        except DeviceError as error:
            report.divergence = Divergence(
                episode, device.cycle, "simulation of the RTL", 0, "runs", str(error), described(params)
            )
            return report
        differences = [
            *_differing_events(episode, golden.events(), device, report.compared),
            *_differing_answers(params, episode, ops, (expected, golden.pins), (words, device.accesses())),
        ]
        report.compared["bus answer"] += len(golden.pins)
        report.episodes, report.cycles = episode + 1, device.cycle
        progress()
        if differences:
            first = min(differences, key=lambda divergence: divergence.cycle)
            report.divergence = dataclasses.replace(first, unit=described(params))
            break
    return report


def _differing_events(
    episode: int, expected: list[Event], device: SimDevice, compared: Counter[str]
) -> Iterator[Divergence]:
    """The first difference of each kind of event."""
    happened = device.events()
    for kind, name in _NAMES.items():
        golden = [event for event in expected if isinstance(event, kind)]
        rtl = [(cycle, event) for cycle, event in happened if isinstance(event, kind)]
        for index in range(max(len(golden), len(rtl))):
            left = golden[index] if index < len(golden) else None
            cycle, right = rtl[index] if index < len(rtl) else (device.cycle, None)
            if left != right:
                yield Divergence(episode, cycle, name, index, str(left or "nothing"), str(right or "nothing"))
                break
            compared[name] += 1


def _differing_answers(
    params: RLUParams,
    episode: int,
    ops: list[Op],
    golden: tuple[list[int], list[Pins]],
    rtl: tuple[list[int], list[tuple[int, Pins]]],
) -> Iterator[Divergence]:
    """The first answer to an access that differs: the word read, or an output."""
    words = zip(golden[0], rtl[0], strict=True)
    accesses = [op for op in ops if op.kind in (READ, WRITE)]
    for index, (op, expected, (cycle, seen)) in enumerate(zip(accesses, golden[1], rtl[1], strict=True)):
        left, right = next(words) if op.kind == READ else (0, 0)
        if left != right:
            what, number = place(params, op.address)
            yield Divergence(episode, cycle, what, number, f"0x{left:08X}", f"0x{right:08X}")
            return
        for pin, level, other in zip(Pins._fields, expected, seen, strict=True):
            if level != other:
                yield Divergence(episode, cycle, f"output {pin} at access", index, str(level), str(other))
                return


def _save_waves(
    params: RLUParams,
    simulator: Simulator,
    verilog: Path | None,
    waves: Path,
    episodes: Iterator[list[Op]],
    divergence: Divergence,
) -> None:
    """Repeat the run up to the divergence with waveforms, and keep the cycles around it."""
    with scratch_folder("rlu-waves-") as folder:
        whole = folder / "whole.vcd"
        with SimDevice(params, simulator=simulator, verilog=verilog, waves=whole) as device:
            for episode, ops in enumerate(episodes):
                try:
                    device.transact(ops)
                except DeviceError:
                    break
                if episode == divergence.episode:
                    break
        cut_vcd(whole, waves, divergence.cycle - _MARGIN_CYCLES, divergence.cycle + _MARGIN_CYCLES)
