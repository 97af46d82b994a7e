"""Plots of a run, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib

from algo.search.step import Step

matplotlib.use("Agg")
from matplotlib import pyplot


def learning_curve(steps: Sequence[Step]) -> bytes:
    """Score of every iteration, the best so far, and epsilon; policies that were rewarded 0 are marked."""
    figure, axes = pyplot.subplots(figsize=(8.0, 4.0), dpi=110, layout="constrained")
    numbers = [step.iteration for step in steps]
    rewards = [step.reward for step in steps]
    best: list[float] = []
    for reward in rewards:
        best.append(max(reward, best[-1]) if best else reward)
    kinds = {
        "scored": (".", "#4878a8", [s for s in steps if s.reward > 0]),
        "accuracy too low": ("+", "#c08030", [s for s in steps if s.reward <= 0 and s.served != "skipped"]),
        "outlier, not trained": ("x", "#b05050", [s for s in steps if s.served == "skipped"]),
    }
    for label, (marker, colour, some) in kinds.items():
        if some:
            axes.plot([s.iteration for s in some], [s.reward for s in some], marker, color=colour, label=label)
    axes.plot(numbers, best, color="#207040", label="best so far")
    explored = [(step.iteration, step.epsilon) for step in steps if step.epsilon is not None]
    if explored:
        axes.step(*zip(*explored, strict=True), ":", where="post", color="grey", label="epsilon")
    axes.set(xlabel="iteration", ylabel="score", ylim=(-0.03, 1.03))
    figure.legend(loc="outside lower center", ncols=5, fontsize="small", frameon=False)
    buffer = io.BytesIO()
    # Without the library's version in the file, the same trace gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return buffer.getvalue()
