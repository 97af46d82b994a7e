"""Networks found in other ways than by the joint search, within the same latency: each a cell of `run_cells`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from algo.experiments.hqnas_runs import quiet
from algo.nas.folder import NasFolder
from algo.nas.latency_table import LatencyTable
from algo.nas.space import Architecture, Option, Space
from algo.support.cells import kept_as

if TYPE_CHECKING:
    from torch import nn

    from algo.nas.finish import Finished
    from algo.nas.network import Network
    from algo.nas.run import Task
    from algo.search.searcher import Problem


@dataclass(frozen=True)
class Rival:
    """A network found in another way.

    Attributes:
        kind: how, of `KINDS`.
        number: of several of a kind.
        seed: of everything random.
        folder: of the search whose super-network and settings it takes.
        digest: of that search's scores, and of this machine's table.
        limit_ms: latency to keep.
        size_bytes: of the joint network's weights.
        trainings: bit policies that the second stage trains.
        table: file of this machine's table.
    """

    kind: str
    number: int
    seed: int
    folder: str
    digest: str
    limit_ms: float
    size_bytes: int
    trainings: int
    table: str


@kept_as("algo.experiments.hqnas_rivals.made")
def made(cell: Rival) -> dict[str, Any]:
    """A rival's network, trained: architecture, width of its channels, accuracy, size, and seconds of its own work."""
    from algo.nas.run import Task
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import reproducible

    folder = NasFolder.open(Path(cell.folder))
    config = folder.settings
    with reproducible(config.threads, training_device()):
        start = time.perf_counter()
        task = Task(config, folder, quiet)
        architecture, width, done = KINDS[cell.kind](task, LatencyTable.read(Path(cell.table)), cell)
    return {
        "architecture": [list(option) for option in architecture],
        "width": width,
        "accuracy": done.accuracy,
        "float_accuracy": done.float_accuracy,
        "size_bytes": done.size_bytes,
        "seconds": time.perf_counter() - start,
    }


