"""What a searcher is: it is asked for a policy, told the outcome, and can be saved.

The RL unit on any device is one (`algo.search.unit_searcher`), and so is every method of `algo.search.methods`. The
loop in `algo.search.loop` runs any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from algo.chips.chip import Measurement
from algo.space.policy import Policy, PolicySpace
from algo.support.user_files import check_object, check_type
from sim.devices.objective import Objective

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        space: the policies.
        objective: what they are rewarded for.
        budget: number of policies that will be asked for.
        costs: latency and energy of any policy, which need no training.
        noise: standard deviation of the error of an accuracy that is told, as far as it is known; 0 without one.
    """

    space: PolicySpace
    objective: Objective
    budget: int
    costs: Callable[[Policy], Measurement]
    noise: float = 0.0


#: What a saved search holds of each policy, and of which type.
_TOLD: dict[str, Any] = {
    "actions": list[int],
    "accuracy": float | None,
    "latency_ms": float,
    "energy_uj": float | None,
    "score": float,
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one policy.

    Attributes:
        accuracy: a fraction; ``None`` if the policy missed the threshold of latency or energy and was not
            trained.
        latency_ms, energy_uj: of one inference.
        score: by the objective, as the golden reward calculator gives it; 0 for an outlier.
    """

    accuracy: float | None
    latency_ms: float
    energy_uj: float
    score: float


class Notes(NamedTuple):
    """What the trace holds of a step besides the policy and its outcome.

    Attributes:
        epsilon: probability of a random choice; ``None`` for a searcher that has none.
        digest: of what was learned; empty for a searcher that learns no table.
    """

    epsilon: float | None = None
    digest: str = ""


class Recommendation(NamedTuple):
    """The policy that a searcher would deploy.

    Attributes:
        actions: an action a row.
        how: how it was found, in words.
        predicted: accuracy that it is believed to have, 0..1; ``None`` if the searcher does not say.
        trials: how often the policies tried had each of its actions; empty if the searcher does not say.
    """

    actions: tuple[int, ...]
    how: str
    predicted: float | None = None
    trials: tuple[int, ...] = ()


class Searcher(Protocol):
    """Proposes policies, one after the other."""

    def ask(self) -> tuple[int, ...]:
        """The next policy, an action a row."""
        ...

    def tell(self, outcome: Outcome) -> Notes:
        """Take the outcome of the policy that was asked for last."""
        ...

    def recommend(self) -> Recommendation | None:
        """After the last policy: the one to deploy; ``None``: the best seen."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that later answers depend on, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any], count: int) -> None:
        """Resume from what `state` returned after ``count`` policies; raises ValueError for another search's state."""
        ...


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one policy of each search, all (searches,): see `Outcome`; a ``skipped`` one is not trained."""

    accuracy: Floats
    latency_ms: Floats
    energy_uj: Floats
    score: Floats
    skipped: npt.NDArray[np.bool_]


class Batch(Protocol):
    """Searches with one method that run side by side, one a seed. A seed's search does not depend on the others."""

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        ...

    def tell(self, outcomes: Outcomes) -> None:
        """Take the outcomes of the policies that were asked for last."""
        ...

    def recommend(self) -> Ints | None:
        """The policy of each search to deploy, (searches, rows), at any time after the first; ``None``: the best seen.

        A batch with a model of accuracy recommends what the model believes best. It changes nothing in the search.
        """
        ...


class DeploysBestSeen:
    """What a `Batch` without a model of accuracy recommends."""

    def recommend(self) -> None:
        """The best seen."""


#: How the policy to deploy is found by a batch with a model.
BELIEVED = "best by the model of accuracy, retrained"


class OneOfBatch:
    """A searcher that is one search of a `Batch`, on the host.

    Its state is what it was told. To restore it, everything is asked and told again, which costs no training.

    Args:
        method: name and version of the method, which a saved state must agree with.
        batch: one search.
    """

    def __init__(self, method: str, batch: Batch) -> None:
        self._method, self._batch = method, batch
        self._told: list[tuple[tuple[int, ...], Outcome]] = []
        self._asked: tuple[int, ...] = ()

    def ask(self) -> tuple[int, ...]:
        """The next policy, an action a row."""
        (actions,) = self._batch.ask().tolist()
        self._asked = tuple(actions)
        return self._asked

    def tell(self, outcome: Outcome) -> Notes:
        """Take the outcome of the policy that was asked for last."""
        energy_uj = 0.0 if np.isnan(outcome.energy_uj) else outcome.energy_uj  # then the objective does not weigh it
        self._batch.tell(
            Outcomes(
                accuracy=np.array([outcome.accuracy or 0.0]),
                latency_ms=np.array([outcome.latency_ms]),
                energy_uj=np.array([energy_uj]),
                score=np.array([outcome.score]),
                skipped=np.array([outcome.accuracy is None]),
            )
        )
        self._told.append((self._asked, outcome))
        return Notes()

    def recommend(self) -> Recommendation | None:
        """What the batch recommends, and that its model of accuracy says so; ``None`` for the best seen."""
        found = self._batch.recommend() if self._told else None
        return None if found is None else Recommendation(tuple(found[0].tolist()), BELIEVED)

    def state(self) -> dict[str, Any]:
        """The method, and all that was asked and told."""
        told = [
            [list(actions), one.accuracy, one.latency_ms, None if np.isnan(one.energy_uj) else one.energy_uj, one.score]
            for actions, one in self._told
        ]
        return {"method": self._method, "told": told}

    def restore(self, state: Mapping[str, Any], count: int) -> None:
        """Resume from what `state` returned after ``count`` policies.

        Raises:
            ValueError: if it is damaged, or the state of another method or version, or of another problem or seed.
        """
        if state.get("method") != self._method:
            raise ValueError(f"the saved search is one of {state.get('method')!r:.80}, not of {self._method!r}")
        check_type(state.get("told"), list[list[Any]], "told of the saved search")
        if len(state["told"]) != count:
            raise ValueError(f"the saved search holds {len(state['told'])} policies, not {count}")
        for number, told in enumerate(state["told"]):
            what = f"policy {number} of the saved search"
            if len(told) > len(_TOLD):
                raise ValueError(f"{what} has {len(told)} values, not {len(_TOLD)}")
            check_object(dict(zip(_TOLD, told, strict=False)), _TOLD, what)
            actions, accuracy, latency_ms, energy_uj, score = told
            if self.ask() != tuple(actions):
                raise ValueError(
                    f"{what} is not the one that {self._method} proposes: another version of it, or of its library, "
                    "made the search"
                )
            self.tell(Outcome(accuracy, latency_ms, float("nan") if energy_uj is None else energy_uj, score))


def drawn(rng: np.random.Generator, counts: Sequence[int], number: int) -> Ints:
    """Policies drawn uniformly, (number, rows)."""
    size = int(np.prod([float(count) for count in counts]))
    if size < 2**62:
        places = rng.integers(int(np.prod(np.array(counts, np.int64))), size=number)
        return np.stack(np.unravel_index(places, tuple(counts)), axis=-1).astype(np.int64)
    return rng.integers(np.array(counts), size=(number, len(counts)))
