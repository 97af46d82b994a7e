"""Latency tables with made-up figures, for tests."""

from __future__ import annotations

import numpy as np

from algo.nas.latency_table import LatencyTable
from algo.nas.space import Space, Stage

#: Two blocks with two paths and three bit-widths: few enough networks to try them all.
SMALL = Space("two", 4, 2, (Stage(4, 1), Stage(6, 1, 2)), 8, kernels=(3,), expansions=(3, 6))


def made_up(space: Space = SMALL, image: tuple[int, int, int] = (1, 32, 32), seed: int = 1) -> LatencyTable:
    """A table whose latencies grow with kernel, expansion and bits, with some chance; changes of bits cost a little."""
    rng = np.random.default_rng(seed)
    work = np.array([kernel * expansion for kernel, expansion in space.paths], dtype=float)
    blocks = 0.01 * work[:, None] * np.array(space.bits, dtype=float) / 8
    chance = rng.uniform(0.8, 1.2, (space.block_count, *blocks.shape))
    count = len(space.bits)
    switches = rng.uniform(0.01, 0.02, (space.block_count + 1, count, count)) * (1 - np.eye(count))
    speeds = tuple(f"int{bits}" for bits in space.bits)
    return LatencyTable("made-up", "drawn", {}, space, image, 10, speeds, 0.05, blocks * chance, switches)
