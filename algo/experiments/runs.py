"""Tuning runs with real retraining, shared by several experiments; each is a run folder."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from algo.chips.by_name import network_layers
from algo.chips.evolver import EvolverChip
from algo.experiments.base import Scale, Settings, is_done, load
from algo.experiments.excluding import excluding_thresholds
from algo.experiments.model_size import ModelSizeChip
from algo.nets.training_config import Precision, RetrainingMode
from algo.runs.config import TuneConfig
from algo.runs.run_folder import RunFolder
from algo.runs.tune import run
from algo.search.step import Step
from algo.support.cells import run_cells
from algo.support.held_folder import CONFIG, content, put_aside

Study = Literal[
    "energy", "latency", "model-size", "activations", "excluding", "episodic", "resnet34", "resnet34-size", "planning",
    "planning-15", "one-at-a-time", "bayes-linear", "evolution", "evolution-80",
]  # fmt: skip

#: A unit knows only latency and energy, so model size takes the place of energy, in percent of the INT8 model. The
#: weight of accuracy stays 0.25; size takes the rest.
_SIZE_OBJECTIVE: dict[str, Any] = {
    "objective": "0.25,0,0.75", "energy_th_uj": 101.0, "energy_low_uj": 25.0, "energy_high_uj": 100.0,
}  # fmt: skip
#: Evaluations after which the episodic unit should be as good as the published one after 330.
EARLY = 80
#: Trainings of a search that plans, and of those beside it.
PLANNED = 25
#: Method and number of iterations of the studies that compare searches.
_COMPARED: dict[Study, tuple[str, int]] = {
    "planning": ("planning", PLANNED), "planning-15": ("planning", 15), "one-at-a-time": ("one-at-a-time", PLANNED),
    "bayes-linear": ("bayes-linear", PLANNED), "evolution": ("evolution", PLANNED),
    "evolution-80": ("evolution", EARLY),
}  # fmt: skip
#: Fields of a run that the settings may give in place of the scale's.
_GIVEN = ("width", "noise_std", "weights", "precision")
_RESNET_TASKS: tuple[Study, ...] = ("resnet34", "resnet34-size")


@dataclass(frozen=True)
class Run:
    """One tuning run; a cell of `run_cells`.

    Attributes:
        task: what is searched.
        seed: of everything random.
        scale: see `Settings`.
        device: where the RL unit is.
        data: name of the data set.
        folder: of the run.
        width, noise_std: of the network and of the local images; ``None`` for the scale's.
        weights: carried or restarted; ``None`` for what the search usually does.
        precision: what layers compute in while they train; ``None`` for float32.
    """

    task: Study
    seed: int
    scale: Scale
    device: Literal["golden", "sim"]
    data: str
    folder: str
    width: int | None = None
    noise_std: float | None = None
    weights: RetrainingMode | None = None
    precision: Precision | None = None

    @property
    def config(self) -> TuneConfig:
        """Its configuration."""
        given = {name: getattr(self, name) for name in _GIVEN}
        return config_of(self.task, self.scale, self.device, self.data, self.seed, given)


@dataclass(frozen=True)
class Finished:
    """A finished run: its seed, its summary, and its trace."""

    seed: int
    summary: dict[str, Any]
    steps: list[Step]

    @property
    def best_so_far(self) -> list[float]:
        """Highest score up to each iteration."""
        return list(itertools.accumulate((step.reward for step in self.steps), max))


def seeds_of(settings: Settings, task: Study) -> tuple[int, ...]:
    """The seeds of a task at a scale."""
    if settings.seeds is not None:
        return tuple(range(1, 1 + settings.seeds))
    if task in _RESNET_TASKS:
        return tuple(range(1, 1 + settings.pick(quick=1, cpu=1, full=3)))
    few = 5 if task in _COMPARED else 3
    return tuple(range(1, 1 + settings.pick(quick=1, cpu=few, full=5)))


def description(settings: Settings, task: Study) -> dict[str, Any]:
    """What a task's runs depend on, for an experiment's configuration."""
    config = run_of(settings, task, 1).config.to_json()
    return {"task": task, "seeds": seeds_of(settings, task), "run": config} | _network(task, settings.scale)


def tuned(settings: Settings, *tasks: Study) -> dict[Study, list[Finished]]:
    """The runs of tasks, one per seed; unfinished runs are resumed, missing ones are made."""
    runs = [run_of(settings, task, seed) for task in tasks for seed in seeds_of(settings, task)]
    # The longest first, which leaves cores idle for the shortest time; then by seed: an interrupted experiment has
    # complete tasks for the first seeds.
    runs.sort(key=lambda one: (one.task not in _RESNET_TASKS, one.seed))
    run_cells(perform_run, runs, jobs=settings.jobs, ray=settings.ray, label="runs")
    finished: dict[Study, list[Finished]] = {task: [] for task in tasks}
    for one in sorted(runs, key=lambda one: one.seed):
        folder = RunFolder.open(Path(one.folder))
        summary = folder.summary
        assert summary is not None, "perform_run has finished it"
        finished[one.task].append(Finished(one.seed, summary, folder.steps))
    return finished


def run_for(names: Sequence[str], settings: Settings) -> None:
    """Make the tuning runs of several experiments together: then no core waits for the last run of each."""
    tasks = {task: None for name in names if not is_done(name, settings) for task in getattr(load(name), "TASKS", ())}
    if tasks:
        tuned(settings, *tasks)


def folder_of(settings: Settings, task: Study, seed: int) -> Path:
    """Folder of a run, which `rlu report` and `rlu compare` read."""
    return settings.out / "runs" / f"{task}-{settings.device}-seed{seed}"


def run_of(settings: Settings, task: Study, seed: int) -> Run:
    """A run of a task at the settings' scale; ValueError for ResNet34 with other data than its own."""
    given = {name: getattr(settings, name) for name in ("data", *_GIVEN)}
    if task in _RESNET_TASKS and any(value is not None for value in given.values()):
        named = ", ".join(f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None)
        raise ValueError(
            f"{named}: the runs of ResNet34 have data, a width and weights of their own; leave that experiment out"
        )
    folder = str(folder_of(settings, task, seed).resolve())
    data = settings.data or data_of(settings.scale)
    return Run(task, seed, settings.scale, settings.device, **given | {"data": data, "folder": folder})


