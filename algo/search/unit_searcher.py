"""The RL unit as a searcher, on any device: golden model, simulated RTL, or board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from algo.chips.chip import Chip
from algo.search.loop import Evaluator, search
from algo.search.scoring import Scorer, weighed_energy
from algo.search.searcher import Notes, Outcome, Recommendation
from algo.search.step import Step
from algo.space.policy import PolicySpace
from sim.devices.driver import Driver
from sim.devices.shadow import Disagreement


class UnitSearcher:
    """A configured unit behind its driver.

    Args:
        driver: of the unit.
        schedule: epsilon of each policy.
        greedy: whether the policy to deploy is read greedily from the last Q-table, as published, instead of being the
            best seen. An episodic unit's greedy policy is a combination that may never have been tried, and is often
            a bad one (docs/understand/episodic.md).

    Attributes:
        driver: see above.
    """

    def __init__(self, driver: Driver, schedule: Sequence[float], greedy: bool = True) -> None:
        self.driver, self._schedule, self._next, self._greedy = driver, schedule, 0, greedy

    def ask(self) -> tuple[int, ...]:
        """The next policy, as the unit samples it."""
        return self.driver.sample(self._schedule[self._next])

    def tell(self, outcome: Outcome) -> Notes:
        """Hand the measurement over; the unit rewards and learns.

        Raises:
            Disagreement: if the unit's reward differs from the golden reward calculator's.
        """
        driver = self.driver
        driver.is_outlier(outcome.latency_ms, weighed_energy(driver.objective, outcome.energy_uj))
        learned = driver.learn(outcome.accuracy or 0.0)
        reward = learned.reward * 2.0**-driver.params.q_frac
        if reward != outcome.score:
            raise Disagreement(
                f"the unit rewards policy {self._next} with {reward}, the golden reward calculator with {outcome.score}"
            )
        epsilon = self._schedule[self._next] if self._schedule else None
        self._next += 1
        return Notes(epsilon, learned.digest)

    def recommend(self) -> Recommendation | None:
        """The greedy policy of the last Q-table, or ``None`` for the best seen."""
        return Recommendation(self.driver.sample(0.0), "greedy") if self._greedy else None

    def state(self) -> dict[str, Any]:
        """The unit's registers and memories."""
        return self.driver.save()

    def restore(self, state: Mapping[str, Any], count: int) -> None:
        """Put the unit back to what `state` returned after ``count`` policies; the schedule continues from there."""
        self.driver.restore(state, self.driver.objective)
        self._next = count


class PlanningSearcher(UnitSearcher):
    """A unit that plans, configured, behind its driver.

    Args:
        driver: of the unit.
        first: the policy to begin with, an action a row; the unit plans all others.
    """

    def __init__(self, driver: Driver, first: Sequence[int]) -> None:
        super().__init__(driver, (), greedy=False)
        self._first = tuple(first)

    def ask(self) -> tuple[int, ...]:
        """The next policy, as the unit plans it."""
        if self._next:
            return self.driver.plan()
        self.driver.write_policy(self._first)
        return self._first

    def recommend(self) -> Recommendation:
        """What the unit believes to be best, with the accuracy that it predicts."""
        found = self.driver.recommend()
        return Recommendation(found.actions, "best by the unit's prediction, retrained", found.accuracy, found.trials)


def search_with_unit(
    driver: Driver, space: PolicySpace, chip: Chip, evaluator: Evaluator, schedule: Sequence[float]
) -> Iterator[Step]:
    """The search loop with a configured unit, from its start; see `algo.search.loop.search`."""
    scorer = Scorer(driver.objective, driver.params)
    return search(UnitSearcher(driver, schedule), space, chip, evaluator, scorer, len(schedule))
