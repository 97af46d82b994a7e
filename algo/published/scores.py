"""The published figures that a report sets beside a run: single points and levels, never a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from algo.published.evolver import evolver_facts


@dataclass(frozen=True)
class PublishedScore:
    """A published score.

    Attributes:
        name: of the search that gave it.
        score: as printed.
        iteration: at which it was found; ``None`` if that was not published.
    """

    name: str
    score: float
    iteration: int | None

    @property
    def text(self) -> str:
        """Name, score and iteration in words."""
        place = "iteration not published" if self.iteration is None else f"at iteration {self.iteration}"
        return f"{self.name}: {self.score:.3f}, {place}"


def published_scores(weights: Sequence[float]) -> list[PublishedScore]:
    """Published scores under the weights a, b, c; none if nothing was published for them."""
    facts = evolver_facts()
    scores = [
        PublishedScore(entry["name"], entry["score"], entry.get("found_at_iteration"))
        for entry in facts["measurements"]
        if "score" in entry and _same(entry["weights_abc"], weights)
    ]
    search = facts["search"]
    if _same(search["weights_abc"], weights):
        scores.append(
            PublishedScore(
                "grid search", search["grid_search_score"], search["grid_search_iterations_to_similar_score"]
            )
        )
    return scores


def published_outliers(weights: Sequence[float]) -> tuple[int, int] | None:
    """Iterations and how many of them were skipped in the published search under these weights."""
    search = evolver_facts()["search"]
    return (search["iterations"], search["outliers_skipped"]) if _same(search["weights_abc"], weights) else None


def _same(left: Sequence[float], right: Sequence[float]) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(left, right, strict=True))
