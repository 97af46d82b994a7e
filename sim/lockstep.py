"""Lockstep: the same random stimulus into RTL and golden model, every inner event compared in order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rtl.params import RLUParams
from rtl.registers import BY_NAME, CLEAR, REWARD, SAMPLE, UPDATE, field_of

from .arithmetic import to_fixed
from .build import Simulator
from .device import READ, WAIT, WRITE, DeviceError, GoldenDevice, Op, address_of
from .files import scratch_folder
from .golden import Action, Draw, Event, QWrite, RewardEvent
from .simulator import SimDevice
from .waves import cut_vcd

_NAMES = {Draw: "drawn number", Action: "sampled action", QWrite: "Q-table write", RewardEvent: "reward"}
_READ_BACK = ("STATUS", "REWARD", "SHARE", "LFSR", "CYCLES", "EPISODES")
_MARGIN_CYCLES = 40  # kept before and after the divergence in the waveform


@dataclass(frozen=True)
class Divergence:
    """The first place where RTL and golden model differ.

    Attributes:
        episode: number of the episode, from 0.
        cycle: clock cycle since the start of the simulation; for a register or the whole Q-table, the
            cycle in which it was read.
        what: kind of event, register or memory.
        index: which one of its kind within the episode.
        golden, rtl: what each of them has, ``nothing`` if it has none.
    """

    episode: int
    cycle: int
    what: str
    index: int
    golden: str
    rtl: str

    def __str__(self) -> str:
        return (
            f"episode {self.episode}, cycle {self.cycle}: {self.what} {self.index} differs\n"
            f"  golden model: {self.golden}\n  RTL:          {self.rtl}"
        )


@dataclass
class Report:
    """Outcome of a lockstep run.

    Attributes:
        episodes: episodes that were run.
        cycles: clock cycles simulated.
        compared: how many events of each kind were compared.
        divergence: the first difference, ``None`` if there is none.
    """

    episodes: int = 0
    cycles: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    divergence: Divergence | None = None

    @property
    def identical(self) -> bool:
        """Whether nothing differed."""
        return self.divergence is None


def run(
    params: RLUParams,
    *,
    seed: int = 1,
    episodes: int = 200,
    alpha: float = 0.25,
    gamma: float = 0.99,
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
        alpha, gamma: learning rate and discount, 0..1.
        simulator: ``verilator`` or ``icarus``.
        verilog: a Verilog file to run instead of the generated one.
        waves: VCD file for the clock cycles around a divergence; not written without one.
        progress: called after every episode.

    Raises:
        ValueError: for ``alpha``, ``gamma`` or ``episodes`` out of range.
        ToolMissing, BuildFailed: if the simulator is missing or refuses the Verilog.
    """
    for name, value in (("alpha", alpha), ("gamma", gamma)):
        if not 0.0 <= value <= 1.0:
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


