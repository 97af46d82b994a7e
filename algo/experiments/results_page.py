"""Puts an experiment into the documentation: its part of ``results.md``, its plot and its data beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sim.files import write_atomically

from .base import Done, load

PAGE, FOLDER = "results.md", "results"


def publish(done: Done, docs: Path) -> None:
    """Write data and plot into ``docs/results`` and the table between its marks in ``docs/results.md``.

    Raises:
        ValueError: if the page has no place for the experiment.
    """
    name = str(done.content["experiment"])
    path = docs / PAGE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    new = with_part(text, name, part(done.content))
    (docs / FOLDER).mkdir(exist_ok=True)
    write_atomically(docs / FOLDER / f"{name}.json", json.dumps(done.content, separators=(",", ":")) + "\n")
    write_atomically(docs / FOLDER / f"{name}.png", done.page.plot)
    write_atomically(path, new)


def part(content: dict[str, Any] | Any) -> str:
    """The generated part of the page, from the content of a data file."""
    name, configuration = content["experiment"], content["configuration"]
    page = load(name).present(content["results"])
    made = f"Scale `{configuration['scale']}`, device `{configuration['device']}`."
    return f"{page.markdown(f'{FOLDER}/{name}.png')}\n{made}\n"


def with_part(text: str, name: str, new: str) -> str:
    """The page with an experiment's part replaced; ValueError if it has no place for it."""
    pattern = re.compile(
        rf"(<!-- experiment {re.escape(name)} begins -->\n).*?(<!-- experiment {re.escape(name)} ends -->)", re.DOTALL
    )
    if not pattern.search(text):
        raise ValueError(
            f"{PAGE} has no place for experiment {name}: add the lines <!-- experiment {name} begins --> and "
            f"<!-- experiment {name} ends -->"
        )
    return pattern.sub(lambda found: found[1] + new + found[2], text)
