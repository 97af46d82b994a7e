"""Puts an experiment into the documentation: its part of a page of ``results``, its plot and its data beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algo.experiments.base import Done, load
from sim.files import write_atomically

FOLDER, PAGE = "results", "results"


def page_of(experiment: str) -> str:
    """The page of ``results`` that an experiment is on, unless another is asked for."""
    return str(getattr(load(experiment), "PAGE", PAGE))


def publish(done: Done, docs: Path, page: str | None = None) -> None:
    """Write data and plot into ``docs/results`` and the table between its marks in a page there.

    Args:
        done: the experiment.
        docs: folder of the documentation.
        page: name of the page, if it is not the experiment's own; names of places and files begin with it then.

    Raises:
        ValueError: if the page has no place for the experiment.
    """
    page = page or page_of(done.content["experiment"])
    path = docs / FOLDER / f"{page}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    name = place(done.content, text, page)
    try:
        new = with_part(text, name, part(done.content, name))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    (docs / FOLDER).mkdir(exist_ok=True)
    write_atomically(docs / FOLDER / f"{name}.json", json.dumps(done.content, separators=(",", ":")) + "\n")
    write_atomically(docs / FOLDER / f"{name}.png", done.page.plot)
    write_atomically(path, new)


def place(content: Mapping[str, Any], text: str, page: str = PAGE) -> str:
    """The name of an experiment's place in a page; at full scale ``NAME-full``, if the page has such a place."""
    name = str(content["experiment"])
    if page != page_of(name):
        name = f"{page}-{name}"
    full = f"{name}-full"
    return full if content["configuration"]["scale"] == "full" and _marks(full).search(text) else name


def part(content: Mapping[str, Any], name: str) -> str:
    """The generated part of the page for a place, from the content of a data file."""
    configuration = content["configuration"]
    page = load(content["experiment"]).present(content["results"])
    made = f"Scale `{configuration['scale']}`, device `{configuration['device']}`."
    return f"{page.markdown(f'{name}.png')}\n{made}\n"


def with_part(text: str, name: str, new: str) -> str:
    """The page with the part of a place replaced; ValueError if the place is missing."""
    pattern = _marks(name)
    if not pattern.search(text):
        raise ValueError(
            f"the page has no place for experiment {name}: add the lines <!-- experiment {name} begins --> and "
            f"<!-- experiment {name} ends -->"
        )
    return pattern.sub(lambda found: found[1] + new + found[2], text)


def _marks(name: str) -> re.Pattern[str]:
    """What a place lies between."""
    return re.compile(
        rf"(<!-- experiment {re.escape(name)} begins -->\n).*?(<!-- experiment {re.escape(name)} ends -->)", re.DOTALL
    )
