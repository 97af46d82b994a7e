"""What the weights of each choice take, and the best network within a latency and a size, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algo.nas.config import parsed_size
from algo.nas.derive import ROUNDING, Derived, rounded_up, within
from algo.nas.latency_table import Floats, LatencyTable
from algo.nas.space import Architecture, Option
from algo.support.integer_programme import solved


@dataclass(frozen=True)
class Sizes:
    """Bytes of the weights of every option of every block, as `algo.nets.quantisation.model_size_bytes` counts them.

    Attributes:
        table: of the same space; gives the numbers of options.
        ends: stem, head and last layer.
        blocks: (blocks, paths, bits).
    """

    table: LatencyTable
    ends: int
    blocks: NDArray[np.int64] = field(repr=False)

    def of(self, architecture: Architecture) -> int:
        """Of a network."""
        paths, bits = self.table.indices(architecture)
        return int(self.ends + self.blocks[np.arange(len(paths)), paths, bits].sum())

    @property
    def smallest(self) -> int:
        """Of the smallest network."""
        return int(self.ends + self.blocks.min((1, 2)).sum())

    def expected_bytes(self, theta: Any, phi: Any, convert: Callable[[Floats], Any] = np.asarray) -> Any:
        """Size to be expected where paths and bits are drawn independently; arguments as of `expected_ms`."""
        return self.ends + (theta[:, :, None] * phi[:, None, :] * convert(self.blocks.astype(np.float64))).sum()

    def limit_bytes(self, text: str) -> float:
        """A limit from ``60KiB``, or from ``60%`` of the largest network's weights at 8 bits.

        Raises:
            ValueError: for another form, or a limit that is not above 0.
        """
        number, of_largest = parsed_size(text)
        return number * self.of(self.table.largest) / 100 if of_largest else number * 1024


def sizes_of(table: LatencyTable) -> Sizes:
    """The sizes of the networks of a table's space, classes and images."""
    import torch

    from algo.nas.network import END_BITS, Network, block_of_layer
    from algo.nets.quantisation import packed_bytes, weight_layers

    space = table.space
    blocks = np.zeros((space.block_count, len(space.paths), len(space.bits)), dtype=np.int64)
    ends = 0
    for number, path in enumerate(space.paths):
        with torch.device("meta"):
            network = Network(space, space.same(Option(*path, space.bits[0])), table.image[0], table.classes)
        ends = 0
        for block, (_, layer) in zip(block_of_layer(network), weight_layers(network), strict=True):
            if block is None:
                ends += packed_bytes(layer.weight.numel(), END_BITS)
            else:
                blocks[block, number] += [packed_bytes(layer.weight.numel(), bits) for bits in space.bits]
    return Sizes(table, ends, blocks)


def within_both(table: LatencyTable, scores: Floats, limit_ms: float, sizes: Sizes, limit_bytes: float) -> Derived:
    """The network of the highest score whose latency and whose weights are at most these limits.

    An integer programme: a binary for every option of every block, and one for every change of bit-widths between two
    blocks. HiGHS keeps constraints to 1e-6. So a network that it takes and that is above a limit is excluded, and the
    programme is solved again.

    Raises:
        ValueError: if there is none; the message says what the smallest network within the latency takes.
    """
    found = within(table, scores, limit_ms)  # says so if none is as fast
    if sizes.of(found.architecture) <= limit_bytes:
        return found
    count = (table.space.block_count, len(table.space.options))
    smallest = sizes.of(within(table, -sizes.blocks.reshape(count).astype(np.float64), limit_ms).architecture)
    if smallest > limit_bytes:
        raise ValueError(
            f"no network of space {table.space.name} keeps {limit_ms:.4g} ms on {table.device} with weights of at most "
            f"{limit_bytes / 1024:.4g} KiB: the smallest takes {rounded_up(smallest / 1024)} KiB; name that or more, "
            "or a higher latency"
        )
    programme = _Programme(table, scores, limit_ms, sizes, limit_bytes)
    while True:
        numbers = programme.best()
        architecture = tuple(table.space.options[number] for number in numbers)
        if table.ms(architecture) <= limit_ms * ROUNDING and sizes.of(architecture) <= limit_bytes:
            score = float(scores[np.arange(len(numbers)), numbers].sum())
            return Derived(architecture, score, table.ms(architecture))
        programme.exclude(numbers)


class _Programme:
    """The integer programme of `within_both`; some network keeps both limits."""

    def __init__(self, table: LatencyTable, scores: Floats, limit_ms: float, sizes: Sizes, limit_bytes: float) -> None:
        space = table.space
        blocks, options, bits = space.block_count, len(space.options), len(space.bits)
        chosen = np.arange(blocks * options).reshape(blocks, options)
        changes = chosen.size + np.arange((blocks - 1) * bits * bits).reshape(blocks - 1, bits, bits)
        self._chosen, self._count = chosen, chosen.size + changes.size
        latency, size, objective = (np.zeros(self._count) for _ in range(3))
        latency[chosen] = table.blocks_with_ends_ms.reshape(blocks, options)
        latency[changes] = table.switch_ms[1:-1]
        size[chosen] = sizes.blocks.reshape(blocks, options)
        spread = float(np.ptp(scores))
        if spread > 0:  # scaled far above what HiGHS takes as equal
            objective[chosen] = (scores.max() - scores) / spread * 1e3
        # Of every block one option; what changes from its bits and to its bits is what it chose.
        self._lines: list[Floats] = []
        self._lows: list[float] = []
        self._highs: list[float] = []
        for number in range(blocks):
            self._add({1: chosen[number]}, 1, 1)
        for number, own in np.ndindex(blocks - 1, bits):
            for leaves, block in ((changes[number, own], number), (changes[number, :, own], number + 1)):
                self._add({1: leaves, -1: chosen[block, own::bits]}, 0, 0)
        self._objective = objective
        for cost, fixed, limit in ((latency, table.ends_ms, limit_ms), (size, sizes.ends, limit_bytes)):
            self._lines.append(cost / limit)
            self._lows.append(-np.inf)
            self._highs.append(1 - fixed / limit)

    def best(self) -> NDArray[np.intp]:
        """The number of every block's option."""
        from scipy.optimize import Bounds, LinearConstraint
        from scipy.sparse import csr_array

        constraint = LinearConstraint(csr_array(np.array(self._lines)), self._lows, self._highs)
        values = solved(self._objective, [constraint], Bounds(0, 1), np.ones(self._count))
        if values is None:
            raise RuntimeError("HiGHS finds no network within the limits, where there is one")
        numbers: NDArray[np.intp] = values[self._chosen].argmax(1)
        return numbers

    def exclude(self, numbers: NDArray[np.intp]) -> None:
        """Do not take this network again."""
        self._add({1: self._chosen[np.arange(len(numbers)), numbers]}, -np.inf, len(numbers) - 1)

    def _add(self, factors: dict[int, NDArray[np.int64]], low: float, high: float) -> None:
        line = np.zeros(self._count)
        for factor, places in factors.items():
            line[places] = factor
        self._lines.append(line)
        self._lows.append(low)
        self._highs.append(high)
