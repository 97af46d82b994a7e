"""How much a search explores: epsilon of every iteration."""

from __future__ import annotations

from collections.abc import Callable

from algo.published.evolver import evolver_facts
from rtl.spec.params import VARIED_ROWS


def published_schedule() -> tuple[float, ...]:
    """Epsilon of each of the 330 published iterations: 1 for 90, then 7/8, 6/8 ... 0 for 30 each."""
    return tuple(
        float(part["epsilon"]) for part in evolver_facts()["epsilon_schedule"] for _ in range(part["iterations"])
    )


def stretched_schedule(iterations: int) -> tuple[float, ...]:
    """The published epsilons over another number of iterations, at least 1, in the same proportions."""
    published = published_schedule()
    return tuple(published[k * len(published) // iterations] for k in range(iterations))


#: Of the episodic unit: iterations that only explore, and the share of rows that a variation changes after them.
EXPLORING, VARIED = 12, 0.125


def episodic_schedule(iterations: int) -> tuple[float, ...]:
    """Epsilons of the episodic unit (docs/understand/episodic.md) over any number of iterations."""
    return tuple(1.0 if k < EXPLORING else VARIED for k in range(iterations))


def planning_schedule(iterations: int) -> tuple[float, ...]:
    """Share of the rows that a climb of the planning unit draws anew, the same in all iterations."""
    return (VARIED_ROWS,) * iterations


#: By name: the function that gives the epsilons, and the usual number of iterations. The published epsilons of ResNet34
#: are unknown: VGG8's proportions are assumed.
SCHEDULES: dict[str, tuple[Callable[[int], tuple[float, ...]], int]] = {
    "published": (stretched_schedule, 330),
    "quick": (stretched_schedule, 33),
    "long": (stretched_schedule, 1200),
    "episodic": (episodic_schedule, 330),
    "planning": (planning_schedule, 25),
}


def schedule_of(name: str, iterations: int | None = None) -> tuple[float, ...]:
    """Epsilons of a schedule of `SCHEDULES`, over its own number of iterations or another, at least 1."""
    epsilons, usual = SCHEDULES[name]
    return epsilons(usual if iterations is None else iterations)
