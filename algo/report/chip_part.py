"""The chip that a run's latencies and energies come from, as far as its folder says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from algo.chips.by_name import network_layers
from algo.chips.chip import LayerChip
from algo.chips.evolver import EvolverChip
from algo.chips.layer_csv import TableChip, read_csv
from algo.nets.registry import is_file_network
from algo.runs.config import TuneConfig, chip_network_of
from algo.runs.run_folder import CHIP_TABLE
from algo.runs.tune import run_space
from algo.search.step import Step
from algo.space.dimensions import WEIGHT_BITS
from algo.space.layers import LayerShape
from algo.space.policy import OperatingPoint, PolicySpace


@dataclass(frozen=True)
class ChipFacts:
    """What is known of a run's chip.

    Attributes:
        place_names: of the layers, or of the blocks of layers, that have a choice; their numbers from 1 if their names
            are unknown.
        shapes: of the layers; empty if they are unknown.
        words: where latency and energy come from, in sentences.
        known: whether the configuration names it.
        space: the policies; ``None`` if they are unknown.
    """

    place_names: tuple[str, ...]
    shapes: tuple[LayerShape, ...]
    words: str
    known: bool
    space: PolicySpace | None = None

    def size_mb(self, chosen: Mapping[str, Sequence[int]]) -> float | None:
        """Megabytes (10**6 bytes) of weights; ``None`` if the shapes or the bit-widths are unknown."""
        if not self.shapes or self.space is None or WEIGHT_BITS.name not in chosen:
            return None
        bits = self.space.spread(chosen).weight_bits
        return sum(layer.weights * width for layer, width in zip(self.shapes, bits, strict=True)) / 8e6


def chip_facts(folder: Path, config: TuneConfig, steps: Sequence[Step]) -> ChipFacts:
    """The chip of a run, from the table in its folder, or from the model if that gives the figures of the trace."""
    count = max(len(values) for values in steps[0].chosen.values())
    network = chip_network_of(config)
    try:
        # Opening a report must not run the code of a network.
        shapes = () if network is None or is_file_network(network) else network_layers(network)
    except (OSError, ValueError, ModuleNotFoundError):
        shapes = ()
    if (folder / CHIP_TABLE).exists():
        try:
            table = read_csv(folder / CHIP_TABLE)
            chip = TableChip(table, where=str(folder / CHIP_TABLE))
        except (OSError, ValueError) as error:
            return _unknown(count, f" ({error})")
        space = _space(config, chip, steps)
        if space is not None:
            same = tuple(layer.name for layer in shapes) == chip.layer_names
            energy = f" Energy is unavailable: {table.no_energy}." if table.no_energy else ""
            words = f"Latency and energy come from the chip {table.chip}: {table.origin.rstrip('.')}.{energy}"
            return ChipFacts(_places(space), shapes if same else (), words, config.chip.chip != "evolver", space)
    elif shapes:
        model = EvolverChip(shapes)
        space = _space(config, model, steps)
        if space is not None and _gave(model, space, steps):
            what = "full-width VGG8" if network == "vgg8" else network
            words = (
                f"Latency, energy and size are those of the {what} in the analytical model fitted to the published "
                "chip: computed, not measured."
            )
            return ChipFacts(_places(space), shapes, words, True, space)
    return _unknown(count)


def _unknown(count: int, why: str = "") -> ChipFacts:
    words = f"Latency and energy are as this run's chip gave them; the run folder does not say which chip{why}."
    return ChipFacts(tuple(map(str, range(1, count + 1))), (), words, False)


def _places(space: PolicySpace) -> tuple[str, ...]:
    return space.place_names(space.dimensions[0])


def _space(config: TuneConfig, chip: LayerChip, steps: Sequence[Step]) -> PolicySpace | None:
    """The policies of the run on a chip; ``None`` if the actions of a step stand for others than it says."""
    try:
        space = run_space(config, chip, len(chip.layer_names))
        same = all(space.by_place(space.decode(step.actions)) == step.chosen for step in steps)
    except ValueError:
        return None
    return space if same else None


def _gave(chip: EvolverChip, space: PolicySpace, steps: Sequence[Step]) -> bool:
    """Whether the chip gives every step's latency and energy, to the last digit."""
    for step in steps:
        policy = space.decode(step.actions)
        if chip.points[policy.point] != OperatingPoint(step.voltage_v, step.frequency_mhz):
            return False
        cost = chip.measure(policy)
        if (cost.latency_ms, cost.energy_uj) != (step.latency_ms, step.energy_uj):
            return False
    return True
