"""Measures clock and area of every design of `rtl.flows.fpga.measured`: ``python -m rtl.flows.fpga.measure_all``.

It writes measured.json, from which README, documentation and packages have their figures; `python -m
docs.programs.generate` puts them there. What was measured before with the same Verilog and tools comes from the cache,
so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys

from tqdm import tqdm

from rtl.files import cache_dir, write_atomically
from rtl.flows.fpga import synth
from rtl.flows.fpga.measured import DESIGNS, FIGURES, Design
from rtl.flows.fpga.synth_targets import target_named
from rtl.verilog import ports


def measure(design: Design) -> dict[str, object]:
    """The report of `rtl.flows.fpga.synth.measure` for a design."""
    target, core = target_named(design.target), design.bus == "core"
    bus, block = ("none", "core") if core else (design.bus, None)
    text, top = synth.design(design.params, bus=bus, block=block, technology=design.technology)
    outside = None if core else ports(design.params, bus)
    return synth.measure(text, top, target, seeds=design.seeds, ports=outside, cache=cache_dir().resolve())


def figures(report: dict[str, object]) -> dict[str, object]:
    """What measured.json keeps of a report."""
    seeds = report["seeds"]
    assert isinstance(seeds, list)
    kept = {name: report[name] for name in ("luts", "flip_flops", "block_rams", "multipliers")}
    return {**kept, "fmax_mhz": [seed["fmax_mhz"] for seed in seeds]}


def main() -> int:
    """Measure everything; exit code 1, with the figure and nothing written, if a design does not fit its target."""
    argparse.ArgumentParser(description="Measure clock and area of every published design; hours.").parse_args()
    measured: list[dict[str, object]] = []
    tools: dict[str, object] = {}
    for design in tqdm(DESIGNS, unit="design", disable=None, file=sys.stderr):
        report = measure(design)
        if (wrong := synth.complaint(report)) is not None:
            print(f"{design.target}, {design.options}, {design.states} x {design.actions}: {wrong}", file=sys.stderr)
            return 1
        said = report["tools"]
        assert isinstance(said, dict)
        tools |= said
        measured.append({"design": design._asdict(), "figures": figures(report)})
    lines = ",\n    ".join(json.dumps(one) for one in measured)
    head = json.dumps({"date": datetime.date.today().isoformat(), "tools": tools}, indent=2)[:-2]
    write_atomically(FIGURES, f'{head},\n  "measured": [\n    {lines}\n  ]\n}}\n')
    print(f"wrote {FIGURES}: {len(measured)} designs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
