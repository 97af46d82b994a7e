"""Measures clock and area of the unit, or of one of its blocks, on an FPGA, with Yosys and nextpnr.

A whole unit is measured with a flip-flop at each port (`rtl.flows.fpga.registered_ports`), so that the paths through
its ports count; a block is measured as it is. Area is counted without these flip-flops.

A unit has more ports than a package has pins. If nextpnr cannot place a design without pins, the finished
netlist is put between two shift registers, the harness, which have their own clock. The unit's netlist
does not change, and no frequency includes the paths to and from the harness. Area is counted without it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import pkgutil
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from rtl.files import scratch_folder, write_atomically
from rtl.flows.fpga import registered_ports, yowasp
from rtl.flows.fpga.nextpnr_log import block_of, finished, read_log
from rtl.flows.fpga.synth_targets import YOSYS, Target
from rtl.spec.buses import front_end
from rtl.spec.params import RLUParams
from rtl.verilog import emitted, generate

#: Clock that nextpnr aims at if none is required, in MHz.
DEFAULT_MHZ = 100.0
#: Format of the cached results; if it changes, everything is measured again.
_FORMAT = 3

Progress = Callable[[str, int], None]


def blocks() -> dict[str, type[wiring.Component]]:
    """The parts that can be measured alone, by module name: those made from parameters only."""
    package = importlib.import_module("rtl")
    found = {}
    for module in pkgutil.walk_packages(package.__path__, "rtl."):
        if module.ispkg or module.name == __name__:
            continue
        for name, kind in vars(importlib.import_module(module.name)).items():
            if (
                inspect.isclass(kind)
                and issubclass(kind, wiring.Component)
                and kind.__module__ == module.name
                and not name.startswith("_")
                and list(inspect.signature(kind.__init__).parameters) == ["self", "params"]
            ):
                found[module.name.rpartition(".")[2]] = kind
    return found


def design(
    params: RLUParams, *, bus: str = "none", block: str | None = None, technology: str = "generic"
) -> tuple[str, str]:
    """Verilog to measure and the name of its top module.

    Args:
        params: the unit.
        bus: the bus in front of it.
        block: name of a part (see `blocks`) to measure alone; ``core`` is the unit without bus and registers.
        technology: whose cells the Verilog may name, see `rtl.verilog.generate`.

    Raises:
        ValueError: for an unknown block or bus; the message lists the known ones.
    """
    if block is None:
        return generate(params, bus, technology), front_end(bus).top
    if bus != "none":
        raise ValueError(f"a block has no bus: --bus {bus} is for the whole unit")
    there_are = blocks()
    if block not in there_are:
        raise ValueError(f"no block {block!r}; there are: {', '.join(sorted(there_are))}")
    return emitted(there_are[block](params), block, technology), block


def measure(
    text: str,
    top: str,
    target: Target,
    *,
    seeds: Sequence[int],
    ports: Sequence[dict[str, Any]] | None = None,
    mhz: float | None = None,
    cache: Path,
    jobs: int | None = None,
    progress: Progress = lambda doing, done: None,
) -> dict[str, Any]:
    """Synthesise Verilog, place and route it once for each seed, and report the results.

    Args:
        text: Verilog with one clock, ``clk``.
        top: name of its top module.
        target: the FPGA.
        seeds: seeds of the placements, at least one.
        ports: the module's ports (`rtl.verilog.ports`), if it gets a flip-flop at each.
        mhz: the required clock, if any.
        cache: folder that keeps the results, by content, options and versions of the tools.
        jobs: placements at a time; default: one for each core.
        progress: called with what is being done and the number of steps finished, of ``1 + len(seeds)``.

    Returns:
        What docs/integrate/synthesis.md lists, ready for JSON.

    Raises:
        yowasp.FpgaToolMissing: if a tool is not installed.
        yowasp.ToolFailed: if a tool refuses the design for a reason other than its size.
        ValueError: if there is no seed, for a clock that is not above 0 and finite, or for a clock on a target
            without clock figures.
    """
    if not seeds:
        raise ValueError("at least one seed is needed")
    if mhz is not None and not 0 < mhz < math.inf:
        raise ValueError(f"the clock must be above 0 MHz and finite, not {mhz:g}")
    if mhz is not None and not target.place:
        raise ValueError(
            f"{target.name} is synthesis only: there is no clock to compare with {mhz:g} MHz; leave --freq out, "
            "or choose another --target"
        )
    packages = [YOSYS, *([target.place] if target.place else [])]
    tools = {package: yowasp.version(package) for package in packages}
    commands = {package: yowasp.executable(package, package) for package in packages}
    compiling = " (the tools compile themselves at their first call: minutes)"
    hint = compiling if yowasp.first_call(packages, cache) else ""
    flow = _Flow(target, commands, cache, tools)
    outside = None if ports is None else registered_ports.around(top, ports)
    progress(f"synthesis for {target.name}{hint}", 0)
    netlist, cached = flow.synthesis(text, top, outside)
    placements: list[dict[str, Any]] = []
    if target.place:
        progress(f"{len(seeds)} placements{hint}", 1)
        with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
            try:
                for placement, was_cached in pool.map(lambda seed: flow.placement(netlist, seed, mhz), seeds):
                    cached = cached and was_cached
                    placements.append(placement)
                    progress(f"{len(seeds)} placements", 1 + len(placements))
            except BaseException:
                flow.tool.stop()  # otherwise the pool waits for all of them
                raise
    return _report(target, text, top, outside, netlist, placements, mhz, tools, cached)


class _Flow:
    """The tools, with their earlier results kept in files named after the input."""

    def __init__(self, target: Target, commands: dict[str, str], cache: Path, tools: dict[str, str]) -> None:
        self.target, self.commands, self.tools = target, commands, tools
        self.folder = cache / "synth"
        self.tool = yowasp.Runner(cache)

    def synthesis(self, text: str, top: str, outside: str | None) -> tuple[Path, bool]:
        """Folder with the netlist of the design, or of the module ``outside`` it, and whether it was there already."""
        hidden = _element_names(text, top) if self.target.hides_elements else []
        options = [_FORMAT, self.target.synthesis, self.target.unit_options, self.tools[YOSYS], top, _HARNESS, text]
        options += [*hidden, outside]
        folder = self.folder / _digest(options)
        if (folder / "cells.json").exists():
            return folder, True
        self.folder.mkdir(parents=True, exist_ok=True)
        with scratch_folder(".synthesis-", self.folder) as work:
            (work / "unit.v").write_text(text)
            (work / "outside.v").write_text(outside or "")
            whole = registered_ports.TOP if outside else top
            self._yosys(
                work,
                "read_verilog unit.v outside.v",
                *(f"rename -hide {top}/w:{name}" for name in hidden),
                f"{self.target.synthesis} {self.target.unit_options} -top {whole}",
                "autoname",
                "write_json unit.json",
            )
            module = json.loads((work / "unit.json").read_text())["modules"][whole]
            if self.target.harness:
                (work / "harness.v").write_text(_harness(whole, module["ports"]))
                self._yosys(
                    work,
                    "read_json unit.json",
                    "design -stash unit",
                    "read_verilog harness.v",
                    f"{self.target.synthesis} -top harness",
                    f"design -copy-from unit {whole}",
                    "hierarchy -top harness",
                    "flatten",
                    "write_json placed.json",
                )
            else:
                (work / "placed.json").write_bytes((work / "unit.json").read_bytes())
            scopes = _scopes(text, top)
            cells = _cells(module, scopes, self.target, outside is not None)
            folder.mkdir(exist_ok=True)
            (work / "placed.json").replace(folder / "placed.json")
            write_atomically(folder / "scopes.json", json.dumps(scopes))
            write_atomically(folder / "cells.json", json.dumps(cells))
        return folder, False

    def placement(self, netlist: Path, seed: int, mhz: float | None) -> tuple[dict[str, Any], bool]:
        """Frequency, critical path and utilisation with one seed, and whether that was known already."""
        place = self.target.place
        assert place is not None
        options = [
            "--json", "placed.json", "--freq", f"{mhz or DEFAULT_MHZ:g}", "--seed", str(seed),
            "--timing-allow-fail", "--quiet", "--log", "log", *self.target.place_options,
        ]  # fmt: skip
        kept = netlist / f"placement-{seed}-{_digest([_FORMAT, options, self.target.pins, self.tools[place]])}.json"
        if kept.exists():
            return json.loads(kept.read_text()), True
        with scratch_folder(".placement-", self.folder) as work:
            (work / "placed.json").hardlink_to(netlist / "placed.json")  # the tools follow no symbolic link
            if self.target.pins:
                name, content = self.target.pins
                (work / name).write_text(content)
            output = self.tool.run([self.commands[place], *options], work).stdout
            log = (work / "log").read_text(errors="replace") if (work / "log").exists() else ""
        # GateMate's nextpnr crashes after its last line, but the log is complete.
        figures = {"seed": seed, **read_log(log, json.loads((netlist / "scopes.json").read_text()))}
        if figures["fmax_mhz"] is None and not figures["too_much"] and not finished(log):
            raise yowasp.ToolFailed(place, output, log)
        write_atomically(kept, json.dumps(figures))
        return figures, False

    def _yosys(self, work: Path, *script: str) -> None:
        (work / "script.ys").write_text("\n".join(script) + "\n")
        done = self.tool.run([self.commands[YOSYS], "-q", "-l", "yosys.log", "-s", "script.ys"], work)
        if done.returncode != 0 or "ERROR" in done.stdout:
            log = work / "yosys.log"
            raise yowasp.ToolFailed(YOSYS, done.stdout, log.read_text(errors="replace") if log.exists() else "")


_HARNESS = """\
(* blackbox *) module {top}({ports});
endmodule
module harness(input {clk}shift_clk, input shift_in, output reg shift_out);
  reg [{inputs}:0] inputs = 0;
  wire [{outputs}:0] outputs;
  always @(posedge shift_clk) begin
    inputs <= {{inputs, shift_in}};
    shift_out <= ^outputs;
  end
  {top} unit({connections});
