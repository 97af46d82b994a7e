"""Settings of a planning unit, the costs that the host gives it, and the words that hold both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

from rtl.spec.params import CAUTION, CLIMBS, DOUBT, PASSES, SWEEPS, VARIED_ROWS, RLUParams
from rtl.spec.registers import field_of
from sim.devices.objective import Objective

EPISODES = 64  #: Default number of episodes that a planning unit remembers.
#: With this error of a measured accuracy, its variance counts as much as what the sum of effects cannot explain.
MISFIT_STD = 0.008
#: Episodes after which the doubt has doubled: a search that has found little by then must look further away.
DOUBLED_AFTER = 40

#: Of each point, row and action.
Figures = Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True, kw_only=True)
class Planning:
    """How a planning unit plans (docs/understand/planning.md).

    Attributes:
        climbs: starts from which a plan changes row after row for the better, 1..255.
        sweeps: times that a climb visits all rows, 1..15.
        passes: times that an update learns from all stored episodes, 1..15.
        caution: how many times its doubt is taken off an accuracy that must not be too low, 0..15.
        doubt: about accuracy, for each row whose action was never tried, 0..1.
        varied: share of the rows that the start of a climb draws, 0..1.
        noise: standard deviation of the error of a measured accuracy, 0..1. With 0 measured accuracies are taken as
            they are.

    Raises:
        ValueError: for a value outside its range.
    """

    climbs: int = CLIMBS
    sweeps: int = SWEEPS
    passes: int = PASSES
    caution: int = CAUTION
    doubt: float = DOUBT
    varied: float = VARIED_ROWS
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("climbs", 1), ("sweeps", 1), ("passes", 1), ("caution", 0)):
            value, high = getattr(self, name), (1 << field_of("PLANNING", name).width) - 1
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}")
        for name in ("doubt", "varied", "noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name):g}")

    def registers(self, rows: int, params: RLUParams) -> dict[str, int]:
        """Values of the registers that stay the same in a search over some rows."""
        ridge = min(1.0 + (self.noise / MISFIT_STD) ** 2, (2**params.gain_width - 1) / 2**params.gain_frac)
        fields = {name: getattr(self, name) for name in ("climbs", "sweeps", "passes", "caution")}
        word = sum(value << field_of("PLANNING", name).lsb for name, value in fields.items())
        return {
            "MODE": field_of("MODE", "planning").mask,
            "PLANNING": word | (self.noise == 0.0) << field_of("PLANNING", "trust").lsb,
            "RIDGE": round(ridge * 2**params.gain_frac),
            "ALPHA": round(params.coef_one / (rows + ridge)),
        }

    def doubt_after(self, episodes: int, params: RLUParams) -> int:
        """DOUBT for a plan after some episodes: it grows in the course of a search."""
        return min(params.coef_one, round(self.doubt * params.coef_one * (1.0 + episodes / DOUBLED_AFTER)))


class Recommended(NamedTuple):
    """What a planning unit believes to be the best policy.

    Attributes:
        actions: an action a row.
        accuracy: predicted, a fraction.
        trials: how often the action of each row was tried.
    """

    actions: tuple[int, ...]
    accuracy: float
    trials: tuple[int, ...]


@dataclass(frozen=True)
class Costs:
    """What each action adds to latency and energy at each operating point.

    The last row's action is the operating point; its own cost there is what no other row accounts for.

    Attributes:
        latency_ms, energy_uj: of each point, row and action, 0 or more. What is beyond full scale counts as full scale,
            which no threshold lets pass.
    """

    latency_ms: Figures
    energy_uj: Figures

    def words(self, action_counts: Sequence[int], objective: Objective, params: RLUParams) -> list[list[list[int]]]:
        """Memory words of each point, row and action.

        Raises:
            ValueError: if there are too many points for the unit, or a cost is missing, negative or no number; it
                names the place.
        """
        points = action_counts[-1]
        if points > params.points:
            raise ValueError(
                f"the space has {points} operating points, and this unit holds the costs of {params.points}: build one "
                f"with points of {points}"
            )
        scales = (
            ("latency", "ms", self.latency_ms, objective.latency_full_scale_ms),
            ("energy", "uJ", self.energy_uj, objective.energy_full_scale_uj),
        )
        words = [[[0] * count for count in action_counts] for _ in range(points)]
        for half, (name, unit, figures, full_scale) in enumerate(scales):
            for point in range(points):
                for row, count in enumerate(action_counts):
                    for action in range(count):
                        where = f"{name} of action {action} in row {row} at operating point {point}"
                        try:
                            cost = figures[point][row][action]
                        except (IndexError, TypeError):
                            raise ValueError(f"there is no {where}: give costs for every action") from None
                        if not isinstance(cost, Real):
                            raise ValueError(f"{where} must be a number of 0 or more, not {cost!r:.80}")
                        if not 0.0 <= cost < math.inf:
                            raise ValueError(f"{where} must be a number of 0 or more, not {cost:g} {unit}")
                        word = round(min(1.0, cost / full_scale) * params.coef_one)
                        words[point][row][action] |= word << 16 * half
        return words
