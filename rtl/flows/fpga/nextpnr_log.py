"""Reads nextpnr's log of a placement: frequency, critical path by block, utilisation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_NO_CLOCK = "$PACKER_GND_NET"


def block_of(name: str, scopes: Iterable[str]) -> str:
    """The instance that contains a flattened cell or net; ``top`` if it is in none of the scopes."""
    name = name.replace("$flatten", "").replace("\\", "").removeprefix("unit.")
    scope = max((scope for scope in scopes if name.startswith(f"{scope}.")), key=len, default="top")
    return re.sub(r"\$\d+", "", scope)  # Amaranth's number, where a signal has the block's name


def read_log(log: str, scopes: Sequence[str]) -> dict[str, Any]:
    """Frequency of ``clk``, its critical path by block, and utilisation, from nextpnr's log.

    nextpnr times an iCE40's multiplier without registers as if a constant clocked it. Here the path into it and
    the path out of it count as one, from flip-flop to flip-flop.
    """
    utilisation = {
        kind: {"used": int(used), "available": int(available)}
        for kind, used, available in re.findall(r"^Info:\s+(\w+):\s*(\d+)/\s*(\d+)\s+\d+%", log, re.MULTILINE)
    }
    # nextpnr reports after placing and after routing; the last of each counts.
    clocks = dict(re.findall(r"Max frequency for clock\s+'([^']+)': ([\d.]+) MHz", log))
    fmax = min((float(mhz) for name, mhz in clocks.items() if _is_clk(name)), default=None)
    path = _critical_path(log, lambda title: title.startswith("clock") and _is_clk(title.split("'")[1]), scopes)
    delays = {
        (start, end): float(ns)
        for start, end, ns in re.findall(r"Max delay posedge (\S+)\s+-> posedge (\S+)\s*: ([\d.]+) ns", log)
    }
    into = [ns for (start, end), ns in delays.items() if _is_clk(start) and _NO_CLOCK in end]
    out_of = [ns for (start, end), ns in delays.items() if _NO_CLOCK in start and _is_clk(end)]
    through = max(into) + max(out_of) if into and out_of else None
    if through is not None and (fmax is None or 1000 / through < fmax):
        fmax = 1000 / through
        path = _critical_path(log, lambda title: f"-> 'posedge {_NO_CLOCK}" in title, scopes) + _critical_path(
            log, lambda title: f"path 'posedge {_NO_CLOCK}" in title, scopes
        )
    return {
        "fmax_mhz": None if fmax is None else round(fmax, 2),
        "through_multiplier_ns": None if through is None else round(through, 2),
        "critical_path": _merged(path),
        "utilisation": {kind: cells for kind, cells in utilisation.items() if cells["used"]},
        "too_much": {kind: cells for kind, cells in utilisation.items() if cells["used"] > cells["available"]},
    }


def _is_clk(name: str) -> bool:
    """Whether a clock in nextpnr's log is the unit's: ``clk`` or a buffered form of it, in the harness or not."""
    return re.search(r"(^|\.)clk([^a-z]|$)", name) is not None


def _critical_path(log: str, wanted: Callable[[str], bool], scopes: Sequence[str]) -> list[dict[str, Any]]:
    """The steps of the last critical path that ``wanted`` accepts; a wire counts for the block that drives it."""
    steps: list[dict[str, Any]] = []
    for report in reversed(log.split("Critical path report for ")[1:]):
        title, _, lines = report.partition("\n")
        if not wanted(title):
            continue
        driver = "top"
        for kind, ns, place, name in re.findall(
            r"^Info:\s+([a-z-]+)\s+(-?[\d.]+)\s+-?[\d.]+ (Source|Net) (\S+)",
            lines.partition("\nInfo: \n")[0],
            re.MULTILINE,
        ):
            if place == "Source":
                driver = block_of(name, scopes)
            steps.append({"block": driver, "logic_ns": 0.0, "routing_ns": 0.0, "cells": 0})
            steps[-1]["routing_ns" if kind == "routing" else "logic_ns"] = float(ns)
            steps[-1]["cells"] = int(kind == "logic")
        break
    return steps


def _merged(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Joins neighbouring steps in the same block."""
    merged: list[dict[str, Any]] = []
    for step in steps:
        if not merged or merged[-1]["block"] != step["block"]:
            merged.append(dict.fromkeys(step, 0) | {"block": step["block"]})
        for name in ("logic_ns", "routing_ns", "cells"):
            merged[-1][name] = round(merged[-1][name] + step[name], 2)
    return merged


def finished(log: str) -> bool:
    """Whether nextpnr finished its work; it has nothing to say of slack where no path is timed."""
    return "Slack histogram" in log or "Program finished normally" in log
