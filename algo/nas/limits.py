"""What a network has to keep on a device: a latency and, if wanted, a size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from algo.nas.config import AimConfig
from algo.nas.derive import Derived, within
from algo.nas.latency_table import Floats, LatencyTable
from algo.nas.sizes import Sizes, sizes_of, within_both


@dataclass(frozen=True)
class Limits:
    """What a network has to keep on a device.

    Attributes:
        table: of the device.
        ms: latency.
        sizes, most_bytes: of weights; both are ``None`` where there is no such limit.
    """

    table: LatencyTable
    ms: float
    sizes: Sizes | None = None
    most_bytes: float | None = None

    def __post_init__(self) -> None:
        if (self.sizes is None) != (self.most_bytes is None):
            raise ValueError("a limit of size needs both the sizes and the bytes")

    def best(self, scores: Floats, ms: float | None = None) -> Derived:
        """The network of the highest score within the limits; ``ms`` is another latency. Errors as of `within`."""
        limit_ms = self.ms if ms is None else ms
        if self.sizes is None or self.most_bytes is None:
            return within(self.table, scores, limit_ms)
        return within_both(self.table, scores, limit_ms, self.sizes, self.most_bytes)

    def to_json(self) -> dict[str, float | None]:
        """For summaries."""
        return {"limit_ms": self.ms, "limit_bytes": self.most_bytes}


def limits_of(aim: AimConfig, table: LatencyTable) -> Limits | None:
    """The limits that are aimed at; ``None`` with mu and nu.

    Raises:
        ValueError: if no network keeps them; the message says what can be kept.
    """
    if aim.latency is None:
        return None
    limits = _named(aim.latency, aim.size, table)
    limits.best(np.zeros((table.space.block_count, len(table.space.options))))  # is there any?
    return limits


def possible(table: LatencyTable, latency: str, size: str | None) -> dict[str, float | bool | None]:
    """The limits that are named, and whether a network keeps them."""
    limits = _named(latency, size, table)
    try:
        limits.best(np.zeros((table.space.block_count, len(table.space.options))))
    except ValueError:
        return {**limits.to_json(), "possible": False}
    return {**limits.to_json(), "possible": True}


def _named(latency: str, size: str | None, table: LatencyTable) -> Limits:
    sizes = None if size is None else sizes_of(table)
    return Limits(
        table, table.limit_ms(latency), sizes, None if sizes is None or size is None else sizes.limit_bytes(size)
    )