endmodule
"""


def _harness(top: str, ports: dict[str, Any]) -> str:
    """Verilog that feeds a module's inputs from a shift register and folds its outputs into one pin."""
    declared, connections = [], []
    used = {"input": 0, "output": 0}
    for name, port in ports.items():
        width = len(port["bits"])
        if name == "clk":
            declared.append("(* clkbuf_sink *) input clk")
            connections.append(".clk(clk)")
            continue
        direction, low = port["direction"], used[port["direction"]]
        used[direction] += width
        declared.append(f"{direction} [{width - 1}:0] {name}")
        connections.append(f".{name}({direction}s[{low + width - 1}:{low}])")
    return _HARNESS.format(
        top=top, ports=", ".join(declared), connections=", ".join(connections),
        clk="clk, input " if "clk" in ports else "", inputs=max(used["input"], 1) - 1,
        outputs=max(used["output"], 1) - 1,
    )  # fmt: skip


def _cells(module: dict[str, Any], scopes: Sequence[str], target: Target, registered: bool) -> list[tuple[str, str]]:
    """Kind and block of each cell of a netlist, without the flip-flops at its ports if they are not the unit's."""
    ports = module["ports"] if registered else {}
    # Constants are text.
    pins = {bit for name, port in ports.items() if name != "clk" for bit in port["bits"] if isinstance(bit, int)}

    def at_port(cell: dict[str, Any]) -> bool:
        wires = {bit for bits in cell["connections"].values() for bit in bits}
        return re.fullmatch(target.flip_flops, cell["type"]) is not None and bool(wires & pins)

    return [
        (cell["type"], block_of(name, scopes))
        for name, cell in module["cells"].items()
        if not cell["type"].startswith("$") and not at_port(cell)
    ]


