"""Plots of experiments, as PNG; the same data give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = ("#207040", "#4878a8", "#c08030", "#b05050", "#806090", "#606060", "#309090", "#a0a030", "#d080a0", "#203060")

#: Number of small letters that fit side by side, and of those that a line's key takes.
_LEGEND_LETTERS, _KEY_LETTERS = 120, 8


class Figure:
    """A plot under way: draw on ``axes``; ``png`` has the bytes once its `figure` block ends.

    Attributes:
        axes: one or more matplotlib axes, left to right.
    """

    def __init__(self, panels: int, height: float) -> None:
        self._figure, axes = pyplot.subplots(
            1, panels, figsize=(8.0, height), dpi=100, layout="constrained", squeeze=False
        )
        self.axes: list[Any] = list(axes[0])
        self.png = b""

    def close(self) -> None:
        """Put the legend under the plot and write the image."""
        found = {label: handle for a in self.axes for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
        if found:
            columns = max(1, min(4, _LEGEND_LETTERS // (max(map(len, found)) + _KEY_LETTERS)))
            self._figure.legend(
                list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize="small",
                frameon=False,
            )  # fmt: skip
        buffer = io.BytesIO()
        # Without the library's version in the file, the same data give the same bytes.
        self._figure.savefig(buffer, format="png", metadata={"Software": None})
        pyplot.close(self._figure)
        self.png = buffer.getvalue()


@contextmanager
def figure(panels: int = 1, height: float = 4.0) -> Iterator[Figure]:
    """A figure of some panels side by side; ``height`` inches high; its ``png`` is there after the block."""
    drawn = Figure(panels, height)
    yield drawn
    drawn.close()


def score_axis(axes: Any, curves: Sequence[Sequence[float]], *lines: float) -> None:
    """Begin the score axis at the best scores after a twentieth of the search.

    On an axis from 0, where searches start, later gains would be invisible. ``lines`` are scores that must be visible.
    """
    lowest = min([*lines, *(curve[len(curve) // 20] for curve in curves)])
    highest = max([*lines, *(curve[-1] for curve in curves)])
    margin = 0.05 * (highest - lowest) or 0.01
    axes.set_ylim(lowest - margin, highest + margin)
