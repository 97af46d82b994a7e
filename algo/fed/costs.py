"""What networks take whose blocks may be skipped: latency and bytes of weights."""

from __future__ import annotations

from collections.abc import Sequence

from algo.nas.latency_table import LatencyTable
from algo.nas.sizes import Sizes
from algo.nas.space import Option


def latency_ms(table: LatencyTable, options: Sequence[Option | None]) -> float:
    """Latency of a network, where a skipped block takes none; changes of precision are those between blocks that stay.

    Args:
        table: of the device.
        options: of each block; ``None`` for one that is skipped.
    """
    found, before = table.ends_ms, table.end
    for number, option in enumerate(options):
        if option is not None:
            path, bits = table.space.paths.index(option[:2]), table.space.bits.index(option.bits)
            found += float(table.switch_ms[number, before, bits] + table.blocks_ms[number, path, bits])
            before = bits
    return found + float(table.switch_ms[-1, before, table.end])


def size_bytes(sizes: Sizes, options: Sequence[Option | None]) -> int:
    """Bytes of the weights of a network, of which a skipped block has none."""
    space = sizes.table.space
    return sizes.ends + sum(
        int(sizes.blocks[number, space.paths.index(option[:2]), space.bits.index(option.bits)])
        for number, option in enumerate(options)
        if option is not None
    )
