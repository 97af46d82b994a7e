"""Templates of the pages: each page is one file that loads nothing."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment() -> Environment:
    """What renders the templates; a value that is missing is an error, and text is escaped."""
    return Environment(
        loader=PackageLoader("algo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def part(templates: Environment, name: str) -> Markup:
    """Our own style sheet or script, which goes into a page as it is."""
    assert templates.loader is not None
    return Markup(templates.loader.get_source(templates, name)[0])
