"""Build a table with the accuracy of every policy of a network: the cells of the work, and the table of their results.

The work is cut into cells (`algo.support.cells`), so it can be interrupted and spread over cores and machines:
pre-training once per seed; then, with shared weights, their training once per seed and testing once per seed and
choice for the first two layers; with retrained weights one cell per seed and policy.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from algo.chips.chip import LayerChip
from algo.chips.evolver import EvolverChip
from algo.nets.data.datasets import Dataset, LocalData, load_dataset, local_set_for_tables
from algo.nets.data.names import shown_name
from algo.nets.quantisation import quantise, quantised_layers, weight_layers
from algo.nets.registry import network_builder
from algo.nets.train.device_choice import training_device
from algo.nets.train.pretraining import Pretrained
from algo.nets.train.sgd import reproducible, tensors
from algo.nets.train.task import Task, network_for
from algo.nets.train.weight_sharing import right_answers, train_shared
from algo.search.tables.policy_table import PolicyTable
from algo.search.tables.recipe import Recipe
from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS
from algo.space.policy import Place, Policy, PolicySpace
from algo.support.cells import kept_as, run_cells

_FORMAT = 1  # raise it when code changes make older cells differ from fresh ones
MOST_POLICIES = 5_000_000
_PREFIX = 2  # layers whose choices make a cell of their own

PolicyWeights = Literal["shared", "retrained"]


@dataclass(frozen=True, eq=False)
class State:
    """Weights of a network, as NumPy arrays by name; its `repr` is a digest of them."""

    arrays: Mapping[str, NDArray[Any]]

    def __repr__(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.arrays.items()):
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return f"State({digest.hexdigest()})"


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        recipe: as above.
        origin: digest of the images, and what else results depend on.
        seed: of training.
        start: weights to start from, if any.
        bits: bit-widths of the first layers' weights.
    """

    recipe: Recipe
    origin: str
    seed: int
    start: State | None = None
    bits: tuple[int, ...] = ()


@functools.lru_cache(maxsize=1)
def images(recipe: Recipe) -> tuple[Dataset, LocalData]:
    """Images to pre-train on, and local ones; raises DataError if they cannot be had."""
    dataset = load_dataset(recipe.data, Path(recipe.data_folder) if recipe.data_folder else None)
    local, rest = local_set_for_tables(dataset, recipe.local_images, recipe.test_images, recipe.noise)
    few = slice(recipe.pretrain_images)
    return replace(rest, train_images=rest.train_images[few], train_labels=rest.train_labels[few]), local


def images_digest(recipe: Recipe) -> str:
    """Hexadecimal SHA-256 of a recipe's images and labels."""
    return hashlib.sha256("".join(part.digest() for part in images(recipe)).encode()).hexdigest()


def task_of(recipe: Recipe, seed: int = 1) -> Task:
    """Data, network and recipe together; accuracies are of weights that start from the pre-trained ones."""
    dataset, local = images(recipe)
    make_model = network_for(recipe.network, dataset, recipe.width)
    return Task(dataset, local, make_model, recipe.training, "restarted", seed)


def _network(recipe: Recipe) -> torch.nn.Module:
    with torch.random.fork_rng(devices=()):
        return task_of(recipe).make_model()


