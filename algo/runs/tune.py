"""One tuning run from its configuration to its summary: what `rlu tune` does."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algo.chips.by_name import fixed_chip, network_layers
from algo.chips.chip import Chip, LayerChip
from algo.chips.layer_csv import TableChip
from algo.chips.table import or_none
from algo.nets.train.task import Task, inputs_of
from algo.published.evolver import INT8_BASELINE
from algo.runs.config import (
    SERIAL,
    UNITS,
    TuneConfig,
    bit_widths_of,
    chip_network_of,
    episodic_of,
    is_path,
    located_value,
    path_of,
    planning_of,
)
from algo.runs.run_folder import CHECKPOINT, CHIP_TABLE, LEARNING_CURVE, Q_TABLE, SUMMARY, RunFolder
from algo.search.known_costs import known_costs
from algo.search.loop import Evaluator, recomputed, search
from algo.search.methods.planning import first_policy, planning_params, unit_costs
from algo.search.methods.registry import method_named
from algo.search.places import baseline_policy, blocks_of, choices_for, space_of
from algo.search.scoring import Scorer, range_problems
from algo.search.searcher import Problem, Recommendation, Searcher
from algo.search.step import Step
from algo.search.unit_searcher import PlanningSearcher, UnitSearcher
from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS, dimension_named
from algo.space.policy import MOST_ACTIONS, Policy, PolicySpace
from algo.support.held_folder import CONFIG, RunFolderError
from algo.support.settings import settings_of
from algo.support.user_files import reading
from rtl.spec.params import MAX_STATES, RLUParams
from sim.devices.device import Device, GoldenDevice
from sim.devices.driver import Driver, DriverError
from sim.devices.episodic import EPISODES
from sim.devices.serial_device import SerialDevice
from sim.devices.shadow import ShadowedDevice
from sim.files import cache_dir
from sim.simulators.simulator import SimDevice

if TYPE_CHECKING:
    from algo.nets.train.retrainer import Retrainer


def check_board(found: RLUParams, wanted: RLUParams, iterations: int) -> None:
    """Raise ValueError if a board's unit would not decide as the one that a run wants, saying what to do.

    Args:
        found, wanted: parameters of both.
        iterations: of the run.
    """
    if found.lfsr_width != wanted.lfsr_width:
        raise ValueError(
            f"the unit on the board has a {found.lfsr_width}-bit LFSR, but the run wants {wanted.lfsr_width} bits: "
            f"give --lfsr-width {found.lfsr_width}, or build the board's unit with --lfsr-width {wanted.lfsr_width}"
        )
    if wanted.points and found.points and found.episodes < min(iterations, wanted.episodes):
        raise ValueError(
            f"the unit on the board remembers {found.episodes} policies, and the run has {iterations}: give "
            f"--iterations {found.episodes} or fewer, or build the board's unit with --episodes {wanted.episodes}"
        )


@contextmanager
def open_device(params: RLUParams, config: TuneConfig) -> Iterator[Device]:
    """The device a run asks for; all but the golden model itself are checked against it at every word."""
    device = config.device.device
    if device == "golden":
        yield GoldenDevice(params)
        return
    if device.startswith(SERIAL):
        with SerialDevice(device.removeprefix(SERIAL)) as board:
            found = Driver(board).params
            check_board(found, params, len(config.epsilons))
            yield ShadowedDevice(board, found, used=True)
        return
    with SimDevice(params, bus=config.device.bus, simulator=config.device.simulator) as simulated:
        yield ShadowedDevice(simulated, params)


def run(
    config: TuneConfig,
    folder: RunFolder,
    *,
    chip: Chip | None = None,
    evaluator: Evaluator | None = None,
    space: PolicySpace | None = None,
    on_step: Callable[[Step, int], None] = lambda step, total: None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Any]:
    """Run, or resume, a tuning run; returns its summary, which is also ``summary.json``.

    The folder is held for writing until the end; see `RunFolder`.

    Args:
        config: what to run.
        folder: where; its checkpoint says where to begin.
        chip: gives latency and energy; default the one that the configuration names.
        evaluator: gives accuracies; default the retraining that the configuration describes.
        space: the policies; default those of the network on the chip, with a row per layer.
        on_step: called after every iteration, with the number of iterations there will be.
        say: where progress messages go.

    Raises:
        ValueError: for a configuration or data that cannot be used, or that are not those the run was begun with.
        FolderInUse: if another process writes to the folder.
        DeviceError: if the simulator dies, or the board is gone or reset; the folder can be resumed.
        Disagreement: if the RTL and the golden model differ.
    """
    with folder:
        return _run(config, folder, chip, evaluator, space, on_step, say)


def _run(
    config: TuneConfig,
    folder: RunFolder,
    chip: Chip | None,
    evaluator: Evaluator | None,
    space: PolicySpace | None,
    on_step: Callable[[Step, int], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    schedule = config.epsilons
    earlier = folder.recover_summary(say)
    if earlier is not None and len(folder.steps) >= len(schedule):
        say(f"{folder.path} is complete; nothing to do")
        return earlier
    saved = folder.load_checkpoint()
    for note in folder.notes:
        say(note)
    task: Task | None = None
    if chip is None:
        if chip_network_of(config) is None:
            task = task_of(config, folder, say)
        chip = chip_of(config, folder, say, task)
    if isinstance(chip, TableChip) and not (folder.path / CHIP_TABLE).exists():
        folder.write(CHIP_TABLE, chip.table.to_csv())
    if (table := folder.path / CHIP_TABLE).exists():
        folder.check_input("chip_table", str(table), hashlib.sha256(table.read_bytes()).hexdigest(), say)
    if evaluator is None and task is None:
        task = task_of(config, folder, say)
    layers = evaluator.layers if evaluator else len(task.layers) if task else 0
    # What the chip, the unit or the options do not allow is said before the network is trained.
    space = space or run_space(config, chip, layers)
    if space.layers != layers:
        raise ValueError(
            f"the chip's network has {space.layers} layers, the network that is trained {layers}: name the same "
            "network for both"
        )
    params = unit_params(config, space)
    # The same point as published, or the fastest of a chip that has fewer.
    baseline = baseline_policy(chip, space, min(INT8_BASELINE.point, len(chip.points) - 1))
    chip.measure(baseline)
    for sentence in range_problems(config.objective.at(0.0), space, chip.measure):
        say(f"note: {sentence}; rlu chip table shows the costs of the layers")
    if note := method_named(config.search.method).note_on(space):
        say(f"note: {note}")
    if evaluator is None:
        assert task is not None
        evaluator = retrainer_of(task, say)
    baseline_accuracy = evaluator.retrained_baseline(baseline)
    objective = config.objective.at(max(0.0, baseline_accuracy - config.objective.accuracy_drop))
    problem = Problem(space, objective, len(schedule), chip.measure, evaluator.error_std(baseline_accuracy))
    with _searcher(config, params, problem) as (searcher, device):
        if saved is not None:
            try:
                searcher.restore(saved[0], len(folder.steps))
            except (ValueError, DriverError) as error:
                raise RunFolderError(f"{folder.path / CHECKPOINT} is not of this run: {error}") from None
            with reading(folder.path / CHECKPOINT, "{} is not of this run", raises=RunFolderError):
                evaluator.restore(saved[1])
            say(f"resuming {folder.path} after iteration {len(folder.steps) - 1}")
        formats = searcher.driver.params if isinstance(searcher, UnitSearcher) else None
        scorer = Scorer(objective, formats)
        folder.check_steps(lambda step: recomputed(step, space, chip, scorer))
        for step in search(searcher, space, chip, evaluator, scorer, len(schedule), first=len(folder.steps)):
            folder.append(step)
            folder.save_checkpoint(searcher.state(), evaluator.state())
            on_step(step, len(schedule))
        if isinstance(searcher, UnitSearcher) and not isinstance(searcher, PlanningSearcher):
            q_table = {"q_frac": searcher.driver.params.q_frac, "rows": searcher.driver.q_table()}
            folder.write(Q_TABLE, json.dumps(q_table) + "\n")
        best = max(folder.steps, key=lambda step: step.reward)
        seen = Recommendation(best.actions, "best seen, retrained")
        advice = searcher.recommend() or seen
        # A planning unit adds up rounded costs, which may pass where the measured ones miss their threshold.
        if isinstance(searcher, PlanningSearcher) and scorer.is_outlier(chip.measure(space.decode(advice.actions))):
            advice = seen
        found = space.decode(advice.actions)
        predicted = {"accuracy": advice.predicted, "trials": advice.trials}
        compared = device.compared if isinstance(device, ShadowedDevice) else 0

    def measured(policy: Policy, accuracy: float) -> dict[str, Any]:
        cost, point = chip.measure(policy), chip.points[policy.point]
        return {
            **{name: list(values) for name, values in space.by_place(policy).items()},
            "voltage_v": or_none(point.voltage_v),
            "frequency_mhz": or_none(point.frequency_mhz),
            "accuracy": accuracy,
            "latency_ms": cost.latency_ms,
            "energy_uj": or_none(cost.energy_uj),
            "score": scorer.score(accuracy, cost),
        }

    summary = {
        "data": evaluator.source,
        "iterations": len(folder.steps),
        "trained": sum(step.served == "trained" for step in folder.steps),
        "cached": sum(step.served == "cached" for step in folder.steps),
        "skipped": sum(step.served == "skipped" for step in folder.steps),
        "accuracy_th": objective.accuracy_th,
        "baseline_int8": measured(baseline, baseline_accuracy),
        "found_how": advice.how,
        **({} if advice.predicted is None else {"found_predicted": predicted}),
        "found": measured(found, evaluator.accuracy(found, len(schedule))),
        "best_seen": {"iteration": best.iteration, **measured(space.decode(best.actions), best.accuracy or 0.0)},
        "golden_words_compared": compared,
    }
    from algo.runs.learning_curve import learning_curve  # brings matplotlib

    folder.write(LEARNING_CURVE, learning_curve(folder.steps))
    folder.write(SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


@contextmanager
def _searcher(
    config: TuneConfig, params: RLUParams | None, problem: Problem
) -> Iterator[tuple[Searcher, Device | None]]:
    """The searcher of a run, and the device that it is on, if it is a unit."""
    unit, schedule = config.unit, config.epsilons
    if params is None:
        yield method_named(config.search.method).searcher(problem, config.seed), None
        return
    episodic, planning = episodic_of(config), planning_of(config, problem.noise)
    known = known_costs(problem) if planning else None
    with open_device(params, config) as device:
        driver = Driver(device)
        driver.configure(
            action_counts=problem.space.action_counts,
            seed=config.seed,
            objective=problem.objective,
            alpha=unit.alpha,
            gamma=unit.gamma,
            full_last_reward=unit.full_last_reward,
            episodic=episodic,
            planning=planning,
            costs=unit_costs(known) if known else None,
        )
        if known:
            yield PlanningSearcher(driver, first_policy(problem, known)), device
        else:
            yield UnitSearcher(driver, schedule, greedy=episodic is None), device


def unit_params(config: TuneConfig, space: PolicySpace) -> RLUParams | None:
    """The unit that a space needs; ``None`` for a method that has no unit. ValueError for a row that is too long."""
    if config.search.method not in UNITS:
        return None
    counts = space.action_counts
    for row in space.rows:
        if len(row.choices) > MOST_ACTIONS:
            what = " and ".join(dimension_named(name).title for name in row.dimensions) or "operating points"
            raise ValueError(
                f"{row.where} has {len(row.choices)} {what} to choose from, and a row of the unit has at most "
                f"{MOST_ACTIONS} actions: give the chip fewer, or choose a --method without a unit, such as evolution"
            )
    if len(counts) > MAX_STATES:
        raise ValueError(
            f"the policies have {len(counts)} rows, and the unit has at most {MAX_STATES}: choose --rows block, or a "
            "--method without a unit, such as evolution"
        )
    if planning_of(config):
        return planning_params(counts, len(config.epsilons), config.unit.lfsr_width)
    return RLUParams(
        states=len(counts),
        actions=max(2, *counts),
        action_counts=counts,
        lfsr_width=config.unit.lfsr_width,
        episodes=EPISODES if episodic_of(config) else 0,
    )


def run_space(config: TuneConfig, chip: Chip, layers: int) -> PolicySpace:
    """The policies of a run: what the chip lets each layer, or block of layers, choose from."""
    names = getattr(chip, "layer_names", None) or tuple(f"layer{number + 1}" for number in range(layers))
    dimensions = getattr(chip, "dimensions", (WEIGHT_BITS.name, ACTIVATION_BITS.name))
    fixed = () if config.search.activations == "searched" else (ACTIVATION_BITS.name,)
    return space_of(
        chip,
        names,
        searched=tuple(name for name in dimensions if name not in fixed),
        fixed=fixed,
        blocks=blocks_of(names) if config.search.rows == "block" else None,
        among=bit_widths_of(config),
    )


def chip_of(config: TuneConfig, folder: RunFolder, say: Callable[[str], None], task: Task | None) -> Chip:
    """The chip of a run.

    Args:
        config, folder, say: of the run.
        task: whose network runs on it, if the configuration names no other.

    Raises:
        ValueError: if it cannot be used, or has no energies and the objective weighs them, or the layers of its network
            are not those the run was begun with.
    """
    saved, name = folder.path / CHIP_TABLE, chip_network_of(config)
    _check_places(config, folder, "chip_network", *([] if saved.exists() else ["chip"]))
    if name is None:
        assert task is not None
        layers = task.layers
    else:
        layers = network_layers(name)
    if is_path("chip_network", config.chip.chip_network):
        digest = hashlib.sha256(repr(layers).encode()).hexdigest()
        folder.check_input("chip_network", f"the layers in {config.chip.chip_network}", digest, say)
    searched = config.search.activations == "searched"
    blocks = blocks_of([layer.name for layer in layers]) if config.search.rows == "block" else {}

    def choices(chip: LayerChip, layer: int, dimension: str) -> Sequence[int]:
        """What the policies have in a layer, and the baseline."""
        block = next((numbers for numbers in blocks.values() if layer in numbers), None)
        among = bit_widths_of(config) if block or not blocks else None  # layers in no block keep their value
        chosen = choices_for(chip, (layer,), dimension, searched or dimension != ACTIVATION_BITS.name, among)
        return sorted({*chosen, *choices_for(chip, block or (layer,), dimension, searched=False)})

    return fixed_chip(
        config.chip.chip,
        layers,
        choices=choices,
        needs_energy=config.objective.at(0.0).weight_e > 0.0,
        saved=saved,
    )


def task_of(config: TuneConfig, folder: RunFolder, say: Callable[[str], None]) -> Task:
    """The task of a run.

    Raises:
        ValueError: for data or a network that cannot be used, or that are not those the run was begun with.
    """
    _check_places(config, folder, "data", "data_folder", "network")
    task = Task.of(config.task, config.seed)
    # As training sees them: what else is in the files, and how it is packed, does not matter.
    folder.check_input("data", f"the data {config.task.data}", task.data_digest, say)
    for name, path in inputs_of(config.task).items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        folder.check_input(name, str(path), digest, say)
    local, (channels, height, width) = task.local, task.dataset.train_images.shape[1:]
    say(
        f"data: {task.dataset.description}, images of {channels}x{height}x{width} (channels, height, width), "
        f"{task.dataset.classes} classes, {len(local.train_images)} local images to train on, "
        f"{len(local.test_images)} to test on"
    )
    return task


def retrainer_of(task: Task, say: Callable[[str], None]) -> Retrainer:
    """The retraining of a task, at its start; pre-trains unless the network is in the cache."""
    say("pre-training the INT8 network, unless it is in the cache")
    pretrained = task.pretrained(cache_dir() / "pretrained")
    say(
        f"INT8 network {'from the cache' if pretrained.cached else 'trained'}: "
        f"accuracy {pretrained.accuracy:.3f} on clean test images"
    )
    return task.retrainer(pretrained)


def config_of(folder: RunFolder) -> TuneConfig:
    """The configuration that a run was begun with; RunFolderError if it is damaged or of a newer version."""
    with reading(folder.path / CONFIG, "{} is of another version, or damaged", raises=RunFolderError):
        return TuneConfig.from_json(folder.config)


def resumed_config(folder: RunFolder, given: dict[str, Any]) -> TuneConfig:
    """Configuration of a run taken up again; what the command line gives must agree with it.

    Raises:
        RunFolderError: naming the first setting that differs, or a field that the folder should not have.
    """
    if "experiment" in folder.config:
        raise RunFolderError(
            f"{folder.path} is a run of `rlu experiment`, whose network or chip its configuration does not say: "
            "continue it with that command"
        )
    config = config_of(folder)
    stored = config.flat | {"unit": UNITS.get(config.search.method)}
    flags = {one.name: one.flag for one in settings_of(TuneConfig)}
    if str(given.get("device", "")).startswith(SERIAL) and str(stored["device"]).startswith(SERIAL):
        config = config.but(device=given["device"])  # a board may be plugged in elsewhere today
        stored["device"] = given["device"]
    for name, value in given.items():
        if located_value(name, stored[name]) != located_value(name, value):
            begun = f"without {name}" if stored[name] is None else f"with {name} = {stored[name]!r}"
            raise RunFolderError(
                f"{folder.path} was begun {begun}, not {'with ' if stored[name] is None else ''}{value!r}: "
                f"leave {flags.get(name, f'--{name}')} out, or begin a new run with another --out"
            )
    return config


def _check_places(config: TuneConfig, folder: RunFolder, *names: str) -> None:
    """Say which file of a run that is taken up again has been moved."""
    for name in names:
        value = config.flat[name]
        if folder.begun_here or not is_path(name, value) or path_of(value).exists():
            continue
        here = "" if path_of(value).is_absolute() else f" (seen from {Path.cwd()})"
        raise RunFolderError(
            f"{folder.path} was begun with {name} = {value!r}, which does not exist{here}: put it back, or write its "
            f"new path into {folder.path / CONFIG}; its content is checked"
        )
