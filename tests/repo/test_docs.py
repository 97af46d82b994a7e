"""The documentation: its links lead somewhere, its generated parts are up to date."""

import pkgutil
import re
from pathlib import Path

import pytest

from docs.programs import generate
from tests.places import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINKED = [*PAGES, ROOT / "README.md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|href|srcset)=\"([^\"]+)\"")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^\s*```.*?^\s*```\s*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_relative_links_resolve(page):
    for target in (markdown or html for markdown, html in LINK.findall(prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)} links to {target}, which has no such heading"


def test_pages_that_files_name_exist():
    folders = ("algo", "rtl", "sim", "tb", "tests", "docs")
    for path in [
        *(path for folder in folders for path in (ROOT / folder).rglob("*.*")),
        ROOT / "pyproject.toml",
        ROOT / "CONTRIBUTING.md",
    ]:
        if path.suffix in (".py", ".toml", ".yaml", ".md", ".h", ".c", ".vh", ".v", ".tcl"):
            for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8")):
                assert (ROOT / page).exists(), f"{path.relative_to(ROOT)} names {page}, which does not exist"


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_python_names_in_prose_exist(page):
    for name in re.findall(r"`((?:algo|rtl|sim|tb)(?:\.\w+)+)`", prose(page)):
        pkgutil.resolve_name(name)  # raises for a module or an attribute that does not exist


def test_the_index_lists_every_page():
    index = ROOT / "docs" / "index.md"
    listed = {target.partition("#")[0] for target, _ in LINK.findall(prose(index))}
    assert {p.relative_to(index.parent).as_posix() for p in PAGES if p != index} <= listed


def test_generated_parts_are_up_to_date():
    assert not generate.outdated(), "run `python -m docs.programs.generate`"


def test_every_generated_part_has_its_place():
    text = "".join(page.read_text(encoding="utf-8") for page in LINKED)
    for kind, name in generate.PARTS:
        assert f"<!-- {kind}:begin {name} -->" in text


def test_published_scores_are_reproduced():
    scores = list(generate.published_scores())
    assert len(scores) == 4
    for score in scores:
        assert abs(score.computed - score.published) <= 0.002, score.name
