"""Settings of an episodic unit, and the register that holds them."""

from __future__ import annotations

from dataclasses import dataclass

from rtl.spec.params import CANDIDATES, REPLAYS, TOURNAMENT
from rtl.spec.registers import field_of

EPISODES = 512  #: Default number of episodes that a unit remembers: more than a published search has.


@dataclass(frozen=True, kw_only=True)
class Episodic:
    """How a unit with an episode memory samples and replays (docs/understand/episodic.md).

    Attributes:
        tournament: stored episodes drawn for a candidate, 1..255; it varies the best of them.
        candidates: candidates drawn by a sample, 1..15; the one with the largest sum of Q-values wins.
        replays: number of stored episodes from which the unit learns again after each update, 0..255.

    Raises:
        ValueError: for a value outside its range.
    """

    tournament: int = TOURNAMENT
    candidates: int = CANDIDATES
    replays: int = REPLAYS

    def __post_init__(self) -> None:
        for name, low in (("tournament", 1), ("candidates", 1), ("replays", 0)):
            value, high = getattr(self, name), (1 << field_of("EPISODIC", name).width) - 1
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}")

    @property
    def register(self) -> int:
        """Value of the EPISODIC register."""
        fields = ("tournament", "candidates", "replays")
        return sum(getattr(self, name) << field_of("EPISODIC", name).lsb for name in fields)


def variant_registers(full_last_reward: bool, episodic: Episodic | None) -> dict[str, int]:
    """Values of the registers that select the variant of the algorithm."""
    mode = int(full_last_reward) * field_of("MODE", "full_last_reward").mask
    if episodic is None:
        return {"MODE": mode}
    return {"MODE": mode | field_of("MODE", "episodic").mask, "EPISODIC": episodic.register}
