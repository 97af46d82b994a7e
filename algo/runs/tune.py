"""One tuning run from its configuration to its summary: what `rlu tune` does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from algo.chips.by_name import fixed_chip, network_layers
from algo.chips.chip import Chip
from algo.chips.layer_csv import TableChip
from algo.chips.table import or_none
from algo.published.evolver import INT8_BASELINE, evolver_facts
from algo.runs.run_folder import (
    CHECKPOINT,
    CHIP_TABLE,
    CONFIG,
    DAMAGED,
    LEARNING_CURVE,
    Q_TABLE,
    SUMMARY,
    RunFolder,
    RunFolderError,
)
from algo.search.loop import SCHEDULES, Evaluator, Step, parse_weights, schedule_of, score, search
from algo.space.policy import Policy, PolicySpace
from algo.support.user_files import check_type, reading
from rtl.spec.buses import front_end
from rtl.spec.params import RLUParams
from sim.devices.device import Device, GoldenDevice
from sim.devices.driver import Driver, DriverError
from sim.devices.episodic import EPISODES, Episodic
from sim.devices.objective import Objective
from sim.devices.serial_device import PREFIX, SerialDevice
from sim.devices.shadow import ShadowedDevice
from sim.files import cache_dir
from sim.simulators.simulator import SimDevice

if TYPE_CHECKING:
    from algo.nets.train.retrainer import Retrainer

_WIDTHS: tuple[int, ...] = tuple(evolver_facts()["bit_widths"])
_ACTIVATIONS: dict[str, tuple[int, ...]] = {"fixed": (8,), "searched": _WIDTHS}
_PLACES = ("data", "data_folder", "chip", "chip_network")  # fields that may name a file or a folder


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Everything a run depends on; ``config.json`` of its folder.

    Attributes:
        device: where the RL unit is: the golden model, or, checked against it, the simulated RTL or a board on a
            serial port (``serial:PORT``; a resumed run may find it at another port).
        simulator: simulator of the RTL.
        bus: bus of the simulated RTL.
        chip: what gives latency and energy, see `algo.chips.by_name.open_chip`.
        chip_network: network whose layers run on it, see `algo.chips.by_name.network_layers`.
        data: data set, see `algo.nets.data.datasets.load_dataset`.
        data_folder: where its original files lie, if not where they are looked for.
        local_size: images of the local private set; ``None`` for the data set's own default.
        noise_std: standard deviation of the noise on them.
        schedule: ``published`` (330 iterations), ``quick`` (33), ``long`` (1,200), or ``episodic`` (330).
        iterations: another number of them, see `algo.search.loop.schedule_of`.
        seed: of everything random: weights, local set, order of images, LFSR; 1..2**lfsr_width - 1.
        objective: ``energy``, ``latency``, or the weights ``a,b,c``.
        accuracy_th: accuracy at or below which a policy is an outlier; ``None`` for ``accuracy_drop`` below
            the INT8 baseline on the local test images.
        accuracy_drop: see above.
        latency_th_ms, energy_th_uj: thresholds.
        latency_low_ms, latency_high_ms: latencies that score 1 and 0.
        energy_low_uj, energy_high_uj: energies that score 1 and 0; ``None`` for the threshold, as published.
        weights: ``carried`` from iteration to iteration, or ``restarted`` from the pre-trained ones.
        activations: ``fixed`` at 8 bits, or ``searched`` like the weights.
        activation_range: range of activations ``minmax``, observed, or ``lsq``, learned.
        fold_batch_norm: fold batch normalisation into the layers before it after pre-training.
        width: channels of the trained VGG8's first layer.
        epochs: retraining epochs an iteration (E_max).
        lr_schedule: step size of one retraining: ``constant``, ``cosine`` or ``k-decay``.
        lr_k: power of ``k-decay``, see `algo.nets.train.learning_rate.k_decay`.
        alpha, gamma: learning rate and discount of the unit.
        lfsr_width: bits of its random number generator.
        full_last_reward: reward the last row in full instead of with its share.
        unit: the ``published`` one, or the ``episodic`` one with a memory of episodes (docs/understand/episodic.md).
        threads: CPU threads of training; its results depend on them.
    """

    device: str = "golden"
    simulator: Literal["verilator", "icarus"] = "verilator"
    bus: str = "none"
    chip: str = "evolver"
    chip_network: str = "vgg8"
    data: str = "digits"
    data_folder: str | None = None
    local_size: int | None = None
    noise_std: float | None = None
    schedule: str = "published"
    iterations: int | None = None
    seed: int = 1
    objective: str = "energy"
    accuracy_th: float | None = None
    accuracy_drop: float = 0.02
    latency_th_ms: float = 20.0
    energy_th_uj: float = 300.0
    latency_low_ms: float = 3.90
    latency_high_ms: float = 10.58
    energy_low_uj: float = 41.06
    energy_high_uj: float | None = None
    weights: Literal["carried", "restarted"] = "carried"
    activations: Literal["fixed", "searched"] = "fixed"
    activation_range: Literal["minmax", "lsq"] = "minmax"
    fold_batch_norm: bool = False
    width: int = 8
    epochs: int = 1
    lr_schedule: Literal["constant", "cosine", "k-decay"] = "constant"
    lr_k: float = 2.0
    alpha: float = 0.25
    gamma: float = 0.99
    lfsr_width: int = 16
    full_last_reward: bool = False
    unit: Literal["published", "episodic"] = "published"
    threads: int = 2

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(TuneConfig).items():
            check_type(getattr(self, name), hint, name)
        devices = ("golden", "sim", self.device if self.device.startswith(PREFIX) else f"{PREFIX}PORT")
        for name, allowed in (("device", devices), ("schedule", tuple(SCHEDULES))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        front_end(self.bus)  # refuses an unknown one
        if self.bus != "none" and self.device != "sim":
            raise ValueError(f"bus {self.bus} is one of the simulated RTL: it needs the device sim, not {self.device}")
        if self.lfsr_width not in (8, 16, 32):
            raise ValueError(f"lfsr_width must be one of 8, 16, 32, not {self.lfsr_width!r}")
        if not 1 <= self.seed < 1 << self.lfsr_width:
            raise ValueError(
                f"seed must be in 1..{(1 << self.lfsr_width) - 1} with an LFSR of {self.lfsr_width} bits, "
                f"not {self.seed}"
            )
        for name in ("alpha", "gamma", "accuracy_drop"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name):g}")
        for name, most in (("iterations", 100_000), ("width", 512), ("epochs", 1000), ("threads", 256)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"{name} must be in 1..{most}, not {value}")
        if not 0.0 < self.lr_k <= 100.0:
            raise ValueError(f"lr_k must be above 0 and at most 100, not {self.lr_k:g}")
        self.objective_at(0.0)  # checks weights and thresholds

    def objective_at(self, accuracy_th: float) -> Objective:
        """The objective with an accuracy threshold that may only now be known."""
        a, b, c = parse_weights(self.objective)
        return Objective(
            weight_a=a,
            weight_l=b,
            weight_e=c,
            accuracy_th=self.accuracy_th if self.accuracy_th is not None else accuracy_th,
            latency_th_ms=self.latency_th_ms,
            energy_th_uj=self.energy_th_uj,
            latency_low_ms=self.latency_low_ms,
            latency_high_ms=self.latency_high_ms,
            energy_low_uj=self.energy_low_uj,
            energy_high_uj=self.energy_th_uj if self.energy_high_uj is None else self.energy_high_uj,
        )


