"""The configuration of a tuning run: ``config.json`` of its folder, and the options of `rlu tune`.

Importing it brings neither NumPy nor torch, so the command line starts quickly. Making a configuration checks it, which
brings NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from algo.chips.by_name import METAVAR as CHIP_METAVAR
from algo.chips.by_name import NETWORK_METAVAR
from algo.nets.data.names import names_files
from algo.nets.registry import NETWORKS, is_file_network
from algo.nets.train.task import TaskConfig
from algo.nets.training_config import RetrainingMode
from algo.search.objective import ObjectiveConfig
from algo.search.schedules import SCHEDULES, schedule_of
from algo.support.settings import (
    changed,
    check_settings,
    flat,
    from_flat,
    from_json,
    setting,
    settings_of,
    to_json,
    whole_numbers,
)
from algo.support.user_files import shown
from rtl.spec.buses import BUSES
from rtl.spec.params import ALPHA, GAMMA, LFSR_TAPS, RLUParams
from sim.devices.episodic import Episodic
from sim.devices.planning import Planning

#: Format of ``config.json``. Format 1 was one flat object.
FORMAT = 2
#: Prefix of a device on a serial port.
SERIAL = "serial:"
#: Methods that are the RL unit, on the device of the run.
UNITS = {"rlu": "published", "rlu-plus": "episodic", "planning": "planning"}
#: The other way round.
UNIT_METHODS = {name: method for method, name in UNITS.items()}
#: Methods whose searches carry weights over from policy to policy unless told otherwise, as published.
CARRYING = ("rlu", "rlu-plus")
#: Settings that may name a file or a folder.
PATH_SETTINGS = ("data", "data_folder", "network", "chip", "chip_network")


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Where the RL unit is. Each field says what it means."""

    device: str = setting(
        "golden",
        "The golden model; or, checked against it, the RTL in a simulator or a board (serial:PORT or ...@BAUD).",
        metavar="golden|sim|serial:PORT",
    )
    simulator: Literal["verilator", "icarus"] = setting(
        "verilator", "Simulator of the RTL.", choices=("verilator", "icarus")
    )
    bus: str = setting(
        "none", f"Bus of the simulated RTL: {', '.join(BUSES[:-1])} or {BUSES[-1]}.", choices=BUSES, metavar="BUS"
    )


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """What gives latency and energy. Each field says what it means."""

    chip: str = setting("evolver", "What gives latency and energy: see rlu chip table --help.", metavar=CHIP_METAVAR)
    chip_network: str | None = setting(
        None,
        "Network whose layers run on the chip; default --network, at its published width.",
        metavar=NETWORK_METAVAR,
    )


