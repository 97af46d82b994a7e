"""The published comparison: a search for a small model, scored afterwards as in the energy-first task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from algo.chips.chip import LayerChip, Measurement
from algo.published.evolver import INT8_BASELINE, OPERATING_POINTS
from algo.space.policy import OperatingPoint, Policy


@dataclass(frozen=True)
class ModelSizeChip:
    """A chip at the INT8 baseline's operating point that reports the model's size in place of energy.

    Attributes:
        chip: gives the latency.
        weights: number of weights of each layer.
    """

    chip: LayerChip
    weights: tuple[int, ...]

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the network's layers."""
        return self.chip.layer_names

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The one operating point, because size does not depend on it."""
        return (OPERATING_POINTS[INT8_BASELINE.point],)

    def measure(self, policy: Policy) -> Measurement:
        """Latency in ms; and as ``energy_uj`` the size of all weights in percent of 8 bits everywhere."""
        latency = self.chip.measure(policy.but(point=INT8_BASELINE.point)).latency_ms
        return Measurement(latency, 100 * float(np.dot(self.weights, policy.weight_bits)) / (8 * sum(self.weights)))