def stimuli(params: RLUParams, seed: int, episodes: int, alpha: float, gamma: float) -> Iterator[list[Op]]:
    """Random transactions, one list an episode: set-up, sample, reward, update, in every mode and range."""
    rng = random.Random(seed)
    coefficients = ("WEIGHT_A", "WEIGHT_L", "WEIGHT_E", "LATENCY_HIGH", "ENERGY_HIGH", "ACCURACY", "LATENCY", "ENERGY")

    def coefficient() -> int:
        return rng.choice((0, params.coef_one, rng.randint(0, params.coef_one), rng.randint(0, params.coef_one)))

    def q_value() -> int:
        return rng.choice((params.q_min, params.q_max, 0, rng.randint(params.q_min, params.q_max)))

    def write(name: str, value: int) -> Op:
        return Op(WRITE, address_of(name), value & 0xFFFF_FFFF)

    for episode in range(episodes):
        ops = []
        if episode == 0:
            ops += [
                write("ALPHA", to_fixed(alpha, params.coef_frac)),
                write("GAMMA", to_fixed(gamma, params.coef_frac)),
                write("LFSR", rng.randint(1, params.lfsr_max)),
                *(
                    Op(WRITE, address_of("ACTION_COUNT") + 4 * row, rng.randint(1, params.actions))
                    for row in range(params.states)
                ),
            ]
        if rng.random() < 0.2:
            ops += [write("STATES", rng.randint(1, params.states)), Op(WAIT)]
        if rng.random() < 0.2:
            ops.append(write("MODE", rng.randint(0, BY_NAME["MODE"].limits(params)[1])))
        if params.episodes and rng.random() < 0.2:
            settings = {"tournament": rng.choice((0, 1, 2, 3, 32)), "candidates": rng.randint(0, 4)}
            settings["replays"] = rng.randint(0, 4)
            word = sum(value << field_of("EPISODIC", name).lsb for name, value in settings.items())
            ops.append(write("EPISODIC", word))
        if rng.random() < 0.05:
            ops += [write("COMMAND", CLEAR), Op(WAIT)]
        if rng.random() < 0.1:
            row, pair = rng.randrange(params.states), rng.randrange((params.actions + 1) // 2)
            word = (q_value() & 0xFFFF) << 16 | q_value() & 0xFFFF
            ops.append(Op(WRITE, address_of("Q_TABLE") + 32 * row + 4 * pair, word))
        if rng.random() < 0.02:  # an action that not every row has
            ops.append(Op(WRITE, address_of("POLICY"), rng.getrandbits(32)))
        else:
            ops += [write("EPSILON", coefficient()), write("COMMAND", SAMPLE), Op(WAIT)]
        ops += [write(name, coefficient()) for name in coefficients]
        ops += [write(f"{name}_GAIN", rng.getrandbits(params.gain_width)) for name in ("LATENCY", "ENERGY")]
        # Thresholds that mostly let the measurement pass, and now and then just do or just do not.
        accuracy, latency, energy = (op.value for op in ops[-5:-2])
        one = params.coef_one
        ops += [
            write("ACCURACY_TH", rng.choice((0, accuracy, max(0, accuracy - 1)))),
            write("LATENCY_TH", rng.choice((one, latency, min(one, latency + 1)))),
            write("ENERGY_TH", rng.choice((one, energy, min(one, energy + 1)))),
        ]
        if rng.random() < 0.7:
            ops += [write("COMMAND", REWARD | UPDATE), Op(WAIT)]
        else:
            ops += [write("REWARD", q_value()), Op(WAIT), write("COMMAND", UPDATE), Op(WAIT)]
        ops += [Op(READ, address_of(name)) for name in _READ_BACK]
        if rng.random() < 0.05:
            ops.append(write("STATUS", sum(f.mask for f in BY_NAME["STATUS"].fields if f.lsb >= 8)))
        if episode == episodes - 1:
            ops += q_table_reads(params)
        yield ops


def q_table_reads(params: RLUParams) -> list[Op]:
    """Operations that read every word of the Q-table."""
    return [
        Op(READ, address_of("Q_TABLE") + 32 * row + 4 * pair)
        for row in range(params.states)
        for pair in range((params.actions + 1) // 2)
    ]


def _compare(
    params: RLUParams, device: SimDevice, episodes: Iterator[list[Op]], progress: Callable[[], object]
) -> Report:
    golden = GoldenDevice(params, record=True)
    report = Report()
    for episode, ops in enumerate(episodes):
        expected_words = golden.transact(ops)
        try:
            words = device.transact(ops)
        except DeviceError as error:
            report.divergence = Divergence(episode, device.cycle, "life of the RTL", 0, "goes on", str(error))
            return report
        report.divergence = _first_difference(episode, golden.events(), device, report.compared)
        if report.divergence is None:
            report.divergence = _differing_word(params, episode, expected_words, words, device.cycle)
        report.episodes, report.cycles = episode + 1, device.cycle
        progress()
        if report.divergence is not None:
            break
    return report


def _first_difference(
    episode: int, expected: list[Event], device: SimDevice, compared: Counter[str]
) -> Divergence | None:
    """Compare the events of each kind in order; of several differences the earliest in time counts."""
    happened = device.events()
    found = []
    for kind, name in _NAMES.items():
        golden = [event for event in expected if isinstance(event, kind)]
        rtl = [(cycle, event) for cycle, event in happened if isinstance(event, kind)]
        for index in range(max(len(golden), len(rtl))):
            left = golden[index] if index < len(golden) else None
            cycle, right = rtl[index] if index < len(rtl) else (device.cycle, None)
            if left != right:
                found.append(Divergence(episode, cycle, name, index, str(left or "nothing"), str(right or "nothing")))
                break
            compared[name] += 1
    return min(found, key=lambda divergence: divergence.cycle, default=None)


def _differing_word(
    params: RLUParams, episode: int, expected: list[int], words: list[int], cycle: int
) -> Divergence | None:
    for index, (left, right) in enumerate(zip(expected, words, strict=True)):
        if left != right:
            if index < len(_READ_BACK):
                what, number = f"register {_READ_BACK[index]}", 0
            else:
                pairs = (params.actions + 1) // 2
                row, pair = divmod(index - len(_READ_BACK), pairs)
                what, number = f"Q-table row {row}, word", pair
            return Divergence(episode, cycle, what, number, f"0x{left:08X}", f"0x{right:08X}")
    return None


def _save_waves(
    params: RLUParams,
    simulator: Simulator,
    verilog: Path | None,
    waves: Path,
    episodes: Iterator[list[Op]],
    divergence: Divergence,
) -> None:
    """Repeat the run up to the divergence with waveforms on, and keep what lies around it."""
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