def _loaded(cell: Cell) -> torch.nn.Module:
    assert cell.start is not None
    model = quantise(_network(cell.recipe))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in cell.start.arrays.items()})
    return model.to(training_device(), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _arrays(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: value.detach().cpu().numpy() for name, value in state.items()}


@kept_as("algo.table_build.pretrained")
def pretrained(cell: Cell) -> dict[str, NDArray[Any]]:
    """Weights of the network pre-trained at 8 bits."""
    return _arrays(task_of(cell.recipe, cell.seed).pretrained(None).state)


@kept_as("algo.table_build.shared")
def shared(cell: Cell) -> dict[str, NDArray[Any]]:
    """Weights trained on the local images under all policies at once."""
    recipe, (_, local), device = cell.recipe, images(cell.recipe), training_device()
    model = _loaded(cell)
    with reproducible(recipe.training.threads, device):
        given = tensors(local.train_images, local.train_labels, device)
        epochs = -(-recipe.steps // -(-len(local.train_images) // recipe.training.batch_size))
        layers = len(quantised_layers(model))
        choices, activations = recipe.layer_choices(layers), recipe.layer_activation_bits(layers)
        train_shared(model, *given, recipe.training, epochs, choices, cell.seed, activations)
    return _arrays(model.state_dict())


@kept_as("algo.table_build.tested")
def tested(cell: Cell) -> list[int]:
    """Test images that shared weights classify correctly, for every policy that begins with the cell's bit-widths."""
    recipe, (_, local), device = cell.recipe, images(cell.recipe), training_device()
    model = _loaded(cell)
    with reproducible(recipe.training.threads, device):
        calibration, _ = tensors(local.train_images[: recipe.calibration], local.train_labels, device)
        test = tensors(local.test_images, local.test_labels, device)
        layers = len(quantised_layers(model))
        choices, activations = recipe.layer_choices(layers), recipe.layer_activation_bits(layers)
        right: list[int] = right_answers(model, choices, cell.bits, calibration, *test, activations).tolist()
    return right


@kept_as("algo.table_build.retrained")
def retrained(cell: Cell) -> float:
    """Accuracy of one policy after its own retraining from the pre-trained weights."""
    assert cell.start is not None
    task = task_of(cell.recipe, cell.seed)
    state = {name: torch.from_numpy(value) for name, value in cell.start.arrays.items()}
    start = Pretrained(task.make_model, state, 0.0, repr(cell.start), cached=True)
    activations = cell.recipe.layer_activation_bits(len(cell.bits))
    return task.retrainer(start).accuracy(Policy(cell.bits, activations, 0), 0)


@dataclass(frozen=True)
class Workers:
    """How cells are run: see `algo.support.cells.run_cells`."""

    folder: Path | None = None
    jobs: int | None = None
    ray: str | None = None

    def run(self, function: Any, cells: Sequence[Cell], label: str) -> list[Any]:
        """Results of a function for the cells, in their order."""
        return run_cells(function, cells, folder=self.folder, jobs=self.jobs, ray=self.ray, label=label)


def starts(recipe: Recipe, seeds: Sequence[int], workers: Workers) -> list[Cell]:
    """A cell per seed, which starts from that seed's pre-trained weights."""
    parts: tuple[object, ...] = (_FORMAT, torch.__version__, training_device().type, images_digest(recipe))
    if recipe.network != "vgg8":
        parts += (recipe.network, network_builder(recipe.network).digest)
    activations = recipe.layer_activation_bits(len(weight_layers(_network(recipe))))
    if set(activations) != {ACTIVATION_BITS.usual}:  # a recipe's text leaves them out
        parts += (f"{ACTIVATION_BITS.name}={activations}",)
    origin = repr(parts)
    fresh = [Cell(recipe, origin, seed) for seed in seeds]
    states = workers.run(pretrained, fresh, "pre-training")
    return [Cell(recipe, origin, seed, State(state)) for seed, state in zip(seeds, states, strict=True)]


def retrained_accuracy(
    recipe: Recipe, seeds: Sequence[int], policies: Sequence[tuple[int, ...]], workers: Workers
) -> NDArray[np.float64]:
    """Accuracy of policies, each retrained from the pre-trained weights: (seeds, policies)."""
    cells = [
        Cell(recipe, start.origin, start.seed, start.start, bits)
        for start in starts(recipe, seeds, workers)
        for bits in policies
    ]
    return np.array(workers.run(retrained, cells, "retraining")).reshape(len(seeds), len(policies))


def shared_accuracy(recipe: Recipe, seeds: Sequence[int], workers: Workers) -> NDArray[np.float64]:
    """Accuracy of all policies with weights shared: (seeds, policies), the last layer's bit-width changing fastest."""
    first = starts(recipe, seeds, workers)
    choices = recipe.layer_choices(len(weight_layers(_network(recipe))))
    states = workers.run(shared, first, "training shared weights")
    cells = [
        Cell(recipe, start.origin, start.seed, State(state), bits)
        for start, state in zip(first, states, strict=True)
        for bits in itertools.product(*choices[:_PREFIX])
    ]
    return np.array(workers.run(tested, cells, "testing")).reshape(len(seeds), -1) / recipe.test_images


def build(
    recipe: Recipe, weights: PolicyWeights, seeds: Sequence[int], workers: Workers, chip: LayerChip | None = None
) -> PolicyTable:
    """The table of all policies of a network at the chip's operating points.

    Args:
        recipe: what accuracy is measured on, and how.
        weights: ``shared``, or each policy's own, ``retrained``.
        seeds: of training; accuracy is the mean over them.
        workers: who does the work.
        chip: gives latency and energy; default the model of the published chip, with the full-width network on it.

    Raises:
        ValueError: if no seed is given, a count or the data are unsuitable, or the chip runs a network of another
            depth or lacks a bit-width in a layer.
    """
    if not seeds:
        raise ValueError("a table needs at least 1 seed")
    names = tuple(name for name, _ in weight_layers(_network(recipe)))
    chip = chip or EvolverChip()
    if len(chip.layer_names) != len(names):
        raise ValueError(
            f"the chip's network has {len(chip.layer_names)} layers with weights; {recipe.network} has {len(names)}"
        )
    choices, activations = recipe.layer_choices(len(names)), recipe.layer_activation_bits(len(names))
    values = [
        {WEIGHT_BITS.name: known, ACTIVATION_BITS.name: (fixed,)}
        for known, fixed in zip(choices, activations, strict=True)
    ]
    places = [Place(f"layer{layer + 1}", (layer,), known) for layer, known in enumerate(values)]
    space = PolicySpace.of_places(places, len(names), len(chip.points))
    if space.size > MOST_POLICIES:
        raise ValueError(
            f"{recipe.network} has {len(names)} layers, which makes {float(space.size):.3g} policies: a table has at "
            f"most {MOST_POLICIES:,}; search such a network with rlu tune"
        )
    costs = [  # before the long work, since a chip may not know a bit-width
        chip.measure(Policy(bits, activations, point))
        for bits in itertools.product(*choices)
        for point in range(len(chip.points))
    ]
    if weights == "shared":
        accuracy = shared_accuracy(recipe, seeds, workers)
    else:
        accuracy = retrained_accuracy(recipe, seeds, list(itertools.product(*choices)), workers)
    network, data = network_builder(recipe.network), shown_name(recipe.data)  # a table may be given to others
    described = asdict(recipe) | {"data": data, "training": recipe.training.described()}
    del described["data_folder"]
    if set(activations) == {ACTIVATION_BITS.usual}:
        del described["activation_bits"]  # as in tables of earlier versions
    if recipe.network == "vgg8":
        del described["network"]  # as in tables of earlier versions
    elif network.digest is not None:
        described["network"] = network.title
    title = network.title + (f" of width {recipe.width}" if recipe.width else "")
    source = (
        f"accuracy: {title} on {data} with noise {recipe.noise:g}, weights {weights}, "
        f"mean over {len(seeds)} seeds; latency and energy: {chip.name}, {chip.origin}"
    )
    return PolicyTable(
        space,
        tuple(chip.points),
        accuracy.mean(0).repeat(len(chip.points)),
        np.array([cost.latency_ms for cost in costs]),
        np.array([cost.energy_uj for cost in costs]),
        source,
        accuracy.std(0, ddof=1).repeat(len(chip.points)) if len(seeds) > 1 else None,
        names,
        {
            "weights": weights,
            "seeds": list(seeds),
            "recipe": described,
            "images_sha256": images_digest(recipe),
            **({"network_sha256": network.digest} if network.digest else {}),
            "torch": torch.__version__,
            "device": training_device().type,
        },
    )
