"""Charts as SVG for a page. The page's style sheet colours them, so they follow light, dark and print.

Matplotlib is not used because its SVG fixes colours and letter sizes, which must change on a phone or in the dark, and
because its import takes longer than the whole report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup, escape

Point = tuple[float, float]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``, at most ``most`` of them.

    >>> ticks(0.0, 330.0)
    [0.0, 100.0, 200.0, 300.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0, 20.0) if (high - low) // (factor * power) < most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def span(values: Iterable[float], margin: float = 0.05) -> tuple[float, float]:
    """Least and greatest value, with a margin on both sides that is a fraction of their distance."""
    known = list(values)
    low, high = min(known), max(known)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


class Svg:
    """A picture made of elements, with a title and a description for those who cannot see it.

    Args:
        title, description: what it is and what it shows, in words.
        width, height: in its own units; the page scales it to the available room.
        kind: class of the ``svg`` element; the style sheet sizes letters by it.
    """

    def __init__(self, title: str, description: str, width: float, height: float, kind: str = "chart") -> None:
        self.title, self.description, self.kind = title, description, kind
        self.width, self.height = width, height
        self._elements: list[str] = []

    def add(self, tag: str, text: str | None = None, /, **attributes: object) -> None:
        """Add an element; ``class_`` and ``stroke_width`` stand for ``class`` and ``stroke-width``, and so on."""
        given = "".join(
            f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for name, value in attributes.items()
        )
        self._elements.append(f"<{tag}{given}/>" if text is None else f"<{tag}{given}>{escape(text)}</{tag}>")

    def add_titled(self, tag: str, tip: str, /, **attributes: object) -> None:
        """Add an element with a title, which browsers show under the pointer."""
        self.add(tag, "", **attributes)
        self._elements[-1] = self._elements[-1].replace("></", f"><title>{escape(tip)}</title></", 1)

    def render(self) -> Markup:
        """The ``svg`` element."""
        return Markup(
            f'<svg class="{escape(self.kind)}" viewBox="0 0 {_short(self.width)} {_short(self.height)}" role="img" '
            f'aria-label="{escape(self.title)}: {escape(self.description)}"><title>{escape(self.title)}</title>'
            f"<desc>{escape(self.description)}</desc>{''.join(self._elements)}</svg>"
        )


class Chart(Svg):
    """A picture with two linear axes.

    Args:
        x, y: least and greatest value of either axis.
        x_label, y_label: what they show, with units.
        left: room for the numbers of the y axis.
    """

    def __init__(
        self, title: str, description: str, *, x: Point, y: Point, x_label: str, y_label: str,
        width: float = 640, height: float = 400, left: float = 66, kind: str = "chart",
    ) -> None:  # fmt: skip
        super().__init__(title, description, width, height, kind)
        self.x, self.y = x, y
        # On a narrow screen the letters of a wide picture are larger, in the picture's units.
        room = 46.0 if "small" in kind else 58.0
        self.left, self.right, self.top, self.bottom = left, width - 14.0, 34.0, height - room
        for value in ticks(*y):
            self.add("line", x1=self.left, x2=self.right, y1=self.at_y(value), y2=self.at_y(value), class_="gridline")
            self.add("text", f"{value:g}", x=self.left - 8, y=self.at_y(value), class_="tick ty")
        for value in ticks(*x):
            self.add(
                "line", x1=self.at_x(value), x2=self.at_x(value), y1=self.bottom, y2=self.bottom + 5, class_="axis"
            )
            self.add("text", f"{value:g}", x=self.at_x(value), y=self.bottom + 9, class_="tick tx")
        self.add("line", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom, class_="axis")
        self.add("text", x_label, x=(self.left + self.right) / 2, y=height - 5, class_="name nx")
        self.add("text", y_label, x=2, y=18, class_="name ny")

    def at_x(self, value: float) -> float:
        """Place of a value, in the picture's units; on the edge if it is beyond the axis."""
        return self._place(value, self.x, self.left, self.right)

    def at_y(self, value: float) -> float:
        """As `at_x`, for the y axis, which points upwards."""
        return self._place(value, self.y, self.bottom, self.top)

    def steps(self, points: Sequence[Point], class_: str) -> None:
        """A line that keeps each value until the next point."""
        placed = [(self.at_x(x), self.at_y(y)) for x, y in points]
        corners = [corner for (_, y), (x, after) in pairwise(placed) for corner in ((x, y), (x, after))]
        path = "L".join(f"{_short(x)} {_short(y)}" for x, y in placed[:1] + corners)
        self.add("path", d=f"M{path}", class_=class_)

    def horizontal(self, value: float, class_: str) -> None:
        """A line across at a value."""
        self.add("line", x1=self.left, x2=self.right, y1=self.at_y(value), y2=self.at_y(value), class_=class_)

    def vertical(self, value: float, class_: str) -> None:
        """A line from bottom to top at a value."""
        self.add("line", x1=self.at_x(value), x2=self.at_x(value), y1=self.top, y2=self.bottom, class_=class_)

    def mark(self, x: float, y: float, shape: str, class_: str, tip: str = "", **data: object) -> None:
        """A ``dot``, ``cross``, ``diamond`` or ``square``; ``tip`` is shown under the pointer."""
        cx, cy = self.at_x(x), self.at_y(y)
        if shape == "dot":
            attributes: dict[str, object] = {"cx": cx, "cy": cy, "r": 4, "class_": class_, **data}
            tag = "circle"
        else:
            tag, attributes = "path", {"d": _SHAPES[shape].format(_short(cx), _short(cy)), "class_": class_, **data}
        if tip:
            self.add_titled(tag, tip, **attributes)
        else:
            self.add(tag, **attributes)

    def note(self, x: float, y: float, text: str, class_: str, *, lift: float = 0.0) -> None:
        """Text that begins or ends at a place, depending on its class; ``lift`` moves it upwards."""
        self.add("text", text, x=self.at_x(x), y=self.at_y(y) - lift, class_=class_)

    @staticmethod
    def _place(value: float, ends: Point, first: float, last: float) -> float:
        fraction = (value - ends[0]) / (ends[1] - ends[0])
        return first + min(1.0, max(0.0, fraction)) * (last - first)


_SHAPES = {
    "cross": "M{0} {1}m-4 -4l8 8m0 -8l-8 8",
    "diamond": "M{0} {1}m0 -8l7 8l-7 8l-7 -8z",
    "square": "M{0} {1}m-6 -6h12v12h-12z",
}


def _short(value: object) -> str:
    """A coordinate with one decimal at most: the eye sees no more, and the page stays small."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