@cache
def data_of(scale: Scale) -> str:
    """The data set of a scale: digits; or CIFAR-100 if its files are available, then Fashion-MNIST."""
    if scale != "full":
        return "digits"
    from algo.nets.data.datasets import DataError, load_dataset

    for name in ("cifar100", "fashion-mnist"):
        try:
            load_dataset(name)
            return name
        except (DataError, OSError) as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return "digits"


def config_of(
    task: Study,
    scale: Scale,
    device: Literal["golden", "sim"],
    data: str,
    seed: int,
    given: Mapping[str, Any] = {},
) -> TuneConfig:
    """The configuration of a run; what is ``given`` and not ``None`` takes the place of the scale's."""
    fields: dict[str, Any] = {"device": device, "data": data, "seed": seed, "threads": 1, "method": "rlu"}
    if scale == "quick":
        fields |= {"schedule": "quick", "width": 2, "local_size": 60}
    elif task in _RESNET_TASKS:
        fields |= {"schedule": "long", "noise_std": 1.0}
    if scale == "full":
        fields |= {"width": 128, "threads": 2}
    if task in _RESNET_TASKS:
        from algo.experiments import resnet34_setup

        fields |= resnet34_setup.settings(scale)
    fields |= {name: value for name, value in given.items() if value is not None}
    if task == "latency":
        fields["objective"] = "latency"
    elif task == "activations":
        fields["activations"] = "searched"
    elif task == "episodic":
        fields |= {"method": "rlu-plus", "schedule": "episodic", "iterations": 15 if scale == "quick" else EARLY}
    elif task in _COMPARED:
        method, iterations = _COMPARED[task]
        fields |= {"method": method, "iterations": 6 if scale == "quick" else iterations}
        fields.pop("schedule", None)
    elif task == "excluding":
        fields |= excluding_thresholds()
    elif task == "resnet34":
        from algo.experiments.resnet34_setup import scaled_ranges

        fields |= scaled_ranges()
    if task.endswith("size"):
        fields |= _SIZE_OBJECTIVE
    return TuneConfig.of(**fields)


