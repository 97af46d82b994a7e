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
        sizes, bytes: of weights; ``None`` where there is no such limit.
    """

    table: LatencyTable
    ms: float
    sizes: Sizes | None = None
    bytes: float | None = None

    def best(self, scores: Floats, ms: float | None = None) -> Derived:
        """The network of the highest score within the limits; ``ms`` is another latency. Errors as of `within`."""
        limit_ms = self.ms if ms is None else ms
        if self.sizes is None or self.bytes is None:
            return within(self.table, scores, limit_ms)
        return within_both(self.table, scores, limit_ms, self.sizes, self.bytes)

    def to_json(self) -> dict[str, float | None]:
        """For summaries."""
        return {"limit_ms": self.ms, "limit_bytes": self.bytes}


def limits_of(aim: AimConfig, table: LatencyTable) -> Limits | None:
    """The limits that are aimed at; ``None`` with mu and nu.

    Raises:
        ValueError: if no network keeps them; the message says which one nearly does.
    """
    if aim.latency is None:
        return None
    sizes = None if aim.size is None else sizes_of(table)
    limit_bytes = None if sizes is None or aim.size is None else sizes.limit_bytes(aim.size)
    limits = Limits(table, table.limit_ms(aim.latency), sizes, limit_bytes)
    limits.best(np.zeros((table.space.block_count, len(table.space.options))))  # is there any?
    return limits
