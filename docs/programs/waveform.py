"""Draws waveforms of a simulated design as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from amaranth.sim import Simulator

_MINIMUM_WIDTH = 4  # characters per clock cycle
_ELIDED = 3  # that many cycles without a change become one column of dots


@dataclass(frozen=True)
class Shown:
    """One line of a diagram.

    Attributes:
        label: its name on the left.
        value: the signal.
        when: draw the value only in cycles in which this is high.
        text: function that writes a value; ``None`` draws a waveform of one bit.
    """

    label: str
    value: Any
    when: Any = None
    text: Callable[[int], str] | None = None


def bit(value: Any, label: str = "") -> Shown:
    """A waveform of one bit."""
    return Shown(label or value.name, value)


def number(value: Any, label: str = "", *, when: Any = None, text: Callable[[int], str] = str) -> Shown:
    """Numbers, with a bar at each change."""
    return Shown(label or value.name, value, when, text)


def hexadecimal(value: int) -> str:
    """A bus word."""
    return f"0x{value:X}"


class Recorder:
    """Simulates one design and records the shown signals in every clock cycle."""

    def __init__(self, design: Any, shown: Sequence[Shown]) -> None:
        self._design = design
        self._shown = shown
        self._columns: list[tuple[str | int, ...]] = []
        self._ctx: Any = None

    def run(self, stimulus: Callable[[Recorder], Any]) -> str:
        """Simulate ``stimulus``, which calls `set`, `skip` and `cycle`; returns the diagram."""

        async def testbench(ctx: Any) -> None:
            self._ctx = ctx
            await stimulus(self)

        simulator = Simulator(self._design)
        simulator.add_clock(1e-8)
        simulator.add_testbench(testbench)
        simulator.run()
        return render(self._shown, self._columns)

    def get(self, value: Any) -> int:
        """A signal's value in the next cycle."""
        return int(self._ctx.get(value))

    def set(self, settings: Iterable[tuple[Any, int]]) -> None:
        """Drive inputs from the next cycle on."""
        for signal, value in settings:
            self._ctx.set(signal, value)

    async def skip(self) -> None:
        """Let a cycle pass without drawing it."""
        await self._ctx.tick()

    async def cycle(self, *settings: tuple[Any, int], times: int = 1) -> None:
        """Drive inputs, then let cycles pass and draw them."""
        self.set(settings)
        for _ in range(times):
            self._columns.append(tuple(self._cell(shown) for shown in self._shown))
            await self._ctx.tick()

    def _cell(self, shown: Shown) -> str | int:
        if shown.when is not None and not self.get(shown.when):
            return ""
        value = self.get(shown.value)
        return value if shown.text is None else shown.text(value)


def render(shown: Sequence[Shown], columns: Sequence[tuple[str | int, ...]]) -> str:
    """The diagram as text, with one column for each clock cycle."""
    # Long runs of equal columns become one column of dots between their first and last cycle.
    times: list[str] = []
    kept: list[tuple[str | int, ...]] = []
    start = 0
    for column, run in groupby(columns):
        length = len(list(run))
        inner = [str(start + i) for i in range(length)]
        if length > _ELIDED + 1:
            inner = [str(start), "...", str(start + length - 1)]
        times += inner
        kept += [column] * len(inner)
        start += length
    width = max(_MINIMUM_WIDTH, *(len(time) + 1 for time in times))
    lines = list(zip(*kept, strict=True))
    for line in lines:
        for cell, run in groupby(line):
            if isinstance(cell, str):
                width = max(width, -(-(len(cell) + 1) // len(list(run))))
    margin = max(len(s.label) for s in shown) + 1
    drawn = ["cycle".ljust(margin) + "".join(time.ljust(width) for time in times)]
    for s, line in zip(shown, lines, strict=True):
        if s.text is None:
            drawn += _waveform(s.label, margin, [int(cell) for cell in line], width)
        else:
            drawn.append(s.label.ljust(margin) + _numbers([str(cell) for cell in line], width))
    return "\n".join(line.rstrip() for line in drawn)


def _waveform(label: str, margin: int, bits: Sequence[int], width: int) -> list[str]:
    upper, lower = " " * margin, label.ljust(margin)
    before = bits[0]
    for now in bits:
        upper += {(0, 0): " ", (0, 1): "┌", (1, 0): "┐", (1, 1): "─"}[before, now]
        lower += {(0, 0): "─", (0, 1): "┘", (1, 0): "└", (1, 1): " "}[before, now]
        upper += ("─" if now else " ") * (width - 1)
        lower += (" " if now else "─") * (width - 1)
        before = now
    return [upper, lower]


def _numbers(cells: Sequence[str], width: int) -> str:
    runs = [(cell, len(list(run))) for cell, run in groupby(cells)]
    return "".join((f"│{cell}" if cell else "·").ljust(width * length) for cell, length in runs)
