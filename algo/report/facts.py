"""What a report says about a run: the facts, and figures computed from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from algo.report.chip_part import ChipFacts
from algo.runs.effect_replay import EffectHistory
from algo.runs.q_replay import QHistory
from algo.search.objective import parse_weights
from algo.search.step import Step
from algo.space.dimensions import DIMENSIONS, Dimension, is_int8


@dataclass(frozen=True)
class Deployment:
    """A policy and what was measured with it.

    Attributes:
        name: what it is: INT8 (the baseline), found, best seen.
        chosen: values by dimension, one per place.
        voltage_v, frequency_mhz: operating point; ``None`` if unknown.
        accuracy: a fraction.
        latency_ms, energy_uj: of one inference; energy is ``None`` if it could not be measured.
        score: by the run's objective.
        size_mb: megabytes (10**6 bytes) of weights; ``None`` if the layers' shapes are unknown.
    """

    name: str
    chosen: Mapping[str, tuple[int, ...]]
    voltage_v: float | None
    frequency_mhz: float | None
    accuracy: float
    latency_ms: float
    energy_uj: float | None
    score: float
    size_mb: float | None = None

    @property
    def label(self) -> str:
        """Its name, unless that says INT8 and the chip does not know 8 bits in every layer."""
        return "baseline" if self.name == "INT8" and not is_int8(self.chosen) else self.name


@dataclass(frozen=True)
class Savings:
    """What the found policy saves against INT8, and how many inferences pay for the tuning.

    Attributes:
        latency_ms, energy_uj: saved an inference; below 0 if the found policy needs more; ``None`` if unknown.
    """

    baseline: Deployment
    found: Deployment

    @property
    def baseline_name(self) -> str:
        """``INT8``, unless the chip does not know 8 bits in every layer."""
        return "INT8" if is_int8(self.baseline.chosen) else "the baseline"

    @property
    def latency_ms(self) -> float:  # noqa: D102 (described above)
        return self.baseline.latency_ms - self.found.latency_ms

    @property
    def energy_uj(self) -> float | None:  # noqa: D102
        if self.baseline.energy_uj is None or self.found.energy_uj is None:
            return None
        return self.baseline.energy_uj - self.found.energy_uj

    def inferences_for_energy(self, tuning_joules: float) -> float | None:
        """Inferences after which the saved energy equals a tuning energy; ``None`` if nothing is saved."""
        return tuning_joules * 1e6 / self.energy_uj if self.energy_uj and self.energy_uj > 0 else None

    def hours_for_time(self, tuning_hours: float) -> float | None:
        """Hours t with ``(t - tuning_hours) / L_found = t / L_INT8``; ``None`` if no time is saved.

        From then on, without pauses, tuning first has made more inferences.
        """
        return tuning_hours * self.baseline.latency_ms / self.latency_ms if self.latency_ms > 0 else None


@dataclass(frozen=True)
class RunFacts:
    """One run, complete or not.

    Attributes:
        label: what the report calls it.
        path: its folder.
        config: its configuration.
        steps: complete and valid lines of its trace, at least one.
        planned: number of iterations of its schedule.
        data: its data in words; ``None`` while unfinished.
        accuracy_th: threshold the run used; ``None`` if it is still unknown.
        deployments: INT8 baseline, found and best seen; for an unfinished run only the best seen so far.
        q_history: the Q-table over time.
        notes: what is wrong with it or missing, in sentences.
        chip: where its latencies and energies come from.
        golden_words: words of the RTL that the golden model agreed with.
        found_name: what tables call the policy found.
        effects: what a planning unit, which has no Q-table, learned; ``None`` for any other searcher.
    """

    label: str
    path: Path
    config: Mapping[str, Any]
    steps: tuple[Step, ...]
    planned: int
    data: str | None
    accuracy_th: float | None
    deployments: tuple[Deployment, ...]
    q_history: QHistory
    notes: tuple[str, ...]
    chip: ChipFacts
    golden_words: int = 0
    found_name: str = ""
    effects: EffectHistory | None = None

    @property
    def mismatch(self) -> str:
        """What is wrong with the Q-table or the effects of the replayed run, in words; empty if nothing is."""
        return self.q_history.mismatch or (self.effects.mismatch if self.effects else "")

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.data is not None

    @cached_property
    def weights(self) -> tuple[float, float, float]:
        """Weights a, b, c of its objective."""
        return parse_weights(self.config["objective"])

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What was chosen in every place."""
        return tuple(DIMENSIONS[name] for name in self.steps[0].chosen)

    @cached_property
    def searched(self) -> tuple[Dimension, ...]:
        """The dimensions with other values than the usual one, or the first dimension if none had."""
        varied = (d for d in self.dimensions if any(set(step.chosen[d.name]) != {d.usual} for step in self.steps))
        return tuple(varied) or self.dimensions[:1]

    @property
    def fixed(self) -> tuple[Dimension, ...]:
        """The dimensions that always had the usual value."""
        return tuple(dimension for dimension in self.dimensions if dimension not in self.searched)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """All values of the searched dimensions that were tried, rising."""
        names = [dimension.name for dimension in self.searched]
        return tuple(sorted({value for step in self.steps for name in names for value in step.chosen[name]}))

    @property
    def knows_energy(self) -> bool:
        """Whether its energies are known."""
        return any(known(step.energy_uj) is not None for step in self.steps)

    @cached_property
    def best_so_far(self) -> tuple[float, ...]:
        """Highest reward up to and including every iteration."""
        best: list[float] = []
        for step in self.steps:
            best.append(max(step.reward, best[-1]) if best else step.reward)
        return tuple(best)

    @cached_property
    def front(self) -> tuple[Step, ...]:
        """Visited policies that no other visited one beats; see `pareto_front`."""
        return pareto_front([step for step in self.steps if step.reward > 0])

    @property
    def savings(self) -> Savings | None:
        """INT8 against the policy found; ``None`` while unfinished."""
        by_name = {deployment.name: deployment for deployment in self.deployments}
        if "found" not in by_name:
            return None
        return Savings(by_name["INT8"], by_name["found"])

    def count(self, kind: str) -> int:
        """Iterations of a kind: one of `KINDS`."""
        return sum(kind_of(step) == kind for step in self.steps)


#: What became of an iteration's policy, in the order of the report.
KINDS = ("scored", "inaccurate", "skipped")


def kind_of(step: Step) -> str:
    """``skipped`` for an outlier in latency or energy, ``inaccurate`` for any other reward of 0, else ``scored``."""
    if step.served == "skipped":
        return "skipped"
    return "scored" if step.reward > 0 else "inaccurate"


def known(figure: float) -> float | None:
    """A figure, or ``None`` for one that is unavailable."""
    return None if math.isnan(figure) else figure


def pareto_front(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps, by latency, such that no other is at least as good in accuracy, latency and energy and better in one.

    Of several equal steps, only the first stays. Every step must have an accuracy; unavailable energies are equal.
    """

    def figures(step: Step) -> tuple[float, float, float]:
        return step.latency_ms, known(step.energy_uj) or 0.0, -(step.accuracy or 0.0)

    front: list[Step] = []
    for step in sorted(steps, key=lambda step: (*figures(step), step.iteration)):
        # In this order, a step that can beat another one comes before it.
        _, energy, error = figures(step)
        if not any(figures(other)[1] <= energy and figures(other)[2] <= error for other in front):
            front.append(step)
    return tuple(front)
