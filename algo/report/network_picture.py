"""A network of blocks, drawn from input to output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from algo.nas.space import Option
from algo.report.svg import Svg


def network_picture(blocks: Sequence[Mapping[str, Any]], title: str = "The network found") -> Markup:
    """The blocks from input to output: as wide as their expansion, as high as their kernel, coloured by bits.

    Args:
        blocks: each with its ``name``, its ``option`` (``None`` if it is skipped) and its latency ``ms``.
        title: of the picture.
    """
    step, top = 640 / (len(blocks) + 1), 26.0
    widest = max((block["option"].expansion for block in blocks if block["option"] is not None), default=1)
    picture = Svg(
        title,
        "; ".join(f"block {block['name']} has {block['option'] or 'nothing: it is skipped'}" for block in blocks),
        640, 136, "chart small",
    )  # fmt: skip
    for number, block in enumerate(blocks):
        option: Option | None = block["option"]
        x, middle = step * (number + 0.75), top + 36
        if option is None:
            picture.add("line", x1=x - 0.4 * step, x2=x + 0.4 * step, y1=middle, y2=middle, class_="axis")
            lines = ["skipped", ""]
        else:
            width, height = 0.8 * step * option.expansion / widest, 12.0 * option.kernel
            picture.add_titled(
                "rect", f"block {block['name']}: {option}, {block['ms']:.4g} ms", x=x - width / 2,
                y=middle - height / 2, width=width, height=height, class_=f"bits b{option.bits}",
            )  # fmt: skip
            lines = [f"k{option.kernel} e{option.expansion}", f"{option.bits} bit"]
        picture.add("text", block["name"], x=x, y=top - 18, class_="tick tx")
        for line, text in enumerate(lines):
            picture.add("text", text, x=x, y=top + 76 + 14 * line, class_="tick tx")
    return picture.render()