#: Names of its fields.
TUNE_FIELDS = frozenset(field.name for field in dataclasses.fields(TuneConfig))


@contextmanager
def open_device(params: RLUParams, config: TuneConfig) -> Iterator[Device]:
    """The device a run asks for; all but the golden model itself are checked against it at every word."""
    if config.device == "golden":
        yield GoldenDevice(params)
        return
    if config.device.startswith(PREFIX):
        with SerialDevice(config.device.removeprefix(PREFIX)) as board:
            found = Driver(board).params
            if found.lfsr_width != config.lfsr_width:
                raise ValueError(
                    f"the unit on the board has an LFSR of {found.lfsr_width} bits, the run one of "
                    f"{config.lfsr_width}: say --lfsr-width {found.lfsr_width}, or build the board's unit with "
                    f"--lfsr-width {config.lfsr_width}"
                )
            yield ShadowedDevice(board, found, used=True)
        return
    with SimDevice(params, bus=config.bus, simulator=config.simulator) as device:
        yield ShadowedDevice(device, params)


def run(
    config: TuneConfig,
    folder: RunFolder,
    *,
    chip: Chip | None = None,
    evaluator: Evaluator | None = None,
    on_step: Callable[[Step, int], None] = lambda step, total: None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Any]:
    """Run, or go on with, a tuning run; returns its summary, which is also ``summary.json``.

    The folder is held for writing until the end; see `RunFolder`.

    Args:
        config: what to run.
        folder: where; its checkpoint says where to begin.
        chip: gives latency and energy; default the one that the configuration names.
        evaluator: gives accuracies; default the retraining that the configuration describes.
        on_step: called after every iteration, with the number of iterations there will be.
        say: where progress messages go.

    Raises:
        ValueError: for a configuration or data that cannot be used, or that are not those the run was begun with.
        FolderInUse: if another process writes to the folder.
        DeviceError: if the simulator dies, or the board is gone or reset; the folder can be resumed.
        Disagreement: if the RTL and the golden model differ.
    """
    with folder:
        return _run(config, folder, chip, evaluator, on_step, say)


