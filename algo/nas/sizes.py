"""What the weights of each choice take, and the best network within a latency and a size, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algo.nas.config import parsed_size
from algo.nas.derive import Derived, rounded_up, within
from algo.nas.latency_table import Floats, LatencyTable
from algo.nas.space import Architecture, Option

#: What HiGHS may be beyond a limit, as a part of it.
_TOLERANCE = 2e-6


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

    def bytes(self, architecture: Architecture) -> int:
        """Of a network."""
        paths, bits = self.table.indices(architecture)
        return int(self.ends + self.blocks[np.arange(len(paths)), paths, bits].sum())

    def expected_bytes(self, theta: Any, phi: Any, convert: Callable[[Floats], Any] = np.asarray) -> Any:
        """Size to be expected where paths and bits are drawn independently; arguments as of `expected_ms`."""
        return self.ends + (theta[:, :, None] * phi[:, None, :] * convert(self.blocks.astype(np.float64))).sum()

    def limit_bytes(self, text: str) -> float:
        """A limit from ``60KiB``, or from ``60%`` of the largest network's weights at 8 bits.

        Raises:
            ValueError: for another form, or a limit that is not above 0.
        """
        number, of_largest = parsed_size(text)
        return number * self.bytes(self.table.largest) / 100 if of_largest else number * 1024


def sizes_of(table: LatencyTable) -> Sizes:
    """The sizes of the networks of a table's space, classes and images."""
    import torch

    from algo.nas.network import END_BITS, Network, block_of_layer
    from algo.nets.quantisation import weight_layers

    space = table.space
    blocks = np.zeros((space.block_count, len(space.paths), len(space.bits)), dtype=np.int64)
    ends = 0
    for number, path in enumerate(space.paths):
        with torch.device("meta"):
            network = Network(space, space.same(Option(*path, space.bits[0])), table.image[0], table.classes)
        ends = 0
        for block, (_, layer) in zip(block_of_layer(network), weight_layers(network), strict=True):
            if block is None:
                ends += _bytes(layer.weight.numel(), END_BITS)
            else:
                blocks[block, number] += [_bytes(layer.weight.numel(), bits) for bits in space.bits]
    return Sizes(table, ends, blocks)


def _bytes(weights: int, bits: int) -> int:
    return (weights * bits + 7) // 8


def within_both(table: LatencyTable, scores: Floats, limit_ms: float, sizes: Sizes, limit_bytes: float) -> Derived:
    """The network of the highest score whose latency and whose weights are at most these limits.

    An integer programme for SciPy's `milp` (HiGHS): a binary for every option of every block, and one for every change
    of bit-widths between two blocks.

    Raises:
        ValueError: if there is none; the message says what the smallest network within the latency takes.
    """
    found = within(table, scores, limit_ms)  # says so if none is as fast
    if sizes.bytes(found.architecture) <= limit_bytes:
        return found
    best = _solved(table, -scores, limit_ms, sizes, limit_bytes)
    if best is None:
        count = (table.space.block_count, len(table.space.options))
        smallest = _solved(table, sizes.blocks.reshape(count).astype(np.float64), limit_ms, sizes, np.inf)
        least = "" if smallest is None else f": the smallest takes {rounded_up(sizes.bytes(smallest) / 1024)} KiB"
        raise ValueError(
            f"no network of space {table.space.name} keeps {limit_ms:.4g} ms on {table.device} with weights of at most "
            f"{limit_bytes / 1024:.4g} KiB{least}; name a larger size or latency"
        )
    numbers = [table.space.options.index(option) for option in best]
    return Derived(best, float(scores[np.arange(len(numbers)), numbers].sum()), table.ms(best))


def _solved(
    table: LatencyTable, costs: Floats, limit_ms: float, sizes: Sizes, limit_bytes: float
) -> Architecture | None:
    """The network of the lowest sum of costs, (blocks, options), within both limits; ``None`` if there is none."""
    for margin in (0.0, _TOLERANCE):
        found = _programme(table, costs, limit_ms * (1 - margin), sizes, limit_bytes * (1 - margin))
        if found is None or (table.ms(found) <= limit_ms and sizes.bytes(found) <= limit_bytes):
            return found
    return None


def _programme(
    table: LatencyTable, costs: Floats, limit_ms: float, sizes: Sizes, limit_bytes: float
) -> Architecture | None:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import lil_array

    space = table.space
    blocks, options, bits = space.block_count, len(space.options), len(space.bits)
    chosen = np.arange(blocks * options).reshape(blocks, options)
    changes = chosen.size + np.arange((blocks - 1) * bits * bits).reshape(blocks - 1, bits, bits)
    count = chosen.size + changes.size
    latency, size = np.zeros(count), np.zeros(count)
    blocks_ms = table.blocks_ms.copy()
    blocks_ms[0] += table.switch_ms[0, table.end]
    blocks_ms[-1] += table.switch_ms[-1, :, table.end]
    latency[chosen], size[chosen] = blocks_ms.reshape(blocks, options), sizes.blocks.reshape(blocks, options)
    latency[changes] = table.switch_ms[1:-1]
    lines: list[Floats] = []
    equal: list[float] = []
    for number in range(blocks):
        line = np.zeros(count)
        line[chosen[number]] = 1
        lines.append(line)
        equal.append(1.0)
    for number, own in np.ndindex(blocks - 1, bits):  # what leaves a block with these bits, and what comes to the next
        for leaves, block in ((changes[number, own], number), (changes[number, :, own], number + 1)):
            line = np.zeros(count)
            line[leaves], line[chosen[block, own::bits]] = 1, -1
            lines.append(line)
            equal.append(0.0)
    constraints = [
        LinearConstraint(lil_array(np.array(lines)).tocsr(), equal, equal),
        LinearConstraint(latency / limit_ms, -np.inf, 1 - table.ends_ms / limit_ms),
    ]
    if np.isfinite(limit_bytes):
        constraints.append(LinearConstraint(size / limit_bytes, -np.inf, 1 - sizes.ends / limit_bytes))
    objective = np.zeros(count)
    objective[chosen] = costs
    answer = milp(
        objective, constraints=constraints, bounds=Bounds(0, 1), integrality=np.ones(count),
        options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    if answer.x is None:
        return None
    return tuple(space.options[int(answer.x[own].argmax())] for own in chosen)
