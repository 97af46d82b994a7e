"""What the documentation's pages hold that can be run: fenced blocks, commands, and what a page says of them.

A comment before a fence, or before a command in a table, is a marker, which nobody sees who reads the page:

- ``<!-- slow -->``: takes more than some seconds; run by `make test-slow` only.
- ``<!-- not run: REASON -->``: one of `REASONS`; its commands are looked up all the same.
- ``<!-- needs: PROGRAM -->``, or an absolute path: left out where this, which no Python package brings, is not there.
- ``<!-- file: NAME -->``: the block is a file that later commands of the page use.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from tests.places import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Why a block may be left out of every run.
REASONS = {
    "needs a board": "an FPGA board on a serial port, or its programmer",
    "serves until stopped": "a command that does not end by itself",
    "calls the tests": "`make test` and its like, which would call this test",
    "takes hours": "more than a quarter of an hour even in `make test-slow`",
}

_FENCE = re.compile(r"^( *)```(.*)$")
_COMMENT = re.compile(r"<!--(.*?)-->")
_GENERATED = re.compile(r"\w+:(begin|end) [\w-]+")
_COMMAND = re.compile(r"(?:rlu|make|(?:\.venv/bin/)?(?:python|rlu)) \S")


@dataclass(frozen=True)
class Block:
    """Something on a page that can be run, or shown to be what the page says it is.

    Attributes:
        page: name of the page.
        line: of the first line of its text, from 1.
        language: what the fence says, or ``sh`` for a command in a table.
        text: as printed.
        slow: for `make test-slow` only.
        not_run: why it is never run, one of `REASONS`.
        needs: a program or an absolute path without which it is left out.
        file: the name under which it is kept.
    """

    page: str
    line: int
    language: str
    text: str
    slow: bool = False
    not_run: str | None = None
    needs: str | None = None
    file: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    """The fenced blocks of a page, and the commands of a table in its section "Use it", in order.

    Raises:
        ValueError: for a marker that means nothing.
    """
    found: list[Block] = []
    lines = text.splitlines()
    marker, section, number = "", "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := _FENCE.match(line):
            first = number
            while lines[number].strip() != "```":
                number += 1
            body = textwrap.dedent("\n".join(lines[first:number])) + "\n"
            found.append(Block(page, first + 1, fence[2].strip(), body, **_marked(marker, f"{page}:{first - 1}")))
            number += 1
            marker = ""
        elif line.startswith("#"):
            section = line.strip("# ")
        elif line.startswith("|") and section == "Use it":
            for before, command in re.findall(r"(?:<!--(.*?)--> *)?`([^`]*)`", line):
                if _COMMAND.match(command):
                    found.append(Block(page, number, "sh", command + "\n", **_marked(before, f"{page}:{number}")))
        elif line.strip():
            comment = _COMMENT.fullmatch(line.strip())
            marker = comment[1].strip() if comment else ""
    return found


def _marked(marker: str, where: str) -> dict[str, object]:
    """What a marker, several of them parted by commas, says of the block after it."""
    said: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in marker.split(","))):
        kind, _, value = (piece.strip() for piece in part.partition(":"))
        if _GENERATED.fullmatch(part):
            continue
        if part == "slow":
            said["slow"] = True
        elif kind == "not run" and value in REASONS:
            said["not_run"] = value
        elif kind in ("needs", "file") and re.fullmatch(r"/?\w[\w./-]*", value):
            said[kind] = value
        else:
            allowed = "slow; needs: PROGRAM; file: NAME; not run: " + ", or ".join(REASONS)
            raise ValueError(f"{where}: the marker {part!r} is none of: {allowed}")
    return said


def commands_in_prose(text: str) -> list[str]:
    """Commands in a page's running text and its tables, on one line each."""
    prose = re.sub(r"^ *```.*?^ *```\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
    return [span for span in spans if _COMMAND.match(span)]
