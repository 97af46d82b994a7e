"""The final choice: the best network under a latency, exactly, and the whole front of best networks.

A dynamic programme goes from block to block. Its state is the bit-width of the last block, because changing it has a
price. Each state keeps the partial networks that are not worse than another in both score and latency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algo.nas.latency_table import Floats, LatencyTable
from algo.nas.space import Architecture, Option

#: A limit is kept up to what adding latencies in another order changes.
ROUNDING = 1 + 1e-12


@dataclass(frozen=True)
class Derived:
    """A network with its sum of scores and its latency by the table."""

    architecture: Architecture
    score: float
    ms: float


@dataclass(frozen=True)
class _Kept:
    """Partial networks that end with one bit-width, by rising latency and score; each knows where it came from."""

    ms: Floats
    score: Floats
    option: NDArray[np.int64]
    before_bits: NDArray[np.int64]
    before: NDArray[np.int64]


def front(table: LatencyTable, scores: Floats) -> list[Derived]:
    """Every network that no other one beats in both score and latency, from the fastest to the best.

    Args:
        table: of the device.
        scores: (blocks, options), options in the order of `Space.options`; the sum over the blocks is a network's.
    """
    space = table.space
    bits, blocks = len(space.bits), space.block_count
    if scores.shape != (blocks, len(space.options)):
        raise ValueError(f"scores have the shape {scores.shape}, not {(blocks, len(space.options))}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite numbers")
    levels: list[list[_Kept]] = []
    for number in range(blocks):
        level = []
        for own in range(bits):
            options = np.arange(own, len(space.options), bits)
            gain, cost = scores[number, options], table.blocks_ms[number, :, own]
            parts = []
            for other in range(bits) if number else [table.end]:
                price = table.switch_ms[number, other, own]
                if number:
                    before = levels[-1][other]
                    ms, score, count = before.ms, before.score, len(before.ms)
                else:
                    ms, score, count = np.array([table.ends_ms]), np.zeros(1), 1
                parts.append(
                    (
                        (ms[:, None] + cost + price).ravel(),
                        (score[:, None] + gain).ravel(),
                        np.tile(options, count),
                        np.full(count * len(options), other),
                        np.repeat(np.arange(count), len(options)),
                    )
                )
            level.append(_best(*(np.concatenate(columns) for columns in zip(*parts, strict=True))))
        levels.append(level)
    ends = [
        (kept.ms[place] + table.switch_ms[blocks, own, table.end], kept.score[place], own, place)
        for own, kept in enumerate(levels[-1])
        for place in range(len(kept.ms))
    ]
    ms, score = (np.array([end[column] for end in ends]) for column in (0, 1))
    found = []
    for chosen in _undominated(ms, score):
        _, _, own, place = ends[chosen]
        architecture = _traced(table, levels, own, place)
        found.append(Derived(architecture, float(score[chosen]), table.ms(architecture)))
    return found


def within(table: LatencyTable, scores: Floats, limit_ms: float) -> Derived:
    """The network of the highest score whose latency is at most a limit.

    Raises:
        ValueError: if the limit is below the latency of the fastest network, which the message says.
    """
    networks = front(table, scores)
    possible = [one for one in networks if one.ms <= limit_ms * ROUNDING]
    if not possible:
        raise ValueError(
            f"no network of space {table.space.name} is as fast as {limit_ms:.4g} ms on {table.device}: the fastest "
            f"takes {rounded_up(networks[0].ms)} ms; name that or more"
        )
    return possible[-1]


def rounded_up(ms: float) -> str:
    """A latency with four digits that is not below it."""
    digits = 3 - math.floor(math.log10(ms)) if ms > 0 else 0
    return f"{math.ceil(ms * 10**digits) / 10**digits:.4g}"


def fastest(table: LatencyTable) -> Derived:
    """The network of the lowest latency."""
    space = table.space
    return front(table, np.zeros((space.block_count, len(space.options))))[0]


def slowest(table: LatencyTable) -> Derived:
    """The network of the highest latency: the longest way through the blocks."""
    space = table.space
    paths, costs = table.blocks_ms.argmax(1), table.blocks_ms.max(1)
    longest = table.switch_ms[0, table.end] + costs[0]
    back: list[NDArray[np.intp]] = []
    for number in range(1, space.block_count):
        ways = longest[:, None] + table.switch_ms[number] + costs[number]
        back.append(ways.argmax(0))
        longest = ways.max(0)
    chosen = [int((longest + table.switch_ms[-1, :, table.end]).argmax())]
    for choices in reversed(back):
        chosen.insert(0, int(choices[chosen[0]]))
    architecture = tuple(
        Option(*space.paths[int(paths[number, own])], space.bits[own]) for number, own in enumerate(chosen)
    )
    return Derived(architecture, 0.0, table.ms(architecture))


def argmax(table: LatencyTable, theta: Floats, phi: Floats) -> Architecture:
    """The published choice: each block's most probable path and most probable bits, whatever the latency."""
    space = table.space
    return tuple(
        Option(*space.paths[int(path)], space.bits[int(own)])
        for path, own in zip(theta.argmax(1), phi.argmax(1), strict=True)
    )


def _undominated(ms: Floats, score: Floats) -> NDArray[np.intp]:
    """Numbers of those that no other one beats, by rising latency; the first of equal ones."""
    order = np.lexsort((-score, ms))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], score[order][:-1]]))
    return order[score[order] > best]


def _best(
    ms: Floats, score: Floats, option: NDArray[np.int64], before_bits: NDArray[np.int64], before: NDArray[np.int64]
) -> _Kept:
    kept = _undominated(ms, score)
    return _Kept(ms[kept], score[kept], option[kept], before_bits[kept], before[kept])


def _traced(table: LatencyTable, levels: list[list[_Kept]], own: int, place: int) -> Architecture:
    options = []
    for level in reversed(levels):
        kept = level[own]
        options.append(table.space.options[int(kept.option[place])])
        own, place = int(kept.before_bits[place]), int(kept.before[place])
    return tuple(reversed(options))
