"""One iteration of a search, which is one line of its trace."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_type_hints

from algo.chips.chip import UNAVAILABLE
from algo.space.dimensions import DIMENSIONS, WEIGHT_BITS
from algo.support.user_files import check_object, parse_json, shown

Served = Literal["trained", "cached", "skipped"]

_MOST_ACTION = 65535  # the unit has at most 16 actions a row, but other searchers may have more
_MAYBE_UNAVAILABLE = ("voltage_v", "frequency_mhz", "energy_uj")
_MOST = {  # of figures that are 0 or more
    "epsilon": 1.0, "reward": 2.0, "accuracy": 1.0, "iteration": math.inf,
    **dict.fromkeys(("voltage_v", "frequency_mhz", "latency_ms", "energy_uj"), math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One iteration of the search, which is one line of the trace.

    Attributes:
        iteration: number, from 0.
        epsilon: probability of exploring; ``None`` for a searcher that has none.
        actions: what was chosen, a number per row.
        chosen: the policy's values by dimension, one for each place, input layer first (`PolicySpace.by_place`).
        voltage_v, frequency_mhz: its operating point; `UNAVAILABLE`, ``null`` in the trace, if unknown.
        accuracy: measured accuracy, a fraction; ``None`` if the policy was not trained.
        latency_ms, energy_uj: measured on the chip, of one inference; energy may be `UNAVAILABLE`.
        reward: the policy's score; for a unit exactly what it learned from.
        served: how the accuracy was obtained.
        q_digest: digest of the Q-table after learning; empty for a searcher that has none.
    """

    iteration: int
    epsilon: float | None
    actions: tuple[int, ...]
    chosen: Mapping[str, tuple[int, ...]]
    voltage_v: float
    frequency_mhz: float
    accuracy: float | None
    latency_ms: float
    energy_uj: float
    reward: float
    served: Served
    q_digest: str

    @property
    def fields(self) -> dict[str, Any]:
        """Its fields as in the trace, each dimension by its own name; an unavailable figure is ``None``."""
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "chosen":
                fields |= value
            else:
                fields[field.name] = None if field.name in _MAYBE_UNAVAILABLE and math.isnan(value) else value
        return fields

    def line(self) -> str:
        """The step as a line of JSON, without the newline."""
        return json.dumps(self.fields)

    @classmethod
    def from_line(cls, line: str) -> Step:
        """The inverse of `line`; raises ValueError, which names the field, for anything else."""
        hints = _step_hints()
        content = parse_json(line)
        here = {name: list[int] for name in DIMENSIONS if isinstance(content, dict) and name in content}
        fields = dict(check_object(content, hints | (here or {WEIGHT_BITS.name: list[int]}), "the line"))
        for name in sorted(set(fields) - set(hints) - set(here)):
            raise ValueError(f"{name} is not a field of a step")
        fields["actions"] = tuple(fields["actions"])
        fields["chosen"] = {name: tuple(fields.pop(name)) for name in here}
        for name, values in {"actions": fields["actions"], **fields["chosen"]}.items():
            most = _MOST_ACTION if name == "actions" else DIMENSIONS[name].high
            if name != "actions" and not 1 <= len(values) < len(fields["actions"]):
                raise ValueError(f"{name} are {len(values)}, for {len(fields['actions'])} actions")
            if not values or not all(0 <= value <= most for value in values):
                raise ValueError(f"{name} are {shown(list(values))}, not all in 0..{most}")
        for name, limit in _MOST.items():
            if fields[name] is not None and not 0 <= fields[name] <= limit:
                raise ValueError(f"{name} is {shown(fields[name])}, not in 0..{limit:g}")
        if fields["accuracy"] is None and fields["served"] != "skipped":
            raise ValueError(f"accuracy is null, but served is {fields['served']}")
        for name in _MAYBE_UNAVAILABLE:
            fields[name] = UNAVAILABLE if fields[name] is None else fields[name]
        return cls(**fields)


@cache
def _step_hints() -> dict[str, Any]:
    """Types of a step's fields in the trace, without those of the dimensions."""
    hints = {name: hint for name, hint in get_type_hints(Step).items() if name != "chosen"}
    return hints | {name: hints[name] | None for name in _MAYBE_UNAVAILABLE} | {"actions": list[int]}
