"""The QVF search: the RL unit proposes a policy, the host measures it, the unit learns (Chen 2023, chapter 2)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal, Protocol, get_type_hints

from algo.chips.chip import UNAVAILABLE, Chip
from algo.published.evolver import evolver_facts
from algo.space.policy import Policy, PolicySpace
from algo.support.user_files import check_object, parse_json, shown
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective

#: Weights a, b, c of the two published tasks.
OBJECTIVES = {"energy": (0.25, 0.10, 0.65), "latency": (0.25, 0.65, 0.10)}

Served = Literal["trained", "cached", "skipped"]

_MAYBE_UNAVAILABLE = ("voltage_v", "frequency_mhz", "energy_uj")  # of a step
_MOST = {  # of figures that are 0 or more
    "epsilon": 1.0, "reward": 2.0, "accuracy": 1.0, "iteration": math.inf,
    **dict.fromkeys(("voltage_v", "frequency_mhz", "latency_ms", "energy_uj"), math.inf),
}  # fmt: skip


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

    def retrained_baseline(self) -> float:
        """Accuracy (a fraction) with every layer at 8 bits, without a trace in `state`."""
        ...

    def is_cached(self, policy: Policy) -> bool:
        """Whether `accuracy` would cost no training."""
        ...

    def accuracy(self, policy: Policy, iteration: int) -> float:
        """Accuracy (a fraction) under the policy's bit-widths in this iteration of the search."""
        ...

    def state(self) -> bytes:
        """Everything that later accuracies depend on."""
        ...

    def restore(self, saved: bytes) -> None:
        """Go back to what `state` returned."""
        ...


@dataclass(frozen=True)
class Step:
    """One iteration of the search, which is one line of the trace.

    Attributes:
        iteration: number, from 0.
        epsilon: probability of exploring.
        actions: what the unit sampled, a number a row.
        weight_bits, activation_bits: the policy's bit-widths, input layer first.
        voltage_v, frequency_mhz: its operating point; `UNAVAILABLE`, ``null`` in the trace, where nobody knows them.
        accuracy: measured accuracy, a fraction; ``None`` if the policy was not trained.
        latency_ms, energy_uj: measured on the chip, of one inference; energy may be `UNAVAILABLE`.
        reward: what the unit learned from, exactly.
        served: how the accuracy came about.
        q_digest: digest of the Q-table after learning.
    """

    iteration: int
    epsilon: float
    actions: tuple[int, ...]
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    voltage_v: float
    frequency_mhz: float
    accuracy: float | None
    latency_ms: float
    energy_uj: float
    reward: float
    served: Served
    q_digest: str

    def line(self) -> str:
        """The step as a line of JSON, without the newline."""
        fields = asdict(self)
        for name in _MAYBE_UNAVAILABLE:
            fields[name] = None if math.isnan(fields[name]) else fields[name]
        return json.dumps(fields)

    @classmethod
    def from_line(cls, line: str) -> Step:
        """The inverse of `line`; raises ValueError, which names the field, for anything else."""
        hints = _step_hints()
        fields = dict(check_object(parse_json(line), hints, "the line"))
        for name in sorted(set(fields) - set(hints)):
            raise ValueError(f"{name} is no field of a step")
        for name in ("actions", "weight_bits", "activation_bits"):
            fields[name] = tuple(fields[name])
            if len(fields[name]) != len(fields["actions"]) - (name != "actions") or not fields[name]:
                raise ValueError(f"{name} are {len(fields[name])}, for {len(fields['actions'])} actions")
            if not all(0 <= value <= 16 for value in fields[name]):
                raise ValueError(f"{name} are {shown(list(fields[name]))}, not all in 0..16")
        for name, most in _MOST.items():
            if fields[name] is not None and not 0 <= fields[name] <= most:
                raise ValueError(f"{name} is {shown(fields[name])}, not in 0..{most:g}")
        if fields["accuracy"] is None and fields["served"] != "skipped":
            raise ValueError(f"accuracy is null, but served is {fields['served']}")
        for name in _MAYBE_UNAVAILABLE:
            fields[name] = UNAVAILABLE if fields[name] is None else fields[name]
        return cls(**fields)


@cache
def _step_hints() -> dict[str, Any]:
    """Types of a step's fields in the trace."""
    hints = get_type_hints(Step)
    return hints | {name: hints[name] | None for name in _MAYBE_UNAVAILABLE}


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
    """Epsilons of the episodic unit (docs/understand/episodic.md), however many iterations there are."""
    return tuple(1.0 if k < EXPLORING else VARIED for k in range(iterations))


#: By name: the epsilons over some number of iterations, and how many there are unless another number is wanted. The
#: published ones of ResNet34 are not known: the proportions are read as VGG8's.
SCHEDULES: dict[str, tuple[Callable[[int], tuple[float, ...]], int]] = {
    "published": (stretched_schedule, 330),
    "quick": (stretched_schedule, 33),
    "long": (stretched_schedule, 1200),
    "episodic": (episodic_schedule, 330),
}


def schedule_of(name: str, iterations: int | None = None) -> tuple[float, ...]:
    """Epsilons of a schedule of `SCHEDULES`, over its own number of iterations or another, at least 1."""
    epsilons, usual = SCHEDULES[name]
    return epsilons(usual if iterations is None else iterations)


def search(
    driver: Driver,
    space: PolicySpace,
    chip: Chip,
    evaluator: Evaluator,
    schedule: Sequence[float],
    first: int = 0,
) -> Iterator[Step]:
    """Run the search on a configured unit, from iteration ``first``; yields each iteration when it is learned.

    Latency and energy come first: a policy that misses either threshold is never trained.
    """
    unit = 2.0**-driver.params.q_frac
    for iteration in range(first, len(schedule)):
        actions = driver.sample(schedule[iteration])
        policy = space.decode(actions)
        cost = chip.measure(policy)
        accuracy: float | None = None
        served: Served = "skipped"
        if not driver.is_outlier(cost.latency_ms, _weighed_energy(driver.objective, cost.energy_uj)):
            served = "cached" if evaluator.is_cached(policy) else "trained"
            accuracy = evaluator.accuracy(policy, iteration)
        learned = driver.learn(accuracy or 0.0)
        point = chip.points[policy.point]
        yield Step(
            iteration, schedule[iteration], actions, policy.weight_bits, policy.activation_bits,
            point.voltage_v, point.frequency_mhz, accuracy, cost.latency_ms, cost.energy_uj,
            learned.reward * unit, served, learned.digest,
        )  # fmt: skip


def parse_weights(text: str) -> tuple[float, float, float]:
    """Weights a, b, c from ``energy``, ``latency`` or ``a,b,c``; raises ValueError for anything else."""
    if text in OBJECTIVES:
        return OBJECTIVES[text]
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"the objective must be energy, latency or three weights a,b,c, not {text!r}") from None
    return a, b, c


def score(objective: Objective, accuracy: float, latency_ms: float, energy_uj: float) -> float:
    """Score of a measurement by the golden reward calculator; 0 for an outlier."""
    from rtl.spec.params import RLUParams

    driver = Driver(GoldenDevice(RLUParams(states=1, actions=2)))
    driver.configure(action_counts=(2,), seed=1, objective=objective)
    driver.is_outlier(latency_ms, _weighed_energy(objective, energy_uj))
    return driver.reward(accuracy) * 2.0**-driver.params.q_frac


def _weighed_energy(objective: Objective, energy_uj: float) -> float:
    """Energy for the unit: one that is unavailable is as good as 0 to an objective that gives it no weight."""
    return 0.0 if math.isnan(energy_uj) and objective.weight_e == 0.0 else energy_uj
