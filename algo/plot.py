"""Plots of a run, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib

from .tuning import Step

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (the backend must be chosen first)


def learning_curve(steps: Sequence[Step]) -> bytes:
    """Reward of every iteration, the best so far, and epsilon; skipped policies are marked."""
    figure, axes = pyplot.subplots(figsize=(8.0, 4.0), dpi=110, layout="constrained")
    numbers = [step.iteration for step in steps]
    rewards = [step.reward for step in steps]
    best: list[float] = []
    for reward in rewards:
        best.append(max(reward, best[-1]) if best else reward)
    tried = [step for step in steps if step.served != "skipped"]
    skipped = [step for step in steps if step.served == "skipped"]
    axes.plot([s.iteration for s in tried], [s.reward for s in tried], ".", color="#4878a8", label="tried")
    axes.plot(
        [s.iteration for s in skipped], [s.reward for s in skipped], "x", color="#b05050", label="outlier, not trained"
    )
    axes.plot(numbers, best, color="#207040", label="best so far")
    axes.plot(numbers, [step.epsilon for step in steps], ":", color="grey", label="epsilon")
    axes.set(xlabel="iteration", ylabel="score", ylim=(-0.03, 1.03))
    axes.legend(loc="lower right", fontsize="small")
    buffer = io.BytesIO()
    # Without the library's version in the file, the same trace gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return buffer.getvalue()