def _run(
    config: TuneConfig,
    folder: RunFolder,
    chip: Chip | None,
    evaluator: Evaluator | None,
    on_step: Callable[[Step, int], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    schedule = schedule_of(config.schedule, config.iterations)
    saved = folder.load_checkpoint()
    for note in folder.notes:
        say(note)
    if len(folder.steps) == len(schedule) and (summary := folder.summary) is not None:
        say(f"{folder.path} is complete; nothing to do")
        return summary
    chip = chip or _chip_of(config, folder, say)
    if isinstance(chip, TableChip) and not (folder.path / CHIP_TABLE).exists():
        folder.write(CHIP_TABLE, chip.table.to_csv())
    if evaluator is None:
        evaluator = retrainer_of(config, folder, say)
    baseline_accuracy = evaluator.retrained_baseline()
    objective = config.objective_at(max(0.0, baseline_accuracy - config.accuracy_drop))
    layers = evaluator.layers
    space = PolicySpace(
        layers=layers,
        points=len(chip.points),
        weight_choices=_WIDTHS,
        activation_choices=_ACTIVATIONS[config.activations],
    )
    counts = space.action_counts
    params = RLUParams(
        states=len(counts),
        actions=max(counts),
        action_counts=counts,
        lfsr_width=config.lfsr_width,
        episodes=EPISODES if config.unit == "episodic" else 0,
    )
    with open_device(params, config) as device:
        driver = Driver(device)
        driver.configure(
            action_counts=counts,
            seed=config.seed,
            objective=objective,
            alpha=config.alpha,
            gamma=config.gamma,
            full_last_reward=config.full_last_reward,
            episodic=Episodic() if config.unit == "episodic" else None,
        )
        if saved is not None:
            try:
                driver.restore(saved[0], objective)
            except (ValueError, DriverError) as error:
                raise RunFolderError(f"{folder.path / CHECKPOINT} is not of this run: {error}") from None
            with reading(folder.path / CHECKPOINT, "{} is not of this run", raises=RunFolderError):
                evaluator.restore(saved[1])
            say(f"going on after iteration {len(folder.steps) - 1} of {folder.path}")
        for step in search(driver, space, chip, evaluator, schedule, first=len(folder.steps)):
            folder.append(step)
            folder.save_checkpoint(driver.save(), evaluator.state())
            on_step(step, len(schedule))
        q_table = driver.q_table()
        best = max(folder.steps, key=lambda step: step.reward)
        # An episodic unit's greedy policy is a combination that may never have been tried, and is often a bad one
        # (docs/understand/episodic.md).
        found = space.decode(driver.sample(0.0) if config.unit == "published" else best.actions)
        compared = device.compared if isinstance(device, ShadowedDevice) else 0

    def measured(policy: Policy, accuracy: float) -> dict[str, Any]:
        return _measured(policy, accuracy, chip, objective)

    # The same point as published, or the fastest of a chip that has fewer.
    eights = (8,) * layers
    baseline = Policy(eights, eights, min(INT8_BASELINE.point, len(chip.points) - 1))
    summary = {
        "data": evaluator.source,
        "iterations": len(folder.steps),
        "trained": sum(step.served == "trained" for step in folder.steps),
        "cached": sum(step.served == "cached" for step in folder.steps),
        "skipped": sum(step.served == "skipped" for step in folder.steps),
        "accuracy_th": objective.accuracy_th,
        "baseline_int8": measured(baseline, baseline_accuracy),
        "found_how": "greedy" if config.unit == "published" else "best seen, retrained",
        "found": measured(found, evaluator.accuracy(found, len(schedule))),
        "best_seen": {"iteration": best.iteration, **measured(space.decode(best.actions), best.accuracy or 0.0)},
        "golden_words_compared": compared,
    }
    folder.write(Q_TABLE, json.dumps({"q_frac": params.q_frac, "rows": q_table}) + "\n")
    from algo.runs.learning_curve import learning_curve  # brings matplotlib

    folder.write(LEARNING_CURVE, learning_curve(folder.steps))
    folder.write(SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def _chip_of(config: TuneConfig, folder: RunFolder, say: Callable[[str], None]) -> Chip:
    """The chip of a run.

    Raises:
        ValueError: if it cannot be used, or has no energies and the objective weighs them, or the layers of its network
            are not those the run was begun with.
    """
    saved = folder.path / CHIP_TABLE
    _check_places(config, folder, "chip_network", *([] if saved.exists() else ["chip"]))
    layers = network_layers(config.chip_network)
    if _is_path("chip_network", config.chip_network):
        digest = hashlib.sha256(repr(layers).encode()).hexdigest()
        folder.check_input("chip_network", f"the layers in {config.chip_network}", digest, say)
    return fixed_chip(
        config.chip,
        layers,
        weight_bits=_WIDTHS,
        activation_bits=_ACTIVATIONS[config.activations],
        needs_energy=config.objective_at(0.0).weight_e > 0.0,
        saved=saved,
    )


def _measured(policy: Policy, accuracy: float, chip: Chip, objective: Objective) -> dict[str, Any]:
    cost, point = chip.measure(policy), chip.points[policy.point]
    return {
        "weight_bits": list(policy.weight_bits),
        "activation_bits": list(policy.activation_bits),
        "voltage_v": or_none(point.voltage_v),
        "frequency_mhz": or_none(point.frequency_mhz),
        "accuracy": accuracy,
        "latency_ms": cost.latency_ms,
        "energy_uj": or_none(cost.energy_uj),
        "score": score(objective, accuracy, cost.latency_ms, cost.energy_uj),
    }


def retrainer_of(config: TuneConfig, folder: RunFolder, say: Callable[[str], None]) -> Retrainer:
    """The retraining that a run's configuration describes, at its start; pre-trains unless the network is in the cache.

    Raises:
        ValueError: for data that cannot be used, or that are not those the run was begun with.
    """
    _check_places(config, folder, "data", "data_folder")
    from algo.nets.data.datasets import NOISE_STD, load_dataset, local_private_set
    from algo.nets.train.retrainer import Retrainer, TrainingConfig, pretrain  # brings torch

    training = TrainingConfig(
        epochs_per_iteration=config.epochs,
        lr_schedule=config.lr_schedule,
        lr_k=config.lr_k,
        activation_range=config.activation_range,
        fold_batch_norm=config.fold_batch_norm,
        threads=config.threads,
    )
    dataset = load_dataset(config.data, folder=Path(config.data_folder) if config.data_folder else None)
    # As training sees them: what else is in the files, and how it is packed, does not matter.
    folder.check_input("data", f"the data {config.data}", dataset.digest(), say)
    dataset = dataclasses.replace(dataset, name=Path(config.data).name)  # a report shows it to others
    noise = NOISE_STD if config.noise_std is None else config.noise_std
    local = local_private_set(dataset, config.local_size, noise, config.seed)
    say(
        f"data: {dataset.description}, {len(local.train_images)} local images to train on, "
        f"{len(local.test_images)} to test on"
    )
    say("pre-training the INT8 network, unless it is in the cache")
    pretrained = pretrain(dataset, training, config.width, config.seed, cache_dir() / "pretrained")
    say(
        f"INT8 network {'from the cache' if pretrained.cached else 'trained'}: "
        f"accuracy {pretrained.accuracy:.3f} on clean test images"
    )
    return Retrainer(pretrained, local, training, config.weights, config.seed)


def resumed_config(folder: RunFolder, given: dict[str, Any]) -> TuneConfig:
    """Configuration of a run taken up again; what the command line gives must agree with it.

    Raises:
        RunFolderError: naming the first field that differs, or that the folder should not have.
    """
    stored = folder.config
    for name in sorted(set(stored) ^ TUNE_FIELDS):
        raise RunFolderError(f"{folder.path} was made by another version: field {name} of its configuration")
    if str(given.get("device", "")).startswith(PREFIX) and str(stored["device"]).startswith(PREFIX):
        stored["device"] = given["device"]  # a board may be plugged in elsewhere today
    for name, value in given.items():
        if _located(name, stored[name]) != _located(name, value):
            raise RunFolderError(
                f"{folder.path} was begun with {name} = {stored[name]!r}, not {value!r}: "
                f"leave {name} out, or begin anew with another --out"
            )
    with reading(folder.path / CONFIG, *DAMAGED):
        return TuneConfig(**stored)


def located(config: TuneConfig) -> TuneConfig:
    """The same with absolute paths, so that a run is taken up again from any working directory."""
    return dataclasses.replace(config, **{name: _located(name, getattr(config, name)) for name in _PLACES})


def _located(name: str, value: Any) -> Any:
    return str(Path(value).absolute()) if _is_path(name, value) else value


def _is_path(name: str, value: Any) -> bool:
    """Whether a field names a file or a folder: files are told from names by their suffix."""
    return name in _PLACES and value is not None and (name == "data_folder" or bool(Path(value).suffix))


def _check_places(config: TuneConfig, folder: RunFolder, *names: str) -> None:
    """Say which file of a run that is taken up again has been moved."""
    for name in names:
        value = getattr(config, name)
        if folder.begun_here or not _is_path(name, value) or Path(value).exists():
            continue
        here = "" if Path(value).is_absolute() else f" (seen from {Path.cwd()})"
        raise RunFolderError(
            f"{folder.path} was begun with {name} = {value!r}, which is not there{here}: put it back, or write its new "
            f"place into {folder.path / CONFIG}; whether it is the same is checked"
        )