def perform_run(one: Run) -> None:
    """Run a cell, or resume it; a folder of another configuration is put aside."""
    from tqdm import tqdm

    config = one.config
    path = Path(one.folder)
    stored = config.to_json() | _network(one.task, one.scale)
    with _opened(path, json.loads(json.dumps(stored))) as folder:
        if folder.recover_summary(lambda text: print(text, file=sys.stderr)) is not None:  # written last
            return
        parts = _parts(one, config)
        with tqdm(
            initial=len(folder.steps), desc=path.name, unit="policy", leave=False, disable=None, file=sys.stderr
        ) as bar:

            def on_step(step: Step, total: int) -> None:
                bar.total, bar.n = total, step.iteration  # the last line of the trace may have been cut off
                bar.update()

            run(
                config,
                folder,
                on_step=on_step,
                say=lambda text: bar.write(f"{path.name}: {text}", file=sys.stderr),
                **parts,
            )


def _parts(one: Run, config: TuneConfig) -> dict[str, Any]:
    """Chip and evaluator of a task that `rlu tune` alone cannot run."""
    parts: dict[str, Any] = {}
    if one.task in _RESNET_TASKS:
        from algo.experiments import resnet34_setup

        parts["evaluator"] = resnet34_setup.evaluator(one.scale, config)
    if one.task.endswith("size"):
        chip = EvolverChip(network_layers(config.task.network))
        parts["chip"] = ModelSizeChip(chip, tuple(layer.weights for layer in chip.layers))
    return parts


def _network(task: Study, scale: Scale) -> dict[str, Any]:
    """What the configuration of a run does not say; `rlu tune --resume` refuses a folder that has this."""
    if task in _RESNET_TASKS:
        from algo.experiments.resnet34_setup import network

        return {"experiment": {"task": task, **network(scale)}}
    return {"experiment": {"task": task}} if task == "model-size" else {}


def _opened(path: Path, wanted: dict[str, Any]) -> RunFolder:
    """The run's folder, held for writing: the existing one if it has this configuration, else a new one.

    A run of another configuration is put aside under another name; nothing is deleted. A finished run that was made
    before a setting existed was made with that setting's default.
    """
    if (path / CONFIG).exists():
        folder = RunFolder.open(path)
        folder.hold()
        try:
            stored = folder.config
            extra = {"experiment": stored["experiment"]} if "experiment" in stored else {}
            if json.loads(json.dumps(TuneConfig.from_json(stored).to_json() | extra)) == wanted:
                return folder
            why = f"{path} has another configuration"
        except ValueError as error:
            why = str(error)
        folder.release()
        print(f"{why}: it is put aside as {put_aside(path)}, and the run begins again", file=sys.stderr)
    elif content(path):
        print(f"{path} holds no run: it is put aside as {put_aside(path)}", file=sys.stderr)
    return RunFolder.create(path, wanted)


def policy_line(measured: dict[str, Any]) -> dict[str, Any]:
    """Of a policy in a summary, what a table shows."""
    names: Sequence[str] = (
        "weight_bits", "activation_bits", "voltage_v", "frequency_mhz", "accuracy", "latency_ms", "energy_uj", "score",
    )  # fmt: skip
    return {name: measured[name] for name in names}
