"""The search loop: ask for a policy, measure it, tell the outcome (Chen 2023, chapter 2).

It runs any searcher on any chip with any evaluator: a tuning run with real retraining, or a search of a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from algo.chips.chip import Chip
from algo.search.scoring import Scorer
from algo.search.searcher import Outcome, Searcher
from algo.search.step import Served, Step
from algo.space.policy import Policy, PolicySpace


class Evaluator(Protocol):
    """Gives the accuracy of the network under a policy; training is one way, a table another.

    Attributes:
        layers: number of layers that a policy has bit-widths for.
        source: the data, in words.
    """

    @property
    def layers(self) -> int: ...  # noqa: D102 (described above)

    @property
    def source(self) -> str: ...  # noqa: D102

    def retrained_baseline(self, policy: Policy) -> float:
        """Accuracy (a fraction) under the baseline's values, retrained once; `state` stays the same."""
        ...

    def is_cached(self, policy: Policy) -> bool:
        """Whether `accuracy` would cost no training."""
        ...

    def accuracy(self, policy: Policy, iteration: int) -> float:
        """Accuracy (a fraction) under the policy's bit-widths in this iteration of the search."""
        ...

    def error_std(self, accuracy: float) -> float:
        """Standard deviation of the error of a measured accuracy, as far as it is known; 0 without one."""
        ...

    def state(self) -> bytes:
        """Everything that later accuracies depend on."""
        ...

    def restore(self, saved: bytes) -> None:
        """Go back to what `state` returned."""
        ...


def search(
    searcher: Searcher,
    space: PolicySpace,
    chip: Chip,
    evaluator: Evaluator,
    scorer: Scorer,
    iterations: int,
    first: int = 0,
) -> Iterator[Step]:
    """Run a search from iteration ``first`` to before ``iterations``; yields each one after its outcome is told.

    Latency and energy come first: a policy that misses either threshold is never trained.
    """
    for iteration in range(first, iterations):
        actions = searcher.ask()
        policy = space.decode(actions)
        cost = chip.measure(policy)
        accuracy: float | None = None
        served: Served = "skipped"
        if not scorer.is_outlier(cost):
            served = "cached" if evaluator.is_cached(policy) else "trained"
            accuracy = evaluator.accuracy(policy, iteration)
        reward = scorer.score(accuracy, cost)
        notes = searcher.tell(Outcome(accuracy, cost.latency_ms, cost.energy_uj, reward))
        point = chip.points[policy.point]
        yield Step(
            iteration, notes.epsilon, actions, space.by_place(policy), point.voltage_v, point.frequency_mhz, accuracy,
            cost.latency_ms, cost.energy_uj, reward, served, notes.digest,
        )  # fmt: skip


def recomputed(step: Step, space: PolicySpace, chip: Chip, scorer: Scorer) -> Step:
    """An earlier step with what follows from its actions and accuracy computed again; ValueError for wrong actions."""
    policy = space.decode(step.actions)
    cost, point = chip.measure(policy), chip.points[policy.point]
    return replace(
        step,
        chosen=space.by_place(policy),
        voltage_v=point.voltage_v,
        frequency_mhz=point.frequency_mhz,
        latency_ms=cost.latency_ms,
        energy_uj=cost.energy_uj,
        reward=scorer.score(step.accuracy, cost),
    )