@dataclass(frozen=True, kw_only=True)
class UnitConfig:
    """How the RL unit learns. Each field says what it means."""

    alpha: float = setting(ALPHA, "Learning rate of the unit.", low=0, high=1)
    gamma: float = setting(GAMMA, "Discount of the unit.", low=0, high=1)
    lfsr_width: int = setting(
        RLUParams.lfsr_width, "Bits of the unit's LFSR: 8, 16 or 32.", choices=tuple(sorted(LFSR_TAPS))
    )
    full_last_reward: bool = setting(False, "Reward the last row in full instead of with its share.")
    tournament: int = setting(
        Episodic.tournament, "For rlu-plus: stored episodes drawn for a candidate.", low=1, high=255
    )
    candidates: int = setting(Episodic.candidates, "For rlu-plus: candidates drawn for a policy.", low=1, high=15)
    replays: int = setting(
        Episodic.replays, "For rlu-plus: stored episodes replayed after each policy.", low=0, high=255
    )
    climbs: int = setting(Planning.climbs, "For planning: starts of a plan.", low=1, high=255)
    sweeps: int = setting(Planning.sweeps, "For planning: times that a climb visits all rows.", low=1, high=15)
    passes: int = setting(
        Planning.passes, "For planning: times that the unit learns from all episodes after each policy.", low=1, high=15
    )
    caution: int = setting(
        Planning.caution, "For planning: how many times its doubt is taken off an accuracy.", low=0, high=15
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What is searched, by which method, for how long. Each field says what it means."""

    method: str = setting(
        "planning",
        "The search: planning, rlu, rlu-plus, evolution, tpe, random and more; an unknown one lists them.",
        metavar="NAME",
    )
    schedule: str | None = setting(
        None,
        "Iterations: planning 25, episodic 80, published 330, quick 33, long 1200; default the unit's own, for other "
        "methods published.",
        choices=tuple(SCHEDULES),
    )
    iterations: int | None = setting(
        None,
        "Another number of iterations: the published epsilons are stretched, the episodic ones cut or continued.",
        low=1,
        high=100_000,
    )
    activations: Literal["fixed", "searched"] = setting(
        "fixed", "Activations at 8 bits, or searched like the weights.", choices=("fixed", "searched")
    )
    rows: Literal["layer", "block"] = setting(
        "layer",
        "One choice per layer, or one per residual block, if the network has any.",
        choices=("layer", "block"),
    )
    bit_widths: str | None = setting(
        None, "Bit-widths to choose from, such as 4,8; default all that the chip knows.", metavar="N,N,..."
    )


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Everything a run depends on.

    Attributes:
        seed: of everything random: weights, local set, order of images, LFSR; 1..2**lfsr_width - 1.
        device, task, chip, objective, unit, search: the parts.

    Raises:
        ValueError: for a value that a setting may not have, or values that do not go together.
    """

    device: DeviceConfig = DeviceConfig()
    chip: ChipConfig = ChipConfig()
    task: TaskConfig = TaskConfig()
    search: SearchConfig = SearchConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    unit: UnitConfig = UnitConfig()
    seed: int = setting(1, "Seed of everything random.")

    def __post_init__(self) -> None:
        from algo.search.methods.registry import method_named

        if self.search.schedule is None:
            usual = next((name for of, name in UNITS.items() if of == self.search.method), "published")
            object.__setattr__(self, "search", replace(self.search, schedule=usual))
        if self.task.weights is None:
            # Accuracies that drift with the number of trainings mislead a search that remembers them.
            mode: RetrainingMode = "carried" if self.search.method in CARRYING else "restarted"
            object.__setattr__(self, "task", replace(self.task, weights=mode))
        check_settings(self)
        device, method = self.device.device, self.search.method
        devices = ("golden", "sim", device if device.startswith(SERIAL) else f"{SERIAL}PORT")
        if device not in devices:
            raise ValueError(f"device must be one of {', '.join(devices)}, not {device!r}")
        if self.device.bus != "none" and device != "sim":
            raise ValueError(f"bus {self.device.bus} is for the simulated RTL: it needs the device sim, not {device}")
        method_named(method)
        if method not in UNITS and device != "golden":
            raise ValueError(
                f"method {method} does not use the unit: leave out --device {device}, or choose --method "
                f"{' or '.join(UNITS)}"
            )
        if not 1 <= self.seed < 1 << self.unit.lfsr_width:
            raise ValueError(
                f"seed must be in 1..{(1 << self.unit.lfsr_width) - 1} with an LFSR of {self.unit.lfsr_width} bits, "
                f"not {self.seed}"
            )
        bit_widths_of(self)
        self.objective.at(0.0)  # checks weights and thresholds

    @classmethod
    def of(cls, **values: Any) -> TuneConfig:
        """A configuration from values by the settings' own names, such as ``data`` and ``alpha``; the rest defaults.

        ``unit`` may be ``published``, ``episodic`` or ``planning``: other names of the methods that are units.
        """
        unit = values.pop("unit", None)
        if unit is not None:
            names = UNIT_METHODS
            if unit not in names:
                raise ValueError(f"unit must be one of {', '.join(names)}, not {unit!r}")
            if values.get("method", names[unit]) != names[unit]:
                raise ValueError(
                    f"unit {unit} is the method {names[unit]}, not {values['method']}: leave one of them out"
                )
            values["method"] = names[unit]
        return from_flat(cls, values)

    def but(self, **values: Any) -> TuneConfig:
        """The configuration with other values of some settings, by their own names."""
        return changed(self, **values)

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Epsilon of each iteration of the search."""
        assert self.search.schedule is not None, "it is set when the configuration is made"
        return schedule_of(self.search.schedule, self.search.iterations)

    @property
    def flat(self) -> dict[str, Any]:
        """Values of all settings by their own names."""
        return flat(self)

    def to_json(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {"format": FORMAT, **to_json(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TuneConfig:
        """The configuration that ``config.json`` of this or an earlier version holds.

        A setting that is missing has its default. Without a method it is the published unit, which was there first.

        Raises:
            ValueError: for a field that this version does not know, or a value that a setting may not have.
        """
        content = {name: value for name, value in content.items() if name != "experiment"}
        form = content.pop("format", 1)
        if form == 1 and form is not True:
            known = {one.name for one in settings_of(cls)}
            for name in sorted(set(content) - known - {"unit"}):
                raise ValueError(f"this version does not know the field {name}")
            return cls.of(**(content if {"unit", "method"} & set(content) else content | {"method": "rlu"}))
        if type(form) is not int or form < 1:
            raise ValueError(f"its format must be a whole number from 1, not {shown(form)}")
        if form != FORMAT:
            raise ValueError(
                f"it has format {form}: a newer version made it, and this one reads formats 1 and {FORMAT}"
            )
        search = content.get("search")
        if isinstance(search, Mapping):
            content["search"] = {"method": "rlu"} | dict(search)
        return from_json(cls, content)


def bit_widths_of(config: TuneConfig) -> tuple[int, ...] | None:
    """The bit-widths that the configuration limits the search to; ``None`` for all that the chip knows."""
    text = config.search.bit_widths
    if text is None:
        return None
    try:
        widths = whole_numbers(text)
    except ValueError:
        widths = ()
    if not widths or list(widths) != sorted(set(widths)) or not 2 <= widths[0] <= widths[-1] <= 16:
        raise ValueError(f"bit_widths must be whole numbers in 2..16 that rise, such as 4,8, not {shown(text)}")
    return widths


def episodic_of(config: TuneConfig) -> Episodic | None:
    """Settings of the episodic unit; ``None`` for a run with another searcher."""
    if config.search.method != "rlu-plus":
        return None
    unit = config.unit
    return Episodic(tournament=unit.tournament, candidates=unit.candidates, replays=unit.replays)


def planning_of(config: TuneConfig, noise: float = 0.0) -> Planning | None:
    """Settings of the planning unit for accuracies with an error; ``None`` for a run with another searcher."""
    if config.search.method != "planning":
        return None
    unit = config.unit
    return Planning(climbs=unit.climbs, sweeps=unit.sweeps, passes=unit.passes, caution=unit.caution, noise=noise)


def chip_network_of(config: TuneConfig) -> str | None:
    """The network whose layers run on the chip; ``None`` for the trained network, if it is from a user's file."""
    named, trained = config.chip.chip_network, config.task.network
    return named if named is not None or trained not in NETWORKS else trained


def located(config: TuneConfig) -> TuneConfig:
    """The same with absolute paths, so a run can be resumed from any working directory."""
    return config.but(**{name: located_value(name, value) for name, value in config.flat.items()})


def located_value(name: str, value: Any) -> Any:
    """A setting's value as a run keeps it: a path is made absolute, and spaces are removed from a list of numbers."""
    if name in ("bit_widths", "objective") and isinstance(value, str):
        return "".join(value.split())
    if not is_path(name, value):
        return value
    if is_file_network(value):
        file, colon, function = value.rpartition(":")
        return f"{Path(file).absolute()}{colon}{function}" if file else str(Path(value).absolute())
    return str(Path(value).absolute())


def is_path(name: str, value: Any) -> bool:
    """Whether a setting names a file or a folder."""
    if name not in PATH_SETTINGS or value is None:
        return False
    if name == "data":
        return names_files(value)
    return name == "data_folder" or bool(Path(value).suffix)


def path_of(value: str) -> Path:
    """The file or folder that a setting names."""
    return Path(value.rpartition(":")[0]) if is_file_network(value) and ":" in value else Path(value)