def _element_names(text: str, top: str) -> list[str]:
    """Yosys patterns for those wires of the top module that are named after elements of its array ports."""
    module = re.search(rf"^module {re.escape(top)}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    declared = module[0] if module else ""
    ports = re.findall(r"^  (?:input|output) (?:\[\S+\] )?(\w+) ?;", declared, re.MULTILINE)
    return [f"{port}[[]*" for port in ports if f" \\{port}[0] ;" in declared]


def _scopes(text: str, top: str) -> list[str]:
    """Instances in the design: Amaranth calls the module of ``a.b`` in ``top`` ``top.a.b``."""
    names = re.findall(r"^module \\?(\S+)\s*\(", text, re.MULTILINE)
    return sorted(name.removeprefix(f"{top}.") for name in names if name.startswith(f"{top}."))


def _report(
    target: Target,
    text: str,
    top: str,
    outside: str | None,
    netlist: Path,
    placements: Sequence[dict[str, Any]],
    mhz: float | None,
    tools: dict[str, str],
    cached: bool,
) -> dict[str, Any]:
    listed = json.loads((netlist / "cells.json").read_text())
    cells = dict(Counter(kind for kind, _ in listed).most_common())
    by_block: dict[str, Counter[str]] = {}
    for kind, block in listed:
        by_block.setdefault(block, Counter())[kind] += 1
    too_much: dict[str, Any] = next((placement["too_much"] for placement in placements if placement["too_much"]), {})
    speeds = sorted((p["fmax_mhz"], p["seed"]) for p in placements if p["fmax_mhz"] is not None)
    # For an even number, the lower one: it was measured and has a critical path.
    fmax, seed = statistics.median_low(speeds) if speeds and not too_much else (None, None)
    middle = next((p for p in placements if p["seed"] == seed), None)
    utilisation = placements[0]["utilisation"] if placements else {}
    luts = target.count_luts(cells)
    if target.placed_luts in utilisation:
        luts = utilisation[target.placed_luts]["used"]
    notes = [*target.notes, _REGISTERED if outside else _NOT_TIMED] if target.place else list(target.notes)
    if any(p["through_multiplier_ns"] for p in placements):
        notes.append("a multiplier without registers counts with the paths into and out of it, its own delay missing")
    if placements and fmax is None and not too_much:
        notes.append("there is no path from flip-flop to flip-flop, so there is no frequency")
    return {
        "target": target.name,
        "device": target.device,
        "top": top,
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "luts": luts,
        "luts_counted": target.luts_counted,
        "flip_flops": target.count(cells, target.flip_flops),
        "block_rams": target.count(cells, target.block_rams),
        "multipliers": target.count(cells, target.multipliers),
        "cells": cells,
        "blocks": {
            block: {
                "luts": target.count_luts(count),
                "flip_flops": target.count(count, target.flip_flops),
                "block_rams": target.count(count, target.block_rams),
                "multipliers": target.count(count, target.multipliers),
            }
            for block, count in sorted(by_block.items())
        },
        "harness": target.harness and target.place is not None,
        "utilisation": utilisation,
        "fits": not too_much if placements else None,
        "too_much": too_much,
        "fmax_mhz": fmax,
        "seeds": [{"seed": p["seed"], "fmax_mhz": p["fmax_mhz"]} for p in placements],
        "critical_path": {"seed": seed, "blocks": middle["critical_path"]} if middle else None,
        "required_mhz": mhz,
        "met": None if mhz is None or (fmax is None and not too_much) else fmax is not None and fmax >= mhz,
        "notes": notes,
        "tools": tools,
        "cached": cached,
    }


_NOT_TIMED = "the block's ports do not count: only paths from flip-flop to flip-flop are timed"
_REGISTERED = "paths through the unit's ports count up to a flip-flop just outside, which is not counted in the area"


def table(report: dict[str, Any]) -> str:
    """A report as text for a terminal."""
    lines = [
        f"{report['top']} on {report['device']}",
        "",
        f"  LUTs          {report['luts']:>7}   {report['luts_counted']}",
        f"  flip-flops    {report['flip_flops']:>7}",
        f"  block RAMs    {report['block_rams']:>7}",
        f"  multipliers   {report['multipliers']:>7}",
    ]
    if report["fmax_mhz"] is not None:
        seeds = ", ".join(f"seed {s['seed']}: {s['fmax_mhz'] or 0:.1f}" for s in report["seeds"])
        lines.append(f"  Fmax          {report['fmax_mhz']:>7.1f}   MHz, the median ({seeds})")
    lines += ["", "  cells         " + ", ".join(f"{number} {kind}" for kind, number in report["cells"].items())]
    if report["utilisation"]:
        placed = (f"{cells['used']} {kind} of {cells['available']}" for kind, cells in report["utilisation"].items())
        lines.append("  placed        " + ", ".join(placed) + (" (with the harness)" if report["harness"] else ""))
    lines += ["", f"  {'block':24} {'LUTs':>6} {'flip-flops':>10} {'RAMs':>5} {'multipliers':>11}"]
    lines += [
        f"  {block:24} {c['luts']:>6} {c['flip_flops']:>10} {c['block_rams']:>5} {c['multipliers']:>11}"
        for block, c in report["blocks"].items()
    ]
    if report["critical_path"]:
        path = report["critical_path"]
        total = sum(step["logic_ns"] + step["routing_ns"] for step in path["blocks"])
        lines += ["", f"  critical path, seed {path['seed']}: {total:.1f} ns"]
        lines += [
            f"    {s['block']:24} {s['cells']:>3} cells {s['logic_ns']:>6.2f} ns logic {s['routing_ns']:>6.2f} ns wires"
            for s in path["blocks"]
        ]
    lines += ["", *(f"  note: {note}" for note in report["notes"])]
    lines.append("  tools: " + ", ".join(f"{name} {version}" for name, version in report["tools"].items()))
    if report["cached"]:
        lines.append("  all from the cache: the same Verilog, options and tools were measured before")
    return "\n".join(lines)


def complaint(report: dict[str, Any]) -> str | None:
    """Why the design is not good enough, with the figure; ``None`` if it is."""
    if report["too_much"]:
        much = ", ".join(f"{c['used']} {kind} of {c['available']}" for kind, c in report["too_much"].items())
        return f"the design does not fit {report['device']}: {much}; fewer --states or --actions are smaller"
    if report["met"] is False:
        return (
            f"the clock is missed: {report['fmax_mhz']:.1f} MHz of {report['required_mhz']:g} MHz "
            f"(median of {len(report['seeds'])} placements)"
        )
    return None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