@kept_as("algo.experiments.hqnas_rivals.training_s")
def training_s(cell: Rival) -> float:
    """Seconds of training the largest network in float32, from scratch, for the images that a search is shown."""
    import torch

    from algo.nas.network import Network
    from algo.nas.run import Task
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import reproducible, train
    from algo.nets.training_config import TrainingConfig

    folder = NasFolder.open(Path(cell.folder))
    learning = folder.settings.learning
    with reproducible(folder.settings.threads, training_device()):
        task = Task(folder.settings, folder, quiet)
        table = task.table
        network = Network(table.space, table.largest, table.image[0], table.classes)
        network.to(training_device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = torch.Generator().manual_seed(cell.seed)
        batch, rate = learning.batch_size, learning.learning_rate
        start = time.perf_counter()
        train(network, *task.learned, TrainingConfig(), learning.epochs, batch, rate, generator, "cosine")
        return time.perf_counter() - start


def weight_count(network: nn.Module) -> int:
    """Number of weights of convolutions and fully connected layers."""
    return sum(value.numel() for value in network.parameters() if value.dim() > 1)


def with_channels(space: Space, width: float) -> Space:
    """The space with this multiple of its channels, in fours."""

    def times(channels: int) -> int:
        return max(4, 4 * round(channels * width / 4))

    stages = tuple(replace(stage, channels=times(stage.channels)) for stage in space.stages)
    return replace(space, stem=times(space.stem), stages=stages, head=times(space.head))


def _random(task: Task, table: LatencyTable, cell: Rival) -> tuple[Architecture, float, Finished]:
    """Scores at random, and the same exact choice and training as of the joint search."""
    from algo.nas.derive import within
    from algo.nas.run import tuned

    rng = np.random.default_rng([cell.seed, 1 + cell.number])
    scores = rng.normal(size=(table.space.block_count, len(table.space.options)))
    architecture = within(table, scores, cell.limit_ms).architecture
    return architecture, 1.0, tuned(task, architecture)[2]


def _from_the_search(task: Task, table: LatencyTable, cell: Rival) -> tuple[Architecture, float, Finished]:
    """The joint search's network, trained from the weights that it had in the search."""
    from algo.nas.run import tuned

    task.config = replace(task.config, choice=replace(task.config.choice, begin="search"))
    architecture = table.space.checked(task.folder.choice["architecture"])
    return architecture, 1.0, tuned(task, architecture)[2]


def _uniform(task: Task, table: LatencyTable, cell: Rival) -> tuple[Architecture, float, Finished]:
    """MobileNetV2 (kernel 3, expansion 6) with 8 bits, of the joint network's size.

    It is shown as many images as the joint search and its training show.
    """
    import torch

    from algo.nas.finish import finish
    from algo.nas.network import Network
    from algo.nas.run import fresh
    from algo.nets.train.augment import CHANGES

    learning, choice, space = task.config.learning, task.config.choice, table.space
    architecture = space.same(Option(space.kernels[0], space.expansions[-1], space.bits[table.end]))

    widths = np.arange(0.2, 2.0, 0.02).round(2).tolist()
    with torch.device("meta"):
        sizes = [
            weight_count(Network(with_channels(space, width), architecture, table.image[0], table.classes))
            for width in widths
        ]
    width = widths[int(np.abs(np.array(sizes) - cell.size_bytes).argmin())]
    found = fresh(task, with_channels(space, width), architecture)
    longer = replace(choice, tuning_epochs=choice.tuning_epochs + (learning.epochs + 1) // 2)
    batch, change = learning.batch_size, CHANGES[task.config.data.augment]
    done = finish(found, task.all, task.test, longer, batch, cell.seed, change, table.in_float32)
    return architecture, width, done


def _two_stages(task: Task, table: LatencyTable, cell: Rival) -> tuple[Architecture, float, Finished]:
    """The architecture that the float32 search scores best of those that keep the latency at 8 bits, then its bits."""
    from algo.nas.derive import within
    from algo.nas.finish import finish
    from algo.nas.run import fresh
    from algo.nets.train.augment import CHANGES

    at_8 = table.narrowed((table.space.bits[table.end],))
    architecture = within(at_8, task.folder.scores, cell.limit_ms).architecture
    chosen = _with_bits(architecture, _bits_by_planning(task, table, architecture, cell))
    learning, choice = task.config.learning, task.config.choice
    network = fresh(task, table.space, chosen)
    batch, change = learning.batch_size, CHANGES[task.config.data.augment]
    done = finish(network, task.all, task.test, choice, batch, cell.seed, change, table.in_float32)
    return chosen, 1.0, done


#: How networks are found.
KINDS: dict[str, Callable[[Task, LatencyTable, Rival], tuple[Architecture, float, Finished]]] = {
    "two stages": _two_stages,
    "uniform": _uniform,
    "random": _random,
    "from the search": _from_the_search,
}


def _with_bits(architecture: Architecture, bits: list[int]) -> Architecture:
    return tuple(Option(*option[:2], width) for option, width in zip(architecture, bits, strict=True))


def _extracted(task: Task, table: LatencyTable, architecture: Architecture) -> Network:
    """An architecture with the weights of a float32 search."""
    from algo.nas.batch_norm import batches, recalibrate
    from algo.nas.network import Network

    in_float = _with_bits(architecture, [task.table.space.bits[-1]] * len(architecture))
    with task.network.fixed(in_float):
        recalibrate(task.network, batches(task.learned[0], 250)[: task.config.choice.statistics_batches])
    network = Network(table.space, architecture, table.image[0], table.classes)
    network.load_state_dict(task.network.extract(in_float).state_dict())
    return network.to(task.all[0].device)


def _bits_by_planning(task: Task, table: LatencyTable, architecture: Architecture, cell: Rival) -> list[int]:
    """Bits of every block by the planning unit.

    Each policy is trained for an epoch from the same float32 network, and judged on the validation half.
    """
    import torch

    from algo.nas.finish import QUANTISED_RATE
    from algo.nas.network import set_bits_found
    from algo.nets.train.sgd import accuracy_of, train
    from algo.nets.training_config import TrainingConfig
    from algo.search.methods.registry import METHODS
    from algo.search.searcher import Outcome

    batch, choice, recipe = task.config.learning.batch_size, task.config.choice, TrainingConfig()
    generator = torch.Generator().manual_seed(cell.seed)
    problem = _problem(table, architecture, cell)
    searcher = METHODS["planning"].searcher(problem, cell.seed)
    start = _extracted(task, table, architecture)
    images, labels = task.learned
    train(start, images, labels, recipe, choice.tuning_epochs, batch, choice.tuning_rate, generator, "cosine")
    for _ in range(cell.trainings):
        policy = problem.space.decode(searcher.ask())
        cost = problem.costs(policy)
        accuracy = None
        if cost.latency_ms < problem.objective.latency_th_ms:
            network = copy.deepcopy(start)
            network.architecture = _with_bits(architecture, list(policy.weight_bits))
            set_bits_found(network, table.in_float32)
            rate = QUANTISED_RATE * choice.tuning_rate
            train(network, images, labels, recipe, 1, batch, rate, generator, "cosine")
            accuracy = accuracy_of(network, *task.judged)
        searcher.tell(Outcome(accuracy, cost.latency_ms, 0.0, accuracy or 0.0))
    recommended = searcher.recommend()
    assert recommended is not None, "the planning unit has a model of accuracy"
    return list(problem.space.decode(recommended.actions).weight_bits)


def _problem(table: LatencyTable, architecture: Architecture, cell: Rival) -> Problem:
    """Bits of every block, for accuracy alone, below a latency.

    The planning unit wants costs that add up. So a block that changes the arithmetic pays for both changes, there and
    back, as it must between blocks of 8 bits.
    """
    from algo.chips.chip import Measurement
    from algo.search.searcher import Problem
    from algo.space.dimensions import WEIGHT_BITS
    from algo.space.policy import Place, Policy, PolicySpace
    from sim.devices.objective import Objective

    space, end = table.space, table.end
    blocks = range(space.block_count)
    paths, _ = table.indices(architecture)
    costs = [
        table.blocks_ms[number, paths[number]] + table.switch_ms[number, end] + table.switch_ms[number + 1, :, end]
        for number in blocks
    ]
    places = [Place(f"block {number + 1}", (number,), {WEIGHT_BITS.name: space.bits}) for number in blocks]

    def measured(policy: Policy) -> Measurement:
        parts = [float(costs[number][space.bits.index(bits)]) for number, bits in enumerate(policy.weight_bits)]
        return Measurement(table.ends_ms + sum(parts), 0.0)

    # A latency at the threshold is refused, and one at the limit is not, even rounded to the unit's 16 bits.
    threshold = cell.limit_ms * (1 + 1e-3)
    objective = Objective(
        weight_a=1.0, weight_l=0.0, weight_e=0.0, accuracy_th=0.0, latency_th_ms=threshold, latency_low_ms=0.0,
        latency_high_ms=threshold,
    )  # fmt: skip
    return Problem(PolicySpace.of_places(places, len(blocks), 1), objective, cell.trainings, measured)
