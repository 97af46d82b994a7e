"""``layout.json`` of a run: all that a client in another language needs to know of tensors, slices and options."""

from __future__ import annotations

from typing import Any

import numpy as np

from algo.fed.learners import Learner
from algo.fed.slices import Places
from algo.fed.wire import VERSION
from algo.nas.space import Space


def layout_json(learner: Learner, space: Space) -> dict[str, Any]:
    """The content.

    Args:
        learner: with the fresh network.
        space: of the run.

    Returns:
        ``options``: kernel, expansion and bits by the numbers in messages; ``blocks``: how many a message has;
        ``tensors``: names and shapes; ``slices``: tensor, name and ranges of places [from, to) in the flat tensor, in
        the order of payloads; ``digest``: hexadecimal.
    """
    layout = learner.layout
    return {
        "format": "rlu fed layout 1",
        "wire": VERSION,
        "digest": layout.digest.hex(),
        "blocks": len(learner.options()),
        "options": [list(option) for option in space.options],
        "tensors": {name: list(shape) for name, shape in layout.shapes.items()},
        "slices": [{"tensor": one.tensor, "name": one.name, "places": _ranges(one.places)} for one in layout.slices],
    }


def _ranges(places: Places) -> list[list[int]]:
    """Rising places as ranges."""
    if not len(places):
        return []
    ends = np.flatnonzero(np.diff(places) != 1)
    firsts, lasts = places[np.append(0, ends + 1)], places[np.append(ends, len(places) - 1)]
    return [[int(first), int(last) + 1] for first, last in zip(firsts, lasts, strict=True)]
